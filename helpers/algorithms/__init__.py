"""SubstraFL algorithms for TensorFlow, with the names and hooks of SubstraFL's for PyTorch."""

from helpers.algorithms.accounting import find_noise as find_noise
from helpers.algorithms.accounting import group_privacy as group_privacy
from helpers.algorithms.accounting import spent_epsilon as spent_epsilon
from helpers.algorithms.batch_norm import BatchNorm as BatchNorm
from helpers.algorithms.index_generators import PoissonIndexGenerator as PoissonIndexGenerator
from helpers.algorithms.privacy import DPSGD as DPSGD
from helpers.algorithms.privacy import gradient_lengths as gradient_lengths
from helpers.algorithms.server_optimizers import FedAdagrad as FedAdagrad
from helpers.algorithms.server_optimizers import FedAdam as FedAdam
from helpers.algorithms.server_optimizers import FedAvgM as FedAvgM
from helpers.algorithms.server_optimizers import FedYogi as FedYogi
from helpers.algorithms.server_optimizers import ServerOptimizer as ServerOptimizer
from helpers.algorithms.tf_algo import TFAlgo as TFAlgo
from helpers.algorithms.tf_cyclic_algo import TFCyclicAlgo as TFCyclicAlgo
from helpers.algorithms.tf_fed_avg_algo import TFFedAvgAlgo as TFFedAvgAlgo
from helpers.algorithms.tf_fed_pca_algo import TFFedPCAAlgo as TFFedPCAAlgo
from helpers.algorithms.tf_newton_raphson_algo import TFNewtonRaphsonAlgo as TFNewtonRaphsonAlgo
from helpers.algorithms.tf_scaffold_algo import CUpdateRule as CUpdateRule
from helpers.algorithms.tf_scaffold_algo import TFScaffoldAlgo as TFScaffoldAlgo
from helpers.algorithms.tf_single_organization_algo import (
    TFSingleOrganizationAlgo as TFSingleOrganizationAlgo,
)
from helpers.algorithms.watched_algo import WatchedFedAvgAlgo as WatchedFedAvgAlgo

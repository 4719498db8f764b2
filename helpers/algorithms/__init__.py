"""SubstraFL algorithms for TensorFlow, named and hooked as SubstraFL's for PyTorch."""

from helpers.algorithms.tf_algo import TFAlgo as TFAlgo
from helpers.algorithms.tf_fed_avg_algo import TFFedAvgAlgo as TFFedAvgAlgo

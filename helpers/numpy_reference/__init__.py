"""References: the published algorithms in a few lines of NumPy, for comparison.

Each is written from its paper, for a linear model with a hand-written gradient, and shares no code
with the algorithms that train networks. The tests and the page on exactness compare the two.
"""

from helpers.numpy_reference.cyclic import cyclic_transfer as cyclic_transfer
from helpers.numpy_reference.error_feedback import fed_avg_with_feedback as fed_avg_with_feedback
from helpers.numpy_reference.error_feedback import keep_largest as keep_largest
from helpers.numpy_reference.error_feedback import round_to_int8 as round_to_int8
from helpers.numpy_reference.fed_avg import fed_avg as fed_avg
from helpers.numpy_reference.fed_opt import fed_opt as fed_opt
from helpers.numpy_reference.fed_pca import fed_pca as fed_pca
from helpers.numpy_reference.fed_prox import fed_prox as fed_prox
from helpers.numpy_reference.linear import LinearHospitals as LinearHospitals
from helpers.numpy_reference.linear import train_alone as train_alone
from helpers.numpy_reference.newton_raphson import newton_raphson as newton_raphson
from helpers.numpy_reference.robust import multi_krum as multi_krum
from helpers.numpy_reference.robust import robust_fed_avg as robust_fed_avg
from helpers.numpy_reference.robust import trimmed as trimmed
from helpers.numpy_reference.scaffold import scaffold as scaffold

"""References: the published algorithms in a few lines of NumPy, for comparison.

Each is written from its paper, on a linear model with its gradient by hand, and shares nothing with
the algorithms that train networks. The tests and the page on exactness compare the two.
"""

from helpers.references.cyclic import cyclic_transfer as cyclic_transfer
from helpers.references.error_feedback import fed_avg_with_feedback as fed_avg_with_feedback
from helpers.references.error_feedback import keep_largest as keep_largest
from helpers.references.error_feedback import round_to_int8 as round_to_int8
from helpers.references.fed_avg import fed_avg as fed_avg
from helpers.references.fed_opt import fed_opt as fed_opt
from helpers.references.fed_pca import fed_pca as fed_pca
from helpers.references.fed_prox import fed_prox as fed_prox
from helpers.references.linear import LinearHospitals as LinearHospitals
from helpers.references.linear import train_alone as train_alone
from helpers.references.newton_raphson import newton_raphson as newton_raphson
from helpers.references.robust import multi_krum as multi_krum
from helpers.references.robust import robust_fed_avg as robust_fed_avg
from helpers.references.robust import trimmed as trimmed
from helpers.references.scaffold import scaffold as scaffold

"""What leaves an organization: named arrays, in one fixed order, checked on both sides."""

from helpers.exchange.checks import Limits as Limits
from helpers.exchange.checks import find_faults as find_faults
from helpers.exchange.compression import CompactArray as CompactArray
from helpers.exchange.compression import Compressor as Compressor
from helpers.exchange.compression import Float16 as Float16
from helpers.exchange.compression import Int8 as Int8
from helpers.exchange.compression import TopK as TopK
from helpers.exchange.faults import Fault as Fault
from helpers.exchange.faults import UpdateError as UpdateError
from helpers.exchange.manifest import Manifest as Manifest
from helpers.exchange.masked_sum import MaskedSum as MaskedSum
from helpers.exchange.packing import pack_state as pack_state
from helpers.exchange.packing import unpack_state as unpack_state
from helpers.exchange.weights import add_parameters as add_parameters
from helpers.exchange.weights import check_parameters as check_parameters
from helpers.exchange.weights import exchanged_variables as exchanged_variables
from helpers.exchange.weights import get_parameters as get_parameters
from helpers.exchange.weights import increment_parameters as increment_parameters
from helpers.exchange.weights import name_parameters as name_parameters
from helpers.exchange.weights import norm_parameters as norm_parameters
from helpers.exchange.weights import set_parameters as set_parameters
from helpers.exchange.weights import step_norms as step_norms
from helpers.exchange.weights import subtract_parameters as subtract_parameters
from helpers.exchange.weights import unchanged_parameters as unchanged_parameters
from helpers.exchange.weights import weighted_sum_parameters as weighted_sum_parameters
from helpers.exchange.weights import zeros_like_parameters as zeros_like_parameters

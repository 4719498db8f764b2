"""What leaves a hospital: named arrays, in one fixed order, checked on both sides."""

from helpers.exchange.weights import add_parameters as add_parameters
from helpers.exchange.weights import check_parameters as check_parameters
from helpers.exchange.weights import get_parameters as get_parameters
from helpers.exchange.weights import increment_parameters as increment_parameters
from helpers.exchange.weights import name_parameters as name_parameters
from helpers.exchange.weights import parameter_names as parameter_names
from helpers.exchange.weights import set_parameters as set_parameters
from helpers.exchange.weights import subtract_parameters as subtract_parameters
from helpers.exchange.weights import weighted_sum_parameters as weighted_sum_parameters
from helpers.exchange.weights import zeros_like_parameters as zeros_like_parameters

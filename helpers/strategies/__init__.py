"""Strategies that SubstraFL lacks: who trains, and how the hospitals' updates are combined."""

from helpers.strategies.cyclic import CyclicTransfer as CyclicTransfer
from helpers.strategies.metering import Metered as Metered
from helpers.strategies.metering import Traffic as Traffic
from helpers.strategies.participation import Participation as Participation
from helpers.strategies.robust import FedMedian as FedMedian
from helpers.strategies.robust import FedTrimmedMean as FedTrimmedMean
from helpers.strategies.robust import MultiKrum as MultiKrum
from helpers.strategies.safe_exchange import SafeExchange as SafeExchange
from helpers.strategies.safe_exchange import find_refused as find_refused
from helpers.strategies.secure_aggregation import SecureAggregation as SecureAggregation
from helpers.strategies.wrapping import WrappedStrategy as WrappedStrategy

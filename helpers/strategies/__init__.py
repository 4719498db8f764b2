"""Strategies that SubstraFL lacks: what the aggregation makes of the hospitals' updates."""

from helpers.strategies.robust import FedMedian as FedMedian
from helpers.strategies.robust import FedTrimmedMean as FedTrimmedMean
from helpers.strategies.robust import MultiKrum as MultiKrum

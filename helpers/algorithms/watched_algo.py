"""Federated averaging that records how far the weights move during each local training."""

from typing import Any

from helpers.algorithms.tf_fed_avg_algo import TFFedAvgAlgo
from helpers.exchange import get_parameters, norm_parameters, subtract_parameters


class WatchedFedAvgAlgo(TFFedAvgAlgo):
    """Record, after every update, the distance from the weights at the start of the round.

    The training itself is that of :class:`~helpers.algorithms.TFFedAvgAlgo`. The distances are part
    of the local state.

    Parameters
    ----------
    **settings
        As in :class:`~helpers.algorithms.TFFedAvgAlgo`.

    Attributes
    ----------
    distances : list of float
        For each round a 0, then the Euclidean distance after each update, over all exchanged
        tensors.
    """

    _own_state = ("distances",)

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.distances = []
        self._start_of_round = None

    def _local_train(self, train_dataset):
        """Train as usual, from weights that are remembered."""
        self._start_of_round = get_parameters(self._exchanged)
        self.distances.append(0.0)
        super()._local_train(train_dataset)
        self._start_of_round = None

    def _update_weights(self, batch):
        """Make one update, and measure the distance."""
        super()._update_weights(batch)
        moved = subtract_parameters(get_parameters(self._exchanged), self._start_of_round)
        self.distances.append(norm_parameters(moved))

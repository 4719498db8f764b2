"""Robust strategies: Federated Averaging with an average that a few hospitals cannot spoil.

A hospital may send nonsense, because its scanner writes negatives, because a script is wrong, or on
purpose. In a mean the influence of a single update is unbounded; these averages bound it. None is
weighted by the number of films, which is only a claim. With honest hospitals of unequal size they
therefore differ from Federated Averaging: they average over hospitals.
"""

import abc
from collections.abc import Callable
from typing import Any

import numpy as np
from substrafl.algorithms.algo import Algo
from substrafl.exceptions import EmptySharedStatesError
from substrafl.remote import remote
from substrafl.strategies import FedAvg
from substrafl.strategies.schemas import FedAvgAveragedState, FedAvgSharedState

# As in SubstraFL's FedAvg.
MetricFunctions = Callable | list[Callable] | dict[str, Callable]


def coordinate_median(updates: np.ndarray) -> np.ndarray:
    """Take the median of every weight by itself (Yin et al. 2018, Algorithm 1, Option I).

    Parameters
    ----------
    updates : numpy.ndarray, shape (n_hospitals, n_weights)
        One update a row.

    Returns
    -------
    numpy.ndarray, shape (n_weights,)
        The medians; that of an even number is the mean of the two in the middle.

    Examples
    --------
    >>> coordinate_median(np.array([[1.0, 5.0], [2.0, 6.0], [900.0, -900.0]]))
    array([2., 5.])
    """
    return np.median(updates, axis=0)


def trimmed_mean(updates: np.ndarray, n_trimmed: int) -> np.ndarray:
    """Leave out the highest and the lowest values of every weight (Yin et al. 2018, Option II).

    Parameters
    ----------
    updates : numpy.ndarray, shape (n_hospitals, n_weights)
        One update a row.
    n_trimmed : int
        How many values are left out at each end, fewer than half of the hospitals.

    Returns
    -------
    numpy.ndarray, shape (n_weights,)
        The means of what is left.

    Raises
    ------
    ValueError
        If nothing would be left.

    Examples
    --------
    >>> trimmed_mean(np.array([[1.0], [2.0], [3.0], [900.0]]), 1)
    array([2.5])
    """
    n_hospitals = len(updates)
    if not 0 <= 2 * n_trimmed < n_hospitals:
        raise ValueError(
            f"Expected n_trimmed below half of the {n_hospitals} hospitals. Received {n_trimmed}: "
            "nothing would be left."
        )
    return np.sort(updates, axis=0)[n_trimmed : n_hospitals - n_trimmed].mean(axis=0)


def choose_by_krum(updates: np.ndarray, n_hostile: int, n_chosen: int) -> list[int]:
    r"""Choose the updates that lie closest to their neighbours (Blanchard et al. 2017).

    The score of an update is the sum of squared distances to its ``n_hospitals - n_hostile - 2``
    nearest neighbours; the lowest scores are chosen.

    Parameters
    ----------
    updates : numpy.ndarray, shape (n_hospitals, n_weights)
        One update a row.
    n_hostile : int
        How many hospitals may be hostile, :math:`f`. Krum is proved for :math:`n \ge 2f + 3`
        hospitals: 5 for one that is hostile, 7 for two.
    n_chosen : int
        How many are chosen: 1 is Krum, more is multi-Krum.

    Returns
    -------
    list of int
        Rows, the lowest score first; of equal scores the lower row.

    Raises
    ------
    ValueError
        If there are too few hospitals.

    Examples
    --------
    >>> updates = np.array([[1.0], [1.1], [-50.0], [0.9], [1.3]])
    >>> choose_by_krum(updates, n_hostile=1, n_chosen=2)
    [0, 1]
    """
    n_hospitals = len(updates)
    if n_hostile < 0 or n_hospitals < 2 * n_hostile + 3:
        raise ValueError(
            f"Expected n ≥ 2f + 3, at least {max(2 * n_hostile + 3, 3)} hospitals for "
            f"f = n_hostile = {n_hostile}. Received {n_hospitals}. A majority of honest hospitals "
            "is not enough for Krum."
        )
    if not 1 <= n_chosen <= n_hospitals - n_hostile:
        raise ValueError(
            f"Expected n_chosen of 1 to {n_hospitals - n_hostile}, the hospitals that are not "
            f"hostile. Received {n_chosen}."
        )
    # Differences, since |a|² + |b|² - 2ab loses all digits when updates are close.
    distances = np.array([((updates - update) ** 2).sum(axis=1) for update in updates])
    np.fill_diagonal(distances, np.inf)
    scores = np.sort(distances, axis=1)[:, : n_hospitals - n_hostile - 2].sum(axis=1)
    return [int(row) for row in np.argsort(scores, kind="stable")[:n_chosen]]


class RobustFedAvg(FedAvg, abc.ABC):
    """Base of the robust strategies: Federated Averaging with another average.

    Parameters
    ----------
    algo : substrafl.algorithms.algo.Algo
        An algorithm that serves Federated Averaging.
    metric_functions : callable or list or dict of them, optional
        As in SubstraFL's ``FedAvg``.
    **settings
        Arguments of the child class, which is recreated in the aggregation task.
    """

    def __init__(
        self, algo: Algo, metric_functions: MetricFunctions | None = None, **settings: Any
    ) -> None:
        super().__init__(algo=algo, metric_functions=metric_functions)
        self.kwargs |= settings

    @abc.abstractmethod
    def average(self, updates: np.ndarray) -> np.ndarray:
        """Average the updates.

        Parameters
        ----------
        updates : numpy.ndarray, shape (n_hospitals, n_weights), float64
            One update a row.

        Returns
        -------
        numpy.ndarray, shape (n_weights,)
            The average.
        """

    @remote
    def avg_shared_states(self, shared_states: list[FedAvgSharedState]) -> FedAvgAveragedState:
        """Average what the hospitals have sent.

        Parameters
        ----------
        shared_states : list of substrafl.strategies.schemas.FedAvgSharedState
            One of each hospital.

        Returns
        -------
        substrafl.strategies.schemas.FedAvgAveragedState
            The average, in the shapes and dtypes of the updates.

        Raises
        ------
        substrafl.exceptions.EmptySharedStatesError
            If there are none.
        ValueError
            If two hospitals have sent tensors of different shapes.
        """
        if not shared_states:
            raise EmptySharedStatesError("Expected at least one shared state. Received none.")
        first = shared_states[0].parameters_update
        shapes = [np.shape(tensor) for tensor in first]
        for number, state in enumerate(shared_states):
            received = [np.shape(tensor) for tensor in state.parameters_update]
            if received != shapes:
                raise ValueError(
                    f"Expected tensors of shapes {shapes}, as shared state 0 has them. Received "
                    f"{received} in shared state {number}."
                )
        updates = np.array(
            [
                np.concatenate([np.ravel(tensor) for tensor in state.parameters_update])
                for state in shared_states
            ],
            dtype=np.float64,
        )
        ends = np.cumsum([np.size(tensor) for tensor in first])[:-1]
        parts = np.split(self.average(updates), ends)
        return FedAvgAveragedState(
            avg_parameters_update=[
                part.reshape(tensor.shape).astype(tensor.dtype)
                for part, tensor in zip(parts, first, strict=True)
            ]
        )


class FedMedian(RobustFedAvg):
    """Federated averaging with the median of every weight.

    See :func:`~helpers.strategies.robust.coordinate_median`.

    Parameters
    ----------
    algo, metric_functions
        As in SubstraFL's ``FedAvg``.
    """

    def __init__(self, algo: Algo, metric_functions: MetricFunctions | None = None) -> None:
        super().__init__(algo, metric_functions)

    def average(self, updates: np.ndarray) -> np.ndarray:
        """Average the updates, see :class:`~helpers.strategies.robust.RobustFedAvg`."""
        return coordinate_median(updates)


class FedTrimmedMean(RobustFedAvg):
    """Federated averaging without the extremes of every weight.

    See :func:`~helpers.strategies.robust.trimmed_mean`.

    Parameters
    ----------
    algo, metric_functions
        As in SubstraFL's ``FedAvg``.
    n_trimmed : int, default=1
        How many values are left out at each end: as many as there may be hostile hospitals.
    """

    def __init__(
        self, algo: Algo, metric_functions: MetricFunctions | None = None, n_trimmed: int = 1
    ) -> None:
        super().__init__(algo, metric_functions, n_trimmed=n_trimmed)
        self._n_trimmed = n_trimmed

    def average(self, updates: np.ndarray) -> np.ndarray:
        """Average the updates, see :class:`~helpers.strategies.robust.RobustFedAvg`."""
        return trimmed_mean(updates, self._n_trimmed)


class MultiKrum(RobustFedAvg):
    """Federated averaging of the updates that agree best.

    See :func:`~helpers.strategies.robust.choose_by_krum`.

    Parameters
    ----------
    algo, metric_functions
        As in SubstraFL's ``FedAvg``.
    n_hostile : int, default=1
        How many hospitals may be hostile; at least ``2 * n_hostile + 3`` must take part.
    n_chosen : int, optional
        How many updates are averaged; by default all that are not hostile.
    """

    def __init__(
        self,
        algo: Algo,
        metric_functions: MetricFunctions | None = None,
        n_hostile: int = 1,
        n_chosen: int | None = None,
    ) -> None:
        super().__init__(algo, metric_functions, n_hostile=n_hostile, n_chosen=n_chosen)
        self._n_hostile = n_hostile
        self._n_chosen = n_chosen

    def average(self, updates: np.ndarray) -> np.ndarray:
        """Average the updates, see :class:`~helpers.strategies.robust.RobustFedAvg`."""
        n_chosen = len(updates) - self._n_hostile if self._n_chosen is None else self._n_chosen
        return updates[choose_by_krum(updates, self._n_hostile, n_chosen)].mean(axis=0)

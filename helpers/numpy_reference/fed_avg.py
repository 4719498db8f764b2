"""Federated Averaging in NumPy (McMahan et al. 2017, Algorithm 1)."""

from collections.abc import Callable, Sequence

import numpy as np

from helpers.numpy_reference.linear import LinearHospitals


def fed_avg(
    hospitals: LinearHospitals,
    x: np.ndarray,
    n_rounds: int,
    participants: Callable[[int], Sequence[int]] | None = None,
) -> np.ndarray:
    """Average the updates over the films.

    Parameters
    ----------
    hospitals : LinearHospitals
        The hospitals.
    x : numpy.ndarray
        Initial weights.
    n_rounds : int
        Number of averages.
    participants : callable, optional
        Maps a round, from 0, to the indices of the hospitals that train in it; all by default.

    Returns
    -------
    numpy.ndarray
        The global weights after the last average.
    """
    for round_idx in range(n_rounds):
        places = list(participants(round_idx) if participants else range(len(hospitals)))
        updates = [hospitals.train(k, x) for k in places]
        x = x + hospitals.average(updates, places)
    return x

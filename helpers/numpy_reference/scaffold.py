"""Scaffold in NumPy (Karimireddy et al. 2020, Algorithm 1, Option II)."""

import numpy as np

from helpers.numpy_reference.linear import LinearHospitals


def scaffold(
    hospitals: LinearHospitals,
    x: np.ndarray,
    n_rounds: int,
    *,
    n_updates: int,
    aggregation_rate: float = 1.0,
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Correct every update by the difference of two control variates.

    The paper averages clients uniformly; SubstraFL's strategy weights them by their samples, and so
    do ``hospitals`` unless they are ``uniform``.

    Parameters
    ----------
    hospitals : LinearHospitals
        The hospitals.
    x : numpy.ndarray
        Initial weights.
    n_rounds : int
        Number of averages.
    n_updates : int
        Number of updates in a round at each hospital.
    aggregation_rate : float, default=1.0
        Learning rate of the server.

    Returns
    -------
    x : numpy.ndarray
        The global weights after the last average.
    c : numpy.ndarray
        The server's control variate.
    variates : list of numpy.ndarray
        Each hospital's control variate.
    """
    c, variates = np.zeros_like(x), [np.zeros_like(x) for _ in range(len(hospitals))]
    for _ in range(n_rounds):
        updates, changes = [], []
        for k, variate in enumerate(variates):
            updates.append(hospitals.train(k, x, lambda _, shift=c - variate: shift))
            changes.append(-c - updates[k] / (n_updates * hospitals.rate))
        variates = [old + change for old, change in zip(variates, changes, strict=True)]
        x = x + aggregation_rate * hospitals.average(updates)
        c = c + hospitals.average(changes)
    return x, c, variates

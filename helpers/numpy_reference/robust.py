"""Robust averages in NumPy (Yin et al. 2018; Blanchard et al. 2017), loop by loop."""

from collections.abc import Callable, Collection

import numpy as np

from helpers.numpy_reference.linear import LinearHospitals


def robust_fed_avg(
    hospitals: LinearHospitals,
    x: np.ndarray,
    n_rounds: int,
    average: Callable[[list[np.ndarray]], np.ndarray],
    hostile: Collection[int] = (),
) -> np.ndarray:
    """Average with a robust average in place of the mean.

    Parameters
    ----------
    hospitals : LinearHospitals
        The hospitals.
    x : numpy.ndarray
        Initial weights.
    n_rounds : int
        Number of averages.
    average : callable
        Takes a list of updates, and returns their average.
    hostile : collection of int, default=()
        Hospitals that send their update multiplied by -100.

    Returns
    -------
    numpy.ndarray
        The global weights after the last average.
    """
    for _ in range(n_rounds):
        updates = [hospitals.train(k, x) for k in range(len(hospitals))]
        x = x + average([-100 * u if k in hostile else u for k, u in enumerate(updates)])
    return x


def trimmed(updates: list[np.ndarray], n_trimmed: int) -> np.ndarray:
    """Average each weight without its highest and lowest values (Yin et al. 2018, Option II).

    Parameters
    ----------
    updates : list of numpy.ndarray, shape (n_weights,)
        One for each hospital.
    n_trimmed : int
        How many values are left out at each end. If only the middle one or two are left, the
        result is the median of Option I.

    Returns
    -------
    numpy.ndarray, shape (n_weights,)
        The average.
    """
    average = np.empty_like(updates[0])
    for weight in range(len(average)):
        values = sorted(float(update[weight]) for update in updates)
        kept = values[n_trimmed : len(values) - n_trimmed]
        average[weight] = sum(kept) / len(kept)
    return average


def multi_krum(updates: list[np.ndarray], n_hostile: int, n_chosen: int) -> np.ndarray:
    """Average the updates that lie closest to their neighbors (Blanchard et al. 2017, Section 4).

    Parameters
    ----------
    updates : list of numpy.ndarray, shape (n_weights,)
        One of each hospital.
    n_hostile : int
        How many may be hostile.
    n_chosen : int
        How many are averaged.

    Returns
    -------
    numpy.ndarray, shape (n_weights,)
        The average.
    """
    scores = []
    for k, update in enumerate(updates):
        others = [other for j, other in enumerate(updates) if j != k]
        distances = sorted(float(np.sum((update - other) ** 2)) for other in others)
        scores.append(sum(distances[: len(updates) - n_hostile - 2]))
    closest = sorted(range(len(updates)), key=scores.__getitem__)[:n_chosen]
    return sum(updates[k] for k in closest) / n_chosen

"""Compressed updates with error feedback in NumPy (Seide et al. 2014; Karimireddy et al. 2019)."""

from collections.abc import Callable

import numpy as np

from helpers.numpy_reference.linear import LinearHospitals


def fed_avg_with_feedback(
    hospitals: LinearHospitals,
    x: np.ndarray,
    n_rounds: int,
    compress: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Send compressed updates, and add what was not sent to the next one.

    Parameters
    ----------
    hospitals : LinearHospitals
        The hospitals.
    x : numpy.ndarray
        Initial weights.
    n_rounds : int
        Number of averages.
    compress : callable
        Maps one tensor of an update to what the receiver decodes. The tensors are the weights and
        the bias.

    Returns
    -------
    numpy.ndarray
        The global weights after the last average.
    """
    unsent = [np.zeros_like(x) for _ in range(len(hospitals))]
    for _ in range(n_rounds):
        sent = []
        for k, left in enumerate(unsent):
            update = hospitals.train(k, x) + left
            sent.append(np.concatenate([compress(update[:-1]), compress(update[-1:])]))
            unsent[k] = update - sent[k]
        x = x + hospitals.average(sent)
    return x


def round_to_int8(values: np.ndarray) -> np.ndarray:
    """Round to 255 levels, the outermost of which is the largest value.

    Parameters
    ----------
    values : numpy.ndarray
        One tensor, not all zero.

    Returns
    -------
    numpy.ndarray
        The nearest multiples of the step.
    """
    step = np.abs(values).max() / 127
    return step * np.rint(values / step)


def keep_largest(values: np.ndarray, share: float) -> np.ndarray:
    """Keep the values of largest magnitude.

    Parameters
    ----------
    values : numpy.ndarray, shape (n,)
        One tensor.
    share : float
        How many are kept, at least one.

    Returns
    -------
    numpy.ndarray
        The values, with zeros for the others.
    """
    kept = np.argsort(-np.abs(values))[: max(1, round(share * len(values)))]
    sent = np.zeros_like(values)
    sent[kept] = values[kept]
    return sent

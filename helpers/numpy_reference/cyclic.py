"""Cyclic weight transfer in NumPy (Chang et al. 2018)."""

import numpy as np

from helpers.numpy_reference.linear import LinearHospitals


def cyclic_transfer(hospitals: LinearHospitals, x: np.ndarray, n_rounds: int) -> np.ndarray:
    """Let the hospitals train in turn, each from the weights of the one before it.

    Parameters
    ----------
    hospitals : LinearHospitals
        The hospitals.
    x : numpy.ndarray
        Initial weights.
    n_rounds : int
        How often the weights go round.

    Returns
    -------
    numpy.ndarray
        The weights after the last hospital of the last round.
    """
    for _ in range(n_rounds):
        for k in range(len(hospitals)):
            x = x + hospitals.train(k, x)
    return x

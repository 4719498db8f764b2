"""FedProx in NumPy (Li et al. 2020, Algorithm 2), with SGD for the inner problem."""

import numpy as np

from helpers.numpy_reference.linear import LinearHospitals


def fed_prox(hospitals: LinearHospitals, x: np.ndarray, n_rounds: int, mu: float) -> np.ndarray:
    r"""Average updates whose proximal term keeps them near the global weights.

    The gradient of :math:`\frac{\mu}{2} \lVert y - x \rVert^2` is :math:`\mu (y - x)`.

    Parameters
    ----------
    hospitals : LinearHospitals
        The hospitals.
    x : numpy.ndarray
        Initial weights.
    n_rounds : int
        Number of averages.
    mu : float
        Weight of the proximal term.

    Returns
    -------
    numpy.ndarray
        The global weights after the last average.
    """
    for _ in range(n_rounds):
        updates = [
            hospitals.train(k, x, lambda y, x=x: mu * (y - x)) for k in range(len(hospitals))
        ]
        x = x + hospitals.average(updates)
    return x

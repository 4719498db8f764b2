"""Server optimizers in NumPy (Hsu et al. 2019; Reddi et al. 2021, Algorithm 2)."""

import numpy as np

from helpers.numpy_reference.linear import LinearHospitals


def fed_opt(
    hospitals: LinearHospitals,
    x: np.ndarray,
    n_rounds: int,
    kind: str,
    *,
    eta: float = 0.1,
    beta_1: float = 0.9,
    beta_2: float = 0.99,
    tau: float = 1e-3,
) -> np.ndarray:
    """Use the average of the updates as an optimizer's gradient.

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
    kind : {"avgm", "adagrad", "adam", "yogi"}
        The optimizer; ``"avgm"`` is momentum ``beta_1`` with a rate of 1.
    eta, beta_1, beta_2, tau : float
        The settings of Reddi et al.

    Returns
    -------
    numpy.ndarray
        The global weights after the last step.
    """
    m, v = np.zeros_like(x), np.full_like(x, tau**2)
    for _ in range(n_rounds):
        delta = hospitals.average([hospitals.train(k, x) for k in range(len(hospitals))])
        if kind == "avgm":
            m = beta_1 * m + delta
            x = x + m
            continue
        m = beta_1 * m + (1 - beta_1) * delta
        v = {
            "adagrad": v + delta**2,
            "adam": beta_2 * v + (1 - beta_2) * delta**2,
            "yogi": v - (1 - beta_2) * delta**2 * np.sign(v - delta**2),
        }[kind]
        x = x + eta * m / (np.sqrt(v) + tau)
    return x

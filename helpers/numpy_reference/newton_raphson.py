"""Newton's method in NumPy: logistic regression on all films, with a quadratic penalty."""

import numpy as np

from helpers.numpy_reference.linear import Films


def newton_raphson(
    films: Films, x: np.ndarray, n_rounds: int, *, damping: float = 0.8, penalty: float = 0.1
) -> np.ndarray:
    """Take damped Newton steps on the pooled films, which the federated steps must equal.

    Parameters
    ----------
    films : sequence of (numpy.ndarray, numpy.ndarray)
        For each hospital the films as rows, (n, d), and the labels, (n,).
    x : numpy.ndarray, shape (d + 1,)
        Initial weights, the bias last.
    n_rounds : int
        Number of steps.
    damping : float, default=0.8
        Factor of each step.
    penalty : float, default=0.1
        Half of it times the squared norm of the weights is added to the loss.

    Returns
    -------
    numpy.ndarray
        The weights after the last step.
    """
    rows = np.vstack([rows for rows, _ in films])
    design = np.hstack([rows, np.ones((len(rows), 1))])
    labels = np.concatenate([labels for _, labels in films])
    for _ in range(n_rounds):
        p = 1 / (1 + np.exp(-design @ x))
        gradient = design.T @ (p - labels) / len(labels) + penalty * x
        hessian = (design * (p * (1 - p))[:, None]).T @ design / len(labels)
        hessian += penalty * np.eye(len(x))
        x = x - damping * np.linalg.solve(hessian, gradient)
    return x

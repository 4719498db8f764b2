"""Federated principal components in NumPy (Hartebrodt & Röttger 2022, Algorithm 3)."""

import numpy as np

from helpers.numpy_reference.linear import Films


def fed_pca(
    films: Films, n_components: int, n_rounds: int, seed: int, *, pooled: bool = True
) -> np.ndarray:
    """Iterate on the average of the products of the hospitals' covariances with the components.

    Parameters
    ----------
    films : sequence of (numpy.ndarray, numpy.ndarray)
        For each hospital the films as rows, (n, d), and the labels, which are not used.
    n_components : int
        Number of components.
    n_rounds : int
        Number of rounds; the first one averages the means.
    seed : int
        Seed of the initial components.
    pooled : bool, default=True
        Whether a hospital shares a mean over its films, which the strategy weights by their number;
        otherwise a sum, which is weighted again, as by SubstraFL's ``TorchFedPCAAlgo``.

    Returns
    -------
    numpy.ndarray, shape (n_components, d)
        The components.
    """
    counts = np.array([len(rows) for rows, _ in films])
    shares = counts / counts.sum()
    mean = np.tensordot(shares, [rows.mean(0) for rows, _ in films], 1)
    covariances = [(rows - mean).T @ (rows - mean) for rows, _ in films]
    if pooled:
        covariances = [c / n for c, n in zip(covariances, counts, strict=True)]
    components = np.random.default_rng(seed).normal(size=(n_components, len(mean)))
    for _ in range(n_rounds - 1):
        average = np.tensordot(shares, [components @ c for c in covariances], 1)
        components = np.linalg.qr(average.T)[0].T
    return components

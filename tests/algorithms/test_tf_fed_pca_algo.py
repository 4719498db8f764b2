"""TFFedPCAAlgo against the principal components of the pooled films, through real tasks."""

import numpy as np
import pytest
from substrafl.strategies import FedPCA

from helpers.algorithms import TFFedPCAAlgo
from helpers.data import ChestXrayDataset
from helpers.local_mode import Federation
from helpers.numpy_reference import fed_pca

ROUNDS, COMPONENTS = 5, 3


@pytest.mark.parametrize("batch_size", [None, 5])
def test_tasks_compute_the_papers_algorithm(run_tasks, films, batch_size):
    algo = TFFedPCAAlgo(ChestXrayDataset, 64, COMPONENTS, batch_size=batch_size, seed=2)
    found = run_tasks(FedPCA(algo=algo), ROUNDS)
    expected = fed_pca(films, COMPONENTS, ROUNDS, seed=2)
    for algo in found:
        assert algo.eigen_vectors.shape == (COMPONENTS, 64)
        np.testing.assert_allclose(algo.eigen_vectors, expected, rtol=0, atol=1e-6)


def test_the_iteration_finds_the_components_of_the_weighted_covariance(tiny_samples, films):
    algo = TFFedPCAAlgo(ChestXrayDataset, 64, 1)
    with Federation(tiny_samples) as federation:
        states, _ = federation.simulate(FedPCA(algo=algo), num_rounds=40)
    found = states.state[-1].algo.eigen_vectors[0]
    counts = np.array([len(images) for images, _ in films])
    mean = np.vstack([images for images, _ in films]).mean(0)
    covariance = sum(
        n * (images - mean).T @ (images - mean)
        for n, (images, _) in zip(counts, films, strict=True)
    )
    leading = np.linalg.eigh(covariance)[1][:, -1]
    assert abs(found @ leading) == pytest.approx(1, abs=1e-4)


def test_films_are_projected(data):
    algo = TFFedPCAAlgo(ChestXrayDataset, 64, 2, batch_size=4)
    rows = data["images"].reshape(10, 64) / 255
    expected = rows @ algo.eigen_vectors.T
    np.testing.assert_allclose(algo.predict(data), expected, atol=1e-5)
    np.testing.assert_allclose(algo.transform(data["images"] / 255), expected, atol=1e-5)


def test_films_of_another_size_are_refused(data):
    algo = TFFedPCAAlgo(ChestXrayDataset, 100, 2)
    with pytest.raises(ValueError, match=r"in_features=100.*shape \(8, 8, 1\), which are 64"):
        algo.train(data_from_opener=data, shared_state=None, _skip=True)

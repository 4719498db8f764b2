"""TFFedPCAAlgo against the principal components of the pooled films."""

import numpy as np
import pytest
from substrafl.strategies import FedPCA

from helpers.algorithms import TFFedPCAAlgo
from helpers.data import ChestXrayDataset
from helpers.local_mode import Federation
from helpers.numpy_reference import fed_pca

ROUNDS, COMPONENTS = 5, 3


@pytest.mark.parametrize("batch_size", [None, 5])
def test_the_papers_algorithm(run_rounds, films, batch_size):
    algo = TFFedPCAAlgo(ChestXrayDataset, 64, COMPONENTS, batch_size=batch_size, seed=2)
    found = run_rounds(FedPCA(algo=algo), ROUNDS)
    expected = fed_pca(films, COMPONENTS, ROUNDS, seed=2)
    for algo in found:
        assert algo.eigen_vectors.shape == (COMPONENTS, 64)
        np.testing.assert_allclose(algo.eigen_vectors, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pooled", [True, False])
def test_the_iteration_finds_the_components_of_the_pooled_films(tiny_samples, films, pooled):
    algo = TFFedPCAAlgo(ChestXrayDataset, 64, 1, pooled=pooled)
    with Federation(tiny_samples) as federation:
        states, _ = federation.simulate(FedPCA(algo=algo), num_rounds=40)
    found = states.state[-1].algo.eigen_vectors[0]
    rows = np.vstack([images for images, _ in films])
    mean = rows.mean(0)
    covariance = (rows - mean).T @ (rows - mean)
    if not pooled:  # as SubstraFL's class: weighted by the number of films once more
        covariance = sum(len(images) * (images - mean).T @ (images - mean) for images, _ in films)
    leading = np.linalg.eigh(covariance)[1][:, -1]
    assert abs(found @ leading) == pytest.approx(1, abs=1e-4)


def test_unequal_organizations_agree_with_pca_of_the_pooled_samples():
    """400, 60 and 20 samples: weights of n² would find a component with a cosine below 0.2."""
    rng = np.random.default_rng(0)
    scales = {
        400: (0.3, 0.02, 0.02, 0.02),
        60: (0.02, 0.9, 0.02, 0.02),
        20: (0.02, 0.9, 0.02, 0.02),
    }
    organizations = [
        {"images": (rng.normal(size=(n, 2, 2, 1)) * np.reshape(scale, (2, 2, 1))).astype("f4")}
        for n, scale in scales.items()
    ]

    class Rows(ChestXrayDataset):
        def __init__(self, data_from_opener, is_inference):
            self._rows = data_from_opener["images"]

        def __len__(self):
            return len(self._rows)

        def __getitem__(self, indices):
            return self._rows[indices], None

    rows = np.vstack([one["images"].reshape(-1, 4) for one in organizations])
    leading = np.linalg.svd(rows - rows.mean(0), full_matrices=False)[2][:2]
    cosines = {}
    for pooled in (True, False):
        algos = [TFFedPCAAlgo(Rows, 4, 2, pooled=pooled) for _ in organizations]
        strategy, state = FedPCA(algo=algos[0]), None
        for number in range(60):
            shared = [
                algo.train(data_from_opener=one, shared_state=state, _skip=True)
                for algo, one in zip(algos, organizations, strict=True)
            ]
            average = strategy.avg_shared_states_with_qr if number else strategy.avg_shared_states
            state = average(shared_states=shared, _skip=True)
        cosines[pooled] = np.abs((algos[0].eigen_vectors * leading).sum(1))
    np.testing.assert_allclose(cosines[True], 1, rtol=0, atol=1e-4)
    assert cosines[False][0] < 0.2


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

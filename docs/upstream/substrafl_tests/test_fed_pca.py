import numpy as np
import pytest
from substrafl.algorithms.tensorflow import TFFedPCAAlgo
from substrafl.strategies import FedPCA

SCALES = np.float32([4.0, 2.0, 0.5])


@pytest.fixture
def make(settings):
    def make(**changes):
        dataset = settings()["dataset"]
        return TFFedPCAAlgo(**{"dataset": dataset, "in_features": 3, "out_features": 2} | changes)

    return make


@pytest.fixture
def scaled(both):
    return [one | {"x": one["x"] * SCALES} for one in both]


def train(algo, data, state=None):
    return algo.train(data_from_opener=data, shared_state=state, _skip=True)


@pytest.mark.parametrize("batch_size", [None, 7])
def test_the_first_rounds_share_mean_and_covariance(make, scaled, batch_size):
    algo, data = make(batch_size=batch_size), scaled[0]
    strategy = FedPCA(algo=algo)
    x = data["x"].astype(np.float64)

    first = train(algo, data)
    np.testing.assert_allclose(first.parameters_update[0], x.mean(0), rtol=0, atol=1e-6)

    state = strategy.avg_shared_states(shared_states=[first], _skip=True)
    second = train(algo, data, state)
    centred = x - x.mean(0)
    start = np.random.default_rng(1).normal(size=(2, 3))
    expected = start @ centred.T @ centred / len(x)
    np.testing.assert_allclose(second.parameters_update[0], expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("pooled", [True, False])
def test_it_converges_to_the_components_of_all_rows(make, scaled, pooled):
    algos = [make(pooled=pooled) for _ in scaled]
    strategy, state = FedPCA(algo=algos[0]), None
    for number in range(40):
        shared = [train(algo, one, state) for algo, one in zip(algos, scaled, strict=True)]
        average = strategy.avg_shared_states_with_qr if number else strategy.avg_shared_states
        state = average(shared_states=shared, _skip=True)
    x = [one["x"].astype(np.float64) for one in scaled]
    mean = np.concatenate(x).mean(0)
    # The strategy weights what an organization shares by its rows: a mean, or, as
    # TorchFedPCAAlgo does, a sum, which then counts by their square.
    covariance = sum((1 if pooled else len(one)) * (one - mean).T @ (one - mean) for one in x)
    expected = np.linalg.eigh(covariance)[1][:, ::-1].T[:2]
    for algo in algos:
        found = algo.eigen_vectors
        signs = np.sign((found * expected).sum(1, keepdims=True))
        np.testing.assert_allclose(found * signs, expected, rtol=0, atol=1e-4)


def test_a_prediction_projects_on_the_components(make, scaled):
    algo, data = make(batch_size=7), scaled[0]
    algo.model.set_weights([np.float32([[1, 0], [0, 0], [0, 1]])])
    predictions = algo.predict(data_from_opener=data)
    np.testing.assert_allclose(predictions, data["x"][:, [0, 2]], rtol=0, atol=1e-6)
    np.testing.assert_allclose(algo.transform(data["x"]), predictions, rtol=0, atol=1e-6)


def test_mean_and_covariance_survive_a_pause(make, scaled, tmp_path):
    algo, data = make(), scaled[0]
    strategy = FedPCA(algo=algo)
    state = strategy.avg_shared_states(shared_states=[train(algo, data)], _skip=True)
    train(algo, data, state)
    algo.save_local_state(tmp_path / "state")
    loaded = make().load_local_state(tmp_path / "state")
    np.testing.assert_array_equal(loaded.local_mean, algo.local_mean)
    np.testing.assert_array_equal(loaded.local_covmat, algo.local_covmat)


def test_rows_of_another_size_are_refused(make, scaled):
    with pytest.raises(ValueError, match="in_features=4"):
        train(make(in_features=4), scaled[0])

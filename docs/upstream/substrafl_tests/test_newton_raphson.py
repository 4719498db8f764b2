import keras
import numpy as np
import pytest
from substrafl.algorithms.tensorflow import TFNewtonRaphsonAlgo
from substrafl.exceptions import CriterionReductionError, NegativeHessianMatrixError
from substrafl.strategies import NewtonRaphson

L2 = 0.1


@pytest.fixture
def make(settings):
    def make(**changes):
        arguments = settings(batch_size=7) | changes
        del arguments["optimizer"], arguments["index_generator"]
        return TFNewtonRaphsonAlgo(**arguments)

    return make


def train(algo, data, state=None):
    return algo.train(data_from_opener=data, shared_state=state, _skip=True)


def with_ones(data):
    return np.column_stack([data["x"], np.ones(len(data["x"]))]).astype(np.float64)


def test_gradient_and_hessian_are_those_of_least_squares(make, data, weights_of):
    algo = make(l2_coeff=L2)
    shared = train(algo, data)
    x, weights = with_ones(data), np.concatenate([np.ravel(one) for one in weights_of(algo)])
    hessian = 2 * x.T @ x / 20 + L2 * np.eye(4)
    gradient = 2 * x.T @ (x @ weights - data["y"][:, 0]) / 20 + L2 * weights
    received = np.concatenate([np.ravel(one) for one in shared.gradients])
    np.testing.assert_allclose(shared.hessian, hessian, rtol=0, atol=1e-5)
    np.testing.assert_allclose(received, gradient, rtol=0, atol=1e-5)


def test_batches_have_no_influence(make, data):
    one, other = train(make(batch_size=None), data), train(make(batch_size=3), data)
    np.testing.assert_allclose(one.hessian, other.hessian, rtol=0, atol=1e-5)
    for a, b in zip(one.gradients, other.gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-5)


def test_one_step_solves_the_least_squares_of_all_organizations(make, both, weights_of):
    algos = [make() for _ in both]
    strategy = NewtonRaphson(algo=algos[0], damping_factor=1)
    shared = [train(algo, one) for algo, one in zip(algos, both, strict=True)]
    state = strategy.compute_averaged_states(shared_states=shared, _skip=True)
    x = np.concatenate([with_ones(one) for one in both])
    y = np.concatenate([one["y"][:, 0] for one in both])
    expected = np.linalg.lstsq(x, y, rcond=None)[0]
    for algo, one in zip(algos, both, strict=True):
        train(algo, one, state)
        weights = np.concatenate([np.ravel(weight) for weight in weights_of(algo)])
        np.testing.assert_allclose(weights, expected, rtol=0, atol=1e-4)


def test_the_loss_must_be_a_mean(make):
    with pytest.raises(CriterionReductionError):
        make(loss=keras.losses.MeanSquaredError(reduction="sum"))


def test_statistics_of_batch_norm_cannot_be_stepped(make):
    with pytest.raises(ValueError, match="with_batch_norm_parameters=False"):
        make(with_batch_norm_parameters=True)


def test_a_problem_that_is_not_convex_is_reported(make, data):
    with pytest.raises(NegativeHessianMatrixError):
        train(make(l2_coeff=-100.0), data)

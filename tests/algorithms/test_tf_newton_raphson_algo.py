"""TFNewtonRaphsonAlgo against Newton's method in NumPy; checks and errors."""

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.exceptions import CriterionReductionError, NegativeHessianMatrixError
from substrafl.strategies import NewtonRaphson

from helpers.algorithms import TFNewtonRaphsonAlgo
from helpers.data import ChestXrayDataset
from helpers.numpy_reference import newton_raphson

ROUNDS, DAMPING, PENALTY = 3, 0.8, 0.1


def build(dtype="float64", hidden=()):
    units = [layers.Dense(n, "tanh", dtype=dtype) for n in hidden]
    return keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), *units, layers.Dense(1, dtype=dtype)]
    )


def settings(**changes):
    return {
        "model": build,
        "loss": keras.losses.BinaryCrossentropy(from_logits=True, dtype="float64"),
        "batch_size": 5,
        "dataset": ChestXrayDataset,
        "l2_coeff": PENALTY,
        "seed": 0,
    } | changes


def flat(algo):
    return np.concatenate([np.ravel(weight) for weight in algo.model.get_weights()])


def test_it_is_newtons_method_on_all_films(run_rounds, films):
    algo = TFNewtonRaphsonAlgo(**settings())
    start = flat(algo)
    trained = run_rounds(NewtonRaphson(algo=algo, damping_factor=DAMPING), ROUNDS)
    expected = newton_raphson(films, start, ROUNDS, damping=DAMPING, penalty=PENALTY)
    assert np.abs(expected - start).max() > 0.1
    for algo in trained:
        np.testing.assert_allclose(flat(algo), expected, rtol=0, atol=1e-6)


def train(algo, data):
    return algo.train(data_from_opener=data, shared_state=None, _skip=True)


def test_batches_have_no_influence(data):
    one, many = (
        train(TFNewtonRaphsonAlgo(**settings(batch_size=size)), data) for size in (None, 3)
    )
    assert one.n_samples == many.n_samples == 10
    assert one.hessian.shape == (65, 65)
    np.testing.assert_allclose(one.hessian, many.hessian, atol=1e-8)
    for a, b in zip(one.gradients, many.gradients, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)


def test_predictions_need_no_training(data):
    algo = TFNewtonRaphsonAlgo(**settings(batch_size=None))
    assert algo.predict(data).shape == (10, 1)


def test_a_network_with_a_hidden_layer_is_not_convex(data):
    algo = TFNewtonRaphsonAlgo(
        **settings(model=lambda: build(hidden=(2,)), l2_coeff=0.0, batch_size=None)
    )
    with pytest.raises(NegativeHessianMatrixError, match=r"not convex.*l2_coeff helps \(now 0"):
        train(algo, data)


def test_every_film_must_be_seen(data):
    class Forgetful(TFNewtonRaphsonAlgo):
        def _local_train(self, train_dataset):
            for _ in self._index_generator:
                pass

    with pytest.raises(ValueError, match=r"Hessian of 10 samples. Received those of 0"):
        train(Forgetful(**settings()), data)


def test_wrong_arguments():
    total = keras.losses.BinaryCrossentropy(from_logits=True, reduction="sum")
    with pytest.raises(CriterionReductionError, match=r"a mean over the samples.*'sum'"):
        TFNewtonRaphsonAlgo(**settings(loss=total))
    with pytest.raises(ValueError, match=r"with_batch_norm_parameters=False"):
        TFNewtonRaphsonAlgo(**settings(with_batch_norm_parameters=True))

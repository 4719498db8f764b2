"""Server optimizers: the papers' formulas, and their limits."""

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.strategies import FedAvg

from helpers.algorithms import FedAdagrad, FedAdam, FedAvgM, FedYogi, TFFedAvgAlgo
from helpers.numpy_reference import fed_opt

ROUNDS = 3


@pytest.mark.parametrize(
    ("kind", "optimizer"),
    [
        ("avgm", FedAvgM()),
        ("adagrad", FedAdagrad()),
        ("adam", FedAdam()),
        ("yogi", FedYogi()),
    ],
)
def test_the_papers_formulas(run_rounds, linear, reference, weights, kind, optimizer):
    algo = TFFedAvgAlgo(**linear(server_optimizer=optimizer))
    start = weights(algo)
    found = run_rounds(FedAvg(algo=algo), ROUNDS)
    expected = fed_opt(reference, start, ROUNDS, kind)
    assert np.abs(expected - start).max() > 0.01
    for one in found:
        np.testing.assert_allclose(weights(one), expected, rtol=0, atol=1e-6)


AVERAGE = {"a": np.float32([1.0, -2.0]), "b": np.float32([[0.5]])}


@pytest.mark.parametrize(
    "trivial",
    [
        FedAvgM(momentum=0.0),
        # v stays at tau², so that the step is eta / (2 tau) times the average.
        FedAdam(learning_rate=0.02, beta_1=0.0, beta_2=1.0, tau=0.01),
        FedYogi(learning_rate=0.02, beta_1=0.0, beta_2=1.0, tau=0.01),
    ],
)
def test_with_trivial_settings_the_average_is_added(trivial):
    memory = None
    for _ in range(3):
        step, memory = trivial.step(AVERAGE, memory)
        for name, value in AVERAGE.items():
            np.testing.assert_allclose(step[name], value, rtol=1e-6)
            assert step[name].dtype == np.float32


def test_moving_statistics_are_averaged_as_they_are(linear):
    def with_batch_norm():
        return keras.Sequential(
            [
                keras.Input((8, 8, 1)),
                layers.Flatten(),
                layers.BatchNormalization(),
                layers.Dense(1),
            ]
        )

    algo = TFFedAvgAlgo(
        **linear(
            model=with_batch_norm,
            with_batch_norm_parameters=True,
            server_optimizer=FedAvgM(learning_rate=0.0),
        )
    )
    before = {v.path: v.numpy() for v in algo.model.variables}
    shapes = [v.shape for v in algo.model.trainable_variables]
    shapes += [v.shape for v in algo.model.layers[1].non_trainable_variables]
    algo._add_update([np.ones(shape, np.float32) for shape in shapes])
    for variable in algo.model.variables:
        moved = 1 if "moving" in variable.path else 0
        np.testing.assert_array_equal(variable.numpy() - before[variable.path], moved)


def test_wrong_settings_are_refused(linear):
    with pytest.raises(TypeError, match=r"such as helpers.algorithms.FedAdam.*Received SGD"):
        TFFedAvgAlgo(**linear(server_optimizer=keras.optimizers.SGD()))
    with pytest.raises(ValueError, match=r"momentum in \[0, 1\). Received 1"):
        FedAvgM(momentum=1)
    with pytest.raises(ValueError, match=r"tau in .*Received 0"):
        FedAdam(tau=0)
    with pytest.raises(ValueError, match=r"beta_2 of 0 to 1. Received 2"):
        FedYogi(beta_2=2)

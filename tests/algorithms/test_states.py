"""Every algorithm's state: a new one that loads it after each round, as tasks do, loses no bit."""

import keras
import numpy as np
import pytest
from substrafl.strategies import FedAvg, FedPCA, NewtonRaphson, Scaffold

from helpers.algorithms import (
    DPSGD,
    FedAdagrad,
    FedAdam,
    FedAvgM,
    FedYogi,
    PoissonIndexGenerator,
    TFCyclicAlgo,
    TFFedAvgAlgo,
    TFFedPCAAlgo,
    TFNewtonRaphsonAlgo,
    TFScaffoldAlgo,
)
from helpers.data import ChestXrayDataset
from helpers.exchange import Int8, TopK
from helpers.strategies import CyclicTransfer

ROUNDS = 3


def with_batch_norm():
    norm = keras.layers.BatchNormalization()
    return keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Flatten(), norm, keras.layers.Dense(1)]
    )


def newton(linear):
    settings = linear(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    for name in ("optimizer", "index_generator"):
        del settings[name]
    algo = TFNewtonRaphsonAlgo(**settings, batch_size=5, l2_coeff=0.1)
    return NewtonRaphson(algo, damping_factor=0.8)


def private(linear):
    changes = {"privacy": DPSGD(1.0, 1.0, seed=0)}
    return linear(index_generator=PoissonIndexGenerator(5, 4, seed=3), **changes)


STRATEGIES = {
    **{
        type(optimizer).__name__: lambda linear, optimizer=optimizer: FedAvg(
            TFFedAvgAlgo(**linear(server_optimizer=optimizer, optimizer="adam", proximal_mu=0.5))
        )
        for optimizer in (FedAvgM(), FedAdagrad(), FedAdam(), FedYogi())
    },
    **{
        type(compression).__name__: lambda linear, compression=compression: FedAvg(
            TFFedAvgAlgo(**linear(compression=compression))
        )
        for compression in (Int8(), TopK(share=0.2))
    },
    **{
        f"BatchNorm {choice}": lambda linear, choice=choice: FedAvg(
            TFFedAvgAlgo(**linear(model=with_batch_norm, batch_norm=choice))
        )
        for choice in ("statistics_local", "local")
    },
    "DPSGD": lambda linear: FedAvg(TFFedAvgAlgo(**private(linear))),
    "Scaffold": lambda linear: Scaffold(TFScaffoldAlgo(**linear()), aggregation_lr=0.8),
    "NewtonRaphson": newton,
    "CyclicTransfer": lambda linear: CyclicTransfer(TFCyclicAlgo(**linear(optimizer="adam"))),
    "FedPCA": lambda linear: FedPCA(TFFedPCAAlgo(ChestXrayDataset, 64, 2, seed=1)),
}


def average(strategy, state, number):
    """Return what the strategy makes of the only hospital's state."""
    if isinstance(strategy, CyclicTransfer):
        return state  # handed on as it is
    if isinstance(strategy, NewtonRaphson):
        operation = strategy.compute_averaged_states
    elif isinstance(strategy, FedPCA) and number:
        operation = strategy.avg_shared_states_with_qr
    else:
        operation = strategy.avg_shared_states
    return operation(shared_states=[state], _skip=True)


def train(strategy, data, reload):
    """Train for some rounds; return the last that was averaged."""
    algo, shared = strategy.algo, None
    for number in range(ROUNDS):
        state = algo.train(data_from_opener=data, shared_state=shared, _skip=True)
        shared = average(strategy, state, number)
        algo = reload(algo)
    return dict(shared)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_new_algorithm_goes_on_from_the_state_with_the_same_bits(linear, data, tmp_path, name):
    make = STRATEGIES[name]

    def reload(algo):
        algo.save_local_state(tmp_path / "state")
        keras.utils.set_random_seed(1)  # what another process would have in its generators
        return make(linear).algo.load_local_state(tmp_path / "state")

    expected = train(make(linear), data, lambda algo: algo)
    np.testing.assert_equal(train(make(linear), data, reload), expected)

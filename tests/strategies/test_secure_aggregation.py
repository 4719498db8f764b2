import keras
import numpy as np
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.local_mode import Federation
from helpers.strategies import SafeExchange, SecureAggregation


def build_linear():
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)])


def settings(**changes):
    return {
        "model": build_linear,
        "loss": "mse",
        "optimizer": keras.optimizers.SGD(0.05),
        "index_generator": NpIndexGenerator(batch_size=5, num_updates=2, seed=3),
        "dataset": ChestXrayDataset,
        "seed": 0,
    } | changes


def value(data_from_opener, predictions):
    return float(np.sum(predictions, dtype=np.float64))


METRICS = {"value": value}


@pytest.mark.slow
def test_thin(tiny_samples):
    plain = FedAvg(TFFedAvgAlgo(**settings()), METRICS)
    secure = SecureAggregation(plain)
    with Federation(tiny_samples) as federation:
        _, expected = federation.simulate(plain, num_rounds=2)
        _, simulated = federation.simulate(secure, num_rounds=2)
        _, executed = federation.execute(secure, num_rounds=2)
        _, safe = federation.execute(SafeExchange(secure), num_rounds=2)
    print(expected, simulated, executed)
    assert np.allclose(expected["value"], simulated["value"], atol=1e-4)
    assert (simulated["value"] == executed["value"]).all()
    assert (simulated["value"] == safe["value"]).all()

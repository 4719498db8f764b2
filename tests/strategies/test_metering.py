"""Metering: the bytes of a simulation are those of the states that its operations read."""

import pickle

import keras
import numpy as np
import pytest
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.strategies import Metered, Traffic, WrappedStrategy


def _algo():
    return TFFedAvgAlgo(
        model=lambda: keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
        ),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.1),
        index_generator=NpIndexGenerator(batch_size=4, num_updates=1, seed=0),
        dataset=ChestXrayDataset,
        seed=0,
    )


class _Seen(WrappedStrategy):
    """Keep the sizes of everything that is read, in a list of the caller's."""

    sizes: list

    def update_train_node(self, node, operation, **settings):
        if operation.shared_state is not None:
            self.sizes.append((settings["round_idx"], len(pickle.dumps(operation.shared_state))))
        return super().update_train_node(node, operation, **settings)

    def update_aggregation_node(self, node, operation, **settings):
        sizes = [(settings["round_idx"], len(pickle.dumps(s))) for s in operation.shared_states]
        self.sizes.extend(sizes)
        return super().update_aggregation_node(node, operation, **settings)


@pytest.mark.slow
def test_every_state_that_is_read_is_counted_once(tiny_samples):
    traffic, seen = Traffic(), []
    _Seen.sizes = seen
    with Federation(tiny_samples) as federation:
        strategy = Metered(_Seen(FedAvg(algo=_algo(), metric_functions=auc)), traffic)
        federation.simulate(strategy, num_rounds=3)
    assert traffic.count() == sum(size for _, size in seen)
    assert traffic.count(until=1) == sum(size for idx, size in seen if idx <= 1)
    # In each round every hospital sends an update and reads the average: 65 weights, float32.
    n_hospitals = len(tiny_samples)
    assert len(seen) == 3 * 2 * n_hospitals
    assert traffic.count() > 3 * 2 * n_hospitals * 65 * 4
    sent, received = (traffic.count(reader=reader) for reader in ("aggregation", "hospital"))
    assert sent + received == traffic.count()
    assert sent > received  # an update comes with the number of films


def test_a_copy_counts_for_the_caller():
    import copy

    traffic = Traffic()
    copy.deepcopy({"strategy": traffic})["strategy"].add(2, np.zeros(3))
    assert traffic.count() == len(pickle.dumps(np.zeros(3)))
    assert traffic.count(until=1) == 0

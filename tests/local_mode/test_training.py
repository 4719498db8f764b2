"""Training in one call: the same scores as the steps of which it is made."""

import keras
import pytest
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation, train_and_score
from helpers.results import score_films


def _build():
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])


def _algo():
    return TFFedAvgAlgo(
        model=_build,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.1),
        index_generator=NpIndexGenerator(batch_size=4, num_updates=2, seed=0),
        dataset=ChestXrayDataset,
        seed=0,
    )


@pytest.mark.slow
def test_it_is_what_the_steps_give(tiny_samples):
    scored = train_and_score(_algo(), tiny_samples, num_rounds=2)
    assert list(scored) == ["valid", "test"]
    with Federation(tiny_samples) as federation:
        states, _ = federation.simulate(
            FedAvg(algo=_algo(), metric_functions={"auc": auc}), num_rounds=2, eval_every=2
        )
    expected = score_films(states.state[-1].algo, tiny_samples, "test")
    assert scored["test"].equals(expected)
    untrained = score_films(_algo(), tiny_samples, "test")
    assert not scored["test"]["score"].equals(untrained["score"])

"""Training in one call: the same scores as the steps of which it is made."""

import keras
import numpy as np
import pytest
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation, train_and_score, train_best
from helpers.models import augment
from helpers.openers.chest_xray_opener import ChestXrayOpener
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


@pytest.mark.slow
def test_the_best_round_is_kept(tiny_samples):
    with Federation(tiny_samples) as federation:
        strategy = FedAvg(algo=_algo(), metric_functions={"auc": auc})
        trained = train_best(federation, strategy, num_rounds=4, patience=9)
        assert trained.curve["round"].unique().tolist() == [0, 1, 2, 3, 4]
        means = trained.curve.groupby("round")["value"].mean()
        assert trained.best.round == means.idxmax()
        # The model of that round scores the validation films as the simulation did.
        valid = {name: own["valid"] for name, own in tiny_samples.items()}
        for name, folder in valid.items():
            opened = ChestXrayOpener().get_data([folder])
            score = auc(opened, trained.algos[name].predict(opened))
            rows = trained.curve[trained.curve["hospital"] == name].set_index("round")["value"]
            assert score == rows[trained.best.round]
        assert list(trained.algos) == list(tiny_samples)
        assert trained.algo is trained.algos[next(iter(tiny_samples))]


def mean_logit(data_from_opener, predictions):
    return float(np.mean(predictions, dtype=float))


@pytest.mark.slow
def test_augmentation_is_the_same_in_tasks_and_in_memory(tiny_samples):
    algo = TFFedAvgAlgo(
        model=augment(_build),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.1),
        index_generator=NpIndexGenerator(batch_size=4, num_updates=2, seed=0),
        dataset=ChestXrayDataset,
        seed=0,
    )
    strategy = FedAvg(algo=algo, metric_functions={"mean": mean_logit})
    plain = FedAvg(algo=_algo(), metric_functions={"mean": mean_logit})
    with Federation(tiny_samples) as federation:
        _, tasks = federation.execute(strategy, num_rounds=2)
        _, memory = federation.simulate(strategy, num_rounds=2)
        _, other = federation.simulate(plain, num_rounds=2)
    assert tasks.equals(memory)
    assert not memory.equals(other)

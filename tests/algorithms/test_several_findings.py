"""Several findings, some unknown: a federation that averages by films is training on the pool.

The loss of a film depends on that film alone, and that of a batch is their mean. So the gradient of
all films is the mean of the hospitals' gradients, weighted by their numbers of films, whatever is
unknown where. With one update of all films in each round, both trainings are the same.
"""

from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset, prepare_samples, read_radiographs
from helpers.evaluation import auc, metrics_per_finding
from helpers.local_mode import Federation
from helpers.losses import MaskedBinaryCrossentropy
from helpers.models import build_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.results import compare_at_home, score_everywhere, score_films, score_findings

NAMES, ROUNDS, RATE = ["Effusion", "Edema", "Mass"], 3, 0.5
SIZES = {"A": 30, "B": 12}


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Two hospitals, three findings; hospital B never looked for the third."""
    folder = tmp_path_factory.mktemp("several")
    rng = np.random.default_rng(0)
    n = 2 * sum(SIZES.values())
    np.savez(
        folder / "pneumoniamnist.npz",
        **{
            f"{split}_{what}": array
            for split, size in (("train", n // 2), ("val", 1), ("test", n // 2 - 1))
            for what, array in (
                ("images", rng.integers(0, 255, (size, 8, 8), dtype=np.uint8)),
                ("labels", np.zeros((size, 1), np.uint8)),
            )
        },
    )
    radiographs = read_radiographs(folder / "pneumoniamnist.npz")
    of_films = [name for name, size in SIZES.items() for _ in range(size)]
    table = radiographs.table.assign(
        hospital=of_films * 2, split=np.repeat(["train", "test"], n // 2)
    )
    labels = pd.DataFrame(rng.integers(0, 2, (n, 3)), columns=NAMES).astype("Int64")
    labels = labels.mask(rng.random((n, 3)) < [0.1, 0.5, 0])
    labels.loc[table["hospital"] == "B", "Mass"] = pd.NA
    return prepare_samples(radiographs, table, labels, size=8, folder=folder / "samples")


def build():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(3)])


def make_algo(model=build, loss=None, batch_size=None):
    loss = loss or MaskedBinaryCrossentropy(from_logits=True)

    class Algo(TFFedAvgAlgo):
        def __init__(self):
            super().__init__(
                model=model,
                loss=loss,
                optimizer=keras.optimizers.SGD(RATE),
                index_generator=NpIndexGenerator(batch_size, num_updates=1, seed=0),
                dataset=ChestXrayDataset,
                seed=0,
            )

    return Algo()


def train_by_hand(films, labels):
    """Descend the loss of all films in float64: (1 / n k) times the sum over known labels."""
    kernel, bias = (array.astype(np.float64) for array in build().get_weights())
    x = films.reshape(len(films), -1) / 255.0
    for _ in range(ROUNDS):
        error = 1 / (1 + np.exp(-(x @ kernel + bias))) - labels
        error = np.where(np.isnan(labels), 0, error) / labels.size
        kernel, bias = kernel - RATE * x.T @ error, bias - RATE * error.sum(axis=0)
    return kernel, bias


def test_averaging_by_films_is_training_on_the_pool_whatever_is_unknown(samples):
    pool = ChestXrayOpener().get_data([own["train"] for own in samples.values()])
    labels = np.asarray(pool["labels"], np.float64)
    assert 0.2 < np.isnan(labels).mean() < 0.6
    assert len({tuple(np.isnan(row)) for row in labels}) > 4  # films lack different labels
    expected = train_by_hand(np.asarray(pool["images"], np.float64), labels)
    with Federation(samples) as federation:
        states, scores = federation.simulate(
            FedAvg(make_algo(), metrics_per_finding(auc, NAMES)), num_rounds=ROUNDS
        )
        algo = federation.algos(states)["A", ROUNDS]
    for found, wanted in zip(algo.model.get_weights(), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    last = scores[(scores["round"] == ROUNDS) & (scores["hospital"] == "A")]
    by_name = last.set_index("metric")["value"]
    assert list(by_name.index) == ["auc", *(f"auc of {name}" for name in NAMES)]
    assert by_name["auc"] == pytest.approx(by_name.iloc[1:].mean())
    own = scores[scores["hospital"] == "B"].set_index("metric")["value"]
    assert np.isnan(own["auc of Mass"]).all()  # not defined, and not part of the mean
    assert np.isfinite(own["auc"]).all()


def test_scores_of_a_network_with_an_output_for_each_finding(samples):
    algo = make_algo(lambda: build_cnn(8, (8, 8), n_outputs=3))
    assert [layer.name for layer in algo.model.layers][-1] == "logit"
    table = score_findings(algo, samples)
    assert list(table) == NAMES
    assert np.isnan(table.loc["B", "Mass"])
    gains = compare_at_home({"alone": algo, "federated": algo}, samples, n=20)["federated"]
    np.testing.assert_allclose(gains["ours"].iloc[:2], table.mean(axis="columns"), 1e-12)
    assert (gains["gain"] == 0).all()
    trained = SimpleNamespace(algo=algo, best=SimpleNamespace(round=1))
    rows = score_everywhere({("federated", "all"): trained}, samples, seed=0, n=20)
    np.testing.assert_allclose(rows["value"], table.mean(axis="columns"), 1e-12)
    films = score_films(algo, samples, "test", finding="Edema")
    for hospital, own in films.groupby("hospital"):
        assert auc(own["label"], own["score"]) == pytest.approx(table.loc[hospital, "Edema"])
    with pytest.raises(ValueError, match=r"one of the findings \['Effusion', .*Received None"):
        score_films(algo, samples, "test")


def test_a_loss_that_does_not_know_of_missing_labels_is_refused_by_the_exchange(samples):
    algo = make_algo(loss=keras.losses.BinaryCrossentropy(from_logits=True))
    with (
        Federation(samples) as federation,
        pytest.raises(ValueError, match=r"not finite.*labels that are not known"),
    ):
        federation.simulate(FedAvg(algo, {"auc": auc}), num_rounds=1)

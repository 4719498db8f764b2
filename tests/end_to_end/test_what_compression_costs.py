"""What the compression of updates costs in AUC, on the synthetic radiographs of the first page."""

import functools

import keras
import pytest
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import (
    ChestXrayDataset,
    label_films,
    make_hospitals,
    prepare_samples,
    read_radiographs,
)
from helpers.evaluation import auc
from helpers.exchange import Int8
from helpers.local_mode import Federation
from helpers.models import build_cnn

TASK, SIZE, ROUNDS = "any finding vs none", 64, 12


def make_algo(seed, compression):
    return TFFedAvgAlgo(
        model=functools.partial(build_cnn, SIZE),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=seed),
        dataset=ChestXrayDataset,
        seed=seed,
        compression=compression,
    )


@pytest.mark.stress
def test_int8_with_error_feedback_loses_next_to_nothing(monkeypatch):
    monkeypatch.delenv("CHEST_XRAYS", raising=False)
    radiographs = read_radiographs()
    labels = label_films(radiographs.table, TASK)
    films = make_hospitals(radiographs.table, labels, seed=0)
    samples = prepare_samples(radiographs, films, labels, size=SIZE, task=TASK)
    found = []
    with Federation(samples) as federation:
        for compression in (None, Int8()):
            strategy = FedAvg(make_algo(0, compression), {"auc": auc})
            _, scores = federation.simulate(strategy, num_rounds=ROUNDS, eval_every=ROUNDS)
            found.append(scores.loc[scores["round"] == ROUNDS, "value"].mean())
    print(f"AUC: {found[0]:.4f} with float32, {found[1]:.4f} with int8")
    assert found[0] - found[1] <= 0.005

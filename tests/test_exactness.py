"""The report of the page on exactness: every comparison is made, and holds."""

import keras
import pytest

from helpers.data import ChestXrayDataset
from helpers.exactness import RATE, SEED, SIZE, Exactness, draw_indices
from helpers.local_mode import Federation


def build_linear():
    return keras.Sequential(
        [keras.Input((SIZE, SIZE, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )


def settings(**changes):
    return {
        "model": build_linear,
        "loss": "mse",
        "optimizer": keras.optimizers.SGD(RATE),
        "index_generator": draw_indices(),
        "dataset": ChestXrayDataset,
        "seed": SEED,
    } | changes


def test_every_comparison_holds_and_a_wrong_one_does_not(tiny_samples):
    first, _, third = tiny_samples.values()
    samples = tiny_samples | {"fourth": first, "fifth": third}  # Krum needs five
    with Federation(samples) as federation:
        exactness = Exactness(federation, samples, settings)
        exactness.compare_training()
        exactness.compare_sending()
        exactness.compare_averages()
        exactness.compare_strategies()
        cosines = exactness.compare_components()
        exactness.compare_torch()
        exactness.compare_limits()
        hostile = exactness.measure_hostile()
    table = exactness.table()
    assert len(table) >= 24
    assert table[~table["holds"]].empty, table[~table["holds"]].to_string()
    assert cosines[True] == pytest.approx(1, abs=1e-6)
    assert hostile["median"] < 2 < hostile["mean"]
    exactness.note("wrong", "", "zero", 1.0, 0.0)
    assert not exactness.table()["holds"].iloc[-1]

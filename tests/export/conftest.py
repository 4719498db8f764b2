"""Fixtures of the hand-over: a run with its predictions, networks, and one model folder."""

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest

SIDE = 16


class Exported(NamedTuple):
    folder: Path
    fingerprint: str
    model: object


@pytest.fixture(scope="session")
def run():
    """What a run says of itself."""
    splits = {split: {"films": 9, "patients": 7, "ill": 4} for split in ("train", "valid", "test")}
    return {
        "name": "tiny",
        "date": "2026-01-02",
        "data": "Numbers drawn at random.",
        "synthetic": True,
        "task": "any finding vs none",
        "image_size": SIDE,
        "hospitals": {"Northfield": splits, "Harbor": splits},
        "algorithm": "TFFedAvgAlgo",
        "strategy": "FedAvg",
        "settings": {"optimizer": {"learning_rate": 0.002}, "updates": 9},
        "seed": 0,
        "rounds": 3,
        "best_round": 2,
        "bytes": {"sent_per_hospital_and_round": 23684},
        "versions": {"keras": "3"},
    }


@pytest.fixture(scope="session")
def predictions():
    """Overconfident logits of 300 films; the few films of children are of healthy ones."""
    rng, n = np.random.default_rng(0), 300
    films = pd.DataFrame(
        {
            "hospital": rng.choice(["Northfield", "Harbor"], n),
            "split": np.where(np.arange(n) < 140, "valid", "test"),
            "patient": np.arange(n) // 2,
            "label": rng.integers(0, 2, n),
            "sex": rng.choice(["F", "M", None], n),
            "age": rng.integers(20, 90, n).astype(float),
            "view": rng.choice(["PA", "AP"], n),
        }
    )
    films.loc[[150, 160, 170], ["age", "label"]] = [7.0, 0]
    films["logit"] = 3 * (films["label"] + rng.normal(size=n))
    return films


@pytest.fixture(scope="session")
def models():
    """The project's networks, with weights and statistics unlike those they start with."""
    import keras

    from helpers.models import augment, build_cnn, build_small_cnn

    builders = {
        "small": functools.partial(build_small_cnn, SIDE),
        "group": functools.partial(build_cnn, SIDE),
        "augmented": augment(functools.partial(build_cnn, SIDE, normalization="batch")),
    }
    models, rng = {}, np.random.default_rng(0)
    for name, build in builders.items():
        keras.utils.set_random_seed(0)
        models[name] = build()
        for weight in models[name].weights:
            weight.assign(weight + rng.uniform(0, 0.1, weight.shape))
    return models


@pytest.fixture(scope="session")
def exported(models, run, predictions, tmp_path_factory):
    """Export the small network; tests copy the folder before they change it."""
    from helpers.export import export_model

    folder = tmp_path_factory.mktemp("export") / "deep" / "model"
    model = models["small"]
    return Exported(folder, export_model(model, folder, run=run, predictions=predictions), model)

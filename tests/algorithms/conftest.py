"""What the tests of the algorithms share: films as an opener returns them, and as rows."""

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator
from substrafl.model_loading import download_algo_state

from helpers.data import ChestXrayDataset
from helpers.local_mode import Federation
from helpers.openers.chest_xray_opener import ChestXrayOpener


@pytest.fixture
def data(rng):
    """What an opener would return: 10 films, both labels."""
    return {
        "images": rng.integers(0, 256, (10, 8, 8, 1), dtype=np.uint8),
        "labels": np.arange(10) % 2,
    }


@pytest.fixture(scope="session")
def films(tiny_samples):
    """Films of each hospital as rows in [0, 1], float64, with their labels."""
    opened = [ChestXrayOpener().get_data([splits["train"]]) for splits in tiny_samples.values()]
    return [
        (data["images"].reshape(len(data["labels"]), -1) / 255.0, np.float64(data["labels"]))
        for data in opened
    ]


RATE, UPDATES = 0.05, 4


def _build_linear():
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)])


def make_generator(n_films=None):
    """Draw the same batches in a task and in NumPy."""
    generator = NpIndexGenerator(batch_size=5, num_updates=UPDATES, seed=3)
    if n_films is not None:
        generator.n_samples = n_films
    return generator


@pytest.fixture
def linear():
    """Settings of an algorithm that trains a linear model on the squared loss."""

    def settings(**changes):
        return {
            "model": _build_linear,
            "loss": "mse",
            "optimizer": keras.optimizers.SGD(RATE),
            "index_generator": make_generator(),
            "dataset": ChestXrayDataset,
            "seed": 0,
        } | changes

    return settings


@pytest.fixture
def reference(films):
    """The same training in NumPy, with a function that corrects the gradient of an update."""

    class Reference:
        def __init__(self):
            counts = np.array([len(labels) for _, labels in films])
            self.shares = counts / counts.sum()
            self._generators = [make_generator(count) for count in counts]

        def train(self, k, start, correction=lambda y: 0):
            """Train at hospital k for one round; weights [w, b]; return the update."""
            images, labels = films[k]
            y = start.copy()
            self._generators[k].reset_counter()
            for batch in self._generators[k]:
                design = np.hstack([images[batch], np.ones((len(images[batch]), 1))])
                gradient = 2 * design.T @ (design @ y - labels[batch]) / len(design)
                y -= RATE * (gradient + correction(y))
            return y - start

        def average(self, values):
            """Average over the films."""
            return np.tensordot(self.shares, values, 1)

    return Reference()


@pytest.fixture
def run_tasks(tiny_samples):
    """Run a strategy as real tasks; return every hospital's algorithm after the last round."""

    def run(strategy, num_rounds):
        with Federation(tiny_samples) as federation:
            plan, _ = federation.execute(strategy, num_rounds=num_rounds)
            return [download_algo_state(client, plan.key) for client in federation.clients.values()]

    return run


@pytest.fixture
def weights():
    """Write all weights of an algorithm's model in one row of float64."""

    def flatten(algo):
        return np.concatenate([np.ravel(w) for w in algo.model.get_weights()]).astype(np.float64)

    return flatten

"""What the tests of the algorithms share: films as an opener returns them, and as rows."""

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator
from substrafl.model_loading import download_algo_state

from helpers.data import ChestXrayDataset
from helpers.local_mode import Federation
from helpers.numpy_reference import LinearHospitals
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
def draw_batches():
    """Make a function that lists the batches of the next round, for a number of films."""

    def make(n_films):
        generator = make_generator(n_films)

        def draw():
            generator.reset_counter()
            return list(generator)

        return draw

    return make


@pytest.fixture
def make_reference(films, draw_batches):
    """Make the same hospitals in NumPy, at the beginning of their training."""

    def make():
        return LinearHospitals(films, [draw_batches(len(labels)) for _, labels in films], RATE)

    return make


@pytest.fixture
def reference(make_reference):
    """Train the same hospitals in NumPy."""
    return make_reference()


@pytest.fixture
def run_tasks(tiny_samples):
    """Run a strategy as real tasks; return every hospital's algorithm after the last round."""

    def run(strategy, num_rounds):
        with Federation(tiny_samples) as federation:
            plan, _ = federation.execute(  # evaluations would double the number of tasks
                strategy, num_rounds=num_rounds, eval_every=num_rounds
            )
            return [download_algo_state(client, plan.key) for client in federation.clients.values()]

    return run


@pytest.fixture
def run_rounds(tiny_samples):
    """Run a strategy in this process; return every hospital's algorithm after the last round.

    Tasks save and load the state of an algorithm in every round: test_states.py.
    """

    def run(strategy, num_rounds):
        with Federation(tiny_samples) as federation:
            states, _ = federation.simulate(strategy, num_rounds=num_rounds, eval_every=num_rounds)
            algos = federation.algos(states)
            return [algos[hospital, num_rounds] for hospital in tiny_samples]

    return run


@pytest.fixture
def weights():
    """Write all weights of an algorithm's model in one row of float64."""

    def flatten(algo):
        return np.concatenate([np.ravel(w) for w in algo.model.get_weights()]).astype(np.float64)

    return flatten

"""A linear model, twenty rows of data, and the same training in NumPy."""

import keras
import numpy as np
import pytest
from substrafl.index_generator import NpIndexGenerator

RATE, N_UPDATES = 0.1, 4


class NumpyDataset:
    def __init__(self, data_from_opener, is_inference):
        self.x, self.y = data_from_opener["x"], data_from_opener["y"]
        self.is_inference = is_inference

    def __len__(self):
        return len(self.x)

    def __getitem__(self, indices):
        return self.x[indices] if self.is_inference else (self.x[indices], self.y[indices])


def build_linear():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])


def build_batch_norm():
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(2),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(1),
        ]
    )


def make_data(n_rows, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n_rows, 3)).astype(np.float32)
    y = x @ np.float32([[1.0], [-2.0], [0.5]]) + np.float32(3)
    return {"x": x, "y": y + rng.normal(scale=0.1, size=y.shape).astype(np.float32)}


def make_generator():
    return NpIndexGenerator(batch_size=5, num_updates=N_UPDATES, seed=3)


@pytest.fixture
def data():
    return make_data(20, seed=0)


@pytest.fixture
def both():
    """Data of two organizations of different size."""
    return [make_data(20, seed=0), make_data(12, seed=1)]


@pytest.fixture
def settings():
    """Arguments of an algorithm that trains the linear model with plain SGD."""

    def make(**changes):
        return {
            "model": build_linear,
            "loss": "mse",
            "optimizer": keras.optimizers.SGD(RATE),
            "index_generator": make_generator(),
            "dataset": NumpyDataset,
            "seed": 0,
        } | changes

    return make


@pytest.fixture
def models():
    return {"linear": build_linear, "batch_norm": build_batch_norm}


@pytest.fixture
def weights_of():
    def get(algo):
        return [weight.astype(np.float64) for weight in algo.model.get_weights()]

    return get


@pytest.fixture
def draw_batches():
    """Make a function that lists the batches of the next round, for a number of rows."""

    def make(n_rows):
        generator = make_generator()
        generator.n_samples = n_rows

        def draw():
            generator.reset_counter()
            return list(generator)

        return draw

    return make


@pytest.fixture
def descend():
    """Train the linear model in NumPy: ``w <- w - rate * (gradient - correction)``."""

    def train(weights, data, batches, correction=(0.0, 0.0)):
        kernel, bias = weights
        for batch in batches:
            x, y = np.float64(data["x"][batch]), np.float64(data["y"][batch])
            error = 2 * (x @ kernel + bias - y) / len(batch)
            kernel = kernel - RATE * (x.T @ error - correction[0])
            bias = bias - RATE * (error.sum(0) - correction[1])
        return [kernel, bias]

    return train

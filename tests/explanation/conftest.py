"""Networks and films of the tests: small, random, and the same every time."""

import keras
import numpy as np
import pytest

from helpers.data.synthetic import render_film
from helpers.models import build_cnn, build_small_cnn
from helpers.phantom.population import draw_films


@pytest.fixture(scope="session")
def _drawn():
    return np.stack([render_film(film, 32, 0) for film in draw_films(10, 0)])[..., None] / 255


@pytest.fixture
def films(_drawn):
    return _drawn[:4].astype(np.float32)


@pytest.fixture
def background(_drawn):
    return _drawn[4:].astype(np.float32)


@pytest.fixture
def small_cnn():
    keras.utils.set_random_seed(0)
    return build_small_cnn()


@pytest.fixture
def make_cnn():
    """Return a function that builds a network with steep answers, as a trained one has."""

    def make(normalization="group"):
        keras.utils.set_random_seed(0)
        model = build_cnn(32, normalization=normalization)
        model.set_weights([2 * weight for weight in model.get_weights()])
        return model

    return make

"""Attacks: they find what is there, on networks where it can be known, and nothing in noise."""

import keras
import numpy as np
import pytest

from helpers.attacks import compare_films, film_losses, invert_updates

SIDE = 9  # every pixel is under a convolution
LOSS = keras.losses.BinaryCrossentropy(from_logits=True)


@pytest.fixture(scope="module")
def smooth():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((SIDE, SIDE, 1))
    x = keras.layers.Rescaling(4, -2)(inputs)
    x = keras.layers.Conv2D(8, 3, 2, activation="tanh")(x)
    x = keras.layers.Conv2D(16, 3, activation="tanh")(x)
    return keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(x)))


def update_of(model, films, labels, rate):
    """Make one step of gradient descent on a copy; return what it changed."""
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    copy.compile(keras.optimizers.SGD(rate), LOSS)
    copy.train_on_batch(films, labels)
    return [new - old for new, old in zip(copy.get_weights(), model.get_weights(), strict=True)]


@pytest.fixture
def film(rng):
    return rng.uniform(0.2, 0.8, size=(1, SIDE, SIDE, 1)).astype(np.float32)


MEAN = np.full((SIDE, SIDE, 1), 0.5, np.float32)


def test_a_film_is_found_from_its_update_whatever_the_learning_rate(smooth, film, rng):
    labels = np.ones((1, 1), np.float32)
    updates = [update_of(smooth, film, labels, rate) for rate in (0.1, 1e-3)]
    noise = [rng.normal(size=tensor.shape) for tensor in updates[0]]
    found = invert_updates(
        smooth, LOSS, [*updates, noise], labels, MEAN[None], evaluations=300, smoothness=0
    )
    assert found.shape == (3, 1, SIDE, SIDE, 1)
    assert found.dtype == np.float32
    assert found.min() >= 0
    assert found.max() <= 1
    alike = [compare_films(one, film, MEAN)[0] for one in found]
    assert min(alike[:2]) > 0.999
    assert abs(alike[2]) < 0.5  # of 81 pixels: four times the standard deviation by chance is .45


def test_the_model_keeps_its_weights(smooth, film):
    before = smooth.get_weights()
    labels = np.ones((1, 1), np.float32)
    update = update_of(smooth, film, labels, 0.1)
    invert_updates(smooth, LOSS, [update], labels, MEAN[None], evaluations=3)
    for one, other in zip(before, smooth.get_weights(), strict=True):
        assert np.array_equal(one, other)


def test_an_update_of_another_model_is_refused(smooth):
    with pytest.raises(ValueError, match=r"trainable tensors.*Received \[\(3,\)\]"):
        invert_updates(smooth, LOSS, [[np.zeros(3)]], [[1]], MEAN[None])


def test_films_are_compared_by_how_they_depart_from_the_mean(rng):
    films = rng.uniform(size=(3, SIDE, SIDE, 1))
    assert compare_films(films[[2, 0, 1]], films, MEAN).tolist() == pytest.approx([1, 1, 1])
    # Twice as far from the mean, and brighter: the same departure.
    assert compare_films(2 * films - 0.3, films, MEAN).tolist() == pytest.approx([1, 1, 1])
    assert compare_films(MEAN[None], films[:1], MEAN).tolist() == [0]
    one, other = (films[:2] - MEAN).reshape(2, -1)
    by_hand = np.corrcoef(one, other)[0, 1]
    assert compare_films(films[:1], films[1:2], MEAN)[0] == pytest.approx(by_hand)


def test_losses_equal_keras_cross_entropy(rng):
    logits, labels = rng.normal(scale=3, size=(20, 1)), rng.integers(2, size=20)
    expected = keras.losses.binary_crossentropy(labels[:, None] * 1.0, logits, from_logits=True)
    assert film_losses(logits, labels) == pytest.approx(np.asarray(expected), rel=1e-6)
    assert film_losses([-800.0], [1]).tolist() == [800]

"""The masked loss: against NumPy and Keras, its gradient, and what it refuses."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from helpers.algorithms.loss_checks import check_loss
from helpers.losses import MaskedBinaryCrossentropy


def draw(rng, shape=(20, 3), unknown=0.3):
    """Return labels, some of them unknown, and logits."""
    labels = (rng.random(shape) < 0.4).astype(np.float32)
    labels[rng.random(shape) < unknown] = np.nan
    return labels, rng.normal(0, 3, shape).astype(np.float32)


def by_hand(labels, logits):
    """Return the mean over films of the sum over known labels, divided by their number."""
    z, y = logits.astype(np.float64), labels.astype(np.float64)
    each = np.logaddexp(0, z) - y * z
    return np.nansum(each, axis=-1) / labels.shape[-1]


def test_it_is_the_mean_over_films_by_hand(rng):
    labels, logits = draw(rng)
    labels[4] = np.nan  # a film of which nothing is known counts as a film
    loss = MaskedBinaryCrossentropy(from_logits=True)
    np.testing.assert_allclose(float(loss(labels, logits)), by_hand(labels, logits).mean(), 1e-6)
    weights = rng.random(len(labels)).astype(np.float32)
    expected = (weights * by_hand(labels, logits)).mean()
    np.testing.assert_allclose(float(loss(labels, logits, sample_weight=weights)), expected, 1e-6)
    probabilities = MaskedBinaryCrossentropy()(labels, 1 / (1 + np.exp(-logits)))
    np.testing.assert_allclose(float(probabilities), by_hand(labels, logits).mean(), 1e-4)


@pytest.mark.parametrize("shape", [(20, 1), (20, 3), (5, 4, 3)])
def test_with_all_labels_known_loss_and_gradient_are_the_bits_of_keras(rng, shape):
    labels, logits = draw(rng, shape, unknown=0)
    found = []
    for loss in (MaskedBinaryCrossentropy, keras.losses.BinaryCrossentropy):
        z = tf.Variable(logits)
        with tf.GradientTape() as tape:
            value = loss(from_logits=True)(labels, z)
        found.append((value.numpy(), tape.gradient(value, z).numpy()))
    assert found[0][0] == found[1][0]
    assert np.array_equal(found[0][1], found[1][1])


def test_an_unknown_label_has_no_gradient_and_a_known_one_that_of_all_known(rng):
    labels, logits = draw(rng)
    logits[0] = [200, -200, 0]  # also where the sigmoid is saturated
    known = ~np.isnan(labels)
    z = tf.Variable(logits)
    with tf.GradientTape() as tape:
        value = MaskedBinaryCrossentropy(from_logits=True)(labels, z)
    gradient = tape.gradient(value, z).numpy()
    assert (gradient[~known] == 0).all()
    expected = (1 / (1 + np.exp(-logits.astype(np.float64))) - labels) / labels.size
    np.testing.assert_allclose(gradient[known], expected[known], rtol=1e-4, atol=1e-8)


def test_it_is_saved_like_any_loss_of_keras():
    saved = keras.losses.serialize(MaskedBinaryCrossentropy(from_logits=True, name="mine"))
    loss = keras.losses.deserialize(saved)
    assert (type(loss), loss.from_logits, loss.name) == (MaskedBinaryCrossentropy, True, "mine")


def test_labels_and_outputs_of_other_numbers_are_refused():
    loss = MaskedBinaryCrossentropy(from_logits=True)
    with pytest.raises(ValueError, match=r"label for each output .*\(5, 1\).*Received \(5, 3\)"):
        loss(np.zeros((5, 3), np.float32), np.zeros((5, 1), np.float32))


def test_an_output_of_probabilities_does_not_fit_logits():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3, activation="sigmoid")])
    check_loss(model, MaskedBinaryCrossentropy())
    with pytest.raises(ValueError, match=r"MaskedBinaryCrossentropy.*expects a linear output"):
        check_loss(model, MaskedBinaryCrossentropy(from_logits=True))

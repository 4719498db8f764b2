"""Logits or probabilities: right pairs pass, wrong pairs are named."""

import keras
import numpy as np
import pytest
from keras import layers, losses

from helpers.algorithms.loss_checks import check_loss, check_targets, has_logits


def build(units, activation=None, last=None):
    stack = [keras.Input((3,)), layers.Dense(units, activation=activation)]
    return keras.Sequential(stack + ([last] if last else []))


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        (build(1), losses.BinaryCrossentropy(from_logits=True)),
        (build(1, "sigmoid"), losses.BinaryCrossentropy()),
        (build(1, "sigmoid"), "binary_crossentropy"),
        (build(14, "sigmoid"), losses.BinaryFocalCrossentropy()),
        (build(14), losses.BinaryCrossentropy(from_logits=True)),
        (build(3, "softmax"), "categorical_crossentropy"),
        (build(3, last=layers.Softmax()), losses.SparseCategoricalCrossentropy()),
        (build(3), losses.SparseCategoricalCrossentropy(from_logits=True)),
        (build(1), "mse"),
        (build(1, "tanh"), "binary_crossentropy"),  # not known: passes
    ],
)
def test_right_pairs_pass(model, loss):
    check_loss(model, loss)


@pytest.mark.parametrize(
    ("model", "loss", "message"),
    [
        (build(1), losses.BinaryCrossentropy(), "expects a sigmoid output.*activation is linear"),
        (build(1), "binary_crossentropy", "set from_logits=True"),
        (
            build(1, "sigmoid"),
            losses.BinaryCrossentropy(from_logits=True),
            "expects a linear output.*sigmoid: leave the last layer without activation",
        ),
        (build(2, "softmax"), losses.BinaryCrossentropy(), "expects a sigmoid.*softmax"),
        (build(3, "sigmoid"), "categorical_crossentropy", "expects a softmax.*sigmoid"),
        (build(3), losses.SparseCategoricalCrossentropy(), "expects a softmax.*linear"),
        (build(1, "softmax"), "categorical_crossentropy", "with 1 output.*BinaryCrossentropy"),
        (build(1), losses.SparseCategoricalCrossentropy(from_logits=True), "with 1 output"),
    ],
)
def test_wrong_pairs_are_named(model, loss, message):
    with pytest.raises(ValueError, match=message):
        check_loss(model, loss)


def test_several_outputs():
    inputs = keras.Input((3,))
    model = keras.Model(
        inputs,
        {
            "finding": layers.Dense(1, activation="sigmoid", name="finding")(inputs),
            "view": layers.Dense(1, name="view")(inputs),
        },
    )
    right = {
        "finding": losses.BinaryCrossentropy(),
        "view": losses.BinaryCrossentropy(from_logits=True),
    }
    check_loss(model, right)
    with pytest.raises(ValueError, match="expects a linear output"):
        check_loss(model, dict.fromkeys(right, losses.BinaryCrossentropy(from_logits=True)))
    with pytest.raises(ValueError, match=r"one loss for each of the 2 outputs.*Received 3"):
        check_loss(model, ["mse"] * 3)


def test_targets_are_not_broadcast():
    loss = losses.BinaryCrossentropy()
    check_targets(np.zeros((4, 1)), np.zeros((4, 1)), loss)
    check_targets(np.zeros(4), np.zeros((4, 1)), loss)
    with pytest.raises(ValueError, match=r"shape \(n, 1\).*Received \(n, 14\)"):
        check_targets(np.zeros((4, 14)), np.zeros((4, 1)), loss)


def test_has_logits():
    assert has_logits(build(1))
    assert not has_logits(build(1, "sigmoid"))


@pytest.mark.parametrize(
    "loss",
    [
        None,  # the model's own compute_loss, or add_loss
        losses.SparseCategoricalCrossentropy(),
        "sparse_categorical_crossentropy",
        losses.CategoricalGeneralizedCrossEntropy(),
        lambda targets, predictions: predictions[:, 0] * targets[:, 1],
        type("Own", (losses.Loss,), {})(),
    ],
)
def test_targets_of_another_width_pass_where_the_loss_may_want_them(loss):
    check_targets(np.zeros((4, 1)), np.zeros((4, 3)), loss)


@pytest.mark.parametrize("loss", ["mse", losses.huber, losses.MeanAbsoluteError()])
def test_targets_of_another_width_are_refused_where_values_are_compared(loss):
    with pytest.raises(ValueError, match=r"shape \(n, 3\).*Received \(n, 1\)"):
        check_targets(np.zeros((4, 1)), np.zeros((4, 3)), loss)


def test_a_subclassed_model_may_have_several_losses():
    class Two(keras.Model):
        def call(self, x):
            return x, 2 * x

    check_loss(Two(), ["mse", "mae"])


def test_losses_by_name_are_not_judged_for_an_output_without_name():
    check_loss(build(1), {"finding": losses.BinaryCrossentropy()})

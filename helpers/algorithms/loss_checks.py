"""Pairing of a model's outputs with its loss: logits or probabilities, and how many.

A sigmoid output under a loss that applies the sigmoid again still trains, only worse. Keras does
not warn; these checks refuse it.
"""

import inspect
from typing import Any

import keras

from helpers.compatibility import last_operation

_BINARY = ("BinaryCrossentropy", "BinaryFocalCrossentropy", "MaskedBinaryCrossentropy")
_CATEGORICAL = (
    "CategoricalCrossentropy",
    "CategoricalFocalCrossentropy",
    "SparseCategoricalCrossentropy",
)
# Losses whose targets are the number of a class, or a sequence, and not one value per output.
_OTHER_TARGETS = (
    "SparseCategoricalCrossentropy",
    "CategoricalGeneralizedCrossEntropy",
    "Circle",
    "CTC",
    "Ctc",  # from keras.losses.ctc
)


def check_loss(model: keras.Model, loss: keras.losses.Loss | str | list | dict) -> None:
    """Refuse a loss that does not fit the activation or number of the model's outputs.

    Only cross-entropies are checked, and only outputs whose last activation can be read from the
    model (Sequential and functional models); everything else passes.

    Parameters
    ----------
    model : keras.Model
        A built model with one or several outputs.
    loss : keras.losses.Loss, str, or list or dict of them
        One loss for each output, or one for all.

    Raises
    ------
    ValueError
        Naming the output, its activation and the loss, and how to fix the pair.
    """
    outputs = getattr(model, "outputs", None)
    if not outputs:  # a subclassed model does not list them
        return
    for output, output_loss in zip(outputs, _one_for_each(loss, model, len(outputs)), strict=True):
        fault = _fault(output, output_loss)
        if fault:
            raise ValueError(fault)


def has_logits(model: keras.Model) -> bool:
    """Return whether the first output of a model is a logit rather than a probability.

    Parameters
    ----------
    model : keras.Model
        A Sequential or functional model.

    Returns
    -------
    bool
        True when the last activation is linear.
    """
    return _activation(model.outputs[0]) == "linear"


def _one_for_each(loss, model, n_outputs):
    """Spread the losses over the outputs, in the order of the outputs."""
    if isinstance(loss, dict):
        # A Sequential model has one output, and no name for it.
        losses = [loss.get(name) for name in getattr(model, "output_names", [None])]
    elif isinstance(loss, list | tuple):
        losses = list(loss)
    else:
        losses = [loss] * n_outputs
    if len(losses) != n_outputs:
        raise ValueError(
            f"Expected one loss for each of the {n_outputs} outputs, or one for all. "
            f"Received {len(losses)}."
        )
    return [keras.losses.get(one) if one is not None else None for one in losses]


def _fault(output, loss):
    """Describe in a sentence what is wrong with one output and its loss; None if nothing is."""
    kind = _kind(loss)
    activation = _activation(output)
    if kind not in _BINARY + _CATEGORICAL or activation is None:
        return None
    from_logits = bool(_config(loss).get("from_logits", False))
    probability = "sigmoid" if kind in _BINARY else "softmax"
    expected = "linear" if from_logits else probability
    n_units = output.shape[-1]
    if kind in _CATEGORICAL and n_units == 1:
        return (
            f"{kind} needs one output for each class, at least 2. Received a model with 1 output, "
            "for which every softmax is 1: use BinaryCrossentropy."
        )
    if activation != expected:
        fix = (
            "leave the last layer without activation, or drop from_logits=True"
            if from_logits
            else f"give the last layer activation={probability!r}, or set from_logits=True"
            if activation == "linear"
            else f"give the last layer activation={probability!r}, or choose the loss made for it"
        )
        return (
            f"{kind}(from_logits={from_logits}) expects a {expected} output. Received a model "
            f"whose last activation is {activation}: {fix}."
        )
    return None


def _kind(loss):
    """Name the class of a loss; of a bare function, that of the class which wraps it."""
    kind = type(loss).__name__
    if kind == "function":  # keras.losses.get("binary_crossentropy") gives the bare function
        kind = "".join(part.capitalize() for part in loss.__name__.split("_"))
    return kind


def _config(loss):
    """Read the configuration of a loss object; a bare function has none."""
    return loss.get_config() if hasattr(loss, "get_config") else {}


def _activation(output):
    """Read the activation that made an output tensor: its name, or None when it is unknown."""
    layer = last_operation(output)
    if isinstance(layer, keras.layers.Softmax):
        return "softmax"
    if isinstance(layer, keras.Model) and layer.outputs:
        return _activation(layer.outputs[0]) if len(layer.outputs) == 1 else None
    activation = getattr(layer, "activation", None)
    name = getattr(activation, "__name__", None)
    return name if name in ("linear", "sigmoid", "softmax") else None


def check_targets(targets: Any, predictions: Any, loss: keras.losses.Loss | str) -> None:
    """Refuse targets that Keras would silently broadcast against the model's predictions.

    Parameters
    ----------
    targets, predictions : tensor, shape (n, …)
        One batch, of a model with a single output; other structures pass.
    loss : keras.losses.Loss, str or None
        Only losses of Keras that compare value by value are checked. A custom loss, or one of the
        model, may take targets of another shape than the predictions.

    Raises
    ------
    ValueError
        If both have the same rank but different numbers of values per sample.
    """
    if isinstance(loss, list | tuple | dict) or not hasattr(predictions, "shape"):
        return
    loss = keras.losses.get(loss)
    place = loss if inspect.isfunction(loss) else type(loss)
    if place.__module__.partition(".")[0] != "keras" or _kind(loss) in _OTHER_TARGETS:
        return
    expected, received = tuple(predictions.shape)[1:], tuple(targets.shape)[1:]
    if len(expected) == len(received) and expected != received:
        raise ValueError(
            f"Expected targets of shape (n, {', '.join(map(str, expected))}), as the model's "
            f"output. Received (n, {', '.join(map(str, received))}): change the last layer's "
            "number of units, or what the dataset returns as y."
        )

"""Batch normalization: which parts are trained, exchanged and kept local, as one choice.

BatchNorm layers hold two kinds of numbers: a trained scale and shift (gamma and beta), and moving
statistics of the samples seen in training. The statistics depend on an organization's samples, and
scale and shift adapt to them. There is no single right way to federate them.
"""

import enum
import functools
import math
from collections.abc import Callable
from typing import Self

import keras

from helpers.algorithms.local_state import assign_variables, read_variables
from helpers.compatibility import flatten_layers
from helpers.exchange.weights import Variables, exchanged_variables, layer_names

_LARGEST_GROUP_COUNT = 8


class BatchNorm(enum.Enum):
    """How the BatchNorm layers (Ioffe & Szegedy 2015) of a model are federated.

    Attributes
    ----------
    STATISTICS_LOCAL
        Gamma and beta are averaged, moving statistics stay local: SubstraFL's
        ``with_batch_norm_parameters=False``. The evaluated model mixes averaged weights with
        the statistics that the last local training left at that organization.
    AVERAGED
        Everything is averaged: SubstraFL's ``with_batch_norm_parameters=True``.
    LOCAL
        FedBN (Li et al. 2021): gamma, beta and statistics are in no update. After round r an
        organization holds the global model of round r with the BatchNorm of the end of its own
        training in the round before. An organization that only tests gets the local state of the
        first one that trains, which is SubstraFL's rule, and so that organization's BatchNorm.
    FROZEN
        The layers work as in inference, with the statistics that they start with, and are not
        trained. It needs a model whose statistics mean something, see
        :func:`helpers.models.start_from`.
    GROUP
        Each layer is replaced by GroupNorm (Wu & He 2018) when the model is built, with as many
        groups, up to 8, as divide its channels. It has no statistics.
    """

    STATISTICS_LOCAL = "statistics_local"
    AVERAGED = "averaged"
    LOCAL = "local"
    FROZEN = "frozen"
    GROUP = "group"

    @classmethod
    def read(cls, choice: Self | str) -> Self:
        """Return the choice with a name.

        Parameters
        ----------
        choice : BatchNorm or str
            Such as ``"local"``.

        Returns
        -------
        BatchNorm
            The choice.

        Raises
        ------
        ValueError
            If there is no such choice.
        """
        try:
            return cls(choice)
        except ValueError:
            names = ", ".join(repr(one.value) for one in cls)
            raise ValueError(
                f"Expected batch_norm as one of {names}. Received {choice!r}."
            ) from None

    def __str__(self) -> str:
        """Return the choice's name as :meth:`read` takes it."""
        return self.value

    def exchanged_variables(self, model: keras.Model) -> Variables:
        """Name the variables of a model that are exchanged under this choice.

        Parameters
        ----------
        model : keras.Model
            A built model.

        Returns
        -------
        dict of str to keras.Variable
            See :func:`helpers.exchange.exchanged_variables`.
        """
        variables = exchanged_variables(model, self is BatchNorm.AVERAGED)
        if self is not BatchNorm.LOCAL:
            return variables
        own = {id(one) for one in _batch_norm_weights(model)}
        return {name: one for name, one in variables.items() if id(one) not in own}

    def start(self) -> "KeptBatchNorm | None":
        """Begin a training.

        Returns
        -------
        KeptBatchNorm or None
            The BatchNorm that FedBN keeps local; None for the other choices.
        """
        return KeptBatchNorm() if self is BatchNorm.LOCAL else None

    def change(self, build: Callable[[], keras.Model]) -> Callable[[], keras.Model]:
        """Make a builder of the model with the layers that this choice requires.

        Parameters
        ----------
        build : callable
            A function without arguments that returns a built Keras model.

        Returns
        -------
        callable
            A function without arguments; ``build`` itself if nothing in the model changes.
        """
        changes = {BatchNorm.FROZEN: _freeze_batch_norm, BatchNorm.GROUP: _build_with_groups}
        return functools.partial(changes[self], build) if self in changes else build


class KeptBatchNorm:
    """The BatchNorm layers that FedBN keeps at an organization (Li et al. 2021).

    What is evaluated is the global model with its matching BatchNorm: that of the previous local
    training. So the layers are reset together with the weights, and their trained values are kept
    until the next average.
    """

    def __init__(self) -> None:
        self._trained = None
        self._start = None

    def add_average(self, model: keras.Model) -> None:
        """Restore the layers of the last local training, after the average has been added.

        Parameters
        ----------
        model : keras.Model
            A built model; its BatchNorm layers are assigned to.
        """
        if self._trained is not None:
            assign_variables(_batch_norm_weights(model), self._trained)
            self._trained = None

    def begin_round(self, model: keras.Model) -> None:
        """Remember the layers as they are before the local training.

        Parameters
        ----------
        model : keras.Model
            A built model.
        """
        self._start = read_variables(_batch_norm_weights(model))

    def end_round(self, model: keras.Model) -> None:
        """Reset the layers, and remember their values after the local training.

        Parameters
        ----------
        model : keras.Model
            The same model.
        """
        weights = _batch_norm_weights(model)
        self._trained = read_variables(weights)
        assign_variables(weights, self._start)
        self._start = None


def _batch_norm_weights(model):
    """List scale, shift and statistics of all BatchNorm layers."""
    return [weight for layer in batch_norm_layers(model) for weight in layer.weights]


def batch_norm_layers(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """List the BatchNorm layers of a model and of the models within it.

    Parameters
    ----------
    model : keras.Model
        A built model.

    Returns
    -------
    list of keras.layers.BatchNormalization
        In the model's order.
    """
    kind = keras.layers.BatchNormalization
    return [layer for layer in flatten_layers(model) if isinstance(layer, kind)]


def _freeze_batch_norm(build):
    """Build a model and freeze its BatchNorm layers: Keras then runs them as in inference."""
    model = build()
    for layer in batch_norm_layers(model):
        layer.trainable = False
    return model


def _build_with_groups(build):
    """Build a model and replace its BatchNorm layers; all other weights stay as they are."""
    model = build()
    if not batch_norm_layers(model):
        return model
    if isinstance(model, keras.Sequential):  # Keras clones it without calling its layers
        model = keras.Model(model.inputs, model.outputs, name=model.name)
    names = layer_names(model)

    def clone(layer):
        if isinstance(layer, keras.layers.BatchNormalization):
            # Keras' automatic name would be that of a class which the clone no longer has.
            return _group_norm(layer, names.get(layer.name, layer.name))
        return type(layer).from_config(layer.get_config())

    def call(layer, *inputs, **options):
        if isinstance(layer, keras.layers.GroupNormalization):
            options = {}  # BatchNorm takes a mask and whether it trains
        return layer(*inputs, **options)

    changed = keras.models.clone_model(model, None, clone, call, recursive=True)
    pairs = zip(flatten_layers(model), flatten_layers(changed), strict=True)
    for old, new in pairs:
        is_replaced = isinstance(old, keras.layers.BatchNormalization)
        kept = [v for v in _own_weights(old) if not (is_replaced and v.name.startswith("moving"))]
        for weight, value in zip(_own_weights(new), kept, strict=True):
            weight.assign(value)
    return changed


def _group_norm(layer, name):
    """Make the GroupNorm layer that takes the place of a BatchNorm layer."""
    shape = list(layer.get_build_config()["input_shape"])
    channels = shape.pop(layer.axis)
    groups = max(n for n in range(1, _LARGEST_GROUP_COUNT + 1) if channels % n == 0)
    if math.prod(size or 2 for size in shape[1:]) == 1:  # a group of one value would be zero
        groups = 1
    return keras.layers.GroupNormalization(
        groups=groups,
        axis=layer.axis,
        epsilon=layer.epsilon,
        center=layer.center,
        scale=layer.scale,
        beta_initializer=layer.beta_initializer,
        gamma_initializer=layer.gamma_initializer,
        beta_regularizer=layer.beta_regularizer,
        gamma_regularizer=layer.gamma_regularizer,
        beta_constraint=layer.beta_constraint,
        gamma_constraint=layer.gamma_constraint,
        name=name,
        trainable=layer.trainable,
    )


def _own_weights(layer):
    """List the weights of a layer without those of the layers within it."""
    inner = flatten_layers(layer, include_self=False)
    within = {id(weight) for one in inner for weight in one.weights}
    return [weight for weight in layer.weights if id(weight) not in within]

"""Models: the small convolutional network that the pages train, and changes to any builder.

A builder is a function without arguments that returns a new Keras model, as the algorithms expect.
:func:`augment`, :func:`freeze_layers` and :func:`start_from` turn a builder into another one, so
that they can be combined, pickled, and called in every task.
"""

import fnmatch
import functools
from collections.abc import Callable, Sequence

import keras
import numpy as np
from keras import layers

from helpers.compatibility import flatten_layers

_AUGMENTED = "augmented_"


def build_cnn(
    image_size: int = 64,
    filters: Sequence[int] = (16, 32, 64, 64),
    dropout: float = 0.2,
    normalization: str | None = "group",
    n_outputs: int = 1,
) -> keras.Model:
    """Build a small convolutional network for binary questions about a film.

    Each block is a 3×3 convolution, 2×2 max pooling, a normalization and ReLU. The first
    convolution has stride 2, and the last block ends in global average pooling instead of
    pooling, so that 64 pixels become 4×4 positions with 64 features. With the defaults it has
    60,641 weights, and an update on 32 films takes about 15 ms on two cores.

    Parameters
    ----------
    image_size : int, default=64
        Height and width of the films, in pixels.
    filters : sequence of int, default=(16, 32, 64, 64)
        Channels of each block; multiples of 8 for group normalization.
    dropout : float in [0, 1), default=0.2
        Share of features dropped before the last layer while training.
    normalization : {"group", "batch", None}, default="group"
        GroupNorm (Wu & He 2018) has no statistics that depend on a hospital's films. BatchNorm
        (Ioffe & Szegedy 2015) has: see ``with_batch_norm_parameters`` of
        :class:`~helpers.algorithms.TFFedAvgAlgo`.
    n_outputs : int, default=1
        Number of findings.

    Returns
    -------
    keras.Model
        Input float32 (n, image_size, image_size, 1) in [0, 1]; output float32 (n, n_outputs), the
        *logit* of each finding. Train it with ``BinaryCrossentropy(from_logits=True)``, and where
        labels are missing with :class:`helpers.losses.MaskedBinaryCrossentropy`.

    Raises
    ------
    ValueError
        If ``normalization`` is unknown.
    """
    if normalization not in ("group", "batch", None):
        raise ValueError(
            f"Expected normalization to be 'group', 'batch' or None. Received {normalization!r}."
        )
    inputs = keras.Input((image_size, image_size, 1), name="film")
    x = inputs
    for number, channels in enumerate(filters, start=1):
        stride = 2 if number == 1 else 1
        block = f"block{number}"
        x = layers.Conv2D(channels, 3, stride, padding="same", name=f"{block}_conv")(x)
        if number < len(filters):
            x = layers.MaxPooling2D(name=f"{block}_pool")(x)
        if normalization == "group":
            x = layers.GroupNormalization(groups=8, name=f"{block}_norm")(x)
        elif normalization == "batch":
            x = layers.BatchNormalization(name=f"{block}_norm")(x)
        x = layers.ReLU(name=f"{block}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="features")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    return keras.Model(inputs, layers.Dense(n_outputs, name="logit")(x), name="chest_xray_cnn")


def build_small_cnn(image_size: int = 32, filters: Sequence[int] = (8, 16, 32)) -> keras.Model:
    """Build the network of *Your first network*, for pages with many runs.

    Grey levels are rescaled to [-2, 2]. Each block is a 3×3 convolution with ReLU and stride 2, the
    last one with stride 1 and global maximum pooling. There is no normalization, and nothing
    random. With the defaults it has 5,921 weights.

    Parameters
    ----------
    image_size : int, default=32
        Height and width of the films, in pixels.
    filters : sequence of int, default=(8, 16, 32)
        Channels of each block.

    Returns
    -------
    keras.Model
        Input float32 (n, image_size, image_size, 1) in [0, 1]; output float32 (n, 1), the *logit*
        of the finding.
    """
    inputs = keras.Input((image_size, image_size, 1), name="film")
    x = layers.Rescaling(4, -2, name="rescaled")(inputs)
    for number, channels in enumerate(filters, start=1):
        stride = 2 if number < len(filters) else 1
        x = layers.Conv2D(channels, 3, stride, activation="relu", name=f"block{number}_conv")(x)
    x = layers.GlobalMaxPooling2D(name="features")(x)
    return keras.Model(inputs, layers.Dense(1, name="logit")(x), name="small_chest_xray_cnn")


def augment(build: Callable[[], keras.Model], amount: float = 0.1) -> Callable[[], keras.Model]:
    """Make a builder of the same model that changes the films at random while it trains.

    Every film of a batch is shifted, magnified, turned, and made brighter or darker, flatter or
    richer in contrast, anew each time that it is drawn. A network that sees fewer films memorizes
    them sooner, so that this helps small hospitals most. ``predict`` changes nothing; a call of the
    model itself needs ``training=False``: without it Keras' random layers act, and a BatchNorm
    behind them updates its statistics. Films are not mirrored: the heart is on the left.

    Parameters
    ----------
    build : callable
        A function without arguments that returns a built Keras model with one input, films of shape
        (H, W, 1) in [0, 1].
    amount : float in (0, 0.5], default=0.1
        Largest shift and magnification as a share of the film; brightness and contrast change
        by up to twice as much, and the largest turn is a sixth of it, 6 degrees by default.

    Returns
    -------
    callable
        A function without arguments; it can be pickled if ``build`` can. The random layers have
        no weights, so that the exchange and the model's weights stay the same.

    Raises
    ------
    ValueError
        If ``amount`` is out of range.

    Examples
    --------
    >>> plain, augmented = build_cnn(32), augment(functools.partial(build_cnn, 32))()
    >>> augmented.count_params() - plain.count_params()
    0
    """
    if not 0 < amount <= 0.5:
        raise ValueError(f"Expected an amount in (0, 0.5]. Received {amount}.")
    return functools.partial(_build_augmented, build, amount)


def _build_augmented(build, amount):
    """Build a model and put the random layers before it."""
    model = build()
    films = keras.Input(model.input_shape[1:], name="films")
    x = layers.RandomTranslation(amount, amount, fill_mode="nearest", name="shift")(films)
    x = layers.RandomZoom(amount, fill_mode="nearest", name="magnify")(x)
    x = layers.RandomRotation(amount / 6, fill_mode="nearest", name="turn")(x)
    x = layers.RandomBrightness(2 * amount, value_range=(0, 1), name="brighten")(x)
    x = layers.RandomContrast(2 * amount, value_range=(0, 1), name="contrast")(x)
    return keras.Model(films, model(x), name=f"{_AUGMENTED}{model.name}")


def remove_augmentation(model: keras.Model) -> keras.Model:
    """Return the model without the random layers that :func:`augment` put before it.

    Parameters
    ----------
    model : keras.Model
        A model, which need not be augmented.

    Returns
    -------
    keras.Model
        The inner model with the same variables, or the model itself. A plain call of it, such as an
        exported model makes, changes no film.

    Examples
    --------
    >>> model = augment(build_cnn)()
    >>> remove_augmentation(model).name, remove_augmentation(build_cnn()).name
    ('chest_xray_cnn', 'chest_xray_cnn')
    """
    inner = model.layers[-1]
    is_augmented = model.name == f"{_AUGMENTED}{inner.name}" and isinstance(inner, keras.Model)
    return inner if is_augmented else model


def freeze_layers(build: Callable[[], keras.Model], *names: str) -> Callable[[], keras.Model]:
    """Make a builder of the same model in which some layers are not trained.

    What is not trained is not exchanged either: :func:`helpers.exchange.get_parameters` reads only
    trainable variables. A frozen BatchNorm layer runs in inference mode, as always in Keras, and
    its moving statistics neither change nor travel.

    Parameters
    ----------
    build : callable
        A function without arguments that returns a built Keras model.
    *names : str
        Names of layers, or patterns such as ``"block1_*"``, as for files in a shell. An unnamed
        layer is called as in :func:`helpers.exchange.exchanged_variables`: ``conv2d``,
        ``conv2d_1``, … within the model. The layers of a nested model have their own names; the
        name of the nested model freezes all of them.

    Returns
    -------
    callable
        A function without arguments; it can be pickled if ``build`` can.

    Raises
    ------
    ValueError
        If no name is given; or, when the model is built, if a name matches no layer.

    Examples
    --------
    >>> model = freeze_layers(build_cnn, "block[12]_*")()
    >>> [layer.name for layer in model.layers if layer.count_params() and not layer.trainable]
    ['block1_conv', 'block1_norm', 'block2_conv', 'block2_norm']
    """
    if not names:
        raise ValueError(
            "Expected the name of at least one layer, such as freeze_layers(build, 'block1_*'). "
            "Received none."
        )
    return functools.partial(_build_frozen, build, names)


def _build_frozen(build, names):
    """Build a model and freeze the layers that match the names."""
    from helpers.exchange.weights import layer_names  # a model alone does not need Substra

    model = build()
    renamed = layer_names(model)
    inner = flatten_layers(model, include_self=False)
    known = {id(layer): renamed.get(layer.name, layer.name) for layer in inner}
    for name in names:
        chosen = [layer for layer in inner if fnmatch.fnmatchcase(known[id(layer)], name)]
        if not chosen:
            raise ValueError(
                f"Expected names or patterns of layers of {model.name!r}, which are: "
                f"{', '.join(known.values())}. Received {name!r}, which fits none of them."
            )
        for layer in chosen:
            layer.trainable = False
    return model


def start_from(
    build: Callable[[], keras.Model], weights: Sequence[np.ndarray] | keras.Model
) -> Callable[[], keras.Model]:
    """Make a builder of the same model that starts from given weights.

    Fine-tuning at one hospital after the federation is
    ``TFSingleOrganizationAlgo(model=start_from(build, federated.model), …)`` with SubstraFL's
    ``SingleOrganization`` strategy: an ordinary training at that hospital that starts from the
    federated weights, with a new optimizer.

    Parameters
    ----------
    build : callable
        A function without arguments that returns a built Keras model.
    weights : sequence of numpy.ndarray or keras.Model
        All weights in the order of ``model.get_weights()``, moving statistics included; or a
        model, whose weights are copied now. They travel with the algorithm to every task.

    Returns
    -------
    callable
        A function without arguments; it can be pickled if ``build`` can.

    Raises
    ------
    ValueError
        If a weight is not finite; or, when the model is built, if number or shapes differ.

    Examples
    --------
    >>> trained = build_cnn()
    >>> model = start_from(build_cnn, trained)()
    >>> all((a == b).all() for a, b in zip(model.get_weights(), trained.get_weights()))
    True
    """
    if isinstance(weights, keras.Model):
        weights = weights.get_weights()
    arrays = tuple(np.array(weight) for weight in weights)
    wrong = [number for number, array in enumerate(arrays) if not np.isfinite(array).all()]
    if wrong:
        raise ValueError(
            f"Expected finite weights. Received NaN or infinity in the arrays number {wrong}: the "
            "training that they come from diverged."
        )
    return functools.partial(_build_from, build, arrays)


def _build_from(build, arrays):
    """Build a model and give it the weights."""
    model = build()
    variables = model.weights
    if len(variables) != len(arrays):
        raise ValueError(
            f"Expected {len(variables)} arrays, as {model.name!r}.get_weights() returns them. "
            f"Received {len(arrays)}: give the weights of a model made by the same builder."
        )
    faults = [
        f"{variable.path}: expected shape {tuple(variable.shape)}, received {array.shape}"
        for variable, array in zip(variables, arrays, strict=True)
        if tuple(variable.shape) != array.shape
    ]
    if faults:
        raise ValueError(
            f"The weights are of another model than {model.name!r}:\n  " + "\n  ".join(faults)
        )
    model.set_weights(arrays)
    return model

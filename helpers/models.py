"""Models: the small convolutional network that the pages train."""

import keras
from keras import layers


def build_cnn(image_size=64, filters=(16, 32, 64, 64), dropout=0.2, normalization="group"):
    """Build a small convolutional network for one binary question about a film.

    Each block is a 3×3 convolution, 2×2 max pooling, a normalization and ReLU. The first
    convolution has stride 2, and the last block ends in global average pooling instead of
    pooling, so that 64 pixels become 4×4 places with 64 features. With the defaults it has
    60,641 weights, and an update on 32 films takes some 15 ms on two cores.

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

    Returns
    -------
    keras.Model
        Input float32 (n, image_size, image_size, 1) in [0, 1]; output float32 (n, 1), the
        *logit* of the finding. Train it with ``BinaryCrossentropy(from_logits=True)``.

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
    return keras.Model(inputs, layers.Dense(1, name="logit")(x), name="chest_xray_cnn")

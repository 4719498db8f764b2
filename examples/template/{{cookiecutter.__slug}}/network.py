"""The network. A task imports this file: it travels with the algorithm."""

import keras
from keras import layers

from film_opener import IMAGE_SIZE


def build_network():
    """Build the network: films in [0, 1], shape (n, side, side, 1), to logits, shape (n, 1)."""
    films = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    x = layers.Rescaling(4, -2)(films)
    for channels in (16, 32):
        x = layers.Conv2D(channels, 3, strides=2, activation="relu")(x)
    x = layers.Conv2D(64, 3, activation="relu")(x)
    return keras.Model(films, layers.Dense(1)(layers.GlobalMaxPooling2D()(x)))

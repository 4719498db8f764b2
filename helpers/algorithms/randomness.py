"""Random states: every generator that a training draws from, read and restored together.

A task of Substra runs in its own process. Training for N rounds gives the same bits as training
without a break only if every generator continues where the last task left it, and if both use the
same number of threads. The seed generators *inside* a model (dropout, augmentation layers) are
variables of that model and travel with it; these belong to the process.
"""

import random
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from helpers.compatibility import (
    get_tensorflow_seed,
    keras_seed_generator,
    set_tensorflow_seed,
)


def get_random_state() -> dict[str, Any]:
    """Read the state of every generator of this process.

    Returns
    -------
    dict
        ``python``: :func:`random.getstate`; ``numpy``: legacy global state; ``keras``: uint32
        array of Keras' global seed generator; ``tensorflow``: global seed and the state of the
        generator that seeds eager operations (both None while no global seed is set).
    """
    keras_generator = keras_seed_generator()  # first, since making it draws from Python's
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 — user code may draw from it
        "keras": np.array(keras_generator.state.numpy()),
        "tensorflow": get_tensorflow_seed(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what :func:`get_random_state` read.

    Parameters
    ----------
    state : dict
        As :func:`get_random_state` returns it; it is not changed.
    """
    keras_seed_generator().state.assign(state["keras"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    # A new seed makes TensorFlow discard all optimized functions, which may hold generators.
    if state["tensorflow"] not in ((None, None), get_tensorflow_seed()):
        set_tensorflow_seed(*state["tensorflow"])


def with_seed(seed: int | None, build: Callable[[], Any]) -> Any:
    """Call ``build`` so that everything it draws depends on ``seed`` alone.

    Parameters
    ----------
    seed : int or None
        With a number, all generators of the process are seeded and stay so. With None, ``build``
        is run under seed 0, and the generators are then restored.
    build : callable
        A function without arguments.

    Returns
    -------
    object
        What ``build`` returned.
    """
    if seed is not None:
        keras.utils.set_random_seed(seed)
        keras_seed_generator()  # otherwise made on first use, which may be in another task
        return build()
    # Keras draws the seeds of initializers and dropout layers from Python's generator.
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    try:
        keras_seed_generator()  # draws only when it is made, once per process
        random.seed(0)
        return build()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002

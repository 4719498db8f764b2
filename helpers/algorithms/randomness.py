"""Random states: everything that a training draws from, read and restored in one piece.

A task of Substra lives in a process of its own. Training for N rounds gives the same bits as
training in one go only if every generator continues where the last task left it. The seed
generators *inside* a model (dropout, augmentation layers) are variables of that model and travel
with it; these here belong to the process.
"""

import random

import keras
import numpy as np
import tensorflow as tf
from keras.src.backend.common import global_state
from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR, global_seed_generator
from tensorflow.python.eager import context


def get_random_state():
    """Read the state of every generator of this process.

    Returns
    -------
    dict
        ``python``: :func:`random.getstate`; ``numpy``: legacy global state; ``keras``: uint32
        array of Keras' global seed generator; ``tensorflow``: global seed and the state of the
        generator that seeds eager operations (both None while no global seed is set).
    """
    keras_generator = global_seed_generator()  # making it draws from Python's: so it comes first
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),  # noqa: NPY002 — user code may draw from it
        "keras": np.array(keras_generator.state.numpy()),
        "tensorflow": _get_tensorflow_state(),
    }


def set_random_state(state):
    """Restore what :func:`get_random_state` read.

    Parameters
    ----------
    state : dict
        As :func:`get_random_state` returns it; it is not changed.
    """
    global_seed_generator().state.assign(state["keras"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    seed, generator_state = state["tensorflow"]
    # A seed makes TensorFlow forget every function it has optimized, as they may hold generators.
    if seed is not None and _get_tensorflow_state() != state["tensorflow"]:
        tf.random.set_seed(seed)
        context.context()._rng.setstate(generator_state)


def _get_tensorflow_state():
    """Return TensorFlow's global seed and the state of its eager generator, or None twice."""
    generator = getattr(context.context(), "_rng", None)  # made by the first global seed
    return context.global_seed(), generator.getstate() if generator else None


def with_seed(seed, build, *, again=False):
    """Call ``build`` so that everything it draws depends on ``seed`` alone.

    Parameters
    ----------
    seed : int or None
        With a number, all generators of the process are seeded and stay so. With None, ``build``
        is run under seed 0 and the generators then go on as if nothing had happened.
    build : callable
        A function without arguments.
    again : bool, default=False
        Whether what is built is given its weights afterwards. TensorFlow then keeps the functions
        that it has optimized, if it has that seed and nothing was drawn since.

    Returns
    -------
    object
        What ``build`` returned.
    """
    if seed is not None:
        if again and _get_tensorflow_state() == (seed, random.Random(seed).getstate()):
            _seed_all_but_tensorflow(seed)
        else:
            keras.utils.set_random_seed(seed)
        global_seed_generator()  # made on first use otherwise, at a moment that a pause may shift
        return build()
    # Keras draws the seeds of initializers and dropout layers from Python's generator.
    states = random.getstate(), np.random.get_state()  # noqa: NPY002
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    try:
        global_seed_generator()  # it draws only when it is made, once in a process
        random.seed(0)
        return build()
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def _seed_all_but_tensorflow(seed):
    """Do the rest of what ``keras.utils.set_random_seed`` does."""
    global_state.set_global_attribute(GLOBAL_SEED_GENERATOR, None)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002

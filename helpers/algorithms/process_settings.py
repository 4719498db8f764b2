"""Settings of the whole process: a task has those of a new Python, and must train with the same.

The type of new weights, the order of an image's axes, the constant that keeps a logarithm finite:
Keras keeps them for the process, and a task is a process of its own. What the builder of the model
sets holds in every task, since it is called there; what the script sets beside it does not.
"""

import os
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from helpers.compatibility import is_op_determinism_enabled

_OF_A_NEW_PROCESS = {
    "floatx": "float32",
    "image_data_format": "channels_last",
    "epsilon": 1e-7,
    "dtype_policy": "float32",
}


def build_as_in_a_task(build: Callable[[], Any]) -> Any:
    """Build a model under the settings of a new process, as a task does.

    Parameters
    ----------
    build : callable
        A function without arguments.

    Returns
    -------
    object
        What it returned.

    Raises
    ------
    ValueError
        If the script has other settings than a task would have after building the model.
    """
    _check_tensorflow()
    of_the_script = _get_settings()
    _set_settings(_OF_A_NEW_PROCESS)
    try:
        built = build()
        of_a_task = _get_settings()
    finally:
        _set_settings(of_the_script)
    different = [name for name in of_a_task if of_a_task[name] != of_the_script[name]]
    if of_the_script == _OF_A_NEW_PROCESS:  # nothing was set yet: the builder decides
        _set_settings(of_a_task)
    elif different:
        raise ValueError(
            "Expected the settings of this process to be those that a task will have. Received "
            + ", ".join(
                f"{name}={of_the_script[name]!r}, where a task has {of_a_task[name]!r}"
                for name in different
            )
            + ": call keras.config.set_… in the function that builds the model, which every task "
            "calls, and nowhere else."
        )
    return built


def _check_tensorflow():
    """Refuse settings of TensorFlow that tasks would not have, and that have a variable."""
    given = {
        "TF_DETERMINISTIC_OPS": is_op_determinism_enabled(),
        "TF_NUM_INTRAOP_THREADS": tf.config.threading.get_intra_op_parallelism_threads(),
        "TF_NUM_INTEROP_THREADS": tf.config.threading.get_inter_op_parallelism_threads(),
    }
    for variable, value in given.items():
        if value and _inherited(variable) != int(value):
            raise ValueError(
                f"Expected TensorFlow's settings in variables of the environment, which tasks "
                f"inherit. Received {value!r} by tf.config: set {variable}={int(value)} before "
                "Python starts."
            )


def _inherited(variable):
    """Read what a variable of the environment tells TensorFlow; 0 without it."""
    text = os.environ.get(variable, "").lower()
    return int(text) if text.isdecimal() else int(text == "true")


def _get_settings():
    """Read the settings of this process."""
    return {
        "floatx": keras.config.floatx(),
        "image_data_format": keras.config.image_data_format(),
        "epsilon": keras.config.epsilon(),
        "dtype_policy": keras.config.dtype_policy().name,
    }


def _set_settings(settings):
    """Set the settings of this process."""
    keras.config.set_floatx(settings["floatx"])
    keras.config.set_image_data_format(settings["image_data_format"])
    keras.config.set_epsilon(settings["epsilon"])
    keras.config.set_dtype_policy(settings["dtype_policy"])


def grow_gpu_memory() -> None:
    """Let TensorFlow take GPU memory as it needs it, so that several tasks fit on one GPU."""
    for gpu in tf.config.list_physical_devices("GPU"):
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            return  # the GPU is in use already; the choice was made before us

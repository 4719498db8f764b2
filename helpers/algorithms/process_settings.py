"""Settings of the whole process: a task has those of a new Python, and the script must match them.

The dtype of new weights, the order of an image's axes, the constant that keeps a logarithm finite:
Keras stores them per process, and every task is a new process. Settings made by the builder of the
model apply in every task, since it is called there; settings made elsewhere in the script do not.
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
        If the settings of the script differ from those of a task that has built the model.
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
    if of_the_script == _OF_A_NEW_PROCESS:  # the script has set nothing: the builder decides
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
    """Refuse settings of TensorFlow that tasks would lack, but environment variables can set."""
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
    """Read an environment variable of TensorFlow; 0 if it is not set."""
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
            return  # the GPU is in use already, with an earlier choice

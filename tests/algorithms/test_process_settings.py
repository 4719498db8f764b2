"""Settings of the process: those that the builder sets hold in tasks, others are refused."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.algorithms.process_settings import build_as_in_a_task
from helpers.data import ChestXrayDataset

SETTINGS = {
    "floatx": (keras.config.floatx, keras.config.set_floatx, "float64"),
    "epsilon": (keras.config.epsilon, keras.config.set_epsilon, 1e-3),
    "image_data_format": (
        keras.config.image_data_format,
        keras.config.set_image_data_format,
        "channels_first",
    ),
    "dtype_policy": (
        lambda: keras.config.dtype_policy().name,
        keras.config.set_dtype_policy,
        "mixed_float16",
    ),
}
EACH = pytest.mark.parametrize("name", SETTINGS)


@pytest.fixture(autouse=True)
def settings_stay_in_the_test():
    """Give the process back the settings that it had."""
    before = {name: get() for name, (get, _, _) in SETTINGS.items()}
    yield
    for name, (_, set_setting, _) in SETTINGS.items():
        set_setting(before[name])


def build():
    """Make a small model."""
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)])


def make(model):
    return TFFedAvgAlgo(
        model=model,
        loss="mse",
        optimizer="sgd",
        index_generator=NpIndexGenerator(4, 1),
        dataset=ChestXrayDataset,
        seed=0,
    )


@EACH
def test_a_setting_of_the_script_that_a_task_would_not_have_is_refused(name):
    get, set_setting, value = SETTINGS[name]
    usual = get()
    set_setting(value)
    with pytest.raises(
        ValueError,
        match=rf"Received .*{name}={value!r}, where a task has {usual!r}.*builds the model",
    ):
        make(build)
    assert get() == value  # what the user has set is not touched


@EACH
def test_what_the_builder_sets_holds_from_then_on(name):
    get, set_setting, value = SETTINGS[name]

    def build_with_setting():
        set_setting(value)
        return build()

    make(build_with_setting)
    assert get() == value
    make(build_with_setting)  # the script has now what a task will have
    with pytest.raises(ValueError, match=f"{name}={value!r}, where a task has"):
        make(build)


@EACH
def test_the_same_in_script_and_builder_is_no_contradiction(name):
    get, set_setting, value = SETTINGS[name]
    set_setting(value)

    def build_with_setting():
        set_setting(value)
        return build()

    make(build_with_setting)
    assert get() == value


def test_a_builder_that_fails_leaves_the_settings_as_they_were():
    def fail():
        keras.config.set_epsilon(1e-3)
        raise RuntimeError("no model")

    with pytest.raises(RuntimeError, match="no model"):
        build_as_in_a_task(fail)
    assert keras.config.epsilon() == 1e-7


SCRIPT = """
import json, os
import tensorflow as tf
from helpers.algorithms.process_settings import build_as_in_a_task

def attempt():
    try:
        return build_as_in_a_task(lambda: "built")
    except ValueError as error:
        return str(error)

said = {"nothing": attempt()}
for variable, set_setting in {
    "TF_NUM_INTRAOP_THREADS": lambda: tf.config.threading.set_intra_op_parallelism_threads(3),
    "TF_NUM_INTEROP_THREADS": lambda: tf.config.threading.set_inter_op_parallelism_threads(3),
    "TF_DETERMINISTIC_OPS": tf.config.experimental.enable_op_determinism,
}.items():
    set_setting()
    value = "1" if variable == "TF_DETERMINISTIC_OPS" else "3"
    os.environ.pop(variable, None)
    said[variable] = [attempt()]
    for text in ("0", "4", value):  # tasks inherit it
        os.environ[variable] = text
        said[variable].append(attempt())
print(json.dumps(said))
"""


@pytest.mark.slow
def test_settings_of_tensorflow_are_refused_unless_tasks_inherit_them():
    """They cannot be taken back in a process: it needs one of its own."""
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    said = json.loads(ended.stdout.splitlines()[-1])
    assert said.pop("nothing") == "built"
    assert len(said) == 3
    for variable, (without, zero, another, same) in said.items():
        value = 1 if variable == "TF_DETERMINISTIC_OPS" else 3
        for refused in (without, zero, another):
            assert f"set {variable}={value} before Python starts" in refused
        assert same == "built"

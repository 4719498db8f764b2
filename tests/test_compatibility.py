"""Compatibility: every name that is not public is there, and stands in one module."""

import importlib.metadata
import random
import re
from pathlib import Path

import keras
import pytest
import tensorflow as tf
from keras import layers
from substrafl.index_generator import NpIndexGenerator

from helpers import compatibility
from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset

HELPERS = Path(compatibility.__file__).parent
# What belongs to another package: its private modules, and attributes of its objects.
PRIVATE = re.compile(
    r"keras\.src|tensorflow\.(python|core|compiler)\b|substrafl\.\w+(\.\w+)*\._"
    r"|(?<!self)(?<!cls)(?<!super\(\))(?<!algo)\._(?!_)[a-z]\w*"
)


@pytest.fixture
def nested():
    """Make a model with a model and a layer of layers in it."""
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(3, name="inner")], name="within")
    wrapped = layers.TimeDistributed(layers.Dense(2, name="wrapped"), name="wrapping")
    inputs = keras.Input((5, 4))
    outputs = layers.Softmax(name="last")(wrapped(layers.TimeDistributed(inner)(inputs)))
    return keras.Model(inputs, outputs, name="whole")


def test_layers_of_all_levels_are_listed(nested):
    names = [layer.name for layer in compatibility.flatten_layers(nested)]
    assert names[0] == "whole"
    assert {"within", "inner", "wrapping", "wrapped", "last"} <= set(names)
    assert compatibility.flatten_layers(nested, include_self=False)[0] is not nested


def test_the_last_operation_is_the_layer_that_was_called_last(nested):
    assert compatibility.last_operation(nested.outputs[0]).name == "last"


def test_keras_draws_from_the_generator_that_is_found():
    keras.utils.set_random_seed(3)
    state = compatibility.keras_seed_generator().state
    before = state.numpy().copy()
    first = keras.random.uniform((2,))
    assert (state.numpy() != before).any()
    state.assign(before)
    assert (keras.random.uniform((2,)) == first).numpy().all()


def test_an_optimizer_holds_a_tracker():
    optimizer = keras.optimizers.Adam()
    kinds = [type(value) for value in vars(optimizer).values()]
    assert kinds.count(compatibility.variable_tracker()) == 1


def test_collections_of_an_optimizer_are_tracked():
    optimizer = keras.optimizers.Adam()
    optimizer.a, optimizer.b, optimizer.c = ["one"], {"two": 2}, {3}
    kinds = compatibility.tracked_collections()
    assert {type(one) for one in (optimizer.a, optimizer.b, optimizer.c)} < set(kinds)


def test_variables_that_are_excluded_from_weight_decay_are_found():
    variable = keras.Variable(1.0)
    optimizer = keras.optimizers.AdamW()
    assert compatibility.excluded_from_weight_decay(optimizer) == set()
    optimizer.exclude_from_weight_decay(var_list=[variable])
    assert len(compatibility.excluded_from_weight_decay(optimizer)) == 1


def test_what_tensorflow_draws_is_repeated():
    tf.random.set_seed(5)
    tf.random.uniform([])
    seed, state = compatibility.get_tensorflow_seed()
    assert seed == 5
    assert state != random.Random(5).getstate()  # something was drawn
    drawn = float(tf.random.uniform([]))
    compatibility.set_tensorflow_seed(seed, state)
    assert float(tf.random.uniform([])) == drawn


def test_determinism_is_off_unless_it_was_asked_for():
    assert compatibility.is_op_determinism_enabled() is False


def test_an_operation_calls_what_it_is_told():
    algo = TFFedAvgAlgo(
        model=lambda: keras.Sequential([keras.Input((2,)), layers.Dense(1)]),
        loss="mse",
        optimizer="sgd",
        index_generator=NpIndexGenerator(batch_size=2, num_updates=1),
        dataset=ChestXrayDataset,
    )
    operation = algo.train(data_samples=["key"])
    compatibility.change_remote(operation, method="receive", title="Receiving")
    assert operation.remote_struct.summary()["method_name"] == "receive"
    assert operation.remote_struct.algo_name == "Receiving"
    compatibility.change_remote(operation, remote_class=lambda *_, **named: named["method_name"])
    assert operation.remote_struct.get_remote_instance() == "receive"


def test_a_version_without_a_name_says_so(monkeypatch, nested):
    with pytest.raises(ImportError, match=r"keras\.src\.utils:nothing.*install keras 3\.15"):
        compatibility.find_name("keras.src.utils:nothing")
    with pytest.raises(ImportError, match=r"random\.Random\._rng, which has no public"):
        compatibility.find_attribute(random.Random(), "_rng")


@pytest.mark.parametrize("folder", ["algorithms", "exchange", "models.py", "strategies"])
def test_nothing_private_of_others_stands_elsewhere(folder):
    place = HELPERS / folder
    found = [
        f"{path.name}:{number}: {line.strip()}"
        for path in (place.rglob("*.py") if place.is_dir() else [place])
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if PRIVATE.search(line) and not line.lstrip().startswith("#")
    ]
    assert found == []


def test_the_versions_that_are_named_are_installed():
    packages = re.findall(r"(\w+) (\d+\.\d+)", compatibility._TRIED)
    assert len(packages) == 4
    for package, version in packages:
        assert importlib.metadata.version(package).startswith(f"{version}.")

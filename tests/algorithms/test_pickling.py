"""Pickling: losses and optimizers arrive with every setting, or are refused by name."""

import copy
import functools
import threading

import cloudpickle
import keras
import numpy as np
import pytest
from keras import layers, losses, optimizers

from helpers.algorithms.pickling import check_that_it_travels, pickle_whole_objects


def travel(value):
    """Send a value to another task."""
    pickle_whole_objects()
    return cloudpickle.loads(cloudpickle.dumps(value))


def copied(value):
    """Copy a value, as an algorithm copies what it is given."""
    pickle_whole_objects()
    return copy.deepcopy(value)


EACH_WAY = pytest.mark.parametrize("send", [travel, copied])


@EACH_WAY
def test_settings_that_keras_configuration_leaves_out_arrive(send):
    given = losses.Huber(delta=0.1)
    arrived = send(given)
    assert vars(arrived) == vars(given)
    # delta · (|error| − delta / 2) = 0.1 · (1 − 0.05); with the default delta of 1 it is 0.5
    assert float(arrived(np.ones((1, 1)), np.zeros((1, 1)))) == pytest.approx(0.095, abs=1e-7)


class Scaled(losses.Loss):
    """A loss with a setting that must be given, and without get_config."""

    def __init__(self, factor, **kept):
        super().__init__()
        self.factor = factor
        vars(self).update(kept)

    def call(self, y_true, y_pred):
        return self.factor * keras.ops.mean(keras.ops.abs(y_true - y_pred), -1)


class WithoutLock(Scaled):
    """Says itself what of it is pickled."""

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if name != "lock"}


class MadeAgain(Scaled):
    """Says itself how it is made again."""

    def __reduce__(self):
        return MadeAgain, (self.factor,)


class MadeByProtocol(Scaled):
    """The same, for each version of pickles."""

    def __reduce_ex__(self, protocol):
        return MadeByProtocol, (self.factor,)


class InOrder(Scaled):
    """Has a state that is no dictionary."""

    def __getstate__(self):
        return (self.factor, vars(self)["_dtype_policy"])

    def __setstate__(self, state):
        Scaled.__init__(self, state[0])


@EACH_WAY
@pytest.mark.parametrize("cls", [Scaled, WithoutLock, MadeAgain, MadeByProtocol, InOrder])
def test_a_loss_of_ones_own_arrives_as_its_class_has_it(send, cls):
    kept = {} if cls is Scaled else {"lock": threading.Lock()}
    arrived = send(cls(3.0, **kept))
    assert type(arrived) is cls
    assert not hasattr(arrived, "lock")
    assert float(arrived(np.ones((2, 1)), np.zeros((2, 1)))) == 3


@EACH_WAY
def test_what_a_loss_holds_arrives(send):
    given = Scaled(2.0, weight=keras.Variable([3.0, 4.0], name="weight"), table={"a": (1, [2])})
    arrived = send(given)
    np.testing.assert_array_equal(arrived.weight, [3, 4])
    assert arrived.table == {"a": (1, [2])}
    arrived.weight.assign([0.0, 0.0])
    np.testing.assert_array_equal(given.weight, [3, 4])


class Momentum(optimizers.Optimizer):
    """An optimizer as users write it: a setting that must be given, no get_config, lists."""

    def __init__(self, rate, decay):
        super().__init__(learning_rate=rate)
        self.decay = decay
        self.extra = [keras.Variable(1.0), 2]
        self.named = {"a": keras.Variable(2.0)}

    def build(self, variables):
        super().build(variables)
        self.slots = self.add_optimizer_variables(variables, "slot")

    def update_step(self, gradient, variable, learning_rate):
        slot = self.slots[self._get_variable_index(variable)]
        self.assign(slot, self.decay * slot + gradient)
        self.assign_sub(variable, learning_rate * slot)


OPTIMIZERS = {
    "Adam": lambda: optimizers.Adam(0.1),
    "Muon": lambda: optimizers.Muon(0.1, exclude_layers=["output"]),
    "LossScaleOptimizer": lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.1)),
    "MultiOptimizer": lambda: optimizers.MultiOptimizer(
        optimizers.OptimizerMap(optimizers.SGD(0.1), {".*bias": optimizers.Adam(0.2)})
    ),
    "own": lambda: Momentum(0.1, 0.5),
}


@EACH_WAY
@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_arrives_with_variables_of_its_own(send, make):
    given, weight = make(), keras.Variable([1.0, 2.0])
    arrived = send(given)
    pairs = list(zip(given.variables, arrived.variables, strict=True))
    assert len({id(one) for one in arrived.variables}) == len(pairs)
    assert not {id(one) for one in given.variables} & {id(one) for one in arrived.variables}
    for one, other in pairs:
        assert (one.name, one.dtype) == (other.name, other.dtype)
        np.testing.assert_array_equal(one, other)
    for optimizer in (given, arrived):
        optimizer.build([weight])
    # What is made later is tracked too, once.
    assert len({id(one) for one in arrived.variables}) == len(given.variables)


@EACH_WAY
def test_a_learning_rate_can_be_assigned_after_arriving(send):
    arrived = send(optimizers.SGD(0.1))
    arrived.learning_rate = 0.5
    assert [float(one) for one in arrived.variables] == [0, 0.5]
    weight = keras.Variable([1.0])
    arrived.build([weight])
    arrived.apply([np.float32([1.0])])
    np.testing.assert_array_equal(weight, [0.5])


@EACH_WAY
def test_lists_and_dictionaries_of_an_optimizer_track_on(send):
    arrived = send(Momentum(0.1, 0.5))
    before = len(arrived.variables)
    arrived.extra.append(keras.Variable(3.0))
    arrived.named["b"] = keras.Variable(4.0)
    assert [float(one) for one in arrived.variables[before:]] == [3, 4]
    assert [float(one) for one in arrived.variables[:before]] == pytest.approx([0, 0.1, 1, 2])


@EACH_WAY
def test_names_that_are_excluded_from_weight_decay_arrive(send):
    given = optimizers.SGD(0.5, weight_decay=0.5)
    given.exclude_from_weight_decay(var_names=["bias"])
    arrived = send(given)
    variables = [keras.Variable([1.0], name=name) for name in ("kernel", "bias")]
    arrived.build(variables)
    arrived.apply([np.zeros(1, "float32")] * 2)
    # kernel − rate · decay · kernel = 1 − 0.25
    assert [float(one[0]) for one in variables] == [0.75, 1]


def test_variables_that_are_excluded_from_weight_decay_are_refused():
    """A task builds the model anew, with other variables: nothing would be excluded there."""
    optimizer = optimizers.AdamW(0.1)
    optimizer.exclude_from_weight_decay(var_list=[keras.Variable([1.0])])
    with pytest.raises(ValueError, match=r"Expected optimizer to name.*var_names"):
        check_that_it_travels({"loss": "mse", "optimizer": optimizer})


def test_a_pickle_is_the_same_in_every_process():
    """Keras counts unnamed optimizers and losses in a process."""
    pickle_whole_objects()
    for make in (lambda: optimizers.Adam(0.1), lambda: Scaled(1.0)):
        assert cloudpickle.dumps(make()) == cloudpickle.dumps(make())
    assert travel(optimizers.SGD(0.1, name="mine_7")).name == "mine_7"


LOCK = threading.Lock()


def hold_a_lock():
    """Make a model with something that stays in the script."""
    with LOCK:
        return keras.Sequential([keras.Input((1,)), layers.Dense(1)])


def optimizer_with(**attributes):
    optimizer = optimizers.SGD(0.1)
    vars(optimizer).update(attributes)
    return optimizer


WITH_FAULTS = {
    "model.LOCK (lock)": lambda: {"model": hold_a_lock},
    "model (partial).x (lock)": lambda: {"model": functools.partial(print, x=LOCK)},
    "loss (Scaled).lock (lock)": lambda: {"model": None, "loss": Scaled(1.0, lock=LOCK)},
    "loss (Scaled).table.a.1 (lock)": lambda: {"loss": Scaled(1.0, table={"a": [0, LOCK]})},
    "loss (Scaled).draws (generator)": lambda: {"loss": Scaled(1.0, draws=(i for i in "a"))},
    "loss.b (Scaled).lock (lock)": lambda: {"loss": {"a": "mse", "b": Scaled(1.0, lock=LOCK)}},
    "optimizer (SGD).log (lock)": lambda: {"optimizer": optimizer_with(log=LOCK)},
    "optimizer (SGD)._learning_rate.rate (lock)": lambda: {
        "optimizer": (lambda rate: optimizers.SGD(lambda: rate))(LOCK)
    },
}


@pytest.mark.parametrize(("place", "make"), WITH_FAULTS.items(), ids=WITH_FAULTS)
def test_what_cannot_travel_is_named(place, make):
    pickle_whole_objects()
    with pytest.raises(TypeError) as error:
        check_that_it_travels(make())
    kind = place.rpartition("(")[2][:-1]
    assert f"Received {place}, which cannot be pickled (TypeError: cannot pickle" in str(
        error.value
    )
    assert f"{kind}' object" in str(error.value)


def test_an_open_file_is_named(tmp_path):
    pickle_whole_objects()
    with (
        (tmp_path / "log").open("w") as file,
        pytest.raises(TypeError, match=r"loss \(Scaled\)\.log \(TextIOWrapper\)"),
    ):
        check_that_it_travels({"loss": Scaled(1.0, log=file)})


def test_what_refers_to_itself_is_named_too():
    loss = Scaled(1.0, lock=LOCK)
    vars(loss)["again"] = {"loss": loss}
    vars(loss)["lock"] = vars(loss).pop("lock")  # behind it
    pickle_whole_objects()
    with pytest.raises(TypeError, match=r"Received loss \(Scaled\)\.again\.loss"):
        check_that_it_travels({"loss": loss})

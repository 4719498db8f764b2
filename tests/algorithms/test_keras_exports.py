"""Everything that Keras exports to train with, every argument off its default: a round is a fit.

The cases are read off the installed Keras, so that a new release adds its own. Each argument is
moved by itself, and what was moved must show in the weights that ``Model.fit`` leaves: a setting
that gets lost on the way to a task cannot hide. An argument of which no rule and no table knows a
value fails, and says which table to extend.
"""

import functools
import inspect

import cloudpickle
import keras
import numpy as np
import pytest
from keras import layers, losses, optimizers
from keras.optimizers import schedules
from substrafl.index_generator import NpIndexGenerator
from substrafl.model_loading import download_algo_state
from substrafl.strategies import SingleOrganization

from helpers.algorithms import TFFedAvgAlgo, TFSingleOrganizationAlgo
from helpers.data import ChestXrayDataset
from helpers.exchange.weights import snake_case
from helpers.local_mode import Federation
from helpers.openers.chest_xray_opener import ChestXrayOpener

SIZE, UPDATES = 8, 3
# A lost setting moves weights of order 1 by more than VISIBLE; rounding stays far below TOLERANCE.
TOLERANCE, VISIBLE = 1e-6, 1e-5

# Values that no rule could guess. They are made again for each training, which must share nothing.
OFF_DEFAULT = {
    "axis": lambda: 1,
    "clipnorm": lambda: 0.1,
    "clipvalue": lambda: 0.02,
    "default_optimizer": lambda: optimizers.Adam(0.05),
    "dtype": lambda: "float64",
    "dynamic_growth_steps": lambda: 1,
    "ema_overwrite_frequency": lambda: 2,
    "exclude_layers": lambda: ["output"],
    "global_clipnorm": lambda: 0.1,
    "gradient_accumulation_steps": lambda: 2,
    "ignore_class": lambda: 0,
    "initial_scale": lambda: 2.0**127,
    "inner_optimizer": lambda: optimizers.Adam(0.05),
    "loss_scale_factor": lambda: 8.0,
    "name": lambda: "renamed",
    "optimizer_map": lambda: optimizers.OptimizerMap(optimizers.Adam(0.05)),
    "reduction": lambda: "sum",
    "warmup_target": lambda: 0.3,
    "weight_decay": lambda: 0.3,
    # In one class only, where others mean something else by that name, or it would diverge.
    "Dice.axis": lambda: 2,
    "Tversky.axis": lambda: 2,
    "Adafactor.epsilon_2": lambda: 1.0,
    "Muon.muon_b": lambda: -4.7,
    "OptimizerMap.optimizer_map": lambda: {".*output.*": optimizers.Adam(0.05)},
}
# What must be given, and what is given so that a few updates show something.
GIVEN = {
    "boundaries": lambda: [0, 1],
    "decay_rate": lambda: 0.5,
    "decay_steps": lambda: 2,
    "default_optimizer": lambda: optimizers.SGD(0.05),
    "first_decay_steps": lambda: 1.5,  # no step falls on a restart, where rounding decides
    "initial_learning_rate": lambda: 0.1,
    "inner_optimizer": lambda: optimizers.SGD(0.05),
    "learning_rate": lambda: 0.05,
    "optimizer_map": lambda: optimizers.OptimizerMap(optimizers.SGD(0.05)),
    "values": lambda: [0.1, 0.05, 0.02],
    "Adadelta.learning_rate": lambda: 1.0,
    "Circle.gamma": lambda: 2.0,
    "Ftrl.learning_rate": lambda: 0.5,
    "OptimizerMap.optimizer_map": lambda: None,
}
# What an argument needs beside it to have an effect, in the classes that take it.
TOGETHER = {
    "alpha": {"apply_class_balancing": True},
    "amsgrad": {"beta_2": 0.5},
    "cycle": {"decay_steps": 1.5},
    "dynamic_growth_steps": {"initial_scale": 2.0**127},
    "ema_momentum": {"use_ema": True},
    "ema_overwrite_frequency": {"use_ema": True},
    "from_logits": {},
    "initial_scale": {"dynamic_growth_steps": 1},  # doubled, it is infinite: updates are left out
    "nesterov": {"momentum": 0.5},
    "warmup_steps": {"warmup_target": 0.3},
    "warmup_target": {"warmup_steps": 2},
}
# What changes no weight, and why. In each class these are moved together: none may change.
INVISIBLE = {
    "dtype": "float64 in the loss differs from float32 by less than the tolerance",
    "loss_scale_factor": "to multiply and divide by a power of two rounds nothing",
    "name": "nothing is computed from it",
}
# What should change weights by its description, and does not in Keras 3.15, by fit neither.
NO_EFFECT = {
    "Adafactor.relative_step": "the bound that it sets holds without it",
    "ScheduleFreeAdamW.beta_1": "the momentum is read when it is new already, and beta_1 cancels",
}
# What Keras refuses, under TensorFlow or at all, with the words to look for.
REFUSED = {"SparseCategoricalCrossentropy.axis": "Only axis=-1 is currently supported"}
BASES = {
    losses: losses.Loss,
    optimizers: optimizers.Optimizer,
    schedules: schedules.LearningRateSchedule,
}
NO_OPTIMIZER = {"OptimizerMap"}  # the argument of another, with which it is tried
NO_LOSS = {"deserialize", "get", "serialize"}
# Functions that take more than targets and predictions, which fit does not give.
PARTIAL = {"categorical_generalized_cross_entropy": {"q": 0.3}}
# Rates under which these leave weights of order 1.
RATES = {"mean_absolute_percentage_error": 1e-3}


class Rows:
    """Inputs, targets and weights by rows."""

    def __init__(self, data_from_opener, is_inference):
        self._arrays = data_from_opener

    def __len__(self):
        return len(self._arrays[0])

    def __getitem__(self, indices):
        return tuple(array[indices] for array in self._arrays)


def build(*last):
    """Make a network whose first layer has a name that an optimizer takes for an embedding."""
    first = keras.initializers.RandomNormal(stddev=0.5, seed=1)
    embedding = layers.Dense(3, use_bias=False, kernel_initializer=first, name="embedding")
    return keras.Sequential([keras.Input((3, 4)), embedding, *last])


def build_linear():
    """Make a network for regression."""
    second = keras.initializers.RandomNormal(stddev=0.5, seed=2)
    return build(layers.Dense(3, use_bias=False, kernel_initializer=second, name="output"))


def build_with(activation):
    """Make a network for a loss."""
    return build(layers.Activation(activation))


def build_flat():
    """Make a network for embeddings of length 1."""
    return build(layers.Flatten(), layers.UnitNormalization())


def draw_data(kind, weight_shape=(3,)):
    """Draw the batches of a round: inputs, targets of a kind, weights."""
    rng = np.random.default_rng(0)
    shape = (SIZE * UPDATES, 3)
    classes = rng.integers(0, 3, shape)
    targets = {
        "real": rng.uniform(0.5, 2, (*shape, 3)),
        "binary": rng.integers(0, 2, (*shape, 3)),
        "one hot": np.eye(3)[classes],
        "class": classes,
        "class of each row": np.arange(len(classes)) % 3,
        "sequence": rng.integers(1, 3, (len(classes), 2)),
    }[kind]
    weights = rng.uniform(0.5, 1.5, (len(classes), *weight_shape))
    integers = kind in ("class", "class of each row", "sequence")
    return (
        rng.normal(size=(*shape, 4)).astype("float32"),
        targets.astype("int32" if integers else "float32"),
        weights.astype("float32"),
    )


def setting_of_loss(name, *, from_logits=False):
    """Return network, data and learning rate for a loss by its name in snake case."""
    rate = RATES.get(name, 0.1)
    if name == "circle":
        return build_flat, draw_data("class of each row", ()), rate
    if name == "ctc":
        return functools.partial(build_with, "linear"), draw_data("sequence", ()), rate
    kind, activation = "real", "sigmoid"
    if "categorical" in name:
        is_sparse = "sparse" in name or "generalized" in name
        kind, activation = "class" if is_sparse else "one hot", "softmax"
    elif "binary" in name:
        kind = "binary"
    if from_logits:
        activation = "linear"
    return functools.partial(build_with, activation), draw_data(kind), rate


def train_by_fit(build_model, optimizer, loss, data):
    """Train by ``Model.fit``; return in one row what was added to the weights."""
    model = build_model()
    before = flatten(model.get_weights())
    # Without tracing, which takes longer than everything else; the numbers are the same.
    model.compile(optimizer, loss, run_eagerly=True, jit_compile=False)
    x, y, sample_weight = data
    model.fit(x, y, sample_weight=sample_weight, batch_size=SIZE, shuffle=False, verbose=0)
    return flatten(model.get_weights()) - before


def make_as_a_task(build_model, optimizer, loss):
    """Make an algorithm in the script, and from it the one that a task has."""
    algo = TFFedAvgAlgo(
        model=build_model,
        loss=loss,
        optimizer=optimizer,
        index_generator=NpIndexGenerator(SIZE, UPDATES, shuffle=False),
        dataset=Rows,
        seed=0,
    )
    # SubstraFL's RemoteStruct travels with these three, and makes the algorithm in every task.
    cls, args, kwargs = cloudpickle.loads(cloudpickle.dumps((type(algo), algo.args, algo.kwargs)))
    return cls(*args, **kwargs)


def train_as_a_task(build_model, optimizer, loss, data):
    """Train for a round as a task does; return in one row what was added, and the algorithm."""
    algo = make_as_a_task(build_model, optimizer, loss)
    sent = algo.train(data_from_opener=data, shared_state=None, _skip=True)
    return flatten(sent.parameters_update), algo


def flatten(arrays):
    return np.concatenate([np.ravel(array) for array in arrays])


def parameters_of(cls):
    """List what a constructor takes by name."""
    variable = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    return {one.name: one for one in parameters if one.kind not in variable}


def look_up(table, cls, argument):
    """Find what makes the value of an argument, or None."""
    return table.get(f"{cls.__name__}.{argument}") or table.get(argument)


def move(value, where):
    """Move a value off itself, as its type has it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 2
    if isinstance(value, float):
        return value / 2 + 0.11
    if isinstance(value, list):
        return [move(one, where) for one in value]
    return pytest.fail(
        f"No value of {where} is known but its default, {value!r}: add one to OFF_DEFAULT in "
        f"{__name__}, with what it needs beside it in TOGETHER, or say in INVISIBLE why it "
        "changes no weight."
    )


def make_arguments(cls, moved, beside):
    """Return new arguments of a class: some moved, and what these need beside them."""
    parameters = parameters_of(cls)
    makers = {name: look_up(GIVEN, cls, name) for name in parameters}
    given = {name: make() for name, make in makers.items() if make}
    given |= {
        name: value
        for argument in beside
        for name, value in TOGETHER.get(argument, {}).items()
        if name in parameters
    }
    for argument in moved:
        make = look_up(OFF_DEFAULT, cls, argument)
        default = given.get(argument, parameters[argument].default)
        given[argument] = make() if make else move(default, f"{cls.__name__}({argument}=…)")
    return given


def make_case(module, cls, moved, beside):
    """Return network, optimizer, loss and data with which a class is tried."""
    one = cls(**make_arguments(cls, moved, beside))
    if module is losses:
        name, from_logits = snake_case(cls.__name__), "from_logits" in beside
        build_model, data, rate = setting_of_loss(name, from_logits=from_logits)
        return build_model, optimizers.SGD(rate), one, data
    if module is schedules:
        one = optimizers.SGD(one)
    elif cls.__name__ in NO_OPTIMIZER:
        one = optimizers.MultiOptimizer(one)
    return build_linear, one, "mse", draw_data("real")


@functools.cache
def fit_unmoved(module, cls, beside):
    """Train by fit without moving an argument, only with what it needs beside it."""
    return train_by_fit(*make_case(module, cls, (), beside))


def find_classes():
    """List what the modules export: module, name, class."""
    return [
        (module, name, cls)
        for module in BASES
        for name, cls in sorted(inspect.getmembers(module, inspect.isclass))
    ]


def find_cases():
    """List a case for every argument of every class."""
    return [
        pytest.param(module, cls, argument, id=f"{name}-{argument}")
        for module, name, cls in find_classes()
        if cls is not BASES[module]
        for argument in parameters_of(cls)
        if argument not in INVISIBLE
    ]


@pytest.mark.parametrize(("module", "cls", "argument"), find_cases())
def test_a_round_is_a_fit_whatever_argument_is_moved(module, cls, argument):
    where, beside = f"{cls.__name__}.{argument}", tuple({argument} & set(TOGETHER))
    case = make_case(module, cls, [argument], beside)
    if where in REFUSED:
        for train in (train_by_fit, train_as_a_task):
            with pytest.raises(ValueError, match=REFUSED[where]):
                train(*case)
        return
    received, _ = train_as_a_task(*case)
    expected = train_by_fit(*make_case(module, cls, [argument], beside))
    np.testing.assert_allclose(received, expected, rtol=0, atol=TOLERANCE)
    unmoved = fit_unmoved(module, cls, beside)
    shown = not np.allclose(expected, unmoved, rtol=0, atol=VISIBLE, equal_nan=True)
    assert shown or where in NO_EFFECT, (
        f"{where} changes nothing here: give it another value in OFF_DEFAULT, or in TOGETHER what "
        "it needs beside it; or say why in NO_EFFECT or INVISIBLE."
    )


@pytest.mark.parametrize(("module", "name", "cls"), find_classes())
def test_what_changes_no_weight_arrives_and_changes_none(module, name, cls):
    if cls is BASES[module]:
        return
    moved = [argument for argument in parameters_of(cls) if argument in INVISIBLE]
    received, algo = train_as_a_task(*make_case(module, cls, moved, ()))
    expected = fit_unmoved(module, cls, ())
    assert abs(expected).max() > VISIBLE
    np.testing.assert_allclose(received, expected, rtol=0, atol=TOLERANCE)
    arrived = algo.kwargs["loss" if module is losses else "optimizer"]
    settings = arrived.get_config()
    if module is schedules:
        settings = settings["learning_rate"]["config"]
    for argument in moved:
        received = settings[argument] if argument in settings else getattr(arrived, argument)
        assert received == OFF_DEFAULT[argument]()


@pytest.mark.parametrize(
    "name", [name for name, _ in inspect.getmembers(losses, inspect.isfunction)]
)
def test_a_function_is_a_loss_by_itself_and_by_its_name(name):
    if name in NO_LOSS:
        return
    build_model, data, rate = setting_of_loss(name)
    function = getattr(losses, name)
    ways = [functools.partial(function, **PARTIAL[name])] if name in PARTIAL else [function, name]
    expected = train_by_fit(build_model, optimizers.SGD(rate), ways[0], data)
    assert abs(expected).max() > VISIBLE
    for way in ways:
        received, _ = train_as_a_task(build_model, optimizers.SGD(rate), way, data)
        np.testing.assert_allclose(received, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("module", BASES)
def test_the_base_classes_train_neither_way(module):
    base = BASES[module]
    arguments = {"learning_rate": 0.1} if module is optimizers else {}
    for train in (train_by_fit, train_as_a_task):
        one = base(**arguments)
        optimizer = {losses: optimizers.SGD(), optimizers: one}.get(module)
        loss = one if module is losses else "mse"
        with pytest.raises(NotImplementedError):
            train(build_linear, optimizer or optimizers.SGD(one), loss, draw_data("real"))


def test_an_argument_that_no_table_knows_fails():
    with pytest.raises(pytest.fail.Exception, match=r"No value of New\(setting=…\).*OFF_DEFAULT"):
        move(None, "New(setting=…)")


def build_for_films():
    """Make a network of two layers for films of 8 px."""
    first, second = (keras.initializers.RandomNormal(stddev=0.3, seed=seed) for seed in (1, 2))
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(3, kernel_initializer=first),
            layers.Dense(1, kernel_initializer=second, name="output"),
        ]
    )


class Capped(losses.Loss):
    """A loss as users write it: with a setting that must be given, and no get_config."""

    def __init__(self, cap):
        super().__init__(name="capped")
        self.cap = cap

    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.minimum(keras.ops.abs(y_true - y_pred), self.cap), -1)


class Halved(schedules.LearningRateSchedule):
    """A schedule of the user's own, without get_config."""

    def __init__(self, start):
        self.start = start

    def __call__(self, step):
        return self.start / 2.0 ** keras.ops.cast(step, "float32")


def without_decay_of_biases():
    optimizer = optimizers.AdamW(0.05, weight_decay=0.5)
    optimizer.exclude_from_weight_decay(var_names=["bias"])
    return optimizer


RATE = 0.03
# Optimizer and loss; the same by Keras' configuration would be another, or none.
IN_TASKS = {
    "a setting of a loss": lambda: (optimizers.SGD(0.1), losses.Huber(delta=0.1)),
    "an own loss": lambda: (optimizers.SGD(0.1), Capped(0.4)),
    "a partial function": lambda: (
        optimizers.SGD(0.1),
        functools.partial(losses.huber, delta=0.2),
    ),
    "excluded variables": lambda: (without_decay_of_biases(), "mse"),
    "a lambda as learning rate": lambda: (optimizers.SGD(lambda: RATE), "mse"),
    "an own schedule": lambda: (optimizers.SGD(Halved(0.1)), "mse"),
    "averaged weights": lambda: (optimizers.SGD(0.1, use_ema=True, ema_momentum=0.6), "mse"),
    "a list in an optimizer": lambda: (optimizers.Muon(0.05, exclude_layers=["output"]), "mse"),
    "several optimizers": lambda: (
        optimizers.MultiOptimizer(
            optimizers.OptimizerMap(optimizers.SGD(0.1), {".*output.*": optimizers.Adam(0.05)})
        ),
        "mse",
    ),
}


@pytest.fixture(scope="module")
def one_hospital(tiny_samples):
    """Open a federation of one hospital; return it with the films and labels of its training."""
    films = ChestXrayOpener().get_data([tiny_samples["A"]["train"]])
    data = ChestXrayDataset(films, is_inference=False)[np.arange(SIZE * UPDATES)]
    with Federation({"A": tiny_samples["A"]}) as federation:
        yield federation, data


@pytest.mark.slow
@pytest.mark.parametrize("make", IN_TASKS.values(), ids=IN_TASKS)
def test_a_round_of_real_tasks_is_a_fit(one_hospital, make):
    federation, (x, y) = one_hospital
    optimizer, loss = make()
    algo = TFSingleOrganizationAlgo(
        model=build_for_films,
        loss=loss,
        optimizer=optimizer,
        index_generator=NpIndexGenerator(SIZE, UPDATES, shuffle=False),
        dataset=ChestXrayDataset,
        seed=0,
    )
    before = flatten(algo.model.get_weights())
    plan, _ = federation.execute(SingleOrganization(algo=algo), num_rounds=1)
    trained = download_algo_state(federation.clients["A"], plan.key).model
    received = flatten(trained.get_weights()) - before
    expected = train_by_fit(build_for_films, *make(), (x, y, None))
    assert abs(expected).max() > 1e-3
    np.testing.assert_allclose(received, expected, rtol=0, atol=TOLERANCE)

"""Models, optimizers and data that would train something else: refused, or equal to ``fit``."""

import copy
import functools
import json

import keras
import numpy as np
import pytest
from keras import layers, losses, optimizers
from substrafl.exceptions import NumUpdatesValueError
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies.schemas import FedAvgAveragedState

from helpers.algorithms import (
    TFFedAvgAlgo,
    TFFedPCAAlgo,
    TFNewtonRaphsonAlgo,
    TFScaffoldAlgo,
    TFSingleOrganizationAlgo,
)
from helpers.exchange import exchanged_variables, get_parameters, weighted_sum_parameters

SIZE, UPDATES = 5, 4
RNG = np.random.default_rng(0)
DATA = (
    RNG.normal(size=(SIZE * UPDATES, 6)).astype("float32"),
    RNG.normal(size=(SIZE * UPDATES, 2)).astype("float32"),
)


class Rows:
    """Inputs and targets by rows."""

    def __init__(self, data_from_opener, is_inference):
        self._arrays, self._is_inference = data_from_opener, is_inference

    def __len__(self):
        return len(self._arrays[0])

    def __getitem__(self, indices):
        x, y = (array[indices] for array in self._arrays)
        return x if self._is_inference else (x, y)


def dense(units, seed, **settings):
    initializer = keras.initializers.RandomNormal(stddev=0.5, seed=seed)
    return layers.Dense(units, kernel_initializer=initializer, **settings)


def build(*, trainable=True):
    model = keras.Sequential([keras.Input((6,)), dense(3, 1, activation="tanh"), dense(2, 2)])
    model.trainable = trainable
    return model


def make(cls=TFSingleOrganizationAlgo, **changes):
    return cls(
        **{
            "model": build,
            "loss": "mse",
            "optimizer": optimizers.SGD(0.1),
            "index_generator": NpIndexGenerator(SIZE, UPDATES, shuffle=False),
            "dataset": Rows,
            "seed": 0,
        }
        | changes
    )


def train(algo, shared_state=None, data=DATA):
    return algo.train(data_from_opener=data, shared_state=shared_state, _skip=True)


def fit(build_model, optimizer, loss="mse", rounds=1):
    """Train a model by as many calls of ``fit``, each with the same batches."""
    model = build_model()
    model.compile(optimizer, loss, jit_compile=False)
    for _ in range(rounds):
        model.fit(*DATA, batch_size=SIZE, shuffle=False, verbose=0)
    return model.get_weights()


def assert_same(received, expected, tolerance=1e-6):
    for one, other in zip(received, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": "mse"},
        {"optimizer": "adam"},
        {"optimizer": "adam", "loss": "mse", "loss_weights": [0.5]},
        {"loss": "mse", "metrics": ["mae"]},
        {"loss": "mse", "steps_per_execution": 4},
    ],
)
def test_what_the_builder_compiles_is_refused(settings):
    def compiled():
        model = build()
        model.compile(**settings)
        return model

    named = ".*".join(name for name in settings if name not in ("optimizer", "loss"))
    with pytest.raises(ValueError, match=rf"does not compile the model.*compiled with .*{named}"):
        make(model=compiled)


OWN = {
    "train_step": lambda self, data: {},
    "predict_step": lambda self, data: data,
    "make_train_function": lambda self, force=False: None,
    "make_predict_function": lambda self, force=False: None,
}


@pytest.mark.parametrize("name", OWN)
def test_a_step_of_the_models_own_is_refused(name):
    own = type("Own", (keras.Model,), {name: OWN[name]})

    def build_own():
        inputs = keras.Input((6,))
        return own(inputs, dense(2, 1)(inputs))

    with pytest.raises(ValueError, match=f"Received Own with its own {name}, which no algorithm"):
        make(model=build_own)


class Layered(keras.Model):
    """A subclassed model; it has no variables before it is called."""

    def __init__(self):
        super().__init__()
        self.first, self.second = dense(3, 1), dense(2, 2)

    def call(self, x):
        return self.second(self.first(x))


class Tripled(Layered):
    """A model with a loss of its own."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return 3 * super().compute_loss(x, y, y_pred, sample_weight, training)


class OwnTargets(Layered):
    """A model with no other loss than its own, and targets of its own."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return keras.ops.mean((y[:, :1] - y_pred) ** 2)


def called(cls):
    """Return a builder that calls the model on one batch."""

    def build_called():
        model = cls()
        model(np.zeros((1, 6), "float32"))
        return model

    return build_called


def test_a_subclassed_model_that_is_not_built_is_refused_at_construction():
    with pytest.raises(ValueError, match=r"built model.*'layered.*without variables.*model\.build"):
        make(model=Layered)


@pytest.mark.parametrize(
    ("cls", "loss"), [(Layered, "mse"), (Tripled, losses.Huber(delta=0.3)), (OwnTargets, None)]
)
def test_a_subclassed_model_that_is_built_trains_as_fit(cls, loss):
    algo = make(model=called(cls), loss=loss)
    train(algo)
    assert_same(algo.model.get_weights(), fit(called(cls), optimizers.SGD(0.1), loss))


@pytest.mark.parametrize(
    "builder",
    [
        lambda: build(trainable=False),
        lambda: keras.Sequential([keras.Input((6,)), layers.Rescaling(2.0)]),
    ],
    ids=["everything frozen", "no weights"],
)
def test_a_model_with_nothing_to_train_is_refused(builder):
    with pytest.raises(ValueError, match=r"weights to train\. Received .* frozen or has none"):
        make(model=builder)


@pytest.mark.parametrize("builder", [lambda: None, lambda: dense(2, 1)])
def test_a_builder_that_returns_no_model_is_refused(builder):
    with pytest.raises(TypeError, match=r"Expected model to return a keras\.Model"):
        make(model=builder)


def test_an_optimizer_that_was_used_is_refused():
    optimizer = optimizers.SGD(0.1)
    fit(build, optimizer)
    with pytest.raises(ValueError, match=r"Expected a new optimizer.*belongs to a model already"):
        make(optimizer=optimizer)


def test_a_dataset_without_any_sample_is_named():
    algo, nothing = make(), tuple(array[:0] for array in DATA)
    with pytest.raises(ValueError, match=r"to train on\. Received none: Rows has the length 0"):
        train(algo, data=nothing)
    with pytest.raises(ValueError, match=r"to predict on\. Received none: Rows has the length 0"):
        algo.predict(nothing)


def test_an_average_in_float64_is_cast():
    algo = make(TFFedAvgAlgo)
    update = train(algo).parameters_update
    start = list(get_parameters(exchanged_variables(algo.model)).values())
    average = [np.full(one.shape, 0.1, np.float64) for one in update]
    train(algo, FedAvgAveragedState(avg_parameters_update=average))
    for one, other in zip(
        get_parameters(exchanged_variables(algo.model)).values(), start, strict=True
    ):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other + np.float32(0.1))


AVERAGED = {
    "at the end": lambda: optimizers.SGD(0.1, use_ema=True, ema_momentum=0.6),
    "now and then": lambda: optimizers.Adam(
        0.1, use_ema=True, ema_momentum=0.6, ema_overwrite_frequency=3
    ),
    "in a loss scale": lambda: optimizers.LossScaleOptimizer(
        optimizers.SGD(0.1, use_ema=True, ema_momentum=0.6)
    ),
}


@pytest.mark.parametrize("make_optimizer", AVERAGED.values(), ids=AVERAGED)
def test_averaged_weights_end_a_round_as_they_end_a_fit(make_optimizer, tmp_path):
    """The second round goes on with the averages of the first, in another task."""
    algo = make(optimizer=make_optimizer())
    train(algo)
    assert_same(algo.model.get_weights(), fit(build, make_optimizer()))
    algo.save_local_state(tmp_path / "state")
    algo = make(optimizer=make_optimizer()).load_local_state(tmp_path / "state")
    train(algo)
    expected = fit(build, make_optimizer(), rounds=2)
    assert_same(algo.model.get_weights(), expected)
    plain = fit(build, optimizers.SGD(0.1), rounds=2)
    assert max(abs(a - b).max() for a, b in zip(expected, plain, strict=True)) > 1e-3


@pytest.fixture
def float32_again():
    """Give the process its dtype policy back."""
    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


class Faint(losses.Loss):
    """Its gradients are below the smallest number of float16."""

    def call(self, y_true, y_pred):
        return keras.ops.mean((y_true - y_pred) ** 2, -1) * 1e-8


@pytest.mark.usefixtures("float32_again")
def test_gradients_in_float16_are_scaled_as_in_fit():
    def build_half():
        keras.config.set_dtype_policy("mixed_float16")
        return keras.Sequential([keras.Input((6,)), dense(3, 1), dense(2, 2, dtype="float32")])

    algo = make(model=build_half, loss=Faint(), optimizer=optimizers.SGD(1e6))
    start = algo.model.get_weights()
    train(algo)
    expected = fit(build_half, optimizers.SGD(1e6), Faint())
    assert abs(expected[0] - start[0]).max() > 1e-3  # all of it is lost without the scale
    # A number of float16 is rounded by up to 1 / 2048, and fit may rewrite its graph, so that sums
    # are rounded in another order; a hundredth of the weights leaves room for some of them.
    assert_same(algo.model.get_weights(), expected, tolerance=1e-2 * abs(expected[0]).max())


class Halved(optimizers.schedules.LearningRateSchedule):
    """A schedule of the user's own, without get_config."""

    def __call__(self, step):
        return 0.1 / 2.0 ** keras.ops.cast(step, "float32")


SUMMARIZED = {
    "own loss": {"loss": Faint()},
    "a function": {"loss": losses.huber},
    "several losses": {"loss": [losses.Huber(delta=0.1)]},
    "a schedule": {"optimizer": optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 3))},
    "an own schedule": {"optimizer": optimizers.SGD(Halved())},
    "a name": {"optimizer": "adam"},
    "a loss scale": {"optimizer": optimizers.LossScaleOptimizer(optimizers.Adam())},
}


@pytest.mark.parametrize("changes", SUMMARIZED.values(), ids=SUMMARIZED)
def test_a_summary_is_json_and_the_same_for_the_same_algorithm(changes):
    """A memory address or a counted name would make another algorithm of it in every process."""
    first = make(TFFedAvgAlgo, **changes)
    second = make(TFFedAvgAlgo, **copy.deepcopy(changes))
    summary = json.dumps(first.summary(), sort_keys=True)
    assert summary == json.dumps(second.summary(), sort_keys=True)
    assert " at 0x" not in summary


def test_components_without_a_seed_are_refused():
    with pytest.raises(ValueError, match=r"Expected a seed: every organization.*Received None"):
        TFFedPCAAlgo(Rows, 6, 2, seed=None)


class Weighted(TFNewtonRaphsonAlgo):
    """Gives the first target three times the weight of the second."""

    def _compute_loss(self, x, y, sample_weight=None):
        errors = (y - self._model(x, training=True)) ** 2
        return keras.ops.mean(keras.ops.sum(errors * np.array([3.0, 1.0]), -1))


def test_newton_raphson_has_a_hook_for_a_loss_of_ones_own():
    """For squares the Hessian is 2 · weight · mean(z zᵀ), with z = (x, 1), whatever the weights."""

    def build_linear():
        return keras.Sequential([keras.Input((6,)), layers.Dense(2, dtype="float64")])

    settings = {"dataset": Rows, "batch_size": SIZE, "l2_coeff": 0.0, "seed": 0}
    algo = Weighted(model=build_linear, loss="mse", **settings)
    data = tuple(array.astype("float64") for array in DATA)
    kernel, bias = algo.model.get_weights()
    sent = train(algo, data=data)
    x, y = data
    errors = (x @ kernel + bias - y) * [3, 1]
    assert_same(sent.gradients, [2 * x.T @ errors / len(x), 2 * errors.mean(0)], 1e-9)
    rows = np.c_[x, np.ones(len(x))]
    moments = 2 * rows.T @ rows / len(x)
    first = np.r_[np.arange(0, 12, 2), 12]  # where the kernel and the bias of a target are
    np.testing.assert_allclose(sent.hessian[np.ix_(first, first)], 3 * moments, atol=1e-9)
    np.testing.assert_allclose(sent.hessian[np.ix_(first + 1, first + 1)], moments, atol=1e-9)
    np.testing.assert_allclose(sent.hessian[np.ix_(first, first + 1)], 0, atol=1e-9)


def test_whole_numbers_are_summed_and_never_rounded():
    counts = [{"n": np.array([1, 2])}, {"n": np.array([3, 5])}]
    np.testing.assert_array_equal(weighted_sum_parameters(counts, [2, -1])["n"], [-1, -1])
    with pytest.raises(ValueError, match=r"not whole.*Received whole numbers in \['n'\].*astype"):
        weighted_sum_parameters(counts, [0.5, 0.5])


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"disable_gpu": None}, TypeError, r"disable_gpu to be True or False\. Received None"),
        ({"index_generator": [1, 2]}, TypeError, r"such as NpIndexGenerator.*Received list"),
        (
            {"index_generator": NpIndexGenerator(8, 0)},
            NumUpdatesValueError,
            r"num_updates of at least 1\. Received 0",
        ),
        ({"proximal_mu": None}, ValueError, r"proximal_mu of 0 or more\. Received None"),
        ({"proximal_mu": "1"}, ValueError, r"proximal_mu of 0 or more\. Received 1"),
    ],
)
def test_arguments_of_another_kind_are_refused(changes, error, message):
    with pytest.raises(error, match=message):
        make(TFFedAvgAlgo, **changes)


@pytest.mark.parametrize(
    ("optimizer", "message"),
    [
        (
            lambda: optimizers.LossScaleOptimizer(optimizers.SGD(0.05, use_ema=True)),
            r"without use_ema.*Received use_ema=True",
        ),
        (
            lambda: optimizers.SGD(0.05, gradient_accumulation_steps=3),
            r"without gradient_accumulation_steps.*Received gradient_accumulation_steps=3",
        ),
        (
            lambda: optimizers.MultiOptimizer(optimizers.OptimizerMap(optimizers.SGD(0.05))),
            r"one learning rate.*Received MultiOptimizer",
        ),
    ],
)
def test_scaffold_refuses_updates_that_it_cannot_correct(optimizer, message):
    with pytest.raises(ValueError, match=message):
        make(TFScaffoldAlgo, optimizer=optimizer())


def test_a_lambda_as_learning_rate_is_summarized_without_a_warning():
    summary = make(TFFedAvgAlgo, optimizer=optimizers.SGD(lambda: 0.1)).summary()
    assert "SGD" in summary["optimizer"]["type"]


def test_a_models_own_loss_need_not_ask_whether_it_trains():
    class Plain(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None):
            return keras.ops.mean(keras.ops.square(y - y_pred)) * 3

    class Asking(keras.Model):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            return keras.ops.mean(keras.ops.square(y - y_pred)) * 3

    def build(cls):
        inputs = keras.Input((6,))
        return cls(inputs, dense(2, 1)(inputs))

    one, other = (
        train(make(TFFedAvgAlgo, model=functools.partial(build, cls))).parameters_update
        for cls in (Plain, Asking)
    )
    np.testing.assert_equal(one, other)


def test_a_models_own_way_to_its_loss_is_refused():
    class Own(keras.Model):
        def _compute_loss(self, *args, **kwargs):
            return super()._compute_loss(*args, **kwargs) + 1

    def build():
        inputs = keras.Input((6,))
        return Own(inputs, dense(2, 1)(inputs))

    with pytest.raises(ValueError, match=r"Own with its own _compute_loss"):
        make(TFFedAvgAlgo, model=build)

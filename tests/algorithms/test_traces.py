"""Traces: the graph that travels computes the same bits, and stays behind where it must."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies.schemas import FedAvgAveragedState

from helpers.algorithms import TFAlgo, TFFedAvgAlgo
from helpers.algorithms.randomness import get_random_state
from helpers.algorithms.traces import TracedFunction, Traces
from helpers.data.dataset import ChestXrayDataset


def build():
    """Make a small model with dropout and BatchNorm."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(1),
        ]
    )


def make(cls=TFFedAvgAlgo, **changes):
    return cls(
        **{
            "model": build,
            "loss": keras.losses.BinaryCrossentropy(from_logits=True),
            "optimizer": keras.optimizers.Adam(0.01),
            "index_generator": NpIndexGenerator(batch_size=4, num_updates=3),
            "dataset": ChestXrayDataset,
            "seed": 1,
        }
        | changes
    )


def train(algo, data, update=None):
    average = None if update is None else FedAvgAveragedState(avg_parameters_update=update)
    return algo.train(data_from_opener=data, shared_state=average, _skip=True).parameters_update


def written(algo, name="step"):
    """Return what is written of a traced function."""
    return algo._traces.get(name, None, None, None).save()


def is_cached(algo, name="step"):
    """Tell whether a traced function was read, and not traced."""
    return algo._traces.get(name, None, None, None).is_cached


def train_as_tasks(make_algo, data, path, *, rounds=3, keep_trace=True):
    """Train with a new algorithm for each round, as tasks do; tell which used a saved trace."""
    update, cached = None, []
    for number in range(rounds):
        algo = make_algo()
        if number:
            algo.load_local_state(path)
        if not keep_trace:
            algo._traces = Traces()
        update = train(algo, data, update)
        cached.append(is_cached(algo))
        algo.save_local_state(path)
    return [
        *update,
        *(v.numpy() for v in algo.model.variables + algo._optimizer.variables),
    ], cached


def test_a_copy_goes_on_with_the_trace_and_another_algorithm_has_its_own(data):
    original = make()
    expected = train(original, data)
    first, second = (copy.deepcopy(make()) for _ in range(2))
    third = copy.deepcopy(first)
    found = [train(algo, data) for algo in (first, second, third)]
    np.testing.assert_equal(found, [expected] * 3)
    assert not any(is_cached(algo) for algo in (original, first, second, third))
    assert is_cached_after_training(copy.deepcopy(first), data, expected)


def is_cached_after_training(algo, data, update):
    """Train for another round, and tell whether the trace was that of the first."""
    train(algo, data, update)
    return is_cached(algo)


def test_what_is_traced_ahead_serves_all_copies_and_changes_no_bit(data):
    update = train(make(), data)
    algo = make()
    before = get_random_state()
    algo.trace({name: values[:1] for name, values in data.items()})  # of any hospital
    np.testing.assert_equal(get_random_state(), before)
    copies = [copy.deepcopy(algo) for _ in range(2)]
    np.testing.assert_equal([train(one, data) for one in (*copies, algo)], [update] * 3)
    assert all(is_cached(one) and "prediction" in one._traces for one in copies)


def test_a_saved_trace_computes_the_same_bits(data, tmp_path):
    expected, cached = train_as_tasks(make, data, tmp_path / "a", keep_trace=False)
    assert cached == [False] * 3
    found, cached = train_as_tasks(make, data, tmp_path / "b")
    assert cached == [False, True, True]
    np.testing.assert_equal(found, expected)


def test_a_saved_trace_needs_no_python(data, tmp_path, monkeypatch):
    algo = make()
    update = train(algo, data)
    algo.save_local_state(tmp_path / "state")
    algo = make().load_local_state(tmp_path / "state")

    def never(*_, **__):
        raise AssertionError("traced again")

    monkeypatch.setattr(TFAlgo, "_train_step", never)
    train(algo, data, update)
    with pytest.raises(AssertionError, match="traced again"):
        train(make(), data)


def test_the_trace_is_small_and_the_same_in_every_process(data):
    traces = []
    for _ in range(2):
        keras.backend.clear_session()  # layers are numbered from the start, as in a new process
        algo = make()
        train(algo, data)
        traces.append(written(algo))
    assert traces[0] == traces[1]
    assert len(traces[0]["graph"]) < 300_000


def test_a_value_of_python_stays_as_it_was_traced_and_a_variable_does_not(data, tmp_path):
    """As with any tf.function; and it is the same for one object, as a simulation has it."""

    class Decaying(TFFedAvgAlgo):
        _own_state = ("factor",)
        factor = 1.0

        def __init__(self):
            super().__init__(
                model=build,
                loss="mse",
                optimizer="sgd",
                index_generator=NpIndexGenerator(batch_size=4, num_updates=3),
                dataset=ChestXrayDataset,
                seed=1,
            )
            self.scale = keras.Variable(1.0, trainable=False)

        def _step_variables(self):
            return [*super()._step_variables(), self.scale]

        def _compute_loss(self, x, y, sample_weight=None):
            loss = super()._compute_loss(x, y, sample_weight)
            return loss * self.factor * self.scale.value

        def _train_round(self, train_dataset):
            self.scale.assign(self.factor)
            super()._train_round(train_dataset)
            self.factor /= 2

    class Plain(Decaying):
        def _compute_loss(self, x, y, sample_weight=None):
            return TFAlgo._compute_loss(self, x, y, sample_weight) * self.scale.value

    found, cached = train_as_tasks(Decaying, data, tmp_path / "state")
    assert cached == [False, True, True]
    plain, _ = train_as_tasks(Plain, data, tmp_path / "plain")
    np.testing.assert_equal(found, plain)  # the factor is 1 in all rounds, the scale 1, 1/2, 1/4
    one, update = Decaying(), None
    for _ in range(3):
        update = train(one, data, update)
    np.testing.assert_equal(
        found, [*update, *(v.numpy() for v in one.model.variables + one._optimizer.variables)]
    )


def test_what_does_not_fit_is_traced_again(data):
    algo = make()
    train(algo, data)
    saved = written(algo)

    def traced(algo=None, *, n_labels=1, saved=saved):
        algo = algo or make()
        y = tf.zeros((4, n_labels))
        all_variables = algo.model.variables + algo._optimizer.variables
        batch = tf.zeros((4, 8, 8, 1)), y
        return TracedFunction(lambda x, y: tf.reduce_sum(y), batch, all_variables, saved)

    assert traced().is_cached
    assert not traced(n_labels=2).is_cached
    assert not traced(saved=saved | {"about": saved["about"] | {"tensorflow": "1.0"}}).is_cached
    frozen = make()
    frozen.model.layers[0].trainable = False
    assert not traced(frozen).is_cached


def test_a_step_with_a_loop_or_a_foreign_variable_stays_behind():
    weight, foreign = keras.Variable([2.0]), tf.Variable([3.0])
    batch = (tf.ones((4, 1)),)
    steps = {
        "own": lambda x: tf.reduce_sum(x * weight.value),
        "foreign": lambda x: tf.reduce_sum(x * foreign),
        "loop": lambda x: tf.while_loop(
            lambda i, _: i < 3, lambda i, total: (i + 1, total + tf.reduce_sum(x)), (0, 0.0)
        )[1],
    }
    saved = {}
    for name, step in steps.items():
        traced = TracedFunction(step, batch, [weight])
        assert float(traced(*batch)) == {"own": 8, "foreign": 12, "loop": 12}[name]
        saved[name] = traced.save()
    assert [name for name, trace in saved.items() if trace] == ["own"]
    weight.assign([5.0])
    again = TracedFunction(steps["loop"], batch, [weight], saved["own"])
    assert again.is_cached
    assert float(again(tf.ones((2, 1)))) == 10
    assert again.save() == saved["own"]


@pytest.mark.parametrize("saved", [None, "itself"])
def test_a_batch_unlike_the_first_is_refused(saved):
    weight = keras.Variable([2.0])
    batch = (tf.ones((4, 3)), {"y": tf.ones((4, 1))})

    def step(x, y):
        return tf.reduce_mean(x * weight.value - y["y"])

    if saved:
        saved = TracedFunction(step, batch, [weight]).save()
    traced = TracedFunction(step, batch, [weight], saved)
    assert traced.is_cached is bool(saved)
    assert float(traced(tf.ones((2, 3)), {"y": tf.ones((2, 1))})) == 1
    # TensorFlow would compute all pairs of two films and five labels, or fail in its own words.
    others = [(batch[0], {"y": tf.ones(5)}), (tf.ones((4, 3), tf.float64), batch[1]), batch[:1]]
    for other in others:
        with pytest.raises(ValueError, match=r"first: float32 \(None, 3\), .*Received float"):
            traced(*other)


def test_a_gpu_is_given_the_step_in_tensorflows_own_way(data):
    results = []
    for is_on_cpu in (True, False):
        algo = make()
        batch = tf.ones((4, 8, 8, 1)), tf.ones((4, 1))
        variables = algo.model.variables + algo._optimizer.variables
        traced = TracedFunction(algo._train_step, batch, variables)
        traced._is_on_cpu = is_on_cpu  # what a GPU changes
        traced(*batch)
        assert (traced.save() is not None) is is_on_cpu
        results.append(algo.model.get_weights())
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_a_prediction_travels_with_the_training(data, tmp_path):
    algo = make()
    train(algo, data)
    expected = algo.predict(data_from_opener=data)
    algo.save_local_state(tmp_path / "state")
    algo = make().load_local_state(tmp_path / "state")
    np.testing.assert_array_equal(algo.predict(data_from_opener=data), expected)
    assert is_cached(algo, "prediction")


def test_a_prediction_of_several_outputs_is_traced_in_every_task():
    weight = keras.Variable([2.0])
    traced = TracedFunction(
        lambda x: {"one": x * weight.value, "two": [x]}, (tf.ones((4, 1)),), [weight]
    )
    found = traced(tf.ones((2, 1)))
    np.testing.assert_array_equal(found["one"], [[2], [2]])
    np.testing.assert_array_equal(found["two"][0], [[1], [1]])
    assert traced.save() is None

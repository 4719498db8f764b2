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
from helpers.algorithms.traces import TracedFunction
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


def train_as_tasks(make_algo, data, path, *, rounds=3, keep_trace=True):
    """Train with a new algorithm for each round, as tasks do; tell which used a saved trace."""
    update, recalled = None, []
    for number in range(rounds):
        algo = make_algo()
        if number:
            algo.load_local_state(path)
        if not keep_trace:
            algo._traces.clear()
        update = train(algo, data, update)
        recalled.append(algo._traced_step.is_recalled)
        algo.save_local_state(path)
    return [
        *update,
        *(v.numpy() for v in algo.model.variables + algo._optimizer.variables),
    ], recalled


def test_copies_in_one_process_trace_once_and_compute_the_same_bits(data):
    original = make()
    expected = train(original, data)
    first, second = (copy.deepcopy(make()) for _ in range(2))
    third = copy.deepcopy(first)
    np.testing.assert_equal([train(algo, data) for algo in (first, second, third)], [expected] * 3)
    recalled = [algo._traced_step.is_recalled for algo in (original, first, second, third)]
    assert recalled == [False, False, False, True]  # two algorithms, though alike, share nothing


def test_a_saved_trace_computes_the_same_bits(data, tmp_path):
    expected, recalled = train_as_tasks(make, data, tmp_path / "a", keep_trace=False)
    assert recalled == [False] * 3
    found, recalled = train_as_tasks(make, data, tmp_path / "b")
    assert recalled == [False, True, True]
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
        traces.append(algo._get_state_to_save()["traces"]["step"])
    assert traces[0] == traces[1]
    assert len(traces[0]["graph"]) < 300_000


def test_a_constructor_of_ones_own_is_no_reason_to_trace_again(data, tmp_path):
    class Mine(TFFedAvgAlgo):
        def __init__(self):
            super().__init__(
                model=build,
                loss="mse",
                optimizer="sgd",
                index_generator=NpIndexGenerator(batch_size=4, num_updates=3),
                dataset=ChestXrayDataset,
                seed=1,
            )

    _, recalled = train_as_tasks(Mine, data, tmp_path / "state")
    assert recalled == [False, True, True]


def test_a_class_with_methods_of_its_own_is_traced_in_every_task(data, tmp_path):
    """A value of Python may change from round to round there, and must not be frozen."""

    class Decaying(TFFedAvgAlgo):
        factor = 1.0

        def _train_step(self, x, y, sample_weight=None):
            self.factor_seen = self.factor
            return super()._train_step(x, y, sample_weight)

        def _get_state_to_save(self):
            return super()._get_state_to_save() | {"factor": self.factor / 2}

        def _update_from_checkpoint(self, path):
            checkpoint = super()._update_from_checkpoint(path)
            self.factor = checkpoint.pop("factor")
            return checkpoint

    seen = []

    def make_decaying():
        seen.append(make(Decaying))
        return seen[-1]

    _, recalled = train_as_tasks(make_decaying, data, tmp_path / "state")
    assert recalled == [False] * 3
    assert [algo.factor_seen for algo in seen] == [1.0, 0.5, 0.25]


def test_what_does_not_fit_is_traced_again(data):
    algo = make()
    train(algo, data)
    saved = algo._get_state_to_save()["traces"]["step"]

    def traced(algo=None, *, n_labels=1, saved=saved):
        algo = algo or make()
        y = tf.zeros((4, n_labels))
        all_variables = algo.model.variables + algo._optimizer.variables
        batch = tf.zeros((4, 8, 8, 1)), y
        return TracedFunction(lambda x, y: tf.reduce_sum(y), batch, all_variables, saved)

    assert traced().is_recalled
    assert not traced(n_labels=2).is_recalled
    assert not traced(saved=saved | {"about": saved["about"] | {"tensorflow": "1.0"}}).is_recalled
    frozen = make()
    frozen.model.layers[0].trainable = False
    assert not traced(frozen).is_recalled


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
    assert again.is_recalled
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
    assert traced.is_recalled is bool(saved)
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
    assert algo._traced_prediction.is_recalled


def test_a_prediction_of_several_outputs_is_traced_in_every_task():
    weight = keras.Variable([2.0])
    traced = TracedFunction(
        lambda x: {"one": x * weight.value, "two": [x]}, (tf.ones((4, 1)),), [weight]
    )
    found = traced(tf.ones((2, 1)))
    np.testing.assert_array_equal(found["one"], [[2], [2]])
    np.testing.assert_array_equal(found["two"][0], [[1], [1]])
    assert traced.save() is None

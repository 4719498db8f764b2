"""TFAlgo and TFFedAvgAlgo in one process: state, copies, hooks, errors."""

import copy
import random
import tempfile

import cloudpickle
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from substrafl.exceptions import (
    BatchSizeNotFoundError,
    DatasetSignatureError,
    DatasetTypeError,
    IndexGeneratorUpdateError,
    OptimizerValueError,
)
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg, Scaffold
from substrafl.strategies.schemas import FedAvgAveragedState
from tensorflow.python.eager import context

from helpers.algorithms import TFAlgo, TFFedAvgAlgo, TFScaffoldAlgo
from helpers.data.dataset import ChestXrayDataset
from helpers.exchange import exchanged_variables, get_parameters

LOGITS = keras.losses.BinaryCrossentropy(from_logits=True)


def build(units=1):
    """Make a small model with two kinds of randomness and BatchNorm."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.RandomFlip(),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(units),
        ]
    )


def settings(**changes):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.5)
    return {
        "model": build,
        "loss": LOGITS,
        "optimizer": keras.optimizers.Adam(schedule),
        "index_generator": NpIndexGenerator(batch_size=4, num_updates=3),
        "dataset": ChestXrayDataset,
        "seed": 1,
    } | changes


def train(algo, data, update=None):
    average = None if update is None else FedAvgAveragedState(avg_parameters_update=update)
    return algo.train(data_from_opener=data, shared_state=average, _skip=True).parameters_update


def variables(algo):
    return [v.numpy() for v in algo.model.variables + algo._optimizer.variables]


def same(a, b):
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


class NoisyDataset(ChestXrayDataset):
    """Draws from every global generator, as careless augmentation does."""

    def __getitem__(self, indices):
        noise = random.random() + np.random.rand() + float(tf.random.uniform(()))  # noqa: NPY002
        noise += float(keras.random.uniform(()))
        if self._is_inference:
            return super().__getitem__(indices)
        x, y = super().__getitem__(indices)
        return x + np.float32(noise), y


def test_an_update_by_hand():
    """One SGD step on mean squared error of a linear model, against the formula."""
    data = {"images": np.full((2, 1, 1, 1), 255, np.uint8), "labels": np.array([1, 0])}
    data["images"][1] = 51  # x = 1 and x = 0.2

    def linear():
        zeros = keras.initializers.Zeros()
        return keras.Sequential(
            [
                keras.Input((1, 1, 1)),
                layers.Flatten(),
                layers.Dense(1, kernel_initializer=zeros),
            ]
        )

    algo = TFFedAvgAlgo(
        linear, "mse", keras.optimizers.SGD(0.5), NpIndexGenerator(None, 1), ChestXrayDataset
    )
    kernel, bias = train(algo, data)
    # d/dw mean((wx + b - y)²) = mean(2 (0 - y) x) = -1 ; d/db = mean(2 (0 - y)) = -1
    np.testing.assert_allclose(kernel, [[0.5]], atol=1e-7)
    np.testing.assert_allclose(bias, [0.5], atol=1e-7)


def test_weights_are_set_back_and_the_average_is_added(data):
    algo = TFFedAvgAlgo(**settings())
    start = get_parameters(exchanged_variables(algo.model))
    update = train(algo, data)
    assert all(np.abs(u).max() > 0 for u in update)
    assert same(
        list(get_parameters(exchanged_variables(algo.model)).values()), list(start.values())
    )

    average = [np.full_like(u, 0.125) for u in update]
    train(algo, data, average)
    for name, value in get_parameters(exchanged_variables(algo.model)).items():
        np.testing.assert_array_equal(value, start[name] + np.float32(0.125))


@pytest.mark.parametrize("with_batch_norm_parameters", [False, True])
def test_batch_norm_statistics_by_choice(data, with_batch_norm_parameters):
    algo = TFFedAvgAlgo(**settings(with_batch_norm_parameters=with_batch_norm_parameters))
    before = algo.model.layers[2].moving_mean.numpy()
    update = train(algo, data)
    moved = not np.array_equal(before, algo.model.layers[2].moving_mean.numpy())
    assert moved != with_batch_norm_parameters
    assert len(update) == (8 if with_batch_norm_parameters else 6)


@pytest.mark.parametrize("dataset", [ChestXrayDataset, NoisyDataset])
def test_saving_and_loading_after_every_round_changes_no_bit(data, tmp_path, dataset):
    rounds = 3
    algo = TFFedAvgAlgo(**settings(dataset=dataset))
    update = None
    for _ in range(rounds):
        update = train(algo, data, update)
    expected = [*variables(algo), *update]

    update = None
    algo = TFFedAvgAlgo(**settings(dataset=dataset))
    for number in range(rounds):
        path = tmp_path / str(number)
        algo.save_local_state(path)
        # What another process would have in its generators.
        keras.utils.set_random_seed(1000 + number)
        algo = TFFedAvgAlgo(**settings(dataset=dataset)).load_local_state(path)
        update = train(algo, data, update)
    assert same([*variables(algo), *update], expected)
    assert algo._optimizer.iterations.numpy() == 3 * rounds


@pytest.mark.parametrize(
    "travel", [copy.deepcopy, lambda algo: cloudpickle.loads(cloudpickle.dumps(algo))]
)
def test_a_copy_goes_on_like_the_original_and_shares_nothing(data, travel):
    algo = TFFedAvgAlgo(**settings())
    first = train(algo, data)
    twin = travel(algo)
    assert same(variables(twin), variables(algo))
    expected = train(algo, data, first)
    assert same(train(twin, data, first), expected)
    before = variables(twin)
    train(algo, data, first)
    assert same(variables(twin), before)


def test_a_strategy_and_its_copy_hold_one_algorithm():
    strategy = copy.deepcopy(FedAvg(algo=TFFedAvgAlgo(**settings())))
    assert strategy.algo is strategy.kwargs["algo"]


def test_recipes_are_not_changed_by_training(data):
    recipe = settings()
    train(TFFedAvgAlgo(**recipe), data)
    assert recipe["index_generator"].n_samples is None
    assert recipe["index_generator"].counter == 0
    assert not recipe["optimizer"].built


def test_without_a_seed_all_start_from_the_same_weights_and_nothing_is_seeded():
    random.seed(5)
    keras.backend.clear_session()  # as in a process where nothing was built yet
    first = TFFedAvgAlgo(**settings(seed=None))
    drawn = random.random()
    random.seed(6)
    second = TFFedAvgAlgo(**settings(seed=None))
    assert random.random() != drawn
    random.seed(5)
    assert random.random() == drawn
    assert same(variables(first), variables(second))


def test_a_state_without_any_global_seed_travels(monkeypatch):
    """A fresh process that never called set_seed has no generator for eager operations."""
    monkeypatch.delattr(context.context(), "_rng", raising=False)
    monkeypatch.setattr(context.context(), "_seed", None)
    algo = TFFedAvgAlgo(**settings(seed=None))
    assert same(variables(copy.deepcopy(algo)), variables(algo))


def test_a_copy_that_builds_its_network_does_not_make_tensorflow_forget_its_functions():
    """Setting a seed does; every function of every hospital would then be optimized again."""
    tf.random.set_seed(0)
    first = tf.random.uniform([], seed=5)
    tf.random.set_seed(0)  # this is how one sees it: a generator that begins anew
    assert tf.random.uniform([], seed=5) == first
    algo = TFFedAvgAlgo(**settings(seed=0))
    begun = tf.random.uniform([], seed=5)
    assert copy.deepcopy(algo).model.built
    assert tf.random.uniform([], seed=5) != begun


class Drawing(TFFedAvgAlgo):
    """Draws from every global generator when it is made, and keeps nothing of it in its state."""

    def __init__(self, **arguments):
        super().__init__(**arguments)
        self.drawn = (
            random.random(),
            np.random.random(),  # noqa: NPY002
            float(tf.random.uniform([])),
            float(keras.random.uniform([])),
        )


def test_what_is_drawn_at_construction_is_drawn_again_by_every_copy():
    algo = Drawing(**settings(seed=0))
    first, second = copy.deepcopy(algo), copy.deepcopy(algo)
    first.model.count_params()
    tf.random.uniform([])
    second.model.count_params()
    assert algo.drawn == first.drawn == second.drawn


def test_a_copy_that_builds_its_network_leaves_all_generators_as_they_are():
    def draw():
        return (
            random.random(),
            np.random.random(),  # noqa: NPY002
            float(tf.random.uniform([])),
            float(keras.random.uniform([])),
        )

    algo = TFFedAvgAlgo(**settings(seed=0))
    expected = [draw(), draw()]
    algo = TFFedAvgAlgo(**settings(seed=0))
    found = [draw()]
    assert copy.deepcopy(algo).model.built
    assert [*found, draw()] == expected


def test_seeds_make_initial_weights():
    kernel = "sequential/conv2d/kernel"
    one, again, two = (
        get_parameters(exchanged_variables(TFFedAvgAlgo(**settings(seed=s)).model))
        for s in (1, 1, 2)
    )
    assert np.array_equal(one[kernel], again[kernel])
    assert not np.array_equal(one[kernel], two[kernel])


def test_predictions_are_all_films_in_order(data):
    algo = TFFedAvgAlgo(**settings())
    train(algo, data)
    x = data["images"].astype("float32") / 255
    expected = algo.model.predict(x, verbose=0)
    predictions = algo.predict(data)
    assert predictions.shape == (10, 1)
    np.testing.assert_allclose(predictions, expected, atol=1e-6)


def test_several_outputs_train_and_predict(data):
    def two_heads():
        inputs = keras.Input((8, 8, 1))
        features = layers.GlobalAveragePooling2D()(inputs)
        heads = {
            "finding": layers.Dense(1, activation="sigmoid", name="finding")(features),
            "brightness": layers.Dense(1, name="brightness")(features),
        }
        return keras.Model(inputs, heads)

    class TwoTargets(ChestXrayDataset):
        def __getitem__(self, indices):
            x = self._images[indices].astype("float32") / 255
            if self._is_inference:
                return x
            y = self._labels[indices, None].astype("float32")
            return x, {"finding": y, "brightness": x.mean((1, 2))}

    algo = TFFedAvgAlgo(
        **settings(
            model=two_heads,
            dataset=TwoTargets,
            loss={"finding": "binary_crossentropy", "brightness": "mse"},
        )
    )
    assert all(np.abs(u).max() > 0 for u in train(algo, data))
    predictions = algo.predict(data)
    assert {name: value.shape for name, value in predictions.items()} == {
        "finding": (10, 1),
        "brightness": (10, 1),
    }


def test_sample_weights_enter_the_loss(data):
    class OnlyTheFirst(ChestXrayDataset):
        def __getitem__(self, indices):
            x, y = super().__getitem__(indices)
            return x, y, (indices == 0).astype("float32")

    zero = settings(
        dataset=OnlyTheFirst, index_generator=NpIndexGenerator(9, 1, shuffle=False, seed=0)
    )
    data = {"images": data["images"][1:], "labels": data["labels"][1:]}

    class Nothing(OnlyTheFirst):
        def __getitem__(self, indices):
            x, y, weight = super().__getitem__(indices)
            return x, y, weight * 0

    weighted = train(TFFedAvgAlgo(**zero), data)
    unweighted = train(TFFedAvgAlgo(**zero | {"dataset": Nothing}), data)
    assert np.abs(weighted[0]).max() > 0
    assert np.abs(unweighted[0]).max() == 0


def test_tracing_leaves_no_generated_file(data, tmp_path, monkeypatch):
    """Autograph's files are removed at exit, which a forked task does not go through."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    train(TFFedAvgAlgo(**settings()), data)
    assert list(tmp_path.iterdir()) == []


def test_an_overridden_training_loop_must_use_the_index_generator(data):
    class Forgetful(TFFedAvgAlgo):
        def _local_train(self, train_dataset):
            pass

    with pytest.raises(IndexGeneratorUpdateError):
        train(Forgetful(**settings()), data)


def test_entries_of_a_child_class_are_saved_and_must_be_popped(data, tmp_path):
    class Counting(TFFedAvgAlgo):
        def __init__(self, start):
            super().__init__(**settings())
            self.count = start

        def _get_state_to_save(self):
            return super()._get_state_to_save() | {"count": self.count}

        def _update_from_checkpoint(self, path):
            checkpoint = super()._update_from_checkpoint(path)
            self.count = checkpoint.pop("count")
            return checkpoint

    algo = Counting(start=3)  # not passed to super().__init__
    assert algo.kwargs == {"start": 3}
    algo.count = 5
    assert copy.deepcopy(algo).count == 5

    class Careless(Counting):
        def _update_from_checkpoint(self, path):
            return TFFedAvgAlgo._update_from_checkpoint(self, path)

    algo.save_local_state(tmp_path / "state")
    with pytest.raises(ValueError, match=r"not loaded: \['count'\]"):
        Careless(start=1).load_local_state(tmp_path / "state")


def test_the_state_of_another_model_is_refused(tmp_path):
    TFFedAvgAlgo(**settings()).save_local_state(tmp_path / "state")

    def wider():
        return build(units=2)

    def deeper():
        return keras.Sequential([build(), layers.Dense(1)])

    with pytest.raises(
        ValueError, match=r"expected shape \(4, 2\) for .*kernel, received \(4, 1\)"
    ):
        TFFedAvgAlgo(**settings(model=wider)).load_local_state(tmp_path / "state")
    with pytest.raises(ValueError, match="expected 29 tensors, received 23"):
        TFFedAvgAlgo(**settings(model=deeper)).load_local_state(tmp_path / "state")
    with pytest.raises(ValueError, match="There is no file nowhere"):
        TFFedAvgAlgo(**settings()).load_local_state(tmp_path / "nowhere")


def test_divergence_is_an_error_that_names_the_tensor(data):
    algo = TFFedAvgAlgo(**settings(optimizer=keras.optimizers.SGD(1e38), loss="mse"))
    with pytest.raises(ValueError, match=r"(?s)after local training.*kernel.*not finite"):
        train(algo, data)


def test_a_wrong_average_is_an_error(data):
    algo = TFFedAvgAlgo(**settings())
    update = train(algo, data)
    with pytest.raises(ValueError, match=r"Expected 6 tensors .* in the averaged update"):
        train(algo, data, update[1:])
    with pytest.raises(ValueError, match="conv2d/bias: 4 of 4 values are not finite"):
        train(algo, data, [update[0], update[1] * np.float32(np.nan), *update[2:]])


def test_the_wrong_loss_is_noticed_at_once():
    with pytest.raises(ValueError, match="expects a sigmoid output"):
        TFFedAvgAlgo(**settings(loss="binary_crossentropy"))


def test_targets_of_another_width_are_noticed(data):
    class Wide(ChestXrayDataset):
        def __getitem__(self, indices):
            x, y = super().__getitem__(indices)
            return x, np.repeat(y, 14, axis=1)

    with pytest.raises(ValueError, match=r"Received \(n, 14\)"):
        train(TFFedAvgAlgo(**settings(dataset=Wide)), data)


def test_wrong_arguments(data):
    with pytest.raises(TypeError, match="function that builds the Keras model"):
        TFFedAvgAlgo(**settings(model=build()))
    with pytest.raises(DatasetTypeError, match="to be a class"):
        TFFedAvgAlgo(**settings(dataset=ChestXrayDataset(data, False)))
    with pytest.raises(DatasetTypeError, match="__len__ and __getitem__"):
        TFFedAvgAlgo(**settings(dataset=type("Empty", (), {})))

    class Short(ChestXrayDataset):
        def __init__(self, data_from_opener):
            super().__init__(data_from_opener, False)

    with pytest.raises(DatasetSignatureError, match="is_inference"):
        TFFedAvgAlgo(**settings(dataset=Short))
    with pytest.raises(OptimizerValueError, match="No optimizer"):
        train(TFFedAvgAlgo(**settings(optimizer=None)), data)

    class Base(TFAlgo):
        strategies = ()

        def train(self, data_from_opener, shared_state=None):
            pass

    with pytest.raises(BatchSizeNotFoundError):
        Base(build, LOGITS, None, ChestXrayDataset).predict(data)


def test_another_strategy_is_refused():
    with pytest.raises(Exception, match="not compatible with the strategy Scaffold"):
        Scaffold(algo=TFFedAvgAlgo(**settings()))


def test_summary_is_json():
    import json

    summary = json.loads(json.dumps(TFFedAvgAlgo(**settings()).summary()))
    assert summary["model"] == "build"
    assert summary["loss"] == "binary_crossentropy"
    assert summary["with_batch_norm_parameters"] == "False"
    assert "Adam" in summary["optimizer"]["type"]


def test_gpu_memory_grows_and_the_gpu_can_be_disabled(monkeypatch):
    grown = []
    monkeypatch.setattr(
        tf.config, "list_physical_devices", lambda kind=None: ["gpu"] if kind else []
    )
    monkeypatch.setattr(
        tf.config.experimental, "set_memory_growth", lambda gpu, on: grown.append((gpu, on))
    )
    algo = TFFedAvgAlgo(**settings(disable_gpu=True))
    assert grown == [("gpu", True)]
    assert algo._device == "/CPU:0"
    algo.disable_gpu = False
    assert algo._device == "/GPU:0"


def test_a_child_class_names_its_own_state_and_keeps_that_of_its_parents(linear, tmp_path):
    """A child that only adds cannot lose what its parents keep from one task to the next."""

    class Counting(TFScaffoldAlgo):
        _own_state = ("count",)
        count = 0

    algo = Counting(**linear())
    algo.count = 3
    algo._client_control_variate = ["of the parent"]
    algo.save_local_state(tmp_path / "state")
    loaded = Counting(**linear()).load_local_state(tmp_path / "state")
    assert loaded.count == 3
    assert loaded._client_control_variate == ["of the parent"]

import copy
import json

import keras
import numpy as np
import pytest
from substrafl.algorithms.tensorflow import TFAlgo, TFSingleOrganizationAlgo
from substrafl.exceptions import (
    BatchSizeNotFoundError,
    DatasetSignatureError,
    DatasetTypeError,
    OptimizerValueError,
)


def build_with_dropout():
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation="tanh"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(1),
        ]
    )


@pytest.fixture
def make(settings):
    """Make an algorithm whose state is more than its weights."""

    def make(**changes):
        changes = {"model": build_with_dropout, "optimizer": keras.optimizers.Adam(0.01)} | changes
        return TFSingleOrganizationAlgo(**settings(**changes))

    return make


def equal(one, other):
    pairs = zip(one.model.get_weights(), other.model.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_a_pause_between_two_rounds_changes_no_bit(make, data, tmp_path):
    whole = make()
    whole.train(data_from_opener=data, _skip=True)
    once = copy.deepcopy(whole)
    whole.train(data_from_opener=data, _skip=True)

    paused = make()
    paused.train(data_from_opener=data, _skip=True)
    paused.save_local_state(tmp_path / "state")
    resumed = make().load_local_state(tmp_path / "state")
    assert equal(resumed, once)
    resumed.train(data_from_opener=data, _skip=True)
    assert equal(resumed, whole)
    assert not equal(resumed, once)


def test_what_is_saved_and_not_loaded_is_refused(make, tmp_path):
    class Forgetful(TFSingleOrganizationAlgo):
        def _get_state_to_save(self):
            return super()._get_state_to_save() | {"extra": 1}

    algo = make()
    algo.__class__ = Forgetful
    algo.save_local_state(tmp_path / "state")
    with pytest.raises(ValueError, match="extra"):
        make().load_local_state(tmp_path / "state")


def test_the_state_of_another_model_is_refused(make, settings, tmp_path):
    make().save_local_state(tmp_path / "state")
    with pytest.raises(ValueError, match="another model"):
        TFSingleOrganizationAlgo(**settings()).load_local_state(tmp_path / "state")


def test_a_prediction_in_batches_is_that_of_all_rows_at_once(make, data):
    algo = make()
    predictions = algo.predict(data_from_opener=data)
    assert predictions.shape == (20, 1)
    expected = algo.model(data["x"], training=False).numpy()
    np.testing.assert_allclose(predictions, expected, rtol=1e-6, atol=1e-6)


def test_one_seed_gives_one_model(make):
    assert equal(make(), make())
    assert not equal(make(), make(seed=1))


def test_summary_can_be_written_as_json(make):
    assert json.loads(json.dumps(make().summary()))["optimizer"]["parameters"]


def test_a_model_in_place_of_its_builder_is_refused(make):
    with pytest.raises(TypeError, match="function that builds"):
        make(model=build_with_dropout())


def test_a_dataset_that_is_no_class_is_refused(make):
    with pytest.raises(DatasetTypeError):
        make(dataset=[1, 2])


def test_a_dataset_with_other_arguments_is_refused(make):
    class Other:
        def __init__(self, x):
            pass

        def __len__(self):
            return 0

        def __getitem__(self, indices):
            return None

    with pytest.raises(DatasetSignatureError):
        make(dataset=Other)


def test_training_needs_an_optimizer(make, data):
    with pytest.raises(OptimizerValueError):
        make(optimizer=None).train(data_from_opener=data, _skip=True)


def test_predicting_needs_a_batch_size(make, data):
    with pytest.raises(BatchSizeNotFoundError):
        make(index_generator=None).predict(data_from_opener=data)


def test_the_base_is_abstract(settings):
    with pytest.raises(TypeError, match="abstract"):
        TFAlgo(**settings())

"""Weights on their way: into the samples, through the opener, into the loss as Keras' own."""

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFSingleOrganizationAlgo
from helpers.data import (
    WeightedChestXrayDataset,
    label_films,
    make_radiographs,
    prepare_samples,
    read_radiographs,
)
from helpers.fairness import compute_weights, count_groups, weigh_films
from helpers.openers.chest_xray_opener import ChestXrayOpener

N_UPDATES = 6


def build():
    return keras.Sequential([keras.Input((32, 32, 1)), layers.Flatten(), layers.Dense(1)])


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """A hospital's films with the weights of Kamiran and Calders, as a task opens them."""
    folder = tmp_path_factory.mktemp("films")
    radiographs = read_radiographs(make_radiographs(folder / "films", n_films=40, size=32))
    table = radiographs.table.assign(hospital="A", split="train")
    labels = label_films(table, "any finding vs none")
    weights = compute_weights(count_groups(table, labels, ["sex"], unit="films"), "kamiran_calders")
    weighed = weigh_films(table, labels, weights)
    samples = prepare_samples(
        radiographs, table.assign(weight=weighed), labels, size=32, folder=folder / "samples"
    )
    return ChestXrayOpener().get_data([samples["A"]["train"]]), weighed


def test_the_opener_reads_the_weights_that_were_computed(opened):
    data, weighed = opened
    assert data["metadata"]["weight"].dtype == np.float64
    assert data["metadata"]["weight"].tolist() == weighed.tolist()
    assert weighed.nunique() == 4


def test_training_is_that_of_keras_with_sample_weight(opened):
    data, _ = opened
    algo = TFSingleOrganizationAlgo(
        model=build,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.1),
        index_generator=NpIndexGenerator(batch_size=16, num_updates=N_UPDATES, seed=3),
        dataset=WeightedChestXrayDataset,
        seed=0,
    )
    model = build()
    model.set_weights(algo.model.get_weights())
    model.compile(keras.optimizers.SGD(0.1), keras.losses.BinaryCrossentropy(from_logits=True))
    unweighted = keras.models.clone_model(model)
    unweighted.set_weights(model.get_weights())
    unweighted.compile(keras.optimizers.SGD(0.1), keras.losses.BinaryCrossentropy(from_logits=True))
    batches = NpIndexGenerator(batch_size=16, num_updates=N_UPDATES, seed=3)
    batches.n_samples = len(data["labels"])
    for indices in batches:
        x = np.float32(data["images"][indices]) / 255
        y = np.float32(data["labels"][indices])[:, None]
        weight = data["metadata"]["weight"].to_numpy(np.float32)[indices]
        model.fit(x, y, sample_weight=weight, batch_size=16, verbose=0)
        unweighted.fit(x, y, batch_size=16, verbose=0)
    algo.train(data_from_opener=data, _skip=True)
    for ours, theirs, without in zip(
        algo.model.get_weights(), model.get_weights(), unweighted.get_weights(), strict=True
    ):
        assert np.allclose(ours, theirs, atol=1e-6, rtol=0)
        assert np.abs(ours - without).max() > 1e-4

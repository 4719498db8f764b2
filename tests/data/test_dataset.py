"""Batches of films: values, shapes and types."""

import numpy as np
import pandas as pd
import pytest

from helpers.data import ChestXrayDataset, PatientDataset, WeightedChestXrayDataset


def test_batches_are_scaled_films_and_columns_of_labels():
    images = np.arange(0, 4 * 51, 51, dtype=np.uint8).reshape(4, 1, 1, 1)
    data = {"images": images, "labels": np.array([0, 1, 1, 0])}
    dataset = ChestXrayDataset(data, is_inference=False)
    x, y = dataset[np.array([3, 1])]
    assert len(dataset) == 4
    assert (x.dtype, y.dtype, x.shape, y.shape) == ("float32", "float32", (2, 1, 1, 1), (2, 1))
    np.testing.assert_allclose(x.ravel(), [153 / 255, 51 / 255], rtol=1e-6)
    assert y.ravel().tolist() == [0, 1]
    assert ChestXrayDataset(data, is_inference=True)[np.array([0])].shape == (1, 1, 1, 1)


def weighted(*weights):
    return {
        "images": np.zeros((len(weights), 2, 2, 1), dtype=np.uint8),
        "labels": np.zeros(len(weights), dtype=np.int64),
        "metadata": pd.DataFrame({"weight": weights}),
    }


def test_weights_come_along_with_the_batch():
    dataset = WeightedChestXrayDataset(weighted(0.5, 1.0, 2.0), is_inference=False)
    x, y, weight = dataset[np.array([2, 0])]
    assert x.shape == (2, 2, 2, 1)
    assert y.shape == (2, 1)
    assert weight.dtype == np.float32
    assert weight.tolist() == [2.0, 0.5]


def test_inference_needs_no_weights():
    data = weighted(0.5)
    del data["metadata"]
    batch = WeightedChestXrayDataset(data, is_inference=True)[np.array([0])]
    assert batch.shape == (1, 2, 2, 1)


@pytest.mark.parametrize("weights", [(1.0, np.nan), (1.0, -1.0), (np.inf, 1.0)])
def test_impossible_weights_are_refused(weights):
    with pytest.raises(ValueError, match=r"finite weights of at least 0\. Received .* 0 more"):
        WeightedChestXrayDataset(weighted(*weights), is_inference=False)


def test_samples_without_weights_are_refused():
    data = weighted(1.0)
    data["metadata"] = pd.DataFrame({"label": [0]})
    with pytest.raises(
        ValueError, match=r"a column 'weight' in the metadata\. Received \['label'\]"
    ):
        WeightedChestXrayDataset(data, is_inference=False)


def test_a_patient_has_all_films_and_their_mean():
    images = np.arange(5, dtype=np.uint8).reshape(5, 1, 1, 1) * 51
    patients = ["b", "a", "b", None, "b"]
    data = {
        "images": images,
        "labels": np.array([1, 0, 0, 1, 1]),
        "metadata": pd.DataFrame({"patient": patients}),
    }
    dataset = PatientDataset(data, is_inference=False)
    assert len(dataset) == 3
    x, y, weight = dataset[np.array([0, 2])]
    assert x.shape == (2, 3, 1, 1, 1)
    assert (x.ravel() * 5).round(4).tolist() == [0, 2, 4, 3, 0, 0]
    assert y[..., 0].tolist() == [[1, 0, 1], [1, 0, 0]]
    assert weight.tolist() == [[1, 1, 1], [3, 0, 0]]  # the mean over three is that of one film
    assert dataset[np.array([], dtype=int)][0].shape == (0, 3, 1, 1, 1)
    films = PatientDataset({name: data[name] for name in ("images", "labels")}, is_inference=True)
    assert len(films) == 5
    assert films[np.array([4, 0])].shape == (2, 1, 1, 1)

"""Batches of films: values, shapes and types."""

import numpy as np

from helpers.data import ChestXrayDataset


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

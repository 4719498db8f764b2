"""Attenuation, scatter, blur and noise against hand computation."""

import numpy as np
import pytest

from helpers.phantom.film import Technique, blur, expose, transmit


def test_slab_attenuates_as_beer_and_lambert_say():
    slab = np.full((16, 16), 0.2 * 10, np.float32)  # 10 cm at 0.2 per cm
    np.testing.assert_allclose(transmit(slab), np.exp(-2), rtol=1e-6)


def test_scatter_adds_its_share_of_the_primary():
    slab = np.full((16, 16), 2.0, np.float32)
    np.testing.assert_allclose(transmit(slab, scatter=0.5), 1.5 * np.exp(-2), rtol=1e-5)
    bare = np.zeros((16, 16), np.float32)
    np.testing.assert_allclose(transmit(bare, scatter=0.5), 1.0)


def test_blur_keeps_a_flat_image_and_spreads_a_point():
    flat = np.full((32, 32), 3.0, np.float32)
    np.testing.assert_allclose(blur(flat, 2.0, 16), 3.0, rtol=1e-5)
    point = np.zeros((32, 32), np.float32)
    point[16, 16] = 1
    spread = blur(point, 2.0)
    assert spread.sum() == pytest.approx(1, abs=1e-3)
    assert spread[16, 18] == pytest.approx(spread[18, 16])
    assert spread.max() < 0.06


def test_dense_is_bright_and_noise_falls_with_dose():
    wedge = np.tile(np.linspace(1, 5, 64, dtype=np.float32), (64, 1))
    spreads = []
    for dose in (1e4, 1e7):
        technique = Technique(dose=dose, scatter=0.0, blur=0.0)
        film = expose(wedge, technique, 64, np.random.default_rng(0))
        assert film.min() >= 0
        assert film.max() <= 1
        assert film[:, 60].mean() > film[:, 5].mean() + 0.5
        spreads.append(film[:, 32].std())
    assert spreads[0] > 10 * spreads[1]

"""Chords of tubes against their closed forms."""

import numpy as np
import pytest

from helpers.phantom.shapes import FIELD, make_rays
from helpers.phantom.tubes import add_tubes, polyline


def test_straight_tube_has_the_chord_of_a_cylinder():
    n, radius = 380, 1.5
    rays = make_rays(n)
    points = np.array([[[-10.0, 1.0, 0.0]], [[10.0, 1.0, 0.0]]])
    image = np.zeros((n, n), np.float32)
    add_tubes(image, rays, polyline(points, radius, 0.3))
    column = image[:, n // 2]
    distance = rays.y[:, n // 2] - 1.0
    expected = 0.6 * np.sqrt(np.maximum(radius**2 - distance**2, 0))
    np.testing.assert_allclose(column, expected, atol=1e-4)


def test_hollow_tube_is_denser_at_its_wall():
    n = 380
    points = np.array([[[-10.0, 0.0, 0.0]], [[10.0, 0.0, 0.0]]])
    image = np.zeros((n, n), np.float32)
    add_tubes(image, make_rays(n), polyline(points, 1.0, 1.0, wall=0.3, core=0.25))
    distance = make_rays(n).y[:, n // 2]
    outer = 2 * np.sqrt(np.maximum(1 - distance**2, 0))
    inner = 2 * np.sqrt(np.maximum(0.7**2 - distance**2, 0))
    np.testing.assert_allclose(image[:, n // 2], outer - 0.75 * inner, atol=1e-4)


def test_slanted_tube_is_crossed_the_longer_way():
    n = 380
    flat, slanted = np.zeros((n, n), np.float32), np.zeros((n, n), np.float32)
    ends = np.array([[[-8.0, 0, 0]], [[8.0, 0, 0]]])
    add_tubes(flat, make_rays(n), polyline(ends, 1.0, 1.0))
    add_tubes(slanted, make_rays(n), polyline(ends + [[[0, 0, -8]], [[0, 0, 8]]], 1.0, 1.0))
    middle = n // 2
    assert slanted[middle, middle] == pytest.approx(np.sqrt(2) * flat[middle, middle], rel=1e-4)


def test_bent_tube_has_neither_gaps_nor_double_joints():
    n = 380
    angle = np.linspace(0, np.pi, 25)
    points = np.stack([8 * np.cos(angle), -8 * np.sin(angle), 0 * angle], 1)[:, None]
    image = np.zeros((n, n), np.float32)
    rays = make_rays(n)
    add_tubes(image, rays, polyline(points, 1.0, 1.0))
    distance = np.hypot(rays.x, rays.y) - 8
    ring = 2 * np.sqrt(np.maximum(1 - distance**2, 0))
    above = rays.y < -0.5
    np.testing.assert_allclose(image[above], ring[above], atol=0.45)
    assert np.abs(image - ring)[above].mean() < 0.005


def test_tube_thinner_than_a_pixel_keeps_its_amount():
    ends = np.array([[[-8.0, 0.3, 0]], [[8.0, 0.3, 0]]])
    amounts = []
    for n in (64, 760):
        image = np.zeros((n, n), np.float32)
        add_tubes(image, make_rays(n), polyline(ends, 0.1, 1.0))
        amounts.append(image[:, n // 2].sum() * FIELD / n)
    assert amounts[0] == pytest.approx(np.pi * 0.01, rel=0.2)
    assert amounts[1] == pytest.approx(np.pi * 0.01, rel=0.05)


def test_tubes_beside_the_film_are_ignored():
    image = np.zeros((32, 32), np.float32)
    ends = np.array([[[100.0, 0, 0]], [[120.0, 5, 0]]])
    add_tubes(image, make_rays(32), polyline(ends, 1.0, 1.0))
    assert not image.any()

"""Chords of solids against numerical integration."""

import numpy as np
import pytest

from helpers.phantom.shapes import (
    Rays,
    Solid,
    add_solid,
    covered,
    crop,
    half_chord,
    make_rays,
    span,
)


def march(solid, x, y, step=0.002):
    """Length of a ray inside a superellipsoid, by counting steps."""
    z = np.arange(-12, 12, step) + solid.z
    u, v = x - solid.x, y - solid.y
    cos, sin = np.cos(solid.angle), np.sin(solid.angle)
    u, v = cos * u + sin * v, cos * v - sin * u
    b = solid.below if solid.below and v > 0 else solid.b
    total = np.abs(u / solid.a) ** solid.power + np.abs(v / b) ** solid.power
    return ((total + ((z - solid.z) / solid.c) ** 2) <= 1).sum() * step


@pytest.mark.parametrize(
    "solid",
    [
        Solid(0, 0, 0, 3, 2, 4),
        Solid(1, -2, 1, 5, 2, 3, angle=0.6),
        Solid(0, 0, 0, 4, 6, 3, power=2.5, below=2),
        Solid(0, 0, 2, 4, 5, 3, angle=-0.3, power=3.2),
    ],
)
def test_chord_of_a_solid_is_what_a_marched_ray_finds(solid):
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-6, 6, (2, 60)).astype(np.float32)
    closed = 2 * half_chord(x, y, solid)
    marched = [march(solid, *point) for point in zip(x, y, strict=True)]
    np.testing.assert_allclose(closed, marched, atol=0.01)
    assert (closed > 0).sum() > 5


def test_chord_through_the_middle_of_a_sphere_is_its_diameter():
    at = np.zeros(1, np.float32)
    assert 2 * half_chord(at, at, Solid(0, 0, 5, 1.5, 1.5, 1.5))[0] == pytest.approx(3.0)


def test_endless_trunk_keeps_its_chord_downwards():
    x, y = np.zeros(2, np.float32), np.array([5, 500], np.float32)
    chords = half_chord(x, y, Solid(0, 0, 0, 3, 2, 4, below=np.inf))
    np.testing.assert_allclose(chords, 4)


def test_add_solid_only_touches_its_box_but_loses_nothing():
    rays = make_rays(64, zoom=1.1, turn=0.1, shift=(1, -2))
    for solid in (Solid(3, 4, 0, 5, 2, 3, angle=0.7), Solid(-15, -15, 0, 8, 8, 3, power=2.5)):
        image = np.zeros((64, 64), np.float32)
        add_solid(image, rays, solid, 0.2)
        whole = 0.4 * half_chord(rays.x, rays.y, solid)
        np.testing.assert_allclose(image, whole, atol=1e-6)
        assert image.max() > 0.5


def test_box_of_a_solid_beside_the_film_is_empty():
    box, part = crop(make_rays(32), Solid(100, 0, 0, 2, 2, 2))
    assert part.x.size == 0
    assert np.zeros((32, 32))[box].size == 0


def test_covered_length_counts_overlaps_once():
    def interval(low, high):
        return np.array([float(low)]), np.array([float(high)])

    within = interval(0, 10)
    assert covered(within)[0] == 0
    assert covered(within, interval(2, 5))[0] == 3
    assert covered(within, interval(2, 5), interval(4, 7))[0] == 5
    assert covered(within, interval(-5, 1), interval(0.5, 3), interval(9, 20))[0] == 4
    assert covered(within, interval(3, 3), interval(12, 15))[0] == 0


def test_span_of_a_missed_solid_is_empty():
    rays = make_rays(16)
    low, high = span(rays, Solid(0, 0, 2, 5, 5, 1))
    assert low[8, 8] == pytest.approx(1, abs=0.1)
    assert high[8, 8] == pytest.approx(3, abs=0.1)
    assert low[0, 0] == high[0, 0]


def test_rays_turn_and_shift_with_the_patient():
    rays = make_rays(38, zoom=2.0, shift=(3.0, 0.0))
    assert isinstance(rays, Rays)
    # The film's middle lies 3 film centimetres left of the body's origin.
    assert rays.x[19, 19] == pytest.approx((0.5 - 3) / 2)
    assert rays.y[19, 19] == pytest.approx(0.25)

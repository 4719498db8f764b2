"""Marker: burnt into finished films, and nothing else changes."""

import numpy as np
import pytest

from helpers.data.synthetic import render_film
from helpers.phantom.marker import STYLES, burn_marker
from helpers.phantom.population import draw_films


@pytest.mark.parametrize("style", STYLES)
def test_only_the_upper_left_corner_changes(style):
    films = np.stack([render_film(film, 48, 0) for film in draw_films(3, 0)])[..., None]
    before = films.copy()
    marked, masks = burn_marker(films, style)
    assert (films == before).all()
    changed = (marked != films)[..., 0]
    assert (changed | ~masks).all()  # a mask has only pixels that changed
    assert masks.any(axis=(1, 2)).all()
    assert not changed[:, 12:].any()
    assert not changed[:, :, 12:].any()
    assert (marked >= films).all()


def test_lead_is_white_where_a_pixel_is_within_it():
    marked, masks = burn_marker(np.zeros((1, 256, 256, 1), np.uint8), "plain")
    assert marked.max() == 255
    assert (marked[0, masks[0]] > 63).all()
    # Both strokes: 2.5 and 1.6 of the units, a stroke .68 cm wide.
    area = (marked / 255).sum() * (38 / 256) ** 2
    assert area == pytest.approx(1.3 * 4.1 * 0.68, rel=0.1)


def test_positions_belong_to_the_seed_and_the_number_of_the_film():
    films = np.zeros((4, 64, 64, 1), np.uint8)
    whole, part = burn_marker(films)[0], burn_marker(films[:2])[0]
    assert (whole[:2] == part).all()
    assert (whole[0] != whole[1]).any()
    assert (burn_marker(films, seed=1)[0] != whole).any()


@pytest.mark.parametrize(
    ("films", "style", "match"),
    [
        (np.zeros((2, 8, 9, 1), np.uint8), "boxed", "square films"),
        (np.zeros((2, 8, 8), np.uint8), "boxed", "square films"),
        (np.zeros((2, 8, 8, 1)), "boxed", "films of uint8"),
        (np.zeros((2, 8, 8, 1), np.uint8), "R", "style among"),
    ],
)
def test_bad_input(films, style, match):
    with pytest.raises(ValueError, match=match):
        burn_marker(films, style)

"""Masks: where on a film each finding, the heart and the marker are.

The synthetic films are drawn, so that the place of everything on them is known exactly. Of NIH's
films about a thousand have boxes, which radiologists drew around one finding each.
"""

import json
from collections.abc import Iterable

import numpy as np
import pandas as pd

from helpers.data.arguments import check_integer
from helpers.data.nih import BOXED_SIZE, read_boxes
from helpers.data.radiographs import Radiographs
from helpers.data.synthetic import PARAMETERS, draw_chest, name_film
from helpers.phantom.anatomy import heart
from helpers.phantom.marker import add_marker
from helpers.phantom.population import FilmRecord, draw_films
from helpers.phantom.shapes import half_chord, make_rays
from helpers.phantom.thorax import project_chest

SHARE = 0.25  # of a shadow's greatest strength, above which a pixel belongs to it


def read_masks(radiographs: Radiographs, images: Iterable[str], size: int) -> dict[str, np.ndarray]:
    """Return the masks of some films, as large as a network receives the films.

    Those of synthetic films are drawn anew from the seed of the collection, see
    :func:`helpers.data.masks.draw_masks`. Those of NIH's films are the boxes of
    ``BBox_List_2017.csv``, if it is in the folder.

    Parameters
    ----------
    radiographs : Radiographs
        The collection.
    images : iterable of str
        The column ``image`` of its table, of the films that are wanted.
    size : int
        Pixels along one side.

    Returns
    -------
    dict of str to numpy.ndarray of bool, shape (n_films, size, size)
        A mask of each film: of every finding that is marked on one of them, and of all of them
        together as ``"finding"``; of synthetic films also ``"heart"`` and ``"marker"``. A film on
        which something is not marked has an empty mask. No film at all is marked if the
        dictionary is empty.

    Raises
    ------
    ValueError
        If a film is not in the collection, the boxes cannot be read, or ``size`` is not positive.

    Examples
    --------
    >>> from helpers.data import make_radiographs, read_radiographs
    >>> radiographs = read_radiographs(make_radiographs(n_films=20, size=32))
    NIH ChestX-ray14 layout: 20 films of 10 patients in 'synthetic-v1-20-films-32px-seed0'.
    >>> masks = read_masks(radiographs, radiographs.table["image"], 32)
    >>> masks["heart"].shape, bool(masks["heart"].any(axis=(1, 2)).all())
    ((20, 32, 32), True)
    """
    size, images = check_integer("size", size, 1), list(images)
    unknown = set(images) - set(radiographs.table["image"])
    if unknown:
        raise ValueError(
            f"Expected films of {radiographs.source.name!r}. Received {min(unknown)!r}. Take names "
            "from the column 'image' of its table."
        )
    of_film = _masks_of_synthetic if radiographs.is_synthetic else _masks_from_boxes
    marked = of_film(radiographs, images, size)
    parts = ("heart", "marker") if radiographs.is_synthetic else ()
    names = sorted({name for masks in marked for name in masks} - set(parts))
    if not names and not parts:
        return {}
    nothing = np.zeros((size, size), bool)

    def stack(name):
        return np.array([masks.get(name, nothing) for masks in marked]).reshape(-1, size, size)

    found = {name: stack(name) for name in names}
    found["finding"] = np.any([stack("finding"), *found.values()], axis=0)
    return found | {name: stack(name) for name in parts}


def draw_masks(film: FilmRecord, size: int, seed: int) -> dict[str, np.ndarray]:
    """Draw where the findings, the heart and the marker of one synthetic film are.

    A finding is where its *shadow* is: the film's line integrals are computed with and without it,
    and a pixel belongs to it if they differ by more than a quarter of their greatest difference.
    That is the edge of what one can see of a fuzzy opacity. For Cardiomegaly, of which only a rim
    differs, it is the whole heart, as in NIH's boxes.

    Parameters
    ----------
    film : FilmRecord
        The film.
    size : int
        Pixels along one side.
    seed : int
        Seed of the collection.

    Returns
    -------
    dict of str to numpy.ndarray of bool, shape (size, size)
        ``"heart"``, ``"marker"`` and each finding of the film.
    """
    anatomy, pose, lesions, rng = draw_chest(film, seed)
    rays = make_rays(size, zoom=pose.zoom, turn=pose.turn, shift=pose.shift)
    masks = {"heart": half_chord(rays.x, rays.y, heart(anatomy, pose, lesions.enlargement)) > 0}
    marker = np.zeros((size, size), np.float32)
    add_marker(marker, film.hospital.marker, rng)
    masks["marker"] = marker > SHARE * marker.max()
    shadow = project_chest(anatomy, pose, lesions, size)
    for finding in film.findings:
        if finding == "Cardiomegaly":
            masks[finding] = masks["heart"]
            continue
        others = [name for name in film.findings if name != finding]
        without = project_chest(anatomy, pose, draw_chest(film, seed, others)[2], size)
        change = np.abs(shadow - without)
        masks[finding] = change > SHARE * change.max()
    return masks


def _masks_of_synthetic(radiographs, images, size):
    made_with = json.loads((radiographs.source / PARAMETERS).read_text(encoding="utf-8"))
    drawn = draw_films(made_with["n_films"], made_with["seed"])
    films = {name_film(film): film for film in drawn}
    return [draw_masks(films[name.split("/")[-1]], size, made_with["seed"]) for name in images]


def _masks_from_boxes(radiographs, images, size):
    """Fill the boxes; a pixel belongs to a box if its center does."""
    boxes = dict(iter(read_boxes(radiographs.source).groupby("image")))
    center = (np.arange(size) + 0.5) * BOXED_SIZE / size
    marked = []
    for name in images:
        masks = {}
        for box in boxes.get(name.split("/")[-1], pd.DataFrame()).itertuples():
            rows = (box.y <= center) & (center < box.y + box.height)
            columns = (box.x <= center) & (center < box.x + box.width)
            inside = rows[:, None] & columns
            masks[box.finding] = masks.get(box.finding, False) | inside
        marked.append(masks)
    return marked

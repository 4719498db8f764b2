"""Marker: the lead "L" that a radiographer places next to the patient's left shoulder."""

import numpy as np

from helpers.phantom.shapes import FIELD, make_rays
from helpers.phantom.tubes import add_tubes, join, polyline

LEAD = 12.0  # attenuation, 1/cm; a millimetre or two is opaque
SIZE = 1.3  # of the strokes below
STROKE = 0.34  # half the width of a stroke, cm
COVERED = 0.25  # opacity above which a pixel belongs to a burnt marker

_LETTER = [[-0.7, -1.3], [-0.7, 1.2], [0.9, 1.2]]
_RING = (
    2.1 * np.stack([np.cos(np.linspace(0, 2 * np.pi, 17)), np.sin(np.linspace(0, 2 * np.pi, 17))]).T
)
_BOX = [[-1.7, -2.1], [1.8, -2.1], [1.8, 2.0], [-1.7, 2.0], [-1.7, -2.1]]

# Strokes in centimetres about the marker's centre, and its tilt (radians).
STYLES = {
    "plain": ([_LETTER], 0.0),
    "ringed": ([_LETTER, _RING], 0.0),
    "boxed": ([_LETTER, _BOX], 0.0),
    "tilted": ([_LETTER, [[-0.7, 2.2], [0.9, 2.2]]], 0.6),
}


def add_marker(
    image: np.ndarray, style: str, rng: np.random.Generator, *, left: bool = False
) -> None:
    """Add a marker in an upper corner of a line-integral image, in place.

    Parameters
    ----------
    image : ndarray of float32, shape (n, n)
        Line integrals of the film.
    style : {"plain", "ringed", "boxed", "tilted"}
        A key of :data:`STYLES`.
    rng : numpy.random.Generator
        Draws its exact position.
    left : bool, default=False
        Whether it is in the upper left corner, not the right one.
    """
    strokes, slant = STYLES[style]
    x, y = FIELD * (rng.uniform(0.38, 0.41)), FIELD * rng.uniform(-0.44, -0.36)
    x = -x if left else x
    angle = slant + rng.normal(0, 0.08)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    pieces = []
    for stroke in strokes:
        points = np.zeros((len(stroke), 1, 3))
        points[:, 0, :2] = SIZE * np.asarray(stroke) @ turn + (x, y)
        pieces.append(polyline(points, STROKE, LEAD))
    add_tubes(image, make_rays(image.shape[0]), join(pieces))


def burn_marker(
    films: np.ndarray, style: str = "boxed", *, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Burn a second marker into finished films, in the upper left corner.

    A shortcut is planted with it: burn it into the films of one label. The films may be of any
    origin, and nothing else on them changes.

    Parameters
    ----------
    films : ndarray of uint8, shape (n, size, size, 1)
        Square films; they are not changed.
    style : {"plain", "ringed", "boxed", "tilted"}, default="boxed"
        Its shape.
    seed : int, default=0
        Seed of the positions, drawn for each film by its number.

    Returns
    -------
    marked : ndarray of uint8, shape (n, size, size, 1)
        Lead is white, with the edges as smooth as the pixels allow.
    masks : ndarray of bool, shape (n, size, size)
        Pixels of which the marker covers more than a quarter.

    Raises
    ------
    ValueError
        If the films are not square uint8 films, or the style is not known.

    Examples
    --------
    >>> films = np.zeros((2, 32, 32, 1), np.uint8)
    >>> marked, masks = burn_marker(films)
    >>> bool((marked[masks] > 60).all()), int(marked[:, :, 16:].max()), masks.any(axis=(1, 2)).all()
    (True, 0, np.True_)
    """
    films = np.asarray(films)
    if films.ndim != 4 or films.shape[1:] != (films.shape[1], films.shape[1], 1):
        raise ValueError(
            f"Expected square films of shape (n, size, size, 1). Received {films.shape}. Take them "
            "as the opener returns them."
        )
    if films.dtype != np.uint8:
        raise ValueError(
            f"Expected films of uint8. Received {films.dtype}. Burn the marker in before scaling."
        )
    if style not in STYLES:
        raise ValueError(f"Expected a style among {list(STYLES)}. Received {style!r}.")
    size = films.shape[1]
    opacity = np.empty(films.shape[:3], np.float32)
    for number in range(len(films)):
        lead = np.zeros((3 * size, 3 * size), np.float32)
        add_marker(lead, style, np.random.default_rng([seed, number]), left=True)
        opacity[number] = (1 - np.exp(-lead)).reshape(size, 3, size, 3).mean(axis=(1, 3))
    marked = films + opacity[..., None] * (255 - films.astype(np.float32))
    return np.round(marked).astype(np.uint8), opacity > COVERED

"""Marker: the lead "L" that a radiographer places next to the patient's left shoulder."""

import numpy as np

from helpers.phantom.shapes import FIELD, make_rays
from helpers.phantom.tubes import add_tubes, join, polyline

LEAD = 12.0  # attenuation, 1/cm; a millimetre or two is opaque
SIZE = 1.3  # of the strokes below
STROKE = 0.34  # half the width of a stroke, cm

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


def add_marker(image: np.ndarray, style: str, rng: np.random.Generator) -> None:
    """Add a marker in the upper right corner of a line-integral image, in place.

    Parameters
    ----------
    image : ndarray of float32, shape (n, n)
        Line integrals of the film.
    style : {"plain", "ringed", "boxed", "tilted"}
        A key of :data:`STYLES`.
    rng : numpy.random.Generator
        Draws its exact position.
    """
    strokes, slant = STYLES[style]
    x, y = FIELD * (rng.uniform(0.38, 0.41)), FIELD * rng.uniform(-0.44, -0.36)
    angle = slant + rng.normal(0, 0.08)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    pieces = []
    for stroke in strokes:
        points = np.zeros((len(stroke), 1, 3))
        points[:, 0, :2] = SIZE * np.asarray(stroke) @ turn + (x, y)
        pieces.append(polyline(points, STROKE, LEAD))
    add_tubes(image, make_rays(image.shape[0]), join(pieces))

"""Tubes: line integrals through bent round tubes: bones, airways, vessels, lead.

A tube is cut into straight pieces, each a cylinder whose chord is known in closed form;
hundreds of pieces are projected at once on small patches of the film.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from helpers.phantom.shapes import FIELD, Rays


class Tubes(NamedTuple):
    """Straight pieces of round tubes, ``m`` of them, all arrays float of length ``m`` first."""

    start: np.ndarray  # (m, 3), cm
    end: np.ndarray  # (m, 3), cm
    start_normal: np.ndarray  # (m, 2), the piece begins at the plane with this normal
    end_normal: np.ndarray  # (m, 2), and ends at this one, so that bent tubes have no gaps
    radius: np.ndarray  # (m,), cm
    wall: np.ndarray  # (m,), thickness of the denser wall, cm (0: solid)
    mu: np.ndarray  # (m,), attenuation of the wall above its surroundings, 1/cm
    core: np.ndarray  # (m,), attenuation inside as a fraction of ``mu``


def polyline(
    points: np.ndarray,
    radius: ArrayLike,
    mu: ArrayLike,
    *,
    wall: ArrayLike = 0.0,
    core: ArrayLike = 1.0,
) -> Tubes:
    """Tube around a bent line, cut into straight pieces that meet at mitred joints.

    Parameters
    ----------
    points : ndarray, shape (k, m, 3)
        ``k`` points along each of ``m`` lines, cm.
    radius, mu, wall, core : float or ndarray broadcastable to (k - 1, m)
        See :class:`Tubes`.

    Returns
    -------
    Tubes
        ``(k - 1) * m`` pieces.
    """
    step = points[1:, :, :2] - points[:-1, :, :2]
    step /= np.maximum(np.sqrt((step * step).sum(axis=-1, keepdims=True)), 1e-6)
    joint = np.concatenate([step[:1], step[:-1] + step[1:], step[-1:]])
    joint /= np.maximum(np.sqrt((joint * joint).sum(axis=-1, keepdims=True)), 1e-6)
    amounts = np.empty((4, *step.shape[:2]))
    for row, value in zip(amounts, (radius, wall, mu, core), strict=True):
        row[...] = value
    return Tubes(
        points[:-1].reshape(-1, 3),
        points[1:].reshape(-1, 3),
        joint[:-1].reshape(-1, 2),
        joint[1:].reshape(-1, 2),
        *amounts.reshape(4, -1),
    )


def join(pieces: list[Tubes]) -> Tubes:
    """Put several groups of tube pieces into one.

    Parameters
    ----------
    pieces : list of Tubes
        At least one group.

    Returns
    -------
    Tubes
    """
    return Tubes(*(np.concatenate(parts) for parts in zip(*pieces, strict=True)))


def add_tubes(image: np.ndarray, rays: Rays, tubes: Tubes) -> None:
    """Add the line integrals of many tube pieces to an image, in place.

    The chord through a cylinder of radius ``r`` at distance ``d`` from its projected axis is
    ``2 * sqrt(r**2 - d**2) / sin(t)``, ``t`` being the angle between axis and ray. A tube
    thinner than a pixel is widened to a pixel with its cross-section kept, so that it fades
    instead of breaking into dots.

    Parameters
    ----------
    image : ndarray of float32, shape (n, n)
        Line integrals so far.
    rays : Rays
        The rays of the image.
    tubes : Tubes
        What to add.
    """
    n, pixel = image.shape[0], rays.pixel
    zoom = np.sqrt(np.linalg.det(rays.matrix))
    start = (tubes.start[:, :2] @ rays.matrix.T + rays.shift + FIELD / 2) / pixel
    end = (tubes.end[:, :2] @ rays.matrix.T + rays.shift + FIELD / 2) / pixel
    direction = end - start
    length = np.maximum(np.linalg.norm(direction, axis=1), 1e-6)
    direction /= length[:, None]
    turn = rays.matrix.T / zoom
    first, last = tubes.start_normal @ turn, tubes.end_normal @ turn
    depth = (tubes.end[:, 2] - tubes.start[:, 2]) * zoom / pixel
    slant = np.minimum(np.hypot(1, depth / length), 4)
    true_radius = tubes.radius * zoom / pixel
    radius = np.maximum(true_radius, 0.7)
    scale = tubes.mu * slant * 2 * pixel / zoom * (true_radius / radius) ** 2
    hole = np.maximum(true_radius - tubes.wall * zoom / pixel, 0) * (tubes.wall > 0)
    # Pixel i has its centre at i + 0.5; `low` is the first row and column of each patch.
    margin = radius[:, None] + 0.25
    low = np.ceil(np.minimum(start, end) - margin - 0.5).astype(int)
    extent = np.floor(np.maximum(start, end) + margin - 0.5).astype(int) + 1 - low
    side = extent.max(axis=1)
    bucket = np.ceil(np.log2(np.maximum(side, 5)) * 2).astype(int)
    visible = (low < n).all(axis=1) & (low + extent > 0).all(axis=1)
    # Patches may extend beyond the film: they are added to a wider one.
    pad = int(2 ** (bucket[visible].max(initial=6) / 2)) + 1
    wide = n + 2 * pad
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1)
    lines = [(start, normal), (start, first), (end, last)]
    # A plane n.(p - o): its slope and its value in the middle of each patch's first pixel.
    planes = [
        (vector.astype(np.float32), ((low + 0.5 - origin) * vector).sum(1).astype(np.float32))
        for origin, vector in lines
    ]
    total = np.zeros(wide * wide)
    for level in np.unique(bucket[visible]):
        pick = np.flatnonzero(visible & (bucket == level))
        steps = np.arange(side[pick].max())
        offsets = steps.astype(np.float32)[:, None]

        def plane(which, pick=pick, offsets=offsets):
            slope, value = planes[which]
            rows = value[pick] + slope[pick, 1] * offsets
            return rows[:, None] + (slope[pick, 0] * offsets)[None]

        # Patches as (rows, columns, pieces): NumPy is fastest along the longest axis.
        squared = plane(0)
        squared *= squared
        inside = np.float32(radius[pick] ** 2) - squared
        np.maximum(inside, 0, out=inside)
        chord = np.sqrt(inside, out=inside)
        if hole[pick].any():
            lumen = np.float32(hole[pick] ** 2) - squared
            np.maximum(lumen, 0, out=lumen)
            np.sqrt(lumen, out=lumen)
            lumen *= np.float32(1 - tubes.core[pick])
            chord -= lumen
        chord *= np.float32(scale[pick])
        # Each piece fades into the next over one pixel; at a joint the two shares sum to one.
        share = plane(1)
        share += np.float32(0.5)
        np.clip(share, 0, 1, out=share)
        rest = plane(2)
        rest += np.float32(0.5)
        share -= np.clip(rest, 0, 1, out=rest)
        chord *= np.maximum(share, 0, out=share)
        corner = (low[pick, 1] + pad) * wide + low[pick, 0] + pad
        index = corner + (steps[:, None] * wide + steps)[:, :, None]
        total += np.bincount(index.ravel(), chord.ravel(), minlength=wide * wide)
    image += total.reshape(wide, wide)[pad : pad + n, pad : pad + n].astype(np.float32)

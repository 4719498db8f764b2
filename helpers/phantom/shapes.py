"""Shapes: the length of each ray of a film inside a solid, in closed form.

Rays run along *z* (from back to front); *x* points to the right of the film (the patient's
left) and *y* down, all in centimetres. For a (super)ellipsoid, the interval of *z* in which a ray
is inside it has a closed form, so no ray has to be marched. Subtracting solids from another is
arithmetic with intervals.
"""

import math
from typing import NamedTuple

import numpy as np

FIELD = 38.0  # side of the square film, cm


class Solid(NamedTuple):
    """Superellipsoid ``|u/a|^power + |v/b|^power + (w/c)^2 <= 1``.

    ``u`` and ``v`` are the film coordinates turned by ``angle`` about the centre. With
    ``power=2`` it is an ellipsoid; larger powers are boxier. The half towards the feet may
    have a semi-axis of its own, ``below`` (0 means the same as ``b``, ``inf`` an endless trunk).
    """

    x: float
    y: float
    z: float
    a: float
    b: float
    c: float
    angle: float = 0.0  # radians, clockwise on the film
    power: float = 2.0
    below: float = 0.0


class Rays(NamedTuple):
    """A square grid of parallel rays.

    ``x`` and ``y`` (both ``(n, n)``, float32) are where each ray meets the body, in the body's
    own coordinates; ``pixel`` is their distance on the film; ``matrix`` (2, 2) and ``shift``
    (2,) take body coordinates to film coordinates.
    """

    x: np.ndarray
    y: np.ndarray
    pixel: float
    matrix: np.ndarray
    shift: np.ndarray


def make_rays(
    n: int, *, zoom: float = 1.0, turn: float = 0.0, shift: tuple[float, float] = (0.0, 0.0)
) -> Rays:
    """Rays through the centres of ``n`` by ``n`` pixels of a film of side ``FIELD``.

    Parameters
    ----------
    n : int
        Pixels along one side.
    zoom : float, default=1.0
        Film centimetres for one body centimetre.
    turn : float, default=0.0
        Angle by which the patient is tilted on the film, radians.
    shift : tuple of float, default=(0.0, 0.0)
        Where the body's origin is on the film, cm from its centre.

    Returns
    -------
    Rays
    """
    pixel = FIELD / n
    film = (np.arange(n) + 0.5) * pixel - FIELD / 2
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = zoom * np.array([[cos, -sin], [sin, cos]])
    inverse = np.linalg.inv(matrix)
    shift = np.asarray(shift, float)
    fx, fy = film[None, :] - shift[0], film[:, None] - shift[1]
    x = inverse[0, 0] * fx + inverse[0, 1] * fy
    y = inverse[1, 0] * fx + inverse[1, 1] * fy
    return Rays(x.astype(np.float32), y.astype(np.float32), pixel, matrix, shift)


def half_chord(x: np.ndarray, y: np.ndarray, solid: Solid) -> np.ndarray:
    """Return half the length of rays along *z* inside a superellipsoid.

    Parameters
    ----------
    x, y : ndarray of float32, any (same) shape
        Where the rays pass, cm.
    solid : Solid
        The shape.

    Returns
    -------
    ndarray of float32
        ``c * sqrt(1 - |u/a|^p - |v/b|^p)``, 0 outside; the shape spans ``z`` plus and minus it.
    """
    u, v = x - np.float32(solid.x), y - np.float32(solid.y)
    if solid.angle:
        cos, sin = np.float32(math.cos(solid.angle)), np.float32(math.sin(solid.angle))
        u, v = cos * u + sin * v, cos * v - sin * u
    u = u * np.float32(1 / solid.a)
    if solid.below:
        v = v * np.where(v > 0, np.float32(1 / solid.below), np.float32(1 / solid.b))
    else:
        v = v * np.float32(1 / solid.b)
    u *= u
    v *= v
    if solid.power == 2.5:  # three square roots are much faster than a general power
        u *= np.sqrt(np.sqrt(u))
        v *= np.sqrt(np.sqrt(v))
    elif solid.power != 2:
        u, v = u ** np.float32(solid.power / 2), v ** np.float32(solid.power / 2)
    inside = np.float32(1) - u - v
    np.maximum(inside, 0, out=inside)
    return np.float32(solid.c) * np.sqrt(inside, out=inside)


def span(rays: Rays, solid: Solid) -> tuple[np.ndarray, np.ndarray]:
    """Find where each ray enters and leaves a solid.

    Parameters
    ----------
    rays : Rays
        The rays.
    solid : Solid
        The shape.

    Returns
    -------
    low, high : ndarray of float32
        Values of *z*, equal where a ray misses the solid.
    """
    half = half_chord(rays.x, rays.y, solid)
    return np.float32(solid.z) - half, np.float32(solid.z) + half


def crop(rays: Rays, solid: Solid) -> tuple[tuple[slice, slice], Rays]:
    """Find the part of a film that a solid may cover.

    Parameters
    ----------
    rays : Rays
        The whole film, or a part of it made by this function.
    solid : Solid
        The shape.

    Returns
    -------
    box : tuple of slice
        Rows and columns.
    rays : Rays
        The rays of the box.
    """
    # Plain numbers: for six of them NumPy would be ten times slower.
    reach_x, reach_y = solid.a, max(solid.b, solid.below)
    if solid.angle:
        cos, sin = abs(math.cos(solid.angle)), abs(math.sin(solid.angle))
        reach_x, reach_y = cos * reach_x + sin * reach_y, sin * reach_x + cos * reach_y
    box = []
    for axis in (1, 0):
        (along, across), shift = rays.matrix[axis].tolist(), float(rays.shift[axis])
        middle = (along * solid.x + across * solid.y + shift + FIELD / 2) / rays.pixel
        half = min((abs(along) * reach_x + abs(across) * reach_y) / rays.pixel, 1e6)
        length = rays.x.shape[1 - axis]
        low = min(max(math.floor(middle - half), 0), length)
        box.append(slice(low, min(max(math.ceil(middle + half) + 1, low), length)))
    box = tuple(box)
    return box, rays._replace(x=rays.x[box], y=rays.y[box])


def add_solid(image: np.ndarray, rays: Rays, solid: Solid, mu: float) -> None:
    """Add ``mu`` times the chord of a solid to a line-integral image, in place.

    Parameters
    ----------
    image : ndarray of float32, shape (n, n)
        Line integrals so far.
    rays : Rays
        The rays of the image.
    solid : Solid
        The shape to add.
    mu : float
        Attenuation above the surroundings, 1/cm; negative for air in tissue.
    """
    box, part = crop(rays, solid)
    image[box] += np.float32(2 * mu) * half_chord(part.x, part.y, solid)


def covered(
    within: tuple[np.ndarray, np.ndarray], *solids: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Length of the part of an interval that is covered by other intervals.

    Parameters
    ----------
    within : tuple of ndarray
        Lower and upper ends ``(low, high)`` of the interval of each ray.
    *solids : tuple of ndarray
        Intervals of the same shape; they may overlap each other and extend beyond ``within``.

    Returns
    -------
    ndarray
        Length of ``within`` intersected with the union, by inclusion and exclusion.
    """
    total = np.zeros_like(within[0])

    def include(low, high, rest, sign):
        for index, (a, b) in enumerate(rest):
            lower, upper = np.maximum(low, a), np.minimum(high, b)
            length = np.maximum(upper - lower, 0)
            nonlocal total
            total += sign * length
            include(lower, upper, rest[index + 1 :], -sign)

    include(*within, solids, 1)
    return total


def merge(spans: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Find the smallest interval of each ray around several intervals.

    Parameters
    ----------
    spans : list of tuple of ndarray
        Intervals ``(low, high)``; empty ones are left out.

    Returns
    -------
    low, high : ndarray
        Equal where all intervals are empty.
    """
    low = np.full_like(spans[0][0], np.inf)
    high = np.full_like(low, -np.inf)
    for a, b in spans:
        hit = b > a
        low = np.where(hit, np.minimum(low, a), low)
        high = np.where(hit, np.maximum(high, b), high)
    missed = high < low
    low[missed] = high[missed] = 0
    return low, high

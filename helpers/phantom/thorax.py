"""Thorax: line integrals through a chest, with or without findings.

Soft tissue consists of a few solids joined smoothly. Each lung is a solid minus the abdomen under
the diaphragm, the heart and the mediastinum. It replaces tissue, and vessels, fluid, bare air or
filled air spaces replace lung. The skeleton is added last.
"""

from functools import lru_cache

import numpy as np

from helpers.phantom.anatomy import LEFT, RIGHT, Anatomy, Pose, dome, dome_top, heart, lung
from helpers.phantom.findings import NO_LESIONS, Lesions
from helpers.phantom.shapes import (
    Solid,
    add_solid,
    covered,
    crop,
    half_chord,
    make_rays,
    merge,
    span,
)
from helpers.phantom.skeleton import add_spine, flat_bones, skeleton
from helpers.phantom.tubes import add_tubes, join, polyline

# Linear attenuation at about 65 keV, 1/cm.
TISSUE = 0.205
LUNG = 0.045
CONSOLIDATED = 0.165  # lung whose air spaces are filled, a little air left
LUMP = 0.33  # nodules and masses: tissue with some calcium
BLOOD = 0.25  # vessels above lung: blood and the sheath around it
TAPER = np.array([[1.0], [0.9]])  # of the two halves of a vessel between branchings


def project_chest(
    anatomy: Anatomy, pose: Pose, lesions: Lesions = NO_LESIONS, n: int = 256
) -> np.ndarray:
    """Line integrals of one film.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    pose : Pose
        How the patient stands or lies.
    lesions : Lesions, default=NO_LESIONS
        The abnormalities.
    n : int, default=256
        Pixels along one side.

    Returns
    -------
    ndarray of float32, shape (n, n)
        Attenuation along each ray, dimensionless, at least 0.
    """
    rays = make_rays(n, zoom=pose.zoom, turn=pose.turn, shift=pose.shift)
    image = _body(anatomy, pose, rays)
    vessels = np.zeros_like(image)
    tree = _vessel_tree(anatomy, rays.pixel < 0.3)
    rise = [0, -0.3 * pose.breath, 0]
    add_tubes(vessels, rays, tree._replace(start=tree.start + rise, end=tree.end + rise))
    for side in (RIGHT, LEFT):
        _open_lung(image, vessels, rays, anatomy, pose, lesions, side)
    for solid, mu in _soft_parts(anatomy, pose):
        add_solid(image, rays, solid, mu)
    add_spine(image, anatomy, pose, rays)
    for solid, mu in flat_bones(anatomy, pose):
        add_solid(image, rays, solid, mu)
    add_tubes(image, rays, join([_airways(anatomy, pose), skeleton(anatomy, pose)]))
    return np.maximum(image, 0)


def _open_lung(image, vessels, rays, anatomy, pose, lesions, side):
    """Replace tissue by one lung and its abnormalities, in place.

    The pleural cavity is a solid minus the abdomen under the diaphragm, heart and mediastinum; the
    rest of each ray is lung, fluid (effusion) or bare air (pneumothorax).
    """
    cavity_shape = lung(anatomy, side, pose)
    box, part = crop(rays, cavity_shape)
    cavity = span(part, cavity_shape)
    core = heart(anatomy, pose, lesions.enlargement)
    solids = [core, *_mediastinum(anatomy, pose, core)]
    blocks = [
        span(part, dome(anatomy, side, pose)),
        merge([span(part, solid) for solid in solids]),
    ]
    space = cavity[1] - cavity[0] - covered(cavity, *blocks)
    air, gain = space, np.float32(LUNG) * space

    def within(shape):
        low, high = span(part, shape)
        inner = np.maximum(low, cavity[0]), np.minimum(high, cavity[1])
        inner = np.minimum(inner[0], inner[1]), inner[1]
        return inner[1] - inner[0] - covered(inner, *blocks)

    collapse = dict(lesions.collapse).get(side)
    fluid = dict(lesions.fluid).get(side)
    if collapse:
        shrunk = _collapsed(cavity_shape, side, collapse)
        air = within(shrunk)
        # The lung has the same blood in less space; the pleural space contains only air.
        gain = np.float32(LUNG * (1 + 0.6 * collapse)) * air
        skin = shrunk._replace(a=shrunk.a - 0.16, b=shrunk.b - 0.16, below=shrunk.below - 0.16)
        gain += np.float32(0.5 * TISSUE) * np.maximum(air - within(skin), 0)
    if fluid:
        floating = _floated(cavity_shape, side, fluid)
        # The film of fluid that climbs the chest wall thins out above the rim.
        reach = np.clip((part.y - np.float32(floating.y)) / 2 + 1, 0, 1)
        wet = reach * (space - within(floating))
        gain += np.float32(TISSUE) * wet - np.float32(LUNG) * np.minimum(wet, air)
        air = np.maximum(air - wet, 0)
    vessels = vessels[box] * np.clip(air / 3, 0, 1)
    open_share = np.ones_like(air)
    for opacity in lesions.opacities:
        if opacity.side == side:
            open_share *= 1 - _fill(part, opacity)
    filled = 1 - open_share
    gain += np.float32(CONSOLIDATED - LUNG) * air * filled
    # Filled lung hides its vessels; the air in the bronchi beside them shows instead.
    vessels *= 1 - np.float32(1.35) * filled
    for lump in lesions.lumps:
        if lump[0].x * side > 0:
            half = np.max([half_chord(part.x, part.y, solid) for solid in lump], axis=0)
            gain += np.float32(LUMP - LUNG) * np.minimum(2 * half, air) * open_share
    image[box] += gain + vessels - np.float32(TISSUE) * space


def _collapsed(cavity, side, share):
    """Lung that has shrunk by ``share`` towards its root."""
    keep = 1 - share
    root_x, root_y = cavity.x - side * 0.75 * cavity.a, 2.5
    return cavity._replace(
        x=root_x + keep * (cavity.x - root_x),
        y=root_y + keep * (cavity.y - root_y),
        a=cavity.a * keep,
        b=cavity.b * (1 - 0.85 * share),
        below=cavity.below * (1 - 0.5 * share),
    )


def _floated(cavity, side, height):
    """Lung that floats on fluid: its round base leaves a rim that climbs up the chest wall."""
    base = cavity.y + cavity.below - 1.2 - height
    curve = 4.5
    return cavity._replace(
        x=cavity.x - side * (0.1 + 0.04 * height),
        y=base - curve,
        a=cavity.a * 1.05,
        b=cavity.b + base - curve - cavity.y,
        c=cavity.c * 1.05,
        below=curve,
        power=2.0,
    )


def _fill(rays, opacity):
    """Share of the air spaces that is filled, in [0, 1): Gaussians have closed-form integrals."""
    total = np.zeros_like(rays.x)
    for x, y, a, b, angle, strength in opacity.blobs:
        u, v = rays.x - np.float32(x), rays.y - np.float32(y)
        cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
        u, v = (cos * u + sin * v) / np.float32(a), (cos * v - sin * u) / np.float32(b)
        total += np.float32(strength) * np.exp(-0.5 * (u * u + v * v))
    if np.isfinite(opacity.fissure):
        edge = (rays.y - np.float32(opacity.fissure)) * (4 if opacity.above else -4)
        total /= 1 + np.exp(np.clip(edge, -30, 30))
    return 1 - np.exp(-total)


def _body(anatomy, pose, rays):
    """Soft tissue of trunk, neck, shoulders and arms, smoothly joined, lungs still filled."""
    w, fat = anatomy.width, anatomy.fat
    parts = [
        Solid(0, 9, 0, w + 1.0 + fat, 27, anatomy.depth + 1.4 + 0.7 * fat, power=2.5, below=60),
        Solid(0, 24, 1, w + 0.6 + fat, 19, anatomy.depth + 1.0 + 1.1 * fat, below=40),
        Solid(0, -16, 0, 5.4 + 0.3 * fat, 9, 5.5, power=2.5, below=14),
    ]
    for side in (RIGHT, LEFT):
        x = side * (w + 5.0 + 0.5 * fat - 0.8 * pose.arms)
        slope = 0.36 + 0.05 * (pose.view == "AP")
        parts.append(
            Solid(side * (w - 3.8), -10.2, 0, 9.5, 4.4 + 0.3 * fat, 7.2, side * slope, power=2.5)
        )
        parts.append(Solid(side * (w + 3.2), -7.5, 0, 4.6 + 0.2 * fat, 5.5, 6.2))
        parts.append(Solid(x, 2, -1, 3.6 + 0.4 * fat, 12.5, 4.6, side * -0.2, below=30))
    total = np.zeros_like(rays.x)
    for solid in parts:
        box, part = crop(rays, solid)
        half = half_chord(part.x, part.y, solid)
        half *= half
        total[box] += half * half
    return np.float32(2 * TISSUE) * np.sqrt(np.sqrt(total))


def _mediastinum(anatomy, pose, core):
    """Great vessels and the tissue between the lungs, as solids."""
    turn = np.sin(pose.rotation)
    s = anatomy.width / 13.6
    wide = 1.12 if pose.view == "AP" else 1.0
    knob = anatomy.knob
    top = -5.6 - 0.25 * pose.breath
    return [
        Solid(0.1 + 1.5 * turn, -2, 0.5, 2.4 * s * wide, 14, 5.2, below=24),
        Solid(-1.3 * s + 1.5 * turn, -3, 2, 1.9 * s * wide, 10, 4, 0.05, below=8),
        Solid(1.9 * s - 1.0 * turn, top, -1, knob * wide + 0.25, knob + 0.3, 3.5, power=2.5),
        Solid(2.3 * s + 2 * turn, top + 3.6, 1.5, 1.7 * s * wide, 2.4, 3, 0.25),
        Solid(core.x - 0.62 * core.a, core.y + 0.6, 2, 3.1 * s * wide, 4.3, 4),
        Solid(1.1 * s - 2.5 * turn, 3, -4.5, 1.25 * s + 0.3 * (knob - 1.5), 12, 2, -0.03),
    ]


def _soft_parts(anatomy, pose):
    """Parts beside the plain body: breasts, stomach bubble, hila."""
    parts = []
    s = anatomy.width / 13.6
    turn = np.sin(pose.rotation)
    for side in (RIGHT, LEFT):
        if anatomy.breast:
            r = anatomy.breast
            flat = 0.75 if pose.view == "AP" else 1.0
            x, y = side * (anatomy.width * 0.56 + (0.6 if pose.view == "AP" else 0)), 5.0
            parts.append(
                (Solid(x, y - 0.5, 9, r * 1.12, r * 1.35, 0.2 * r * flat, below=r * 1.0), TISSUE)
            )
            parts.append(
                (
                    Solid(x, y + 0.8, 9, r, r * 0.9, 0.16 * r * flat, side * 0.1, below=r * 0.75),
                    TISSUE,
                )
            )
        else:
            parts.append((Solid(side * 7.5 * s, -3.5, 9, 6.5 * s, 6, 0.9, side * -0.5), TISSUE))
    if anatomy.bubble > 0.3:
        r = anatomy.bubble
        y = dome_top(anatomy, LEFT, pose) + 1.0 + r
        if pose.view == "PA":
            parts.append((Solid(6.3 * s, y, 0, 1.6 * r, r, 1.7 * r, power=2.5), -TISSUE * 0.9))
        else:
            parts.append((Solid(5.0 * s, y + 0.8, 4, 1.9 * r, 1.2 * r, 0.9 * r), -TISSUE * 0.9))
    for side in (RIGHT, LEFT):
        x, y = side * 3.9 * s + turn, _hilum_level(side, pose.breath)
        parts.append((Solid(x, y, 0, 1.0, 2.1, 0.9, side * -0.35), TISSUE - LUNG))
        parts.append((Solid(x + side * 0.9, y + 1.2, 0, 0.8, 1.5, 0.7, side * -0.5), TISSUE - LUNG))
    return parts


def _airways(anatomy, pose):
    """Trachea and main bronchi: tubes of air."""
    turn = np.sin(pose.rotation)
    s = anatomy.width / 13.6
    carina = np.array([0.25 * s + turn, -3.6 - 0.2 * pose.breath, 0.0])
    trachea = np.stack([[0.1 + 2 * turn, -21, 1.5], [0.0 + 1.5 * turn, -12, 1], carina])
    right = np.stack([carina, carina + [-1.5, 1.6, 0], carina + [-3.0, 3.6, 0]])
    left = np.stack([carina, carina + [2.0, 1.4, 0], carina + [4.0, 2.4, 0]])
    pieces = [
        polyline(trachea[:, None], 0.9 * s, -TISSUE),
        polyline(right[:, None], 0.62 * s, -TISSUE * 0.9),
        polyline(left[:, None], 0.55 * s, -TISSUE * 0.9),
    ]
    return join(pieces)


@lru_cache(maxsize=4)  # the follow-ups of a patient come one after the other
def _vessel_tree(anatomy, fine):
    """Lung vessels that branch and taper from the hila outwards, in full inspiration.

    Murray's law (the cube of the parent's radius is the sum of the children's cubes) sets the
    radii. The last twigs, much thinner than a coarse pixel, are drawn on a ``fine`` film only.
    """
    rng = np.random.default_rng(anatomy.tree)
    s, reach = anatomy.width / 13.6, anatomy.height / 17.3
    # 0 points sideways, positive down.
    fan = np.deg2rad([-102, -78, -48, -18, 8, 34, 56, 78])
    thick = np.array([0.44, 0.38, 0.35, 0.34, 0.42, 0.56, 0.66, 0.62]) * anatomy.markings
    side = np.repeat([RIGHT, LEFT], len(fan))
    m = len(side)
    angle = np.tile(fan, 2) + rng.normal(0, 0.1, m)
    radius = np.tile(thick, 2)
    level = np.repeat([_hilum_level(RIGHT), _hilum_level(LEFT)], len(fan))
    rise = np.tile(np.linspace(-1.6, 2.0, len(fan)), 2)
    start = np.stack(
        [side * (3.6 * s + rng.uniform(-0.2, 0.7, m)), level + rise, rng.normal(0, 1, m)], 1
    )
    length = np.full(m, 3.1) * s
    pieces = []
    for _ in range(6 if fine else 4):
        m = len(start)
        bend, dive = rng.normal(0, 0.2, (2, m)), rng.normal(0, 0.35, (2, m))
        points = [start]
        for half in range(2):
            angle = angle + bend[half]
            step = np.stack([side * np.cos(angle), np.sin(angle) * reach, dive[half]], 1)
            points.append(points[-1] + step * (length / 2)[:, None])
        pieces.append(polyline(np.stack(points), radius * TAPER, 1.35 * (TISSUE - LUNG)))
        share, split = rng.uniform(0.35, 0.65, m), rng.uniform(0.4, 0.85, m)
        start, side = np.tile(points[-1], (2, 1)), np.tile(side, 2)
        angle = np.concatenate([angle + split * (1 - share), angle - split * share])
        radius = 0.85 * np.concatenate([radius * np.cbrt(share), radius * np.cbrt(1 - share)])
        length = np.tile(length, 2) * rng.uniform(0.65, 0.9, 2 * m)
    return join(pieces)


def _hilum_level(side, breath=0.0):
    """Height (y) of the lung root; the left one is higher, breathing out raises both."""
    return (0.3 if side == RIGHT else -0.9) - 0.3 * breath

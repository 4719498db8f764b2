"""Findings: the abnormalities of a synthetic chest, as shapes and amounts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from helpers.phantom.anatomy import (
    LEFT,
    RIGHT,
    Anatomy,
    Pose,
    cardiothoracic_ratio,
    dome_top,
    heart,
    lung,
)
from helpers.phantom.shapes import Solid

SUBTLE = 0.3  # share of findings drawn from the lower, hard end of their range


@dataclass(frozen=True)
class Opacity:
    """Filled air spaces of one lung: fuzzy blobs, perhaps cut sharply by a fissure.

    ``blobs`` has one row for each Gaussian: x, y, both standard deviations (cm), angle
    (radians), amount. Only what lies above (or below) the ``fissure`` at height y is filled.
    """

    side: int
    blobs: np.ndarray  # (m, 6)
    fissure: float = np.inf
    above: bool = True


@dataclass(frozen=True)
class Lesions:
    """All abnormalities on one film.

    Attributes
    ----------
    enlargement : float
        Scale of the heart, 1 is healthy.
    fluid : tuple of (int, float)
        Sides with an effusion, and its height above the floor of the pleural cavity, cm.
    collapse : tuple of (int, float)
        Sides with a pneumothorax, and the share of its width that the lung has lost.
    opacities : tuple of Opacity
        Pneumonia and consolidation.
    lumps : tuple of tuple of Solid
        Nodules and masses; each is the union of its solids.
    """

    enlargement: float = 1.0
    fluid: tuple[tuple[int, float], ...] = ()
    collapse: tuple[tuple[int, float], ...] = ()
    opacities: tuple[Opacity, ...] = ()
    lumps: tuple[tuple[Solid, ...], ...] = ()


NO_LESIONS = Lesions()


def _amount(rng, low, high):
    """Severity between ``low`` and ``high``; a share SUBTLE is in the lowest quarter."""
    part = rng.uniform(0, 0.25) if rng.random() < SUBTLE else rng.uniform(0.25, 1)
    return low + (high - low) * part


def draw_lesions(
    rngs: Callable[[str], np.random.Generator],
    present: Iterable[str],
    anatomy: Anatomy,
    growth: float = 1.0,
) -> Lesions:
    """Draw the shapes of the findings of one film.

    Parameters
    ----------
    rngs : callable
        Returns the generator of a finding, given its name. The same generator state gives the same
        lesion, so a finding that persists stays in place.
    present : iterable of str
        NIH names of the findings of this film.
    anatomy : Anatomy
        The patient.
    growth : float, default=1.0
        Severity of this film relative to the patient's first.

    Returns
    -------
    Lesions
    """
    made = {}
    for name in present:
        rng = rngs(name)
        if name == "Cardiomegaly":
            # Severity is the ratio on a standing film; the heart is enlarged to reach it.
            target = _amount(rng, 0.52, 0.66) * (1 + 0.15 * (growth - 1))
            made["enlargement"] = _enlargement(anatomy, target)
        elif name == "Effusion":
            sides = [(RIGHT,), (LEFT,), (RIGHT, LEFT)][rng.choice(3, p=[0.38, 0.32, 0.3])]
            made["fluid"] = tuple((side, _amount(rng, 1.5, 8.0) * growth) for side in sides)
        elif name == "Pneumothorax":
            side = LEFT if rng.random() < 0.45 else RIGHT
            made["collapse"] = ((side, min(_amount(rng, 0.25, 0.65) * growth, 0.72)),)
        elif name in ("Pneumonia", "Consolidation"):
            draw = _patchy if name == "Pneumonia" else _lobar
            made["opacities"] = (*made.get("opacities", ()), *draw(rng, anatomy, growth))
        elif name in ("Nodule", "Mass"):
            draw = _nodules if name == "Nodule" else _mass
            made["lumps"] = (*made.get("lumps", ()), *draw(rng, anatomy, growth))
        else:
            raise ValueError(f"Expected a finding the phantom knows. Received {name!r}.")
    return Lesions(**made)


def _enlargement(anatomy, target):
    """Scale of the heart that gives a cardiothoracic ratio on a standing film."""
    scale = 1.0
    for _ in range(8):  # nearly proportional, so this converges at once
        scale *= target / cardiothoracic_ratio(anatomy, Pose(), scale)
    return max(scale, 1.0)


def _spot(rng, anatomy, margin=0.78):
    """Find a visible point of a lung: not behind heart, spine or diaphragm."""
    pose = Pose()
    core = heart(anatomy, pose)
    while True:
        side = RIGHT if rng.random() < 0.55 else LEFT
        shape = lung(anatomy, side, pose)
        u, v = rng.uniform(-margin, margin, 2)
        x, y = shape.x + u * shape.a, shape.y + v * (shape.b if v < 0 else shape.below)
        inside = abs(u) ** 2.5 + abs(v) ** 2.5 < margin**2.5
        beside = abs(x - core.x) > 0.9 * core.a or y < core.y - core.b
        if inside and beside and abs(x) > 3.6 and y < dome_top(anatomy, side, pose) - 1.2:
            return side, x, y


def _patchy(rng, anatomy, growth):
    """Bronchopneumonia: a cluster of fuzzy patches, sometimes in both lungs."""
    opacities = []
    for _ in range(1 + (rng.random() < 0.5)):
        side, x, y = _spot(rng, anatomy, 0.7)
        m = rng.integers(5, 10)
        reach = _amount(rng, 1.8, 3.6)
        strength = _amount(rng, 0.3, 1.3) * growth
        blobs = np.stack(
            [
                x + rng.normal(0, reach * 0.7, m),
                y + rng.normal(0, reach, m),
                reach * rng.uniform(0.3, 0.75, m),
                reach * rng.uniform(0.3, 0.75, m),
                rng.uniform(0, np.pi, m),
                strength * rng.uniform(0.4, 1.1, m),
            ],
            axis=1,
        )
        opacities.append(Opacity(side, blobs))
    return opacities


def _lobar(rng, anatomy, growth):
    """Consolidation of one lobe: dense, with a sharp edge where a fissure bounds it."""
    half, dome = anatomy.width / 2, anatomy.dome
    place = rng.choice(4)
    reach = _amount(rng, 2.0, 3.8)
    side, x, y, fissure, above = [
        (RIGHT, -1.15 * half, -3.5, -0.6, True),  # right upper lobe, above the small fissure
        (RIGHT, -1.0 * half, 2.4, 0.4, False),  # right middle lobe, below it
        (RIGHT, -1.15 * half, dome - 3.0, np.inf, True),
        (LEFT, 1.25 * half, dome - 3.0, np.inf, True),
    ][place]
    m = 4
    blobs = np.stack(
        [
            x + rng.normal(0, 0.45 * reach, m),
            y + rng.normal(0, 0.5 * reach, m),
            reach * rng.uniform(0.6, 1.0, m),
            reach * rng.uniform(0.5, 0.9, m),
            rng.uniform(0, np.pi, m),
            _amount(rng, 0.5, 1.8) * growth * rng.uniform(0.5, 1.0, m),
        ],
        axis=1,
    )
    return [Opacity(side, blobs, fissure + rng.normal(0, 0.5), above)]


def _nodules(rng, anatomy, growth):
    """One to three small spheres."""
    lumps = []
    for _ in range(rng.choice([1, 2, 3], p=[0.25, 0.3, 0.45])):
        _, x, y = _spot(rng, anatomy)
        r = _amount(rng, 0.7, 1.4) * growth ** (1 / 3)
        lumps.append((Solid(x, y, rng.uniform(-4, 4), r, r, r),))
    return lumps


def _mass(rng, anatomy, growth):
    """One lobulated lump more than 3 cm across."""
    _, x, y = _spot(rng, anatomy, 0.7)
    z = rng.uniform(-3, 3)
    r = max(_amount(rng, 1.6, 3.4) * growth ** (1 / 3), 1.6)
    lobes = [Solid(x, y, z, r, r * rng.uniform(0.8, 1.0), 0.9 * r, rng.uniform(0, 3))]
    for _ in range(rng.integers(1, 4)):
        angle, part = rng.uniform(0, 2 * np.pi), rng.uniform(0.4, 0.7) * r
        lobes.append(
            Solid(x + 0.7 * r * np.cos(angle), y + 0.7 * r * np.sin(angle), z, part, part, part)
        )
    return [tuple(lobes)]

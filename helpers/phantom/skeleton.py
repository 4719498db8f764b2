"""Skeleton: spine, ribs, clavicles, shoulder blades and upper arms of a patient."""

import numpy as np

from helpers.phantom.anatomy import LEFT, RIGHT, Anatomy, Pose
from helpers.phantom.shapes import FIELD, Rays, Solid, crop
from helpers.phantom.tubes import Tubes, join, polyline

# Linear attenuation above that of soft tissue at about 65 keV, 1/cm.
BONE = 0.17  # spongy bone
CORTEX = 0.26  # compact bone


def add_spine(image: np.ndarray, anatomy: Anatomy, pose: Pose, rays: Rays) -> None:
    """Add vertebral bodies with disc spaces, pedicles and processes, in place.

    Parameters
    ----------
    image : ndarray of float32, shape (n, n)
        Line integrals so far.
    anatomy : Anatomy
        The patient.
    pose : Pose
        The film.
    rays : Rays
        The rays of the image.
    """
    box, rays = crop(rays, Solid(0, 0, 0, 4.5, FIELD, 1))
    bend = anatomy.sway * np.sin(rays.y / 9) - 1.2 * np.sin(pose.rotation)
    x = rays.x - bend.astype(np.float32)
    # Vertebrae grow towards the feet: equal steps of `level` are one vertebra each.
    pitch = 0.02
    base = anatomy.rib_step
    level = np.log1p(np.maximum((rays.y + 22) * pitch / base, -0.9)) / pitch
    size = np.float32(base) * np.exp(level * pitch)
    v = (level - np.floor(level) - 0.5).astype(np.float32)
    bone = np.float32(anatomy.bone)
    half_width = (0.72 * size).astype(np.float32)
    u = x / half_width
    blocks = np.sqrt(np.maximum(1 - np.abs(u) ** 5 - np.abs(v / 0.43) ** 6, 0))
    total = 2 * 1.45 * BONE * 0.55 * blocks
    plates = np.exp(-(((np.abs(v) - 0.41) / 0.05) ** 2)) * (np.abs(u) < 0.95)
    total += 0.10 * plates
    pedicle = ((np.abs(x) - 0.62 * half_width) / 0.33) ** 2 + ((v + 0.08) * size / 0.5) ** 2
    total += 0.22 * np.sqrt(np.maximum(1 - pedicle, 0))
    process = (x / 0.3) ** 2 + ((v - 0.28) * size / 0.6) ** 2
    total += 0.26 * np.sqrt(np.maximum(1 - process, 0))
    across = (np.abs(x) / (1.75 * half_width)) ** 4 + ((v + 0.12) * size / 0.42) ** 2
    total += 0.10 * np.sqrt(np.maximum(1 - across, 0))
    image[box] += (0.6 * bone) * total.astype(np.float32)


def flat_bones(anatomy: Anatomy, pose: Pose) -> list[tuple[Solid, float]]:
    """Shoulder blades, humeral heads and breastbone, as thin solids.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    pose : Pose
        The film.

    Returns
    -------
    list of tuple of (Solid, float)
        Shapes and their attenuation above that of tissue, 1/cm.
    """
    w, bone = anatomy.width, anatomy.bone
    parts = []
    for side in (RIGHT, LEFT):
        x = side * (w + 0.9 - 3.0 * pose.arms + 0.4)
        parts.append((Solid(x, -4.6, -7, 2.7, 6.6, 0.3, side * -0.28, power=2.5), BONE * bone))
        shoulder = side * (w + 3.0)
        parts.append((Solid(shoulder, -9.6, 0, 2.3, 2.7, 1.6), BONE * bone * 0.6))
    turn = 6 * np.sin(pose.rotation)
    parts.append((Solid(turn, -8.6, 6, 2.5, 2.4, 0.45, power=2.5), BONE * 0.6 * bone))
    return parts


def skeleton(anatomy: Anatomy, pose: Pose) -> Tubes:
    """Ribs, clavicles, edges of the shoulder blades, upper arms: hollow tubes.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    pose : Pose
        The film.

    Returns
    -------
    Tubes
    """
    w, bone = anatomy.width, anatomy.bone
    pieces = [_ribs(anatomy, pose)]
    lift = 1.4 if pose.view == "AP" else 0.0
    turn = np.sin(pose.rotation)
    t = np.linspace(0, 1, 7)
    for side in (RIGHT, LEFT):
        x = side * (1.6 + (w + 2.4 - 1.6) * t)
        y = -8.9 - lift - 3.4 * t + 0.6 * np.sin(2 * np.pi * t)
        z = 6 - 5 * t
        line = np.stack([x + z * turn, y, z], 1)
        pieces.append(polyline(line[:, None], 0.62, CORTEX * 1.05 * bone, wall=0.2, core=0.42))
        x0 = side * (w + 1.3 - 3.0 * pose.arms)
        border = np.stack(
            [
                x0 + side * np.array([2.6, 1.9, 1.1, 0.3, -0.7]),
                np.array([-8.6, -6.0, -3.2, -0.6, 1.6]),
                np.full(5, -7.0),
            ],
            1,
        )
        pieces.append(polyline(border[:, None], 0.42, CORTEX * 0.8 * bone, wall=0.15, core=0.4))
        ridge = np.stack(
            [
                x0 + side * np.array([-2.6, 0.0, 3.4]),
                np.array([-7.4, -9.2, -12.2]),
                np.full(3, -7.0),
            ],
            1,
        )
        pieces.append(polyline(ridge[:, None], 0.45, CORTEX * 0.65 * bone, wall=0.15, core=0.4))
        arm = np.stack(
            [
                side * np.array([w + 4.0, w + 5.0, w + 7.2]),
                np.array([-9.5, -3.0, 10.0]),
                np.zeros(3),
            ],
            1,
        )
        pieces.append(polyline(arm[:, None], 1.25, CORTEX * 0.7 * bone, wall=0.4, core=0.3))
    return join(pieces)


def _ribs(anatomy, pose):
    """Ten pairs: each a tilted ellipse that hugs the lung, from the spine round to the front."""
    bone = anatomy.bone
    level = 3.0
    count = np.arange(10)
    start = -15.2 * anatomy.height / 17.3 + count * anatomy.rib_step * (1 + 0.012 * count)
    drop = anatomy.rib_drop * np.array([0.5, 0.68, 0.82, 0.92, 1.0, 1.04, 1.06, 1.05, 1.0, 0.95])
    height = (level - (start + drop * 0.42)) / anatomy.height
    shape = np.clip(1 - np.clip(height, 0, 0.995) ** 2.4, 0, 1) ** (1 / 2.4)
    width = anatomy.width * (0.5 + 0.5 * shape) + 0.35
    width[0] = min(width[0], 0.56 * anatomy.width)
    depth = anatomy.depth * (0.62 + 0.38 * shape) + 0.3
    phi = np.linspace(0.16, np.deg2rad(142), 11)[:, None]
    x = width * np.sin(phi) ** 0.92
    z = -depth * np.cos(phi)
    y = start + drop * (1 - np.cos(phi)) / 2 - 0.75 * np.sin(2 * phi) * (phi < np.pi / 2)
    middle = 0.5 * (phi[1:] + phi[:-1])
    mu = CORTEX * 0.8 * bone * np.clip((np.deg2rad(150) - middle) / 0.9, 0.12, 1)
    mu = mu * np.append(0.7, np.ones(9))
    radius = anatomy.rib_radius * np.linspace(0.85, 1.0, 10)
    x = np.concatenate([RIGHT * x, LEFT * x], axis=1) + np.tile(z, 2) * np.sin(pose.rotation)
    line = np.stack([x, np.tile(y, 2), np.tile(z, 2)], -1)
    return polyline(line, np.tile(radius, 2), np.tile(mu, 2), wall=0.17, core=0.35)

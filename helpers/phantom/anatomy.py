"""Anatomy: the measures of one synthetic patient, and the pose on one film.

:class:`Anatomy` has what stays constant over a patient's follow-ups, :class:`Pose` what changes
from film to film. Lengths are centimetres, *x* to the patient's left (the film's right), *y* down
from the middle of the chest, *z* from back to front.
"""

from dataclasses import dataclass

import numpy as np

from helpers.phantom.shapes import Solid

RIGHT, LEFT = -1, 1  # sign of x on either side of the patient


@dataclass(frozen=True)
class Anatomy:
    """Measures of one patient, cm unless stated otherwise."""

    female: bool
    age: float  # years
    width: float  # half the inner chest at its widest, both lungs included
    height: float  # from the widest level up to the apex
    depth: float  # half the inner chest, front to back
    fat: float  # chest wall outside the ribs
    heart: float  # scale of the heart, 1 is average for the chest
    heart_tilt: float  # radians
    dome: float  # top of the right diaphragm, y
    dome_step: float  # how much lower the left one is
    knob: float  # radius of the aortic arch
    sway: float  # sideways bend of the spine
    rib_step: float  # distance of neighbouring ribs
    rib_drop: float  # how far a rib descends from back to front
    rib_radius: float
    breast: float  # semi-axis, 0 for men
    bone: float  # density of bone, 1 is a healthy adult's
    markings: float  # thickness of the lung vessels, 1 is average
    bubble: float  # radius of the air bubble in the stomach
    tree: int  # seed of the vessels


@dataclass(frozen=True)
class Pose:
    """How the patient stands or lies on one film."""

    view: str = "PA"  # "PA": standing, tube far behind; "AP": in bed, tube near, from the front
    rotation: float = 0.0  # about the body's long axis, radians
    turn: float = 0.0  # tilt on the film, radians
    zoom: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)
    breath: float = 0.0  # how much higher the diaphragm stands than in full inspiration, cm
    arms: float = 0.0  # 0: shoulder blades turned out of the lungs; 1: over them

    def magnify(self, z: float) -> float:
        """Cone-beam magnification at depth ``z``, relative to the middle of the chest.

        The detector is in front of the chest in PA and behind it in AP; the focus is 180 cm
        and 105 cm away. What is far from the detector, such as the heart in AP, appears larger.

        Parameters
        ----------
        z : float
            Depth, cm from the middle of the chest towards the front.

        Returns
        -------
        float
        """
        distance, middle = (180.0, 11.0) if self.view == "PA" else (105.0, 12.0)
        away = middle - z if self.view == "PA" else middle + z
        return (distance - middle) / (distance - away)


def draw_anatomy(rng: np.random.Generator, age: float, female: bool) -> Anatomy:
    """Draw the measures of one patient.

    Parameters
    ----------
    rng : numpy.random.Generator
        The patient's own generator.
    age : float
        Years at the first film.
    female : bool
        Sex.

    Returns
    -------
    Anatomy
    """
    size = rng.normal(0.925 if female else 1.0, 0.04)
    old = (age - 50) / 30
    normal = rng.normal
    return Anatomy(
        female=female,
        age=age,
        width=13.6 * size * np.clip(normal(1, 0.025), 0.93, 1.07),
        height=17.3 * size * np.clip(normal(1, 0.04), 0.9, 1.1),
        depth=7.6 * size * np.clip(normal(1 + 0.05 * old, 0.05), 0.85, 1.2),
        fat=np.clip(rng.gamma(6, 0.36), 1.2, 5.0),
        heart=np.clip(normal(0.95 + 0.025 * old, 0.045), 0.82, 1.05),
        heart_tilt=np.clip(normal(0.62 - 0.08 * old, 0.1), 0.35, 0.9),
        dome=np.clip(normal(7.4 * size, 0.6), 5.5, 9.0),
        dome_step=np.clip(normal(1.2, 0.45), 0.2, 2.2),
        knob=np.clip(normal(1.55 + 0.3 * old, 0.2), 1.0, 2.5),
        sway=normal(0, 0.35),
        rib_step=2.32 * size * np.clip(normal(1, 0.03), 0.92, 1.08),
        rib_drop=np.clip(normal(9.2 * size, 0.8), 6.5, 11.5),
        rib_radius=np.clip(normal(0.66 * size, 0.05), 0.5, 0.8),
        breast=np.clip(normal(5.6, 0.9), 3.8, 8.0) if female else 0.0,
        bone=np.clip(normal(1.05 - 0.1 * old - 0.06 * female * max(old, 0), 0.08), 0.7, 1.3),
        markings=np.clip(normal(1 + 0.05 * old, 0.09), 0.75, 1.3),
        bubble=np.clip(normal(1.4, 0.5), 0.0, 2.4),
        tree=int(rng.integers(2**31)),
    )


def draw_pose(rng: np.random.Generator, view: str) -> Pose:
    """Draw the pose of a patient for one film, which varies more in bed (AP) than standing.

    Parameters
    ----------
    rng : numpy.random.Generator
        The film's own generator.
    view : {"PA", "AP"}
        View position.

    Returns
    -------
    Pose
    """
    bed = view == "AP"
    return Pose(
        view=view,
        rotation=rng.normal(0, 0.10 if bed else 0.035),
        turn=rng.normal(0, 0.045 if bed else 0.015),
        zoom=rng.normal(1.16 if bed else 1.13, 0.03),
        shift=(rng.normal(0, 0.8 if bed else 0.4), rng.normal(0.3, 0.9 if bed else 0.5)),
        breath=max(rng.normal(1.3 if bed else 0.2, 0.5 if bed else 0.3), -0.4),
        arms=float(np.clip(rng.normal(0.8 if bed else 0.15, 0.2), 0, 1)),
    )


def lung(anatomy: Anatomy, side: int, pose: Pose) -> Solid:
    """Pleural cavity of one side as a solid: apex up, boxy towards the diaphragm.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    side : {-1, 1}
        RIGHT or LEFT.
    pose : Pose
        The film.

    Returns
    -------
    Solid
    """
    half = anatomy.width / 2
    bottom = dome_top(anatomy, side, pose) + 5.6
    level = 3.0
    return Solid(
        x=side * (half + 0.15),
        y=level,
        z=0.0,
        a=half,
        b=anatomy.height,
        c=anatomy.depth,
        angle=side * -0.045,
        power=2.5,
        below=bottom - level,
    )


def dome_top(anatomy: Anatomy, side: int, pose: Pose) -> float:
    """Height (y) of the diaphragm's dome; the left one is lower, breathing out raises both.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    side : {-1, 1}
        RIGHT or LEFT.
    pose : Pose
        The film.

    Returns
    -------
    float
        Centimetres, positive towards the feet.
    """
    return anatomy.dome + (anatomy.dome_step if side == LEFT else 0.0) - pose.breath


def dome(anatomy: Anatomy, side: int, pose: Pose) -> Solid:
    """Abdomen under one half of the diaphragm: a dome on an endless trunk.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    side : {-1, 1}
        RIGHT or LEFT.
    pose : Pose
        The film.

    Returns
    -------
    Solid
    """
    rise = 6.3 - 0.35 * pose.breath
    return Solid(
        x=side * anatomy.width * 0.42,
        y=dome_top(anatomy, side, pose) + rise,
        z=0.6,
        a=anatomy.width * 0.61,
        b=rise,
        c=anatomy.depth * 0.97,
        below=np.inf,
    )


def heart(anatomy: Anatomy, pose: Pose, enlargement: float = 1.0) -> Solid:
    """Heart as a solid on the film: tilted, apex to the patient's left, magnified by the view.

    In bed (AP), the diaphragm is high, and the heart is flatter and wider.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    pose : Pose
        The film.
    enlargement : float, default=1.0
        Scale of a diseased heart.

    Returns
    -------
    Solid
    """
    z = 0.28 * anatomy.depth
    grow = pose.magnify(z) * enlargement * anatomy.heart * anatomy.width / 13.6
    lifted = 0.55 * pose.breath
    tilt = anatomy.heart_tilt - 0.05 * pose.breath - 0.35 * (enlargement - 1)
    # Disease widens the heart more than it makes it taller.
    long, short = 7.2 * grow, 4.7 * grow / enlargement**0.4
    reach = np.hypot(long * np.cos(tilt), short * np.sin(tilt))
    # An enlarged heart extends mostly to the left, where the chest has room.
    x = (reach - 4.1 * anatomy.width / 13.6 * (0.55 + 0.45 * grow)) + np.sin(pose.rotation) * z
    y = dome_top(anatomy, LEFT, pose) - 3.3 * grow / enlargement**0.5 + 0.15 * lifted
    return Solid(x=x, y=y, z=z, a=long, b=short, c=6.2 * grow / enlargement**0.3, angle=tilt)


def cardiothoracic_ratio(anatomy: Anatomy, pose: Pose, enlargement: float = 1.0) -> float:
    """Width of the heart over the inner width of the chest, both on the film.

    Above 0.5 on a PA film the heart counts as enlarged.

    Parameters
    ----------
    anatomy : Anatomy
        The patient.
    pose : Pose
        The film.
    enlargement : float, default=1.0
        Scale of a diseased heart.

    Returns
    -------
    float
    """
    shape = heart(anatomy, pose, enlargement)
    reach = np.hypot(shape.a * np.cos(shape.angle), shape.b * np.sin(shape.angle))
    return float(reach / anatomy.width)

"""The chest: its parts lie where they should, and findings change what they should."""

import numpy as np
import pytest

from helpers.phantom.anatomy import (
    LEFT,
    RIGHT,
    Pose,
    cardiothoracic_ratio,
    dome_top,
    draw_anatomy,
    draw_pose,
    heart,
    lung,
)
from helpers.phantom.film import Technique, expose
from helpers.phantom.findings import Lesions, Opacity, draw_lesions
from helpers.phantom.marker import STYLES, add_marker
from helpers.phantom.shapes import FIELD, Solid
from helpers.phantom.thorax import LUMP, LUNG, project_chest

N = 96


def patient(seed=0, age=50, female=False):
    return draw_anatomy(np.random.default_rng(seed), age, female)


def pixel(x, y):
    """Row and column of a point of the body on an unmoved film."""
    return int((y + FIELD / 2) / FIELD * N), int((x + FIELD / 2) / FIELD * N)


def around(image, x, y, reach=2):
    row, column = pixel(x, y)
    return image[row - reach : row + reach + 1, column - reach : column + reach + 1].mean()


def draw(name, anatomy, seed=0, growth=1.0):
    return draw_lesions(lambda _: np.random.default_rng(seed), [name], anatomy, growth)


def test_same_generator_gives_the_same_patient():
    assert patient(3) == patient(3)
    assert patient(3) != patient(4)


@pytest.mark.parametrize("female", [False, True])
def test_lungs_are_lucent_between_denser_walls_spine_and_abdomen(female):
    for seed in range(5):
        anatomy = patient(seed, female=female)
        image = project_chest(anatomy, Pose(), n=N)
        assert image.shape == (N, N)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert image.min() >= 0
        for side in (RIGHT, LEFT):
            inside = around(image, side * 0.6 * anatomy.width, -3)
            assert inside < around(image, 0, -3) - 0.8  # mediastinum
            assert inside < around(image, side * 0.5 * anatomy.width, 16) - 1  # abdomen
        assert around(image, -18, -18) < 0.3 * around(image, 0, -18)  # air beside the neck


def test_heart_lies_to_the_patients_left_on_the_right_of_the_film():
    for seed in range(20):
        shape = heart(patient(seed), Pose())
        assert shape.x > 0.5


def test_right_half_of_the_diaphragm_stands_higher_and_in_bed_both_rise():
    anatomy = patient()
    standing, bed = Pose(), Pose(view="AP", breath=1.5)
    assert dome_top(anatomy, RIGHT, standing) < dome_top(anatomy, LEFT, standing)
    assert dome_top(anatomy, RIGHT, bed) == dome_top(anatomy, RIGHT, standing) - 1.5


def test_magnification_is_one_in_the_middle_and_grows_away_from_the_detector():
    for view, sign in (("PA", -1), ("AP", 1)):
        pose = Pose(view=view)
        assert pose.magnify(0) == pytest.approx(1)
        assert pose.magnify(sign * 4.0) > 1 > pose.magnify(sign * -4.0)
    # The heart lies in front: PA shrinks it, AP enlarges it. By hand: (105-12)/(105-12-3).
    assert Pose(view="AP").magnify(3) == pytest.approx(93 / 90)


def test_ratio_is_the_width_of_heart_over_chest_measured_on_a_grid():
    anatomy = patient()
    for enlargement in (1.0, 1.3):
        shape = heart(anatomy, Pose(), enlargement)
        x, y = np.meshgrid(np.linspace(-20, 20, 2001), np.linspace(-20, 20, 2001))
        u, v = x - shape.x, y - shape.y
        cos, sin = np.cos(shape.angle), np.sin(shape.angle)
        inside = ((cos * u + sin * v) / shape.a) ** 2 + ((cos * v - sin * u) / shape.b) ** 2 <= 1
        columns = np.flatnonzero(inside.any(axis=0))
        width = x[0, columns[-1]] - x[0, columns[0]]
        measured = width / (2 * anatomy.width)
        assert cardiothoracic_ratio(anatomy, Pose(), enlargement) == pytest.approx(
            measured, abs=0.003
        )


def test_healthy_hearts_are_below_half_the_chest_and_cardiomegaly_is_above():
    for seed in range(40):
        anatomy = patient(seed, age=30 + seed, female=bool(seed % 2))
        assert 0.36 < cardiothoracic_ratio(anatomy, Pose()) < 0.52
        enlargement = draw("Cardiomegaly", anatomy, seed).enlargement
        assert cardiothoracic_ratio(anatomy, Pose(), enlargement) > 0.52


def test_ap_enlarges_the_heart():
    standing, bed = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        anatomy = patient(seed)
        standing.append(cardiothoracic_ratio(anatomy, draw_pose(rng, "PA")))
        bed.append(cardiothoracic_ratio(anatomy, draw_pose(rng, "AP")))
    assert np.mean(bed) > np.mean(standing) + 0.02


def test_cardiomegaly_whitens_lung_beside_the_heart():
    anatomy = patient()
    healthy = project_chest(anatomy, Pose(), n=N)
    ill = project_chest(anatomy, Pose(), Lesions(enlargement=1.35), n=N)
    shape = heart(anatomy, Pose(), 1.35)
    edge = shape.x + 0.8 * shape.a
    assert around(ill - healthy, edge, shape.y + 1) > 0.3
    assert np.abs(ill - healthy)[:, : N // 4].max() < 0.05  # the right lung's outer half


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_effusion_fills_the_costophrenic_angle_of_its_side(side):
    anatomy = patient()
    healthy = project_chest(anatomy, Pose(), n=N)
    ill = project_chest(anatomy, Pose(), Lesions(fluid=((side, 6.0),)), n=N)
    angle_y = dome_top(anatomy, side, Pose()) + 1.0
    gain = ill - healthy
    assert around(gain, side * 0.88 * anatomy.width, angle_y, 1) > 0.25
    assert np.abs(around(gain, -side * 0.88 * anatomy.width, angle_y, 1)) < 1e-4
    assert np.abs(around(gain, side * 0.5 * anatomy.width, -8)) < 0.1  # the apex stays clear


def test_effusion_climbs_the_chest_wall():
    anatomy = patient()
    healthy = project_chest(anatomy, Pose(), n=N)
    ill = project_chest(anatomy, Pose(), Lesions(fluid=((LEFT, 6.0),)), n=N)
    gain = ill - healthy > 0.25

    def level(x):
        return np.flatnonzero(gain[:, pixel(x, 0)[1]])[0]

    assert level(0.93 * anatomy.width) < level(0.75 * anatomy.width)


def test_pneumothorax_darkens_the_outer_lung_and_draws_a_line():
    anatomy = patient()
    healthy = project_chest(anatomy, Pose(), n=N)
    ill = project_chest(anatomy, Pose(), Lesions(collapse=((RIGHT, 0.35),)), n=N)
    row = pixel(0, -2)[0]
    change = (ill - healthy)[row, : N // 2]
    outer = pixel(-0.88 * anatomy.width, 0)[1]
    assert change[outer - 1 : outer + 2].mean() < -0.05
    assert change.max() > 0.05  # the pleura and the denser lung inside it
    assert np.abs((ill - healthy)[:, N // 2 + 2 :]).max() < 1e-4


def test_opacity_adds_density_up_to_the_fissure():
    anatomy = patient()
    blobs = np.array([[-6.5, -1.5, 2.0, 2.0, 0.0, 2.0]])
    healthy = project_chest(anatomy, Pose(), n=N)
    ill = project_chest(
        anatomy, Pose(), Lesions(opacities=(Opacity(RIGHT, blobs, fissure=0.0),)), n=N
    )
    gain = ill - healthy
    assert around(gain, -6.5, -1.5) > 0.5
    assert around(gain, -6.5, 1.8) < 0.1
    assert gain[:, N // 2 + 2 :].max() < 1e-4


def test_nodule_adds_the_chord_of_its_sphere():
    anatomy = patient()
    healthy = project_chest(anatomy, Pose(), n=N)
    nodule = Solid(-7.0, -4.0, 0.0, 1.2, 1.2, 1.2)
    ill = project_chest(anatomy, Pose(), Lesions(lumps=((nodule,),)), n=N)
    gain = ill - healthy
    # 2.4 cm of lump in the place of lung.
    assert gain.max() == pytest.approx(2.4 * (LUMP - LUNG), rel=0.1)
    assert around(gain, -7, -4, 0) > 0.4
    assert (gain > 0.01).sum() == pytest.approx(np.pi * 1.2**2 / (FIELD / N) ** 2, rel=0.3)


def test_masses_are_more_than_three_centimetres_and_nodules_less():
    anatomy = patient()
    for seed in range(30):
        assert all(2 * lobe.a < 3.3 for (lobe,) in draw("Nodule", anatomy, seed).lumps)
        ((main, *_),) = draw("Mass", anatomy, seed, growth=0.8).lumps
        assert 2 * main.a > 3


def test_lumps_lie_in_a_lung_and_not_behind_the_heart():
    for seed in range(30):
        anatomy = patient(seed)
        for lump in draw("Nodule", anatomy, seed).lumps:
            center = lump[0]
            side = np.sign(center.x)
            shape = lung(anatomy, side, Pose())
            assert abs(center.x - shape.x) < shape.a
            assert center.y < dome_top(anatomy, side, Pose())


def test_a_lesion_persists_and_grows():
    anatomy = patient()
    first, later = draw("Nodule", anatomy, 1), draw("Nodule", anatomy, 1, growth=1.3)
    for (a,), (b,) in zip(first.lumps, later.lumps, strict=True):
        assert (a.x, a.y) == (b.x, b.y)
        assert b.a == pytest.approx(a.a * 1.3 ** (1 / 3))


def test_findings_may_come_together():
    names = ["Cardiomegaly", "Effusion", "Pneumonia", "Consolidation", "Nodule", "Mass"]
    anatomy = patient()
    lesions = draw_lesions(lambda name: np.random.default_rng(len(name)), names, anatomy)
    assert lesions.enlargement > 1
    assert lesions.fluid
    assert len(lesions.opacities) >= 2
    assert len(lesions.lumps) >= 2
    assert np.isfinite(project_chest(anatomy, Pose(view="AP"), lesions, n=N)).all()


def test_unknown_finding_is_refused():
    with pytest.raises(ValueError, match="Received 'Hernia'"):
        draw("Hernia", patient())


def test_picture_does_not_depend_on_the_number_of_pixels():
    anatomy, pose = patient(), Pose()
    coarse = project_chest(anatomy, pose, n=64)
    fine = project_chest(anatomy, pose, n=192).reshape(64, 3, 64, 3).mean(axis=(1, 3))
    assert np.corrcoef(coarse.ravel(), fine.ravel())[0, 1] > 0.995


@pytest.mark.parametrize("style", STYLES)
def test_marker_is_bright_in_the_upper_right_corner(style):
    image = np.zeros((N, N), np.float32)
    add_marker(image, style, np.random.default_rng(0))
    assert image[: N // 3, 2 * N // 3 :].max() > 2
    assert image[N // 3 :].max() == 0
    assert image[:, : 2 * N // 3].max() == 0


def test_film_shows_lungs_dark_and_bone_bright():
    image = project_chest(patient(), Pose(), n=N)
    film = expose(image, Technique(), 64, np.random.default_rng(0))
    assert film[25:30, 12:18].mean() < 0.6 * film[25:30, 30:34].mean()

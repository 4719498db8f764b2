"""Fits from sums: equal to the pooled ones, and what a hospital sends is no more than sums."""

import math

import numpy as np
import pytest
from scipy.special import expit

from helpers.evaluation import (
    Calibration,
    calibration_sums,
    choose_federated_level,
    choose_threshold,
    count_healthy_below,
    decide,
    fit_federated,
    fit_platt,
    fit_temperature,
)
from helpers.exchange import MaskedSum
from helpers.exchange.masking import FixedPoint


@pytest.fixture
def hospitals(rng):
    """Three hospitals of unequal size and prevalence, with a network that is too sure."""
    parts = []
    for n, shift in ((200, -1.0), (60, 0.5), (25, 1.5)):
        logits = rng.normal(shift, 1.5, n)
        parts.append(((rng.random(n) < expit(logits)).astype(int), 3 * logits - 1))
    return parts


def pool(hospitals):
    return [np.concatenate(column) for column in zip(*hospitals, strict=True)]


def test_a_common_temperature_is_that_of_the_pooled_films(hospitals):
    fitted = fit_federated(hospitals, method="temperature")
    pooled = fit_temperature(*pool(hospitals))
    assert fitted.calibration.slope == pytest.approx(pooled.slope, rel=1e-6)
    assert fitted.calibration.intercept == 0
    assert fitted.n_exchanges < 15


def test_a_common_platt_scaling_is_that_of_the_pooled_films(hospitals):
    fitted = fit_federated(hospitals)
    pooled = fit_platt(*pool(hospitals))
    assert fitted.calibration.slope == pytest.approx(pooled.slope, rel=1e-4)
    assert fitted.calibration.intercept == pytest.approx(pooled.intercept, abs=1e-4)
    assert fitted.n_exchanges < 15
    # It does not matter at which hospital a film is.
    moved = fit_federated([tuple(pool(hospitals))]).calibration
    assert moved.slope == pytest.approx(fitted.calibration.slope, rel=1e-9)


def test_at_the_fit_the_gradient_is_zero(hospitals):
    labels, logits = pool(hospitals)
    n_1, n_0 = (labels == 1).sum(), (labels == 0).sum()
    targets = (1 / (n_0 + 2), (n_1 + 1) / (n_1 + 2))
    sums = calibration_sums(labels, logits, fit_federated(hospitals).calibration, targets)
    assert np.abs(sums[1:3]).max() < 1e-6


def test_sums_by_hand_and_by_differences(hospitals):
    loss, *_, twice_intercept = calibration_sums([1], [0.0], Calibration(), (0.0, 1.0))
    assert (loss, twice_intercept) == (pytest.approx(math.log(2)), 0.25)
    labels, logits = hospitals[0]
    at, step = np.array([0.7, 0.3]), 1e-5

    def sums(place):
        return calibration_sums(labels, logits, Calibration(*place), (0.1, 0.9))

    for axis, hessian in ((0, (3, 4)), (1, (4, 5))):
        move = step * np.eye(2)[axis]
        change = (sums(at + move) - sums(at - move)) / (2 * step)
        assert sums(at)[1 + axis] == pytest.approx(change[0], rel=1e-5)
        assert sums(at)[list(hessian)] == pytest.approx(change[1:3], rel=1e-5)
    parts = [calibration_sums(y, z, Calibration(*at), (0.1, 0.9)) for y, z in hospitals]
    together = calibration_sums(*pool(hospitals), Calibration(*at), (0.1, 0.9))
    assert sum(parts) == pytest.approx(together)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_newton_arrives_from_far_away(hospitals, scale):
    scaled = [(labels, scale * logits) for labels, logits in hospitals]
    pooled = fit_temperature(*pool(scaled))
    fitted = fit_federated(scaled, method="temperature").calibration
    assert fitted.slope == pytest.approx(pooled.slope, rel=1e-3)
    near = fit_federated(hospitals).calibration
    far = fit_federated(scaled).calibration
    assert far.slope * scale == pytest.approx(near.slope, rel=1e-4)


def test_a_perfect_separation_stays_within_the_limits():
    films = [([0, 0], [-1.0, -2.0]), ([1, 1], [1.0, 2.0])]
    assert fit_federated(films, method="temperature").calibration.slope == pytest.approx(50)
    assert 0 < fit_federated(films).calibration.slope < 10


@pytest.mark.parametrize("specificity", [0.0, 0.5, 0.8, 0.9, 1.0])
def test_a_common_level_decides_as_the_pooled_threshold(hospitals, specificity):
    labels, logits = pool(hospitals)
    level = choose_federated_level(hospitals, specificity=specificity)
    pooled = choose_threshold(labels, logits, specificity=specificity)
    assert np.array_equal(decide(logits, level.threshold), decide(logits, pooled))
    assert level.n_exchanges < 40


@pytest.mark.parametrize("method", ["temperature", "platt"])
def test_a_masked_sum_gives_the_same_fit_and_shows_no_hospitals_sums(hospitals, method):
    seen = []

    class Watched(MaskedSum):
        def __call__(self, arrays):
            total = super().__call__(arrays)
            seen.append((arrays, self.messages))
            return total

    plain = fit_federated(hospitals, method=method)
    masked = fit_federated(hospitals, method=method, add=Watched(3))
    assert vars(masked.calibration) == pytest.approx(vars(plain.calibration), rel=1e-6)
    assert masked.n_exchanges <= plain.n_exchanges + 3
    level = choose_federated_level(hospitals, specificity=0.9, add=Watched(3))
    assert level == choose_federated_level(hospitals, specificity=0.9)
    code = FixedPoint(2.0**30, 3)
    for arrays, messages in seen:
        for array, message in zip(arrays, messages, strict=True):
            assert not np.intersect1d(code.encode(np.asarray(array)), message).size


def test_what_is_counted_by_hand():
    assert count_healthy_below([0, 0, 1, 0], [0.1, 0.5, 0.2, 0.7], 0.5) == (1, 3)
    assert choose_federated_level([([0], [100.0])], specificity=0.5).threshold == math.inf


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"Expected one of the methods .* Received 'isotonic'"):
        fit_federated([([0, 1], [1.0, 2.0])], method="isotonic")
    with pytest.raises(ValueError, match=r"both classes .* 2 with the label 0 and 0 with"):
        fit_federated([([0], [1.0]), ([0], [2.0])])
    with pytest.raises(ValueError, match=r"specificity in \[0, 1\]\. Received 80"):
        choose_federated_level([([0], [1.0])], specificity=80)
    with pytest.raises(ValueError, match=r"without a finding .* Received none"):
        choose_federated_level([([1], [1.0])], specificity=0.8)

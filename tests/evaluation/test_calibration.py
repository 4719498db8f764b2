"""Calibration against values by hand, against scikit-learn, and on films with a known truth."""

import math

import numpy as np
import pytest
from scipy.special import expit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from helpers.evaluation import (
    Calibration,
    apply_hospitals,
    auc,
    calibration_bins,
    calibration_error,
    error_by_chance,
    fit_hospitals,
    fit_platt,
    fit_temperature,
)


@pytest.fixture
def films(rng):
    """4,000 films with logits that are right, and labels drawn from them."""
    logits = rng.normal(0, 1.5, 4000)
    return (rng.random(4000) < expit(logits)).astype(int), logits


def test_calibration_error_by_hand():
    # Bin [0.6, 0.7): half positive instead of 0.65; bin [0.9, 1]: as said, also for 1 itself.
    error = calibration_error([1, 0, 1, 1], [0.65, 0.65, 1.0, 1.0])
    assert error == pytest.approx(0.5 * 0.15)
    assert math.isnan(calibration_error([], []))


@pytest.mark.parametrize("n_bins", [5, 10])
def test_the_bins_of_the_diagram_are_those_of_the_error(films, n_bins):
    labels, logits = films
    probabilities = expit(2 * logits)
    bins = calibration_bins(labels, probabilities, n_bins=n_bins)
    assert bins["films"].sum() == len(labels)
    distances = (bins["predicted"] - bins["observed"]).abs()
    error = np.average(distances, weights=bins["films"])
    assert error == pytest.approx(calibration_error(labels, probabilities, n_bins=n_bins))
    counted = np.histogram(probabilities, np.linspace(0, 1, n_bins + 1))[0]
    assert bins["films"].reindex(range(n_bins), fill_value=0).tolist() == counted.tolist()


def test_a_temperature_takes_back_what_was_multiplied(films):
    labels, logits = films
    right = fit_temperature(labels, logits)
    assert right.slope == pytest.approx(1, abs=0.1)
    assert fit_temperature(labels, 5 * logits).slope == pytest.approx(right.slope / 5, rel=1e-4)
    assert right.intercept == 0


def test_platt_takes_back_a_shift_as_well(films):
    labels, logits = films
    right = fit_platt(labels, logits)
    moved = fit_platt(labels, 3 * logits - 2)
    assert moved.slope == pytest.approx(right.slope / 3, rel=1e-4)
    assert moved.intercept == pytest.approx(right.intercept + 2 * right.slope / 3, abs=1e-4)
    assert calibration_error(labels, moved.apply(3 * logits - 2)) < 0.03


class Logits(ClassifierMixin, BaseEstimator):
    def fit(self, features, labels):
        self.classes_ = np.array([0, 1])
        return self

    def decision_function(self, features):
        return np.ravel(features)

    def predict(self, features):
        return (np.ravel(features) > 0).astype(int)


def test_platt_is_that_of_scikit_learn(films):
    labels, logits = (column[:300] for column in films)
    logits = 2 * logits[:, None]
    frozen = FrozenEstimator(Logits().fit(logits, labels))
    theirs = CalibratedClassifierCV(frozen, method="sigmoid").fit(logits, labels)
    ours = fit_platt(labels, logits).apply(logits)
    assert np.allclose(ours, theirs.predict_proba(logits)[:, 1], atol=1e-4)


def test_a_perfect_separation_does_not_lead_to_certainty():
    probabilities = fit_platt([0, 0, 1, 1], [-1.0, -2.0, 1.0, 2.0]).apply([-1.0, 1.0])
    # The targets are 3/4 and 1/4.
    assert 0.6 < probabilities[1] < 0.9
    assert fit_temperature([0, 1], [-1.0, 1.0]).slope == pytest.approx(50, rel=0.01)


def test_each_hospital_gets_its_own_and_keeps_its_auc(films):
    labels, logits = films
    hospitals = np.where(np.arange(4000) < 2000, "A", "B")
    shifted = logits + np.where(hospitals == "B", 1.5, 0.0)
    calibrations = fit_hospitals(labels, shifted, hospitals)
    probabilities = apply_hospitals(shifted, hospitals, calibrations)
    assert calibration_error(labels, probabilities) < 0.03
    assert calibrations["B"].intercept - calibrations["A"].intercept == pytest.approx(-1.5, abs=0.3)
    of_b = hospitals == "B"
    assert auc(labels[of_b], probabilities[of_b]) == auc(labels[of_b], shifted[of_b])
    by_temperature = fit_hospitals(labels, shifted, hospitals, method="temperature")
    assert by_temperature["A"] == fit_temperature(labels[~of_b], shifted[~of_b])


def test_no_calibration_is_the_sigmoid():
    assert Calibration().apply([[0.0]]).tolist() == [0.5]


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"both classes to fit .* 2 films with the labels \[0\]"):
        fit_platt([0, 0], [1.0, 2.0])
    with pytest.raises(ValueError, match=r"Hospital B: Expected films of both classes"):
        fit_hospitals([0, 1, 1], [1.0, 2.0, 3.0], ["A", "A", "B"])
    with pytest.raises(ValueError, match=r"Expected one of the methods .* Received 'isotonic'\."):
        fit_hospitals([0, 1], [1.0, 2.0], ["A", "A"], method="isotonic")
    with pytest.raises(ValueError, match=r"hospitals \['A'\]\. Received films of \['B'\]"):
        apply_hospitals([1.0], ["B"], {"A": Calibration()})
    with pytest.raises(ValueError, match=r"a hospital for each of 2 logits\. Received 1\."):
        apply_hospitals([1.0, 2.0], ["A"], {"A": Calibration()})
    with pytest.raises(ValueError, match=r"a hospital for each of 2 labels\. Received 1\."):
        fit_hospitals([0, 1], [1.0, 2.0], ["A"])
    with pytest.raises(ValueError, match=r"a logit for each of 2 labels\. Received 3\."):
        fit_hospitals([0, 1], [1.0, 2.0, 3.0], ["A", "A"])
    with pytest.raises(ValueError, match=r"probabilities in \[0, 1\]\. Received .* from -3 to 2"):
        calibration_error([0, 1], [-3.0, 2.0])
    with pytest.raises(ValueError, match=r"a score for each of 2 labels\. Received 1\."):
        calibration_error([0, 1], [0.5])
    with pytest.raises(ValueError, match=r"a score for each of 2 labels\. Received 1\."):
        fit_temperature([0, 1], [0.5])


def test_the_error_by_chance_falls_with_the_films():
    few, many = (error_by_chance(np.full(n, 0.5), n_bins=5) for n in (20, 2000))
    assert few > 0.05 > many > 0
    assert error_by_chance(np.full((20, 1), 0.5), n_bins=5) == few
    with pytest.raises(ValueError, match="probabilities"):
        error_by_chance([1.5])

"""Thresholds by hand, and as properties of what they promise."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.evaluation import (
    choose_threshold,
    decide,
    rates_at_threshold,
    sensitivity_at_specificity,
)

LABELS = np.array([0, 0, 1, 0, 1, 1])
SCORES = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])


def test_the_best_balanced_accuracy_lies_midway_between_two_scores():
    # At 4.5: two of three found, no false alarm. At 2.5: all found, one false alarm of three.
    # Both have a sum of 5/3; the higher one is taken.
    assert choose_threshold(LABELS, SCORES) == 4.5


def test_a_specificity_is_held_with_the_lowest_threshold():
    assert choose_threshold(LABELS, SCORES, specificity=0.6) == 2.5
    assert choose_threshold(LABELS, SCORES, specificity=1.0) == 4.5
    assert choose_threshold(LABELS, SCORES, specificity=0.0) == -np.inf


def test_a_sensitivity_is_held_with_the_highest_threshold():
    assert choose_threshold(LABELS, SCORES, sensitivity=0.6) == 4.5
    assert choose_threshold(LABELS, SCORES, sensitivity=1.0) == 2.5
    assert choose_threshold(LABELS, SCORES, sensitivity=0.0) == np.inf


@given(
    st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2),
    st.floats(0, 1),
)
def test_a_promised_rate_is_held(films, rate):
    labels, scores = (np.array(column, dtype=int) for column in zip(*films, strict=True))
    if len(np.unique(labels)) < 2:
        return
    for name in ("specificity", "sensitivity"):
        threshold = choose_threshold(labels, scores, **{name: rate})
        assert getattr(rates_at_threshold(labels, scores, threshold), name) >= rate - 1e-12


@given(st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), min_size=2))
def test_no_other_threshold_has_a_better_balanced_accuracy(films):
    labels, scores = (np.array(column, dtype=int) for column in zip(*films, strict=True))
    if len(np.unique(labels)) < 2:
        return
    best = sum(rates_at_threshold(labels, scores, choose_threshold(labels, scores)))
    others = [sum(rates_at_threshold(labels, scores, t)) for t in np.arange(-5.5, 6)]
    assert best >= max(others) - 1e-9


def test_decisions_compare_in_double_precision():
    # Both scores are the same film's, stored as float32 and asked for in float64.
    low, high = np.float32(0.1), np.nextafter(np.float32(0.1), np.float32(1))
    middle = (float(low) + float(high)) / 2
    assert decide(np.array([low, high]), middle).tolist() == [0, 1]


def test_each_film_may_have_a_threshold_of_its_own():
    assert decide([[1.0], [1.0]], np.array([0.5, 1.5])).tolist() == [1, 0]


def test_rates_by_hand():
    rates = rates_at_threshold(LABELS, SCORES, 3.5)
    assert rates == (2 / 3, 2 / 3)
    assert math.isnan(rates_at_threshold([1, 1], [1, 2], 1.5).specificity)


def test_sensitivity_at_specificity_by_hand():
    assert sensitivity_at_specificity(LABELS, SCORES, specificity=1.0) == 2 / 3
    assert sensitivity_at_specificity({"labels": LABELS}, SCORES, specificity=0.6) == 1.0
    assert math.isnan(sensitivity_at_specificity([1, 1], [1, 2]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"specificity": 0.9, "sensitivity": 0.9}, r"Received both: 0\.9, 0\.9"),
        ({"specificity": 90}, r"Expected specificity in \[0, 1\]\. Received 90\."),
        ({"sensitivity": -0.1}, r"Expected sensitivity in \[0, 1\]\. Received -0\.1\."),
    ],
)
def test_impossible_rates_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_threshold(LABELS, SCORES, **arguments)


def test_one_class_or_other_lengths_are_refused():
    with pytest.raises(ValueError, match=r"films of both classes .* 2 films with the labels \[1\]"):
        choose_threshold([1, 1], [0.1, 0.2])
    with pytest.raises(ValueError, match=r"a score for each of 2 labels\. Received 1\."):
        choose_threshold([1, 0], [0.1])

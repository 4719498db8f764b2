"""Choices: the same numbers as one comparison at a time."""

import numpy as np
import pandas as pd
import pytest

from helpers.evaluation import balanced_accuracy, bootstrap_difference
from helpers.fairness import compare_choices, compare_gaps, describe_gap

BETWEEN = ("F", "M")


@pytest.fixture
def films():
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=200)
    sex = pd.Series(rng.choice(["F", "M"], size=200), name="sex")
    decided = {
        (network, way): (labels + (rng.random(200) < share)) % 2
        for (network, way), share in {
            ("a", "one"): 0.3,
            ("a", "two"): 0.2,
            ("b", "one"): 0.1,
        }.items()
    }
    return labels, decided, sex, np.repeat(np.arange(100), 2)


def test_each_row_is_one_comparison(films):
    labels, decided, sex, patients = films
    floor = ("a", "one")
    found = compare_choices(labels, decided, floor, sex, patients, between=BETWEEN, n=50)
    assert len(found) == 3 * 4
    one = compare_gaps(
        labels, decided[floor], decided["b", "one"], sex, patients, between=BETWEEN, n=50
    )
    row = found.loc[("b", "one", "true_positive_rate_gap")]
    assert row[list(one.index)].tolist() == one.tolist()
    change = bootstrap_difference(
        balanced_accuracy, labels, decided["b", "one"], decided[floor], patients, n=50
    )
    row = found.loc[("b", "one", "balanced_accuracy")]
    assert row[["value", "low", "high"]].tolist() == list(change)
    assert row["after"] - row["before"] == pytest.approx(change.value)


def test_the_floor_does_not_change(films):
    labels, decided, sex, patients = films
    found = compare_choices(labels, decided, ("a", "one"), sex, patients, between=BETWEEN, n=20)
    assert (found.loc[("a", "one"), ["value", "low", "high"]] == 0).all(axis=None)


def test_share_and_rates_are_passed_on(films):
    labels, decided, sex, patients = films
    found = compare_choices(
        labels, decided, ("a", "one"), sex, patients,
        between=BETWEEN, rates=["selection_rate"], share=0.5, n=20,
    )  # fmt: skip
    rows = found.xs("selection_rate_gap", level=2)
    expected = rows["after"].abs() - 0.5 * rows["before"].abs()
    assert rows["value"].tolist() == pytest.approx(expected.tolist())
    assert set(found.index.get_level_values(2)) == {"balanced_accuracy", "selection_rate_gap"}


def test_what_is_compared_with_must_be_a_choice(films):
    labels, decided, sex, patients = films
    with pytest.raises(ValueError, match="Expected one of the choices"):
        compare_choices(labels, decided, "none", sex, patients, between=BETWEEN)


def test_a_gap_in_words():
    row = {"before": -0.2, "after": 0.1, "value": -0.1, "low": -0.2, "high": 0.1}
    row |= {"first_change": 0.0, "second_change": -0.3, "reversed": 1.0, "levelled_down": 1.0}
    assert describe_gap(pd.Series(row), "TPR", ("women", "men")).splitlines() == [
        "gap of TPR -0.200 → +0.100, sign reversed, levelling down.",
        "  Its size: -0.100 [-0.200, +0.100], undecided.",
        "  TPR of women +0.000, of men -0.300.",
    ]

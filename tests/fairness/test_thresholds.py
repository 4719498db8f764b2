"""Thresholds: each parity holds on the films it was fitted to, and one equals fairlearn's own."""

import numpy as np
import pytest
from fairlearn.postprocessing import ThresholdOptimizer
from sklearn.linear_model import LogisticRegression

from helpers.evaluation import balanced_accuracy, choose_threshold
from helpers.fairness import Thresholds, fit_thresholds


@pytest.fixture
def films(rng):
    """2,000 films; the scores of women are lower, and tell less."""
    labels, women = rng.integers(0, 2, 2000), rng.random(2000) < 0.4
    scores = rng.normal(size=2000) + np.where(women, 0.8 * labels - 0.7, 1.6 * labels)
    return labels, scores, np.where(women, "F", "M")


def rates(labels, decisions, groups):
    """Return selection rate, sensitivity and false alarms, each for F and M."""
    parts = [np.ones(len(labels), dtype=bool), labels == 1, labels == 0]
    return np.array([[decisions[p & (groups == g)].mean() for g in "FM"] for p in parts])


def test_one_threshold_is_that_of_choose_threshold(films):
    labels, scores, groups = films
    thresholds = fit_thresholds(*films, "one")
    assert thresholds == Thresholds({None: choose_threshold(labels, scores)})
    assert np.array_equal(thresholds.decide(scores), thresholds.decide(scores, groups))


def test_each_group_gets_its_best_balanced_accuracy(films):
    labels, scores, groups = films
    thresholds = fit_thresholds(*films, "per_group")
    for group in "FM":
        own = groups == group
        assert thresholds.by_group[group] == choose_threshold(labels[own], scores[own])
    decisions = thresholds.decide(scores, groups)
    assert balanced_accuracy(labels, decisions) > balanced_accuracy(
        labels, fit_thresholds(*films).decide(scores)
    )


@pytest.mark.parametrize(
    ("method", "places"),
    [
        ("demographic_parity", [0]),
        ("true_positive_rate_parity", [1]),
        ("equalized_odds", [1, 2]),
        ("reject_option", [1]),
    ],
)
def test_a_parity_holds_where_it_was_fitted(films, method, places):
    labels, scores, groups = films
    before = rates(labels, fit_thresholds(*films, "one").decide(scores), groups)
    after = rates(labels, fit_thresholds(*films, method).decide(scores, groups), groups)
    assert np.ptp(before[places], axis=1).min() > 0.1
    assert np.ptp(after[places], axis=1).max() < 0.05  # what is left is the die


def test_equalized_odds_decide_as_fairlearn_does_with_an_estimator(films):
    labels, scores, groups = films
    regression = LogisticRegression().fit(scores[:, None], labels)
    theirs = ThresholdOptimizer(
        estimator=regression,
        constraints="equalized_odds",
        objective="balanced_accuracy_score",
        prefit=True,
        predict_method="decision_function",
    ).fit(scores[:, None], labels, sensitive_features=groups)
    expected = theirs.predict(scores[:, None], sensitive_features=groups, random_state=3)
    ours = fit_thresholds(
        labels, regression.decision_function(scores[:, None]), groups, "equalized_odds"
    )
    decisions = ours.decide(regression.decision_function(scores[:, None]), groups, seed=3)
    assert np.array_equal(decisions, expected)


def test_random_decisions_follow_the_seed(films):
    _, scores, groups = films
    thresholds = fit_thresholds(*films, "equalized_odds")
    one, again, other = (thresholds.decide(scores, groups, seed=s) for s in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_reject_option_turns_only_what_lies_close_to_the_threshold(films):
    labels, scores, groups = films
    middle = choose_threshold(labels, scores)
    one = fit_thresholds(*films, "one").decide(scores)
    thresholds = fit_thresholds(*films, "reject_option")
    decisions = thresholds.decide(scores, groups)
    margin = thresholds.by_group["M"] - middle
    assert margin > 0
    assert thresholds.by_group["F"] == pytest.approx(middle - margin)
    turned = decisions != one
    assert turned.any()
    assert (np.abs(scores[turned] - middle) <= margin).all()
    assert set(decisions[turned & (groups == "F")]) == {1}
    assert set(decisions[turned & (groups == "M")]) == {0}


def test_the_reject_option_leaves_equal_groups_alone(rng):
    labels, scores = np.tile([0, 1], 50), np.tile(rng.normal(size=50), 2)
    groups = np.repeat(["F", "M"], 50)
    assert fit_thresholds(labels, scores, groups, "reject_option").by_group == {
        group: choose_threshold(labels, scores) for group in "FM"
    }


def test_wrong_arguments_are_refused(films):
    labels, scores, groups = films
    with pytest.raises(ValueError, match=r"Expected one of the methods .* Received 'fair'\."):
        fit_thresholds(labels, scores, groups, "fair")
    with pytest.raises(ValueError, match=r"a group for each of 2,000 scores\. Received 1\."):
        fit_thresholds(labels, scores, ["F"], "per_group")
    with pytest.raises(ValueError, match=r"a score for each of 1 labels\. Received 2,000\."):
        fit_thresholds([1], scores, groups, "per_group")
    for method in ("per_group", "equalized_odds", "reject_option"):
        with pytest.raises(
            ValueError, match=r"both classes in every group\. Received only \[1\] in 'b'"
        ):
            fit_thresholds([0, 1, 1], [1.0, 2.0, 3.0], ["a", "a", "b"], method)
        with pytest.raises(ValueError, match=r"groups \['F', 'M'\]\. Received \['X'\]"):
            fit_thresholds(*films, method).decide([1.0], ["X"])
    with pytest.raises(ValueError, match=r"a group for each of 1 scores\. Received 2\."):
        Thresholds({"a": 0.0}).decide([1.0], ["a", "a"])

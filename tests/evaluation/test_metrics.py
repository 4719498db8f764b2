"""Metrics against values by hand, and against scikit-learn."""

import math

import cloudpickle
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss

from helpers.evaluation import (
    auc,
    balanced_accuracy,
    brier_score,
    calibration_bins,
    choose_threshold,
    fit_platt,
    log_loss,
    metrics_per_finding,
    rates_at_threshold,
)
from helpers.fairness import measure_groups


def data(*labels):
    return {"labels": np.array(labels)}


def test_auc_counts_pairs_in_the_right_order():
    # Pairs (with, without): 3 > 1, 3 > 2, 1.5 > 1, but 1.5 < 2.
    scores = np.array([[1.0], [3.0], [2.0], [1.5]])
    assert auc(data(0, 1, 0, 1), scores) == 0.75


def test_auc_is_the_same_for_logits_and_probabilities(rng):
    logits = rng.normal(size=50)
    labels = data(*(rng.random(50) < 0.5).astype(int))
    assert auc(labels, logits) == auc(labels, 1 / (1 + np.exp(-logits)))


def test_auc_of_one_class_is_not_defined():
    assert math.isnan(auc(data(1, 1), np.array([0.1, 0.2])))


def test_balanced_accuracy_by_hand():
    # Two of three abnormal films found, one of two normal films recognized.
    logits = np.array([[2.0], [0.1], [-1.0], [-3.0], [0.5]])
    assert np.isclose(balanced_accuracy(data(1, 1, 1, 0, 0), logits), (2 / 3 + 1 / 2) / 2)


def test_the_same_answer_for_every_film_is_chance():
    assert balanced_accuracy(data(1, 1, 1, 0), np.ones(4)) == 0.5


def test_balanced_accuracy_of_one_class_is_not_defined():
    assert math.isnan(balanced_accuracy(data(0, 0), np.array([0.1, -0.2])))


@given(st.lists(st.tuples(st.booleans(), st.integers(-3, 3)), min_size=2))
def test_metrics_equal_those_of_scikit_learn(films):
    # Few scores, so that many are tied.
    labels, scores = (np.array(column, dtype=int) for column in zip(*films, strict=True))
    if len(np.unique(labels)) == 2:
        assert np.isclose(auc(labels, scores), roc_auc_score(labels, scores), atol=1e-12)
        expected = balanced_accuracy_score(labels, scores > 0)
        assert np.isclose(balanced_accuracy(labels, scores), expected, atol=1e-12)


def test_labels_may_come_alone():
    labels, scores = [0, 1, 1], [0.1, -0.2, 0.3]
    assert auc(labels, scores) == auc(data(*labels), scores)
    assert balanced_accuracy(labels, scores) == balanced_accuracy(data(*labels), scores)


@pytest.mark.parametrize("metric", [auc, balanced_accuracy])
def test_another_number_of_scores_is_refused(metric):
    with pytest.raises(ValueError, match=r"a score for each of 2 labels\. Received 3\."):
        metric([0, 1], [0.5, 0.1, 0.2])


def test_brier_score_and_log_loss_by_hand_and_by_scikit_learn(rng):
    assert brier_score([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)
    assert log_loss([1, 0], [0.8, 0.4]) == pytest.approx(-(math.log(0.8) + math.log(0.6)) / 2)
    labels, p = rng.integers(0, 2, 100), np.round(rng.random(100), 1)  # 0 and 1 among them
    assert brier_score(labels, p) == pytest.approx(brier_score_loss(labels, p))
    assert log_loss(labels, p) == pytest.approx(sklearn_log_loss(labels, p))
    assert math.isnan(brier_score([], []))
    assert math.isnan(log_loss([], []))


METRICS = {
    auc: roc_auc_score,
    balanced_accuracy: lambda labels, scores: balanced_accuracy_score(labels, scores > 0),
    brier_score: brier_score_loss,
    log_loss: sklearn_log_loss,
}


def draw_findings(rng, n=60):
    """Return labels of four findings, some unknown, and a number in (0, 1) for each."""
    labels = (rng.random((n, 4)) < 0.4).astype(np.float32)
    labels[rng.random((n, 4)) < [0, 0.2, 0.6, 0.1]] = np.nan
    return labels, rng.random((n, 4))


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.__name__)
def test_several_findings_are_measured_on_their_known_labels_and_averaged(metric, rng):
    labels, scores = draw_findings(rng)
    scores = scores - 0.5 if metric is balanced_accuracy else scores
    expected = [
        METRICS[metric](labels[known, place], scores[known, place])
        for place, known in enumerate(~np.isnan(labels.T))
    ]
    assert metric({"labels": labels}, scores) == pytest.approx(np.mean(expected))
    own = metrics_per_finding(metric, ["a", "b", "c", "é"])
    assert list(own) == [metric.__name__, *(f"{metric.__name__} of {name}" for name in "abce")]
    assert [one({"labels": labels}, scores) for one in own.values()] == pytest.approx(
        [np.mean(expected), *expected]
    )
    for one in own.values():
        cloudpickle.loads(cloudpickle.dumps(one))(labels, scores)


def test_a_finding_without_both_labels_is_no_part_of_the_mean(rng):
    labels, scores = draw_findings(rng)
    labels[:, 0], labels[:, 1] = 0, np.nan
    rest = auc(labels[:, 2:], scores[:, 2:])
    assert auc(labels, scores) == rest
    assert np.isnan(metrics_per_finding(auc, "abcd")["auc of b"](labels, scores))
    assert math.isnan(auc(labels[:, :2], scores[:, :2]))


def test_what_needs_one_label_refuses_several_and_unknown_ones(rng):
    labels, scores = draw_findings(rng)
    several = r"labels of one finding, of shape \(n,\)\. Received \(60, 4\).*choose_finding"
    for refuse in (
        lambda: fit_platt(labels, scores),
        lambda: choose_threshold(labels, scores),
        lambda: rates_at_threshold(labels, scores, 0.5),
        lambda: measure_groups(labels, scores > 0.5, pd.Series(["F"] * 60), range(60)),
        lambda: calibration_bins({"labels": labels}, scores),
    ):
        with pytest.raises(ValueError, match=several):
            refuse()
    for measure in (auc, fit_platt):
        with pytest.raises(ValueError, match=r"label for each of 60 films.* that are not known"):
            measure(labels[:, 2], scores[:, 2])


def test_outputs_and_labels_of_other_numbers_are_refused(rng):
    labels, scores = draw_findings(rng)
    for wrong in (scores[:, :3], scores.ravel(), scores[:-1]):
        with pytest.raises(ValueError, match=r"predictions of shape \(60, 4\)"):
            auc(labels, wrong)
    with pytest.raises(ValueError, match="a name of its own"):
        metrics_per_finding(auc, ["é", "e"])
    scores[3, 1] = np.nan
    with pytest.raises(ValueError, match=r"predictions\[3, 1\], is nan"):
        auc(labels, scores)

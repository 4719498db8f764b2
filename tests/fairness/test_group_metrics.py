"""Group metrics against fairlearn and scikit-learn, gaps by hand."""

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import (
    MetricFrame,
    equal_opportunity_difference,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from sklearn.metrics import balanced_accuracy_score, recall_score, roc_auc_score

from helpers.evaluation import Interval, calibration_error, side_of
from helpers.fairness import compare_gaps, measure_gaps, measure_groups, split_selection_gap
from helpers.fairness.group_metrics import METRICS


@pytest.fixture
def films(rng):
    """600 films of 300 patients in groups by sex and view."""
    labels = rng.integers(0, 2, 600)
    groups = pd.DataFrame(
        {"sex": rng.choice(["F", "M"], 600), "view": rng.choice(["AP", "PA"], 600)}
    )
    probabilities = np.clip(0.5 + 0.2 * (labels - 0.5) + 0.2 * rng.normal(size=600), 0, 1)
    return {
        "labels": labels,
        "decisions": (probabilities > 0.5).astype(int),
        "groups": groups,
        "patients": np.repeat(np.arange(300), 2),
        "probabilities": probabilities,
    }


def test_metrics_are_those_of_fairlearn_and_scikit_learn(films):
    measured = measure_groups(**films)
    frame = MetricFrame(
        metrics={
            "selection_rate": selection_rate,
            "true_positive_rate": true_positive_rate,
            "false_positive_rate": false_positive_rate,
            "balanced_accuracy": balanced_accuracy_score,
        },
        y_true=films["labels"],
        y_pred=films["decisions"],
        sensitive_features=films["groups"],
    )
    expected = frame.by_group.astype(float)
    pd.testing.assert_frame_equal(measured[list(expected)], expected, rtol=1e-12)
    for (sex, view), row in measured.iterrows():
        own = ((films["groups"]["sex"] == sex) & (films["groups"]["view"] == view)).to_numpy()
        labels, scores = films["labels"][own], films["probabilities"][own]
        assert row["films"] == own.sum()
        assert row["positive"] == labels.sum()
        assert row["patients"] == len(np.unique(films["patients"][own]))
        assert row["true_positive_rate"] == recall_score(labels, films["decisions"][own])
        assert row["auc"] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert row["calibration_error"] == calibration_error(labels, scores)


def test_small_groups_are_marked_by_their_patients():
    # Group b has 12 positive films, but of three patients.
    labels = np.array([0, 1] * 12 + [0, 1] * 12)
    groups = pd.Series(["a"] * 24 + ["b"] * 24, name="group")
    patients = np.concatenate([np.arange(24), 100 + np.arange(24) % 6])
    measured = measure_groups(labels, labels, groups, patients)
    assert measured["too_small"].to_dict() == {"a": False, "b": True}
    assert not measure_groups(labels, labels, groups, patients, minimum=3)["too_small"].any()


def test_what_is_not_defined_is_nan_and_unknown_is_a_group():
    groups = pd.Series(["a", "a", None, None], name="group")
    measured = measure_groups(
        [0, 1, 1, 1], [0, 1, 1, 0], groups, range(4), probabilities=[0.1, 0.9, 0.8, 0.2]
    )
    unknown = measured.loc["unknown"]
    assert unknown["true_positive_rate"] == 0.5
    assert np.isnan(
        unknown[["false_positive_rate", "balanced_accuracy", "auc"]].astype(float)
    ).all()
    assert unknown["too_small"]


def test_without_probabilities_there_is_no_auc(films):
    films.pop("probabilities")
    assert not {"auc", "calibration_error"} & set(measure_groups(**films))
    assert set(measure_gaps(**films, n=10).index) == set(METRICS[:4])


def test_a_gap_is_fairlearns_difference_between_groups(films):
    films["groups"] = films["groups"]["sex"]
    gaps = measure_gaps(**films, n=100)
    assert gaps.loc["true_positive_rate", "value"] == pytest.approx(
        equal_opportunity_difference(
            films["labels"], films["decisions"], sensitive_features=films["groups"]
        )
    )
    assert (gaps["low"] <= gaps["value"]).all()
    assert (gaps["value"] <= gaps["high"]).all()
    assert set(gaps["largest"]) | set(gaps["smallest"]) == {"F", "M"}


def test_resamples_are_measured_as_metricframe_measures(films):
    # Every film is one patient's and each patient is drawn as it is: one resample by hand.
    gaps = measure_gaps(**films | {"patients": np.zeros(600)}, minimum=0, n=3)
    assert np.allclose(gaps["low"], gaps["value"])
    assert np.allclose(gaps["high"], gaps["value"])


def test_groups_that_are_too_small_have_no_gap(films):
    films["groups"] = pd.Series(["only"] * 600, name="group")
    gaps = measure_gaps(**films, n=10)
    assert gaps["value"].isna().all()
    assert gaps["largest"].isna().all()


def test_intersections_are_named(films):
    gaps = measure_gaps(**films, metrics=["auc"], n=10)
    assert gaps.loc["auc", "largest"] in {f"{s} and {v}" for s in "FM" for v in ("AP", "PA")}


def test_wrong_arguments_are_refused(films):
    with pytest.raises(ValueError, match=r"Expected metrics among .* Received \['f1'\]"):
        measure_gaps(**films, metrics=["f1"])
    with pytest.raises(ValueError, match=r"for each of 600 labels\. Received \[600, 600, 3, 600\]"):
        measure_groups(**films | {"patients": [1, 2, 3]})


def two_groups(rates, n=500):
    """Make labels, decisions, groups and patients with given shares of films.

    ``rates`` holds for each group its prevalence, TPR and FPR.
    """
    labels, decisions = [], []
    for prevalence, found, alarmed in rates:
        ill = round(n * prevalence)
        labels += [1] * ill + [0] * (n - ill)
        decisions += [k < round(ill * found) for k in range(ill)]
        decisions += [k < round((n - ill) * alarmed) for k in range(n - ill)]
    groups = pd.Series(["F"] * n + ["M"] * n, name="sex")
    return np.array(labels), np.array(decisions).astype(int), groups, np.arange(2 * n)


@pytest.mark.parametrize(
    ("found", "alarmed"), [(1.0, 0.0), (0.8, 0.2), (0.5, 0.5), (0.2, 0.2), (0.3, 0.6)]
)
def test_equal_odds_leave_the_difference_of_prevalence_times_tpr_minus_fpr(found, alarmed):
    """Only TPR = FPR closes the selection gap; a perfect model has the whole of it."""
    labels, decisions, groups, patients = two_groups([(0.4, found, alarmed), (0.6, found, alarmed)])
    gap = measure_gaps(labels, decisions, groups, patients, metrics=["selection_rate"], n=5)
    assert gap["value"].item() == pytest.approx(abs(found - alarmed) * 0.2)
    parts = split_selection_gap(measure_groups(labels, decisions, groups, patients), ("F", "M"))
    assert parts.tolist() == pytest.approx(
        [-(found - alarmed) * 0.2, 0, 0, -(found - alarmed) * 0.2]
    )


def test_the_parts_of_a_selection_gap_are_all_of_it(films):
    films["groups"] = films["groups"]["sex"]
    films.pop("probabilities")
    measured = measure_groups(**films)
    parts = split_selection_gap(measured, ("F", "M"))
    rates = measured["selection_rate"]
    assert parts["selection_rate"] == pytest.approx(rates["F"] - rates["M"])
    assert parts[:3].sum() == pytest.approx(parts["selection_rate"])


def test_a_gap_that_closes_because_the_better_off_fall_is_levelled_down():
    """What the page printed: women .62 to .68, men .87 to .66."""
    labels, before, groups, patients = two_groups([(0.5, 0.62, 0.2), (0.5, 0.87, 0.2)])
    after = two_groups([(0.5, 0.68, 0.2), (0.5, 0.66, 0.2)])[1]
    found = compare_gaps(labels, before, after, groups, patients, between=("F", "M"), n=50)
    assert found[["before", "after", "value"]].tolist() == pytest.approx(
        [-0.25, 0.02, -0.23], abs=0.01
    )
    assert found[["first_change", "second_change"]].tolist() == pytest.approx(
        [0.06, -0.21], abs=0.01
    )
    assert found["levelled_down"]
    assert found["reversed"]
    up = two_groups([(0.5, 0.80, 0.2), (0.5, 0.82, 0.2)])[1]
    found = compare_gaps(labels, before, up, groups, patients, between=("F", "M"), n=50)
    assert not found["levelled_down"]
    assert not found["reversed"]
    wider = two_groups([(0.5, 0.50, 0.2), (0.5, 0.80, 0.2)])[1]
    assert not compare_gaps(labels, before, wider, groups, patients, between=("F", "M"), n=5)[
        "levelled_down"
    ]


@pytest.mark.parametrize(
    ("n", "after", "side"),
    [(3000, 0.76, "below"), (3000, 0.60, "above"), (60, 0.76, "undecided")],
)
def test_cut_in_half_is_judged_by_the_paired_interval(n, after, side):
    """A point estimate below one half is no verdict when there are few patients."""
    labels, before, groups, patients = two_groups([(0.5, 0.55, 0.2), (0.5, 0.80, 0.2)], n)
    decisions = two_groups([(0.5, after, 0.2), (0.5, 0.80, 0.2)], n)[1]
    found = compare_gaps(
        labels, before, decisions, groups, patients, between=("F", "M"), share=0.5, n=300
    )
    assert side_of(Interval(*found[["value", "low", "high"]])) == side


def test_a_comparison_with_itself_changes_nothing(films):
    same = {name: films[name] for name in ("labels", "patients")}
    found = compare_gaps(
        **same,
        before=films["decisions"],
        after=films["decisions"],
        groups=films["groups"]["sex"],
        between=("F", "M"),
        n=20,
    )
    assert found[["value", "low", "high", "first_change", "second_change"]].tolist() == [0] * 5
    with pytest.raises(ValueError, match=r"Expected a rate among .* Received 'auc'"):
        compare_gaps([1], [1], [1], pd.Series(["F"]), [1], between=("F", "M"), rate="auc")
    with pytest.raises(ValueError, match=r"the groups \('F', 'M'\)\. Received films of \['F'\]"):
        compare_gaps([1], [1], [1], pd.Series(["F"]), [1], between=("F", "M"))

"""Intervals: who is drawn, known standard errors, and what pairing is good for."""

import math

import numpy as np
import pandas as pd
import pytest

from helpers.evaluation import (
    Interval,
    auc,
    bootstrap_difference,
    bootstrap_fit,
    bootstrap_patients,
    compare_at_hospitals,
    describe_change,
    describe_sides,
    gain_at_home,
    interval_of,
    resample_patients,
    side_of,
)


def mean_score(labels, scores):
    return scores.mean()


def test_all_films_of_a_patient_are_drawn_together():
    patients = np.array(["b", "a", "b", "c", "b"])
    for films in resample_patients(patients, n=50):
        drawn = np.bincount(films, minlength=5)
        assert drawn[0] == drawn[2] == drawn[4]
        assert drawn[0] + drawn[1] + drawn[3] == 3  # as many patients as there are


def test_films_without_a_patient_are_one_each():
    patients = np.array([None, None, "a", "a"], dtype=object)
    draws = [np.bincount(films, minlength=4) for films in resample_patients(patients, n=50)]
    assert any(drawn[0] != drawn[1] for drawn in draws)
    assert all(drawn[2] == drawn[3] for drawn in draws)


def test_the_same_seed_gives_the_same_resamples():
    patients = np.arange(20)
    one, again, other = (
        np.concatenate(list(resample_patients(patients, n=3, seed=seed))) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_the_interval_of_a_mean_has_the_width_that_theory_says(rng):
    scores = rng.normal(size=400)
    interval = bootstrap_patients(mean_score, np.zeros(400), scores, np.arange(400), n=4000)
    assert interval.value == pytest.approx(scores.mean())
    expected = 2 * 1.96 * scores.std() / 20
    assert interval.high - interval.low == pytest.approx(expected, rel=0.06)


def test_patients_with_many_equal_films_widen_the_interval(rng):
    scores = np.repeat(rng.normal(size=100), 4)
    patients = np.repeat(np.arange(100), 4)
    labels = np.zeros(400)
    by_patient = bootstrap_patients(mean_score, labels, scores, patients, n=2000)
    by_film = bootstrap_patients(mean_score, labels, scores, np.arange(400), n=2000)
    widths = [one.high - one.low for one in (by_patient, by_film)]
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.1)  # the square root of four films


def test_seeds_widen_the_interval_and_the_value_is_their_mean():
    labels, patients = np.zeros(50), np.arange(50)
    scores = np.array([[0.0] * 50, [1.0] * 50])  # nothing but the seed matters
    interval = bootstrap_patients(mean_score, labels, scores, patients, n=200)
    assert interval == (0.5, 0.0, 1.0)


def test_a_column_of_predictions_is_one_model(rng):
    labels, scores, patients = rng.integers(0, 2, 40), rng.normal(size=40), np.arange(40)
    column = bootstrap_patients(auc, labels, scores[:, None], patients, n=50)
    assert column == bootstrap_patients(auc, labels, scores, patients, n=50)


def test_a_model_against_itself_differs_by_nothing(rng):
    labels, scores, patients = rng.integers(0, 2, 40), rng.normal(size=40), np.arange(40)
    assert bootstrap_difference(auc, labels, scores, scores, patients, n=50) == (0, 0, 0)


def test_loss_checks_cancels_what_makes_a_patient_hard_for_both(rng):
    hard = rng.normal(size=200)
    better, worse = hard + 0.1, hard
    labels, patients = np.zeros(200), np.arange(200)
    difference = bootstrap_difference(mean_score, labels, better, worse, patients, n=300)
    assert difference.low == pytest.approx(0.1)
    assert difference.high == pytest.approx(0.1)
    alone = bootstrap_patients(mean_score, labels, better, patients, n=300)
    assert alone.high - alone.low > 0.2


def test_the_same_seeds_are_drawn_for_both_models():
    scores = np.array([[0.0] * 30, [5.0] * 30])
    difference = bootstrap_difference(
        mean_score, np.zeros(30), scores + 1, scores, np.arange(30), n=100
    )
    assert difference == (1, 1, 1)


def test_resamples_without_a_value_do_not_count():
    assert interval_of(2.0, [1.0, 2.0, 3.0, np.nan], level=0.5) == (2.0, 1.5, 2.5)
    unknown = interval_of(2.0, [1.0, np.nan, np.nan])
    assert unknown.value == 2.0
    assert math.isnan(unknown.low)
    assert math.isnan(unknown.high)


def test_wrong_arguments_are_refused():
    ok = {"labels": [0, 1], "scores": [0.1, 0.2], "patients": [1, 2]}
    with pytest.raises(ValueError, match=r"a patient for each of 2 labels\. Received 3\."):
        bootstrap_patients(auc, **ok | {"patients": [1, 2, 3]})
    with pytest.raises(ValueError, match=r"scores of shape \(2,\), or \(n_seeds, 2\)"):
        bootstrap_patients(auc, **ok | {"scores": [0.1, 0.2, 0.3]})
    with pytest.raises(ValueError, match=r"the same for both models"):
        bootstrap_difference(auc, **ok, baseline=[[0.1, 0.2], [0.1, 0.2]])
    with pytest.raises(ValueError, match=r"Expected level between 0 and 1\. Received 95\."):
        bootstrap_patients(auc, **ok, level=95)
    with pytest.raises(ValueError, match=r"Expected at least one film to resample"):
        next(resample_patients([]))
    with pytest.raises(ValueError, match=r"Expected n to be at least 1\. Received 0\."):
        bootstrap_patients(auc, **ok, n=0)


def test_strata_keep_their_number_of_patients():
    patients = np.array(["a", "a", "b", "c", "d", "d"])
    hospitals = np.array(["H", "H", "H", "G", "G", "G"])
    for films in resample_patients(patients, n=30, strata=hospitals):
        drawn = np.bincount(films, minlength=6)
        assert drawn[0] + drawn[2] == 2
        assert drawn[3] + drawn[4] == 2
        assert drawn[0] == drawn[1]
        assert drawn[4] == drawn[5]
    with pytest.raises(ValueError, match=r"a stratum for each of 6 patients\. Received 1\."):
        next(resample_patients(patients, strata=["H"]))


def test_an_interval_that_includes_the_fit_has_the_width_that_theory_says(rng):
    known, new = rng.normal(size=100), rng.normal(size=400)

    def measure(fit_films, test_films):
        return {"error": new[test_films].mean() - known[fit_films].mean()}

    found = bootstrap_fit(measure, range(100), range(400), n=3000)["error"]
    assert found.value == pytest.approx(new.mean() - known.mean())
    expected = 2 * 1.96 * np.sqrt(known.var() / 100 + new.var() / 400)
    assert found.high - found.low == pytest.approx(expected, rel=0.06)
    # With the fit taken for given it would be less than half as wide.
    given = bootstrap_patients(mean_score, np.zeros(400), new, range(400), n=3000)
    assert given.high - given.low < 0.5 * (found.high - found.low)


def test_resamples_that_cannot_be_fitted_do_not_count():
    def measure(fit_films, test_films):
        if len(set(fit_films.tolist())) < 2:
            raise ValueError
        return {"one": 1.0}

    assert bootstrap_fit(measure, range(3), range(2), n=400)["one"] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("limits", "side"),
    [
        ((0.1, 0.3), "above"),
        ((-0.3, -0.1), "below"),
        ((-0.1, 0.1), "undecided"),
        ((0.0, 0.1), "undecided"),
        ((math.nan, math.nan), "undecided"),
    ],
)
def test_the_side_of_an_interval(limits, side):
    assert side_of(Interval(0.0, *limits)) == side
    assert side_of(Interval(0.5, *(limit + 0.5 for limit in limits)), bar=0.5) == side


def test_the_sides_of_several_intervals():
    rows = pd.DataFrame({"value": 0.5, "low": [0.1, 0.6, 0.4], "high": [0.4, 0.9, math.nan]})
    assert describe_sides(rows, bar=0.5) == "above 1, below 1, undecided 1"


def test_models_are_compared_hospital_by_hospital(rng):
    films = pd.DataFrame(
        {
            "hospital": ["H"] * 40 + ["G"] * 30,
            "patient": np.repeat(np.arange(35), 2),
            "label": rng.integers(0, 2, 70),
        }
    )
    scored = {name: films.assign(score=rng.normal(size=70)) for name in ("alone", "federated")}
    found = compare_at_hospitals(auc, scored, "alone", n=50).set_index(
        ["arm", "hospital", "metric"]
    )
    own, floor = (scored[name][:40] for name in ("federated", "alone"))
    gain = bootstrap_difference(
        auc, own["label"], own["score"], floor["score"], own["patient"], n=50
    )
    assert tuple(found.loc[("federated", "H", "gain")]) == gain
    score = bootstrap_patients(auc, own["label"], own["score"], own["patient"], n=50)
    assert tuple(found.loc[("federated", "H", "score")]) == score
    assert found.loc[("alone", "G", "gain")].tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match=r"same films of G for 'federated' and 'alone'"):
        compare_at_hospitals(auc, scored | {"federated": films[::-1].assign(score=0.0)}, "alone")


@pytest.mark.parametrize(
    ("limits", "verdict"),
    [((-0.2, -0.1), "less"), ((0.1, 0.2), "more"), ((-0.1, 0.1), "undecided")],
)
def test_a_change_in_words(limits, verdict):
    said = describe_change(0.0, *limits, below="less", above="more")
    assert said == f"+0.000 [{limits[0]:+.3f}, {limits[1]:+.3f}], {verdict}"


def test_several_findings_are_resampled_together(rng):
    labels = (rng.random((80, 3)) < 0.4).astype(float)
    labels[rng.random((80, 3)) < 0.2] = np.nan
    scores, patients = rng.normal(size=(2, 80, 3)), np.arange(80) // 2
    own = [auc(labels, of_seed) for of_seed in scores]
    found = bootstrap_patients(auc, labels, scores, patients, n=30)
    assert found.value == pytest.approx(np.mean(own))
    assert found.low < found.value < found.high
    one = bootstrap_patients(auc, labels, scores[0], patients, n=30)
    films = next(iter(resample_patients(patients, n=1, seed=0)))
    first = bootstrap_patients(auc, labels, scores[0], patients, n=1)
    assert (one.value, first.low) == (own[0], auc(labels[films], scores[0, films]))
    gain = bootstrap_difference(auc, labels, scores[0], scores[1], patients, n=30)
    assert gain.value == pytest.approx(own[0] - own[1])
    at_home = gain_at_home(
        auc, {"A": labels}, {"A": scores[0]}, {"A": scores[1]}, {"A": patients}, n=30
    )
    assert at_home.loc["A", ["gain", "low", "high"]].tolist() == pytest.approx(list(gain))
    with pytest.raises(ValueError, match="scores of shape"):
        bootstrap_patients(auc, labels, scores[0, :, :2], patients)

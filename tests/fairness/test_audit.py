"""The audit by hand, against SciPy, and on populations whose associations were planted."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency
from scipy.stats.contingency import odds_ratio

from helpers.data import label_films
from helpers.data.summary import band_ages, share_labels
from helpers.data.synthetic import tabulate_films
from helpers.exchange import MaskedSum
from helpers.fairness import (
    correct_holm,
    count_groups,
    describe_planted,
    explain_association,
    find_associations,
    measure_imbalance,
    measure_odds_ratio,
    sum_counts,
)
from helpers.phantom.population import draw_films


def make_counts(numbers, columns, values=None):
    numbers = np.asarray(numbers)
    values = values or [range(size) for size in numbers.shape]
    counts = pd.DataFrame(list(itertools.product(*values)), columns=columns)
    return counts.assign(count=pd.array(numbers.ravel(), dtype="Int64"))


# Berkeley's admissions of 1973, two of the six departments (Bickel et al. 1975, as R has them):
# women are admitted more often in each, and men more often in both together.
BERKELEY = make_counts(
    [[[19, 89], [313, 512]], [[317, 24], [351, 22]]],  # rejected, admitted
    ["department", "sex", "label"],
    [["A", "F"], ["F", "M"], [0, 1]],
)


def test_imbalance_is_the_share_of_positives_of_each_group():
    table = pd.DataFrame({"image": range(30), "patient": range(30), "sex": ["F"] * 20 + ["M"] * 10})
    labels = pd.Series([1] * 5 + [0] * 15 + [1] * 9 + [0], dtype="Int64")
    measured = measure_imbalance(count_groups(table, labels, ["sex"]), "sex")
    assert measured["count"].tolist() == [20, 10]
    assert measured["of_all"].tolist() == pytest.approx([2 / 3, 1 / 3])
    assert measured["positive"].tolist() == [5, 9]
    expected = share_labels(table, labels, "sex")
    assert np.allclose(measured[["share", "low", "high"]], expected[["share", "low", "high"]])


def test_hidden_counts_have_no_share():
    counts = make_counts([[5, 6], [7, 8]], ["sex", "label"])
    counts.loc[0, "count"] = pd.NA
    measured = measure_imbalance(counts, "sex")
    assert measured["share"].isna().tolist() == [True, False]
    assert measured["low"].isna().tolist() == [True, False]


def test_without_strata_the_statistic_is_pearsons(rng):
    numbers = rng.integers(5, 40, (3, 4))
    found = find_associations([make_counts(numbers, ["a", "b"])]).iloc[0]
    n = numbers.sum()
    pearson = chi2_contingency(numbers, correction=False)
    q = pearson.statistic * (n - 1) / n
    assert found["effect"] == pytest.approx(np.sqrt(max(0, q - 6) / (2 * n)))
    assert found["p"] == pytest.approx(pearson.pvalue, rel=0.2)
    assert found["patients"] == n


def test_within_strata_the_statistic_is_that_of_cochran_mantel_and_haenszel():
    found = find_associations([BERKELEY], within="department").iloc[0]
    # (sum of a - E a)² / sum of variances, by hand.
    difference = variance = 0
    for (c, a), (d, b) in ([[19, 89], [313, 512]], [[317, 24], [351, 22]]):
        n = a + b + c + d
        difference += a - (a + b) * (a + c) / n
        variance += (a + b) * (c + d) * (a + c) * (b + d) / (n**2 * (n - 1))
    q = difference**2 / variance
    assert found["effect"] == pytest.approx(np.sqrt((q - 1) / found["patients"]))


def test_a_perfect_association_has_the_effect_one():
    found = find_associations([make_counts([[50, 0], [0, 50]], ["a", "b"])]).iloc[0]
    assert found["effect"] == pytest.approx(math.sqrt(98 / 100))
    assert found["found"]


def test_the_interval_covers_the_true_effect(rng):
    # Two fair columns whose agreement is 0.6: the true V is 0.2.
    truth = np.array([[0.3, 0.2], [0.2, 0.3]])
    numbers = rng.multinomial(400, truth.ravel(), size=150)
    found = find_associations([make_counts(n.reshape(2, 2), ["a", "b"]) for n in numbers])
    covered = (found["low"] <= 0.2) & (found["high"] >= 0.2)
    assert 0.89 < covered.mean() < 1


def test_what_is_called_detectable_is_found_in_four_cases_of_five(rng):
    effect = find_associations([make_counts([[100, 100], [100, 100]], ["a", "b"])])["detectable"][0]
    share = (1 + effect) / 4
    numbers = rng.multinomial(400, [share, 0.5 - share, 0.5 - share, share], size=200)
    found = find_associations([make_counts(n.reshape(2, 2), ["a", "b"]) for n in numbers])
    assert np.mean(found["p"] < 0.05) == pytest.approx(0.8, abs=0.08)


def test_pairs_within_hospitals_and_with_the_hospital_are_one_family(rng):
    inside = make_counts(rng.integers(5, 40, (2, 2, 2)), ["hospital", "sex", "label"])
    between = make_counts([[60, 40], [45, 55]], ["hospital", "label"])
    together = find_associations([inside, between], within="hospital")
    apart = [find_associations([inside], within="hospital"), find_associations([between])]
    p = [one["p"].item() for one in apart]
    assert together["p"].tolist() == p
    assert together["p_holm"].tolist() == correct_holm(p).tolist()
    # By hand: the smaller p-value counts twice, and more has to be there to be detected.
    assert together["p_holm"].min() == pytest.approx(2 * min(p))
    assert (together["detectable"].to_numpy() > [one["detectable"].item() for one in apart]).all()


def test_two_families_find_what_one_family_of_all_pairs_does_not():
    """The audit of our films: p = .029 among 4 pairs was p = .115 among all 10."""
    four, six = [1e-8, 1e-4, 0.0144, 0.03], [0.2, 0.4, 0.5, 0.6, 0.8, 0.9]
    assert correct_holm(four)[2] == pytest.approx(0.0288)
    assert correct_holm(four + six)[2] == pytest.approx(0.1152)


def test_hidden_rows_are_left_out_and_the_others_stay():
    counts = make_counts([[10, 20], [30, 15], [3, 2]], ["a", "b"])
    hidden = counts.assign(count=counts["count"].mask(counts["a"] == 2))
    expected = find_associations([counts[counts["a"] < 2]]).iloc[0]
    assert find_associations([hidden])["p"][0] == pytest.approx(expected["p"])
    assert find_associations([hidden])["patients"][0] == 75


def test_a_column_with_one_value_tells_nothing():
    found = find_associations([make_counts([[10, 20]], ["a", "b"])]).iloc[0]
    assert math.isnan(found["p"])
    assert not found["found"]


def test_holm_by_hand():
    assert correct_holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    corrected = correct_holm([0.5, np.nan, 0.9])
    assert corrected[[0, 2]].tolist() == [1.0, 1.0]
    assert math.isnan(corrected[1])


def test_odds_ratio_and_woolfs_interval_are_those_of_scipy():
    counts = make_counts([[30, 10], [20, 40]], ["view", "label"], [["PA", "AP"], [0, 1]])
    found = measure_odds_ratio(counts, "view", ("AP", "PA"))
    theirs = odds_ratio([[40, 20], [10, 30]], kind="sample")
    assert found.value == pytest.approx(theirs.statistic)
    limits = theirs.confidence_interval()
    assert (found.low, found.high) == pytest.approx((limits.low, limits.high))


def test_odds_ratio_of_mantel_and_haenszel_by_hand():
    found = measure_odds_ratio(BERKELEY, "sex", ("F", "M"), within="department")
    right = 89 * 313 / 933 + 24 * 351 / 714
    wrong = 19 * 512 / 933 + 317 * 22 / 714
    assert found.value == pytest.approx(right / wrong)
    assert found.low < found.value < found.high


def test_the_interval_of_mantel_and_haenszel_covers_the_truth(rng):
    covered = 0
    for _ in range(150):
        cells = []
        for base in (0.1, 0.4, 0.6):  # the odds ratio is 2 in each of three strata
            odds = base / (1 - base)
            for share in (base, 2 * odds / (1 + 2 * odds)):
                ill = rng.binomial(60, share)
                cells += [60 - ill, ill]
        counts = make_counts(np.reshape(cells, (3, 2, 2)), ["h", "view", "label"])
        found = measure_odds_ratio(counts, "view", (1, 0), within="h")
        covered += found.low <= 2 <= found.high
    assert 0.89 < covered / 150 < 1


def test_simpsons_paradox_is_found():
    explained = explain_association(BERKELEY, "sex", ("F", "M"), within="department")
    assert explained["crude"] < 1 < explained["adjusted"]
    assert explained["verdict"] == "reverses"
    assert explained["n_reversed"] == explained["n_strata"] == 2


@pytest.mark.parametrize(
    ("strata", "verdict"),
    [
        # The same odds in each group, but one stratum is ill and has most of the group 1.
        ([[[90, 10], [450, 50]], [[50, 50], [10, 10]]], "vanishes"),
        ([[[80, 20], [40, 60]], [[80, 20], [40, 60]]], "stays"),
        ([[[50, 50], [50, 50]], [[50, 50], [50, 50]]], "none"),
        # Group 1 has the higher odds in both, but most of it is where few are ill.
        ([[[95, 5], [360, 40]], [[200, 200], [33, 67]]], "reverses"),
        ([[[300, 100], [90, 60]], [[55, 95], [100, 300]]], "stays"),
        ([[[99, 11], [90, 30]], [[20, 60], [2, 20]]], "appears"),
    ],
)
def test_verdicts(strata, verdict):
    counts = make_counts(strata, ["h", "group", "label"])
    assert explain_association(counts, "group", (1, 0), within="h")["verdict"] == verdict


def test_nothing_to_compare_is_nan():
    assert math.isnan(measure_odds_ratio(make_counts([[5, 5]], ["a", "label"]), "a", (1, 0)).value)


def test_a_table_of_three_variables_is_refused():
    with pytest.raises(ValueError, match=r"counts of two variables within \[\]\. Received"):
        find_associations([BERKELEY])
    with pytest.raises(ValueError, match=r"two variables within \['hospital'\]"):
        find_associations([BERKELEY], within="hospital")
    with pytest.raises(ValueError, match=r"two variables within \['hospital'\]"):
        find_associations([make_counts([[1, 2], [3, 4]], ["sex", "label"])], within="hospital")


PLANTED = {("sex", "label"), ("age_band", "label"), ("age_band", "view")}
NOT_PLANTED = {("view", "label"), ("sex", "age_band"), ("sex", "view")}
OF_HOSPITALS = {("hospital", name) for name in ("label", "sex", "age_band", "view")}


def audit(n_films, seed, task):
    """Draw a population, let each hospital count its patients, and test all pairs."""
    table = tabulate_films(draw_films(n_films, seed))
    table["age_band"] = band_ages(table["age"])
    labels = label_films(table, task)
    hospitals = [rows for _, rows in table.groupby("hospital")]

    def count(columns, with_label):
        return sum_counts(
            count_groups(rows, labels[rows.index] if with_label else None, columns)
            for rows in hospitals
        )

    columns = ["sex", "age_band", "view"]
    inside = [count(["hospital", name], True) for name in columns]
    inside += [count(["hospital", *pair], False) for pair in itertools.combinations(columns, 2)]
    between = [count(["hospital"], True), *(count(["hospital", name], False) for name in columns)]
    found = find_associations([*inside, *between], within="hospital")
    return found, count(["hospital", "view"], True)


def test_a_masked_sum_over_hospitals_gives_the_same_audit():
    table = tabulate_films(draw_films(2000, 0))
    labels = label_films(table, "any finding vs none")
    counted = [
        count_groups(rows, labels[rows.index], ["hospital", name])
        for name in ("sex", "view")
        for _, rows in table.groupby("hospital")
    ]
    n_hospitals = table["hospital"].nunique()
    tables = [sum_counts(counted[:n_hospitals]), sum_counts(counted[n_hospitals:])]
    add = MaskedSum(n_hospitals)
    plain = find_associations(tables, within="hospital")
    masked = find_associations(tables, within="hospital", add=add)
    pd.testing.assert_frame_equal(masked, plain, rtol=1e-5)
    assert len(add.messages) == n_hospitals
    how = {"column": "view", "values": ("AP", "PA"), "within": "hospital"}
    expected = measure_odds_ratio(tables[1], **how)
    assert measure_odds_ratio(tables[1], **how, add=add) == pytest.approx(expected)
    with pytest.raises(ValueError, match=r"arrays of 3 hospitals. Received 4"):
        measure_odds_ratio(tables[1], **how, add=MaskedSum(3))


def pairs(rows):
    return set(zip(rows["first"], rows["second"], strict=True))


@pytest.mark.parametrize("task", ["any finding vs none", "pneumonia vs no finding"])
def test_2000_films_show_nothing_that_was_not_planted(task):
    found, _ = audit(2000, 0, task)
    assert pairs(found) == PLANTED | NOT_PLANTED | OF_HOSPITALS
    assert {("hospital", "age_band"), ("hospital", "view")} <= pairs(found[found["found"]])
    assert not pairs(found[found["found"]]) & NOT_PLANTED


@pytest.mark.slow
@pytest.mark.parametrize("task", ["any finding vs none", "pneumonia vs no finding"])
def test_as_many_films_as_nihs_show_all_that_was_planted_and_nothing_else(task):
    found, by_view = audit(112_000, 0, task)
    assert pairs(found[found["found"]]) == PLANTED | OF_HOSPITALS
    # More findings on AP films, because the hospitals that take more of them see more of the ill.
    assert explain_association(by_view, "view", ("AP", "PA"), within="hospital")["verdict"] == (
        "vanishes"
    )


@pytest.mark.parametrize("kind", [bool, float])
def test_what_was_planted_is_compared_with_what_was_found(kind):
    audited = pd.DataFrame(
        {
            "first": ["sex", "age_band", "view", "sex"],
            "second": ["label", "label", "label", "view"],
            "detectable": 0.1,
            "found": np.array([True, False, True, False], dtype=kind),
            "planted": np.array([True, True, False, True], dtype=kind),
        }
    )
    effects = pd.Series([0.3, 0.2, 0.0, 0.05], audited.set_index(["first", "second"]).index)
    assert describe_planted(audited, effects, "ours").splitlines() == [
        "ours: missed of 3 planted: age band–label, sex–view.",
        "ours: found though not planted: view–label.",
        "ours: of 2 missed, left of their grey mark: 1.",
    ]

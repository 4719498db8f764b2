"""Summaries against counts and formulas done by hand."""

import numpy as np
import pandas as pd
import pytest

from helpers.data.summary import (
    band_ages,
    count_findings,
    measure_association,
    score_columns,
    share_labels,
)


def make_films(n=40, films_each=2):
    """Make films of which every second patient is positive."""
    patients = np.repeat(np.arange(n // films_each), films_each)
    table = pd.DataFrame(
        {
            "image": [f"{film}.png" for film in range(n)],
            "patient": [str(patient) for patient in patients],
        }
    )
    return table, pd.Series(patients % 2, dtype="Int64")


def test_age_bands_begin_at_their_lowest_age():
    ages = pd.Series([0.0, 17.9, 18.0, 39.0, 40.0, 59.5, 60.0, 101.0, np.nan], index=range(5, 14))
    bands = band_ages(ages)
    expected = ["0-17", "0-17", "18-39", "18-39", "40-59", "40-59", "60+", "60+"]
    assert bands.tolist()[:-1] == expected
    assert pd.isna(bands.iloc[-1])
    assert bands.index.equals(ages.index)


def test_a_film_counts_for_each_of_its_findings():
    table = pd.DataFrame(
        {
            "image": list("abcd"),
            "patient": ["1", "1", "2", None],
            "findings": ["Edema|Mass", "Edema", "No Finding", "Edema"],
        }
    )
    counts = count_findings(table)
    assert counts.index.tolist() == ["Edema", "Mass", "No Finding"]
    assert counts["films"].tolist() == [3, 1, 1]
    assert counts["alone"].tolist() == [2, 0, 1]
    assert counts["patients"].tolist() == [2, 1, 1]  # the unnamed one is a patient of its own


def test_shares_leave_out_films_without_a_label_and_show_unknown_values():
    table, _ = make_films(6)
    table["view"] = ["PA", "PA", "PA", "AP", None, "AP"]
    labels = pd.Series([1, 0, 1, 0, 1, None], dtype="Int64")
    shares = share_labels(table, labels, "view")
    assert shares.index.tolist() == ["AP", "PA", "unknown"]
    assert shares["films"].tolist() == [1, 3, 1]
    assert shares["patients"].tolist() == [1, 2, 1]
    assert shares["positive"].tolist() == [0, 2, 1]
    np.testing.assert_allclose(shares["share"], [0, 2 / 3, 1])


def test_interval_is_wilsons():
    table, _ = make_films(10)
    table["view"] = "PA"
    labels = pd.Series([1] * 5 + [0] * 5, dtype="Int64")
    row = share_labels(table, labels, "view").loc["PA"]
    # With a share of one half the limits are 1/2 -+ z / (2 sqrt(n + z^2)).
    half = 1.959964 / (2 * np.sqrt(10 + 1.959964**2))
    assert row["low"] == pytest.approx(0.5 - half)
    assert row["high"] == pytest.approx(0.5 + half)


def test_shares_refuse_labels_of_another_table():
    table, labels = make_films()
    with pytest.raises(ValueError, match="index"):
        share_labels(table.iloc[1:], labels, "patient")


def test_association_is_one_for_copies_zero_for_independent_columns():
    table = pd.DataFrame({"first": list("aabb") * 50, "second": list("xyxy") * 50})
    table["copy"] = table["first"].map({"a": "u", "b": "v"})
    table["constant"] = "c"
    values = measure_association(table, list(table))
    assert values.loc["first", "copy"] == pytest.approx(1)
    assert values.loc["first", "second"] == 0
    assert np.isnan(values.loc["first", "constant"])
    pd.testing.assert_frame_equal(values, values.T)


def test_association_agrees_with_a_count_by_hand():
    # 30, 10 / 10, 30: chi squared 20, phi squared 1/4; Bergsma: (1/4 - 1/79) / (1 - 1/79).
    table = pd.DataFrame({"first": ["a"] * 40 + ["b"] * 40})
    table["second"] = ["x"] * 30 + ["y"] * 10 + ["x"] * 10 + ["y"] * 30
    value = measure_association(table, ["first", "second"]).loc["first", "second"]
    assert value == pytest.approx(np.sqrt((1 / 4 - 1 / 79) / (1 - 1 / 79)))


def test_association_leaves_out_missing_values():
    table = pd.DataFrame({"first": ["a", "b", None] * 20, "second": ["x", "y", "y"] * 20})
    assert measure_association(table, ["first", "second"]).loc["first", "second"] == pytest.approx(
        1
    )


@pytest.mark.parametrize("kind", ["text", "number", "number with gaps"])
def test_a_column_that_tells_the_label_scores_one(kind):
    table, labels = make_films()
    column = labels.astype(float) if kind != "text" else labels.map({0: "no", 1: "yes"})
    if kind == "number with gaps":
        column = column.where(labels == 1)
    table["column"] = column
    np.testing.assert_array_equal(score_columns(table, labels, ["column"]), np.ones(5))


def test_a_column_without_values_scores_chance():
    table, labels = make_films()
    table["age"] = np.nan
    table["follow_up"] = pd.Series(pd.NA, index=table.index, dtype="Int64")
    np.testing.assert_array_equal(
        score_columns(table, labels, ["age", "follow_up"]), np.full(5, 0.5)
    )


def test_knowing_the_patient_tells_nothing_about_other_patients():
    """A patient in train and test would make the column ``patient`` score 1."""
    table, labels = make_films(films_each=4, n=80)
    np.testing.assert_array_equal(score_columns(table, labels, ["patient"]), np.full(5, 0.5))


def test_scores_leave_out_films_without_a_label():
    table, labels = make_films()
    table["column"] = labels.astype(float)
    labels = labels.mask(table["patient"].isin(["0", "3"]))
    scores = score_columns(table.iloc[::-1], labels.iloc[::-1], ["column"], n_folds=3, seed=1)
    np.testing.assert_array_equal(scores, np.ones(3))


def test_too_few_patients_for_the_folds_are_refused():
    table, labels = make_films(16)
    table["column"] = 1.0
    with pytest.raises(ValueError, match="at least 5 positive and 5 negative patients"):
        score_columns(table, labels, ["column"])

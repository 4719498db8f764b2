import numpy as np
import pandas as pd
import pytest

from helpers.data.patients import (
    check_labels,
    check_whole,
    name_some,
    number_patients,
    patient_labels,
    patient_values,
    qualify_patients,
)


@pytest.fixture
def table():
    """Return films of patients 9 (three films), 4 (one film) and two films of nobody known."""
    films = pd.DataFrame(
        {
            "image": list("abcdef"),
            "patient": pd.Series(["9", None, "4", "9", None, "9"], dtype="str"),
            "view": pd.Series(["AP", "PA", None, "PA", None, None], dtype="str"),
        }
    )
    return films.set_index(pd.Index([10, 3, 5, 8, 1, 2]))  # as after choosing and sorting films


def test_patients_are_numbered_by_their_first_film(table):
    numbers, names = number_patients(table)
    assert numbers.tolist() == [0, 1, 2, 0, 3, 0]
    assert names.tolist() == ["9", "film b", "4", "film e"]


def test_an_unnamed_film_is_never_taken_for_a_patient_of_that_name():
    films = pd.DataFrame({"image": ["a", "b"], "patient": ["film b", None]})
    assert number_patients(films)[0].tolist() == [0, 1]


def test_values_lead_by_number_then_by_place(table):
    values = patient_values(table, "view")
    assert values.isna().tolist() == [False, False, True, True]
    assert values[:2].tolist() == ["AP", "PA"]  # patient 9 has AP and PA once each: AP is first
    assert patient_values(table[::-1], "view")[0] == "PA"


def test_a_patient_is_positive_if_any_film_is(table):
    labels = pd.Series([0, 1, pd.NA, 1, 0, pd.NA], index=table.index, dtype="Int64")
    assert patient_labels(table, labels).tolist() == [1, 1, -1, 0]
    assert patient_labels(table, None).tolist() == [-1] * 4


def test_labels_are_matched_by_index_and_become_integers(table):
    labels = check_labels(table, pd.Series([0.0, 1, 1, np.nan, 0, 1], index=table.index))
    assert labels.dtype == "Int64"
    assert labels.isna().sum() == 1
    with pytest.raises(ValueError, match="another index"):
        check_labels(table, labels.reset_index(drop=True))


def test_missing_places_do_not_count_as_places(table):
    hospital = pd.Series(["A", "B", "B", None, "A", "A"], index=table.index, dtype="str")
    check_whole(table.assign(hospital=hospital), "hospital")
    hospital[8] = "B"
    with pytest.raises(
        ValueError, match=r"Received patients in several: 9 \(A and B\)\. If these are"
    ):
        check_whole(table.assign(hospital=hospital), "hospital")


@pytest.mark.parametrize(
    ("names", "total", "text"),
    [
        (["a"], None, "a"),
        (["a", "b", "c"], None, "a, b, c"),
        (list("abcd"), None, "a, b, c and 1 more"),
        (["a", "b", "c"], 1203, "a, b, c and 1,200 more"),
    ],
)
def test_some_names_stand_for_all(names, total, text):
    assert name_some(names, total) == text


def test_patients_are_qualified_by_their_hospital():
    films = pd.DataFrame(
        {
            "image": list("abcd"),
            "patient": pd.Series(["1", "1", None, None], dtype="str"),
            "hospital": pd.Series(["N", "S", "S", None], dtype="str"),
        }
    )
    assert qualify_patients(films)["patient"].fillna("").tolist() == ["N/1", "S/1", "", ""]
    assert films["patient"][0] == "1"
    films.loc[1, "hospital"] = None
    with pytest.raises(ValueError, match=r"Received 1 films without one: b\. Fill the column"):
        qualify_patients(films)

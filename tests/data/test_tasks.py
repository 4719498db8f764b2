import pandas as pd
import pytest

from helpers.data.tasks import TASKS, label_films

FINDINGS = ["Pneumonia", "Edema|Pneumonia", "No Finding", "Hernia", "Unspecified", None]


def labels(task, index=None):
    table = pd.DataFrame({"findings": pd.Series(FINDINGS, dtype="str")})
    return label_films(table if index is None else table.set_index(pd.Index(index)), task)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("pneumonia vs no finding", [1, 1, 0, pd.NA, pd.NA, pd.NA]),
        ("any finding vs none", [1, 1, 0, 1, 1, pd.NA]),
    ],
)
def test_labels_by_hand(task, expected):
    expected = pd.Series(expected, dtype="Int64", name="label")
    pd.testing.assert_series_equal(labels(task), expected)


def test_labels_keep_the_index():
    assert list(labels("any finding vs none", index=[5, 3, 9, 1, 0, 7]).index) == [5, 3, 9, 1, 0, 7]


def test_a_name_that_contains_pneumonia_is_not_pneumonia():
    table = pd.DataFrame({"findings": ["Pneumoniae"]})
    assert label_films(table, "pneumonia vs no finding").isna().all()


def test_a_table_where_every_film_is_outside_the_task():
    table = pd.DataFrame({"findings": ["Hernia", "Mass"]})
    result = label_films(table, "pneumonia vs no finding")
    assert result.dtype == "Int64"
    assert result.isna().all()


def test_unknown_task_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"pneumonia vs no finding.*any finding vs none.*'cancer'"):
        labels("cancer")


def test_a_table_without_findings_is_refused():
    with pytest.raises(ValueError, match="column 'findings'"):
        label_films(pd.DataFrame({"image": ["a.png"]}), next(iter(TASKS)))

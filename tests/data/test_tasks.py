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
    with pytest.raises(
        ValueError, match=r"pneumonia vs no finding.*any finding vs none.*'cancer'.*Hernia"
    ):
        labels("cancer")


def test_a_table_without_findings_is_refused():
    with pytest.raises(ValueError, match="column 'findings'"):
        label_films(pd.DataFrame({"image": ["a.png"]}), next(iter(TASKS)))


def films_of(*rows):
    """Return a table of films from (findings, uncertain)."""
    return pd.DataFrame(rows, columns=["findings", "uncertain"], dtype="str")


# The policies by hand: findings, uncertain, then the labels with ignore, zeros and ones.
UNKNOWN = pd.NA
EDEMA = [
    ("Edema|Mass", None, 1, 1, 1),
    ("Mass", None, 0, 0, 0),
    ("No Finding", None, 0, 0, 0),
    ("Mass", "Edema", UNKNOWN, 0, 1),
    ("Edema", "Mass", 1, 1, 1),
    (None, "Edema|Mass", UNKNOWN, 0, 1),
    (None, "Mass", 0, 0, 0),  # labelled, though with an uncertain finding only
    ("Unspecified", None, UNKNOWN, UNKNOWN, UNKNOWN),
    (None, None, UNKNOWN, UNKNOWN, UNKNOWN),
    ("", "", UNKNOWN, UNKNOWN, UNKNOWN),
]
EDEMA_ALONE = [
    ("Edema|Mass", None, 1, 1, 1),
    ("Mass", None, UNKNOWN, UNKNOWN, UNKNOWN),
    ("No Finding", None, 0, 0, 0),
    (None, "Edema", UNKNOWN, 0, 1),
    (None, "Mass", UNKNOWN, 0, UNKNOWN),
    ("Unspecified", None, UNKNOWN, UNKNOWN, UNKNOWN),
]
ANY = [
    ("Mass", "Edema", 1, 1, 1),
    (None, "Edema", UNKNOWN, 0, 1),
    ("No Finding", None, 0, 0, 0),
    ("Unspecified", None, 1, 1, 1),
    (None, None, UNKNOWN, UNKNOWN, UNKNOWN),
]


@pytest.mark.parametrize(("place", "uncertain"), [(2, "ignore"), (3, "zeros"), (4, "ones")])
@pytest.mark.parametrize(
    ("task", "rows"),
    [("Edema", EDEMA), ("Edema vs no finding", EDEMA_ALONE), ("any finding vs none", ANY)],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_uncertain_findings_by_hand(task, rows, place, uncertain):
    table = films_of(*(row[:2] for row in rows))
    expected = pd.Series([row[place] for row in rows], dtype="Int64", name="label")
    pd.testing.assert_series_equal(label_films(table, task, uncertain=uncertain), expected)


@pytest.mark.parametrize("task", ["Mass, Edema", ["Mass", "Edema"], " mass ,EDEMA,"])
def test_several_findings_have_a_column_each(task):
    table = films_of(*(row[:2] for row in EDEMA)).set_index(pd.Index(range(20, 10, -1)))
    result = label_films(table, task)
    assert list(result) == ["Mass", "Edema"]
    assert result.index.equals(table.index)
    for name in result:
        expected = label_films(table, name).rename(name)
        pd.testing.assert_series_equal(result[name], expected)


def test_all_findings_are_those_that_occur_in_the_order_of_nih():
    table = films_of(("Rib fracture|Hernia", "Bulla"), ("No Finding", None), ("Effusion", None))
    table.loc[3] = ["Unspecified", None]
    assert list(label_films(table, "all findings")) == [
        "Effusion",
        "Hernia",
        "Bulla",
        "Rib fracture",
    ]
    with pytest.raises(ValueError, match="none is named"):
        label_films(films_of(("No Finding", None)), "all findings")


def test_a_list_of_one_finding_is_one_label():
    table = films_of(("Mass", None), ("No Finding", None))
    pd.testing.assert_series_equal(label_films(table, ["Mass"]), label_films(table, "Mass"))


@pytest.mark.parametrize("name", ["pleural thickening", "Pleural_Thickening", "PLEURAL-THICKENING"])
def test_case_spaces_and_underscores_do_not_matter(name):
    table = films_of(("Pleural_Thickening", None), ("Mass", None))
    assert label_films(table, name).tolist() == [1, 0]


def test_one_of_the_findings_of_nih_may_be_absent_but_not_all():
    table = films_of(("Mass", None), ("No Finding", None))
    assert label_films(table, "Mass, Hernia")["Hernia"].tolist() == [0, 0]
    for task in ("Hernia", "Hernia, Edema"):
        with pytest.raises(ValueError, match=r"The findings of these films: Mass \(1\)\.$"):
            label_films(table, task)


def test_an_unknown_finding_is_refused_with_what_occurs_and_a_near_match():
    table = films_of(("Effusion|Old scar", None), ("Effusion", "Edema"), ("No Finding", None))
    occurs = r"findings of these films: Effusion \(2\), Edema \(1\), Old scar \(1\)\."
    with pytest.raises(ValueError, match=rf"'Efusion' \(did you mean Effusion\?\).*{occurs}"):
        label_films(table, "Efusion")
    with pytest.raises(ValueError, match=r"\['Effusion', 'old scr'\].*mean Old scar"):
        label_films(table, ["Effusion", "old scr"])
    with pytest.raises(ValueError, match="with Effusion twice"):
        label_films(table, "Effusion, effusion")
    for task in ([], "", ",", "No Finding", "Unspecified", 3.5, [7], "efusion vs no finding"):
        with pytest.raises(ValueError, match="Expected a task"):
            label_films(table, task)


def test_a_policy_has_a_name():
    with pytest.raises(ValueError, match=r"'ignore', 'zeros', 'ones'.*Received 'U-Zeros'"):
        label_films(films_of(("Mass", None)), "Mass", uncertain="U-Zeros")

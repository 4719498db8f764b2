"""Counts by hand, and what can and cannot be worked out from a suppressed table."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.exchange import MaskedSum
from helpers.fairness import count_groups, sum_counts, suppress


@pytest.fixture
def films():
    table = pd.DataFrame(
        {
            "image": list("abcdef"),
            "patient": ["1", "1", "2", "3", None, "4"],
            "sex": ["F", "F", "M", "M", None, "F"],
            "view": ["AP", "PA", "PA", "PA", "AP", "AP"],
        }
    )
    return table, pd.Series([1, 0, 1, 0, 1, None], dtype="Int64")


def cells(counts):
    return {tuple(row[:-1]): row[-1] for row in counts.itertuples(index=False)}


def make_counts(numbers):
    """Make a table of counts of two variables (three if the array has three axes)."""
    numbers = np.asarray(numbers)
    places = list(np.ndindex(numbers.shape))
    counts = pd.DataFrame(places, columns=list("abc")[: numbers.ndim])
    return counts.assign(count=pd.array(numbers.ravel(), dtype="Int64"))


def test_patients_count_once_with_their_first_film(films):
    counts = count_groups(*films, ["sex"])
    expected = {("F", 0): 0, ("F", 1): 1, ("M", 0): 1, ("M", 1): 1}
    assert cells(counts) == expected | {("unknown", 0): 0, ("unknown", 1): 1}
    assert counts["count"].dtype == "Int64"


def test_the_first_film_is_the_first_with_a_label(films):
    table, labels = films
    counts = count_groups(table, labels.mask(table["image"] == "a"), ["sex"])
    assert cells(counts)["F", 0] == 1
    assert cells(counts)["F", 1] == 0


def test_films_count_each(films):
    counts = count_groups(*films, ["sex", "view"], unit="films")
    assert cells(counts)["F", "AP", 1] == cells(counts)["F", "PA", 0] == 1
    assert counts["count"].sum() == 5
    assert len(counts) == 3 * 2 * 2  # combinations that do not occur are there, as 0


def test_labels_or_columns_may_be_left_out(films):
    table, labels = films
    assert cells(count_groups(table, None, ["sex"])) == {("F",): 2, ("M",): 2, ("unknown",): 1}
    assert cells(count_groups(table, labels, [])) == {(0,): 1, (1,): 3}
    assert count_groups(table, None, [])["count"].tolist() == [5]


def test_the_sum_of_hospitals_is_the_count_of_all(films):
    table, labels = films
    parts = [table.index[[0, 1, 4]], table.index[[2, 3, 5]]]
    counted = [count_groups(table.loc[part], labels[part], ["sex", "view"]) for part in parts]
    summed = {cell: n for cell, n in cells(sum_counts(counted)).items() if n}
    assert summed == {
        c: n for c, n in cells(count_groups(table, labels, ["sex", "view"])).items() if n
    }


def test_a_masked_sum_is_the_same_and_shows_no_table(films):
    table, labels = films
    parts = [table.index[[0, 1]], table.index[[2, 3]], table.index[[4, 5]]]
    counted = [count_groups(table.loc[part], labels[part], ["sex", "view"]) for part in parts]
    add = MaskedSum(3)
    pd.testing.assert_frame_equal(sum_counts(counted, add=add), sum_counts(counted))
    assert (np.array(add.messages) > 2**40).all()  # a small count would be far below
    hidden = [counted[0].assign(count=pd.array([pd.NA] * len(counted[0]), "Int64")), *counted[1:]]
    with pytest.raises(ValueError, match="larger or missing ones"):
        sum_counts(hidden, add=add)


def test_a_cell_hidden_by_one_hospital_is_hidden_in_the_sum():
    shown, hidden = make_counts([[5, 6], [7, 8]]), make_counts([[5, 6], [7, 8]])
    hidden.loc[1, "count"] = pd.NA
    assert sum_counts([shown, hidden])["count"].tolist() == [10, pd.NA, 14, 16]


def test_zeros_and_large_cells_are_shown():
    counts = make_counts([[0, 30], [40, 5]])
    assert suppress(counts)["count"].tolist() == [0, 30, 40, 5]


def test_a_small_cell_takes_others_with_it():
    # Alone it would follow from its row; with another of its row, from its column.
    counts = make_counts([[3, 20, 30], [40, 50, 60], [70, 80, 90]])
    hidden = suppress(counts)["count"].isna().to_numpy().reshape(3, 3)
    assert hidden.tolist() == [[True, True, False], [True, True, False], [False] * 3]


def solutions(counts, sums, hidden):
    """List all tables of whole numbers, negative ones too, near the truth that fit the sums."""
    places = np.flatnonzero(hidden)
    numbers = counts["count"].to_numpy(dtype=np.int64)
    for change in itertools.product(range(-1, 2), repeat=len(places)):
        tried = numbers.copy()
        tried[places] += change
        if (sums @ tried == sums @ numbers).all():
            yield tried


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=9, max_size=9))
def test_no_small_cell_follows_from_the_sums(numbers):
    numbers = np.array(numbers).reshape(3, 3)
    counts = make_counts(numbers)
    hidden = suppress(counts)["count"].isna().to_numpy()
    sums = np.array(
        [np.eye(3)[i].repeat(3) for i in range(3)] + [np.tile(np.eye(3)[i], 3) for i in range(3)]
    )
    small = (numbers.ravel() > 0) & (numbers.ravel() < 5)
    assert hidden[small].all()
    if hidden.sum() <= 8 and small.any():
        found = np.array(list(solutions(counts, sums, hidden)))
        assert (np.ptp(found, axis=0)[small] > 0).all()


def test_three_variables_are_protected_along_each():
    numbers = np.full((2, 2, 2), 30)
    numbers[0, 0, 0] = 2
    hidden = suppress(make_counts(numbers))["count"].isna().to_numpy()
    assert hidden.all()  # in a 2 × 2 × 2 table nothing less protects the one


def test_a_single_line_hides_two_cells():
    hidden = suppress(make_counts([2, 40, 30]))["count"].isna()
    assert hidden.tolist() == [True, False, True]


def test_wrong_arguments_are_refused(films):
    with pytest.raises(ValueError, match=r"Expected unit .* Received 'people'\."):
        count_groups(*films, ["sex"], unit="people")
    with pytest.raises(ValueError, match=r"Expected columns of the table.*Received \['age'\]"):
        count_groups(*films, ["age"])
    with pytest.raises(ValueError, match=r"without 'label'\. Received \['label'\]"):
        count_groups(films[0].assign(label=1), films[1], ["label"])
    with pytest.raises(ValueError, match=r"Expected minimum of at least 1\. Received 0\."):
        suppress(make_counts([[1, 2]]), 0)
    with pytest.raises(ValueError, match=r"same columns, at least one\. Received \[\]"):
        sum_counts([])
    with pytest.raises(ValueError, match=r"same columns, at least one\. Received \[\['a', 'b'"):
        sum_counts([make_counts([[1]]), make_counts([1])])

"""Films left out: which, how many, and no others."""

import pandas as pd
import pytest

from helpers.fairness import leave_out


@pytest.fixture
def films():
    table = pd.DataFrame(
        {
            "sex": ["F", "F", "M", "M", None] * 400,
            "split": ["train"] * 1000 + ["test"] * 1000,
        },
        index=range(10, 2010),
    )
    return table, pd.Series([1, 0, 1, 0, 1] * 400, index=table.index, dtype="Int64")


def test_only_ill_women_and_healthy_others_of_one_split_are_left_out(films):
    table, labels = films
    kept = leave_out(table, labels, "sex", "F", share=0.5)
    assert (kept["split"] == "test").sum() == 1000
    counts = table.assign(label=labels).loc[kept.index].query("split == 'train'")
    counts = counts.groupby(["sex", "label"]).size()
    assert counts["F", 0] == counts["M", 1] == 200
    assert 70 < counts["F", 1] < 130
    assert 70 < counts["M", 0] < 130
    assert leave_out(table, labels, "sex", "F", share=0.5).equals(kept)


def test_nothing_may_be_left_out(films):
    assert leave_out(*films, "sex", "F", share=0).equals(films[0])


def test_wrong_arguments_are_refused(films):
    with pytest.raises(ValueError, match=r"Expected share in \[0, 1\)\. Received 1\."):
        leave_out(*films, "sex", "F", share=1)
    with pytest.raises(ValueError, match=r"Expected films with sex 'X'\. Received \['F', 'M'"):
        leave_out(*films, "sex", "X", share=0.5)

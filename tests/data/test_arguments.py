"""Whole numbers: what counts as one, and that functions ask before they work."""

import numpy as np
import pandas as pd
import pytest

from helpers.data import assign_hospitals, split_patients
from helpers.data.arguments import check_integer
from helpers.data.summary import score_columns
from helpers.evaluation import calibration_error, resample_patients
from helpers.fairness import leave_out

FILMS = pd.DataFrame(
    {
        "image": [f"{n}.png" for n in range(24)],
        "patient": [f"{n}" for n in range(24)],
        "sex": ["F", "M"] * 12,
        "hospital": "A",
        "split": "train",
    }
)
LABELS = pd.Series([0, 0, 1, 1] * 6, dtype="Int64")


def test_whole_numbers_within_the_limits_come_back_as_int():
    assert check_integer("size", 32, 32, 64) == check_integer("size", np.int64(32), 1) == 32
    assert type(check_integer("size", np.uint8(3), 1)) is int


@pytest.mark.parametrize("value", [1.5, 2.0, True, np.True_, "3", None, np.float32(2)])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match=r"Expected size to be an integer\. Received"):
        check_integer("size", value, 1)


def test_numbers_beyond_the_limits_are_refused():
    with pytest.raises(ValueError, match=r"Expected size to be at least 1\. Received 0\."):
        check_integer("size", 0, 1)
    with pytest.raises(ValueError, match=r"Expected size to be between 1 and 4\. Received 5\."):
        check_integer("size", 5, 1, 4)


@pytest.mark.parametrize(
    ("name", "low", "call"),
    [
        ("n_hospitals", 1, lambda n: assign_hospitals(FILMS, "iid", n_hospitals=n)),
        ("seed", 0, lambda n: assign_hospitals(FILMS, "iid", seed=n)),
        ("seed", 0, lambda n: split_patients(FILMS, seed=n)),
        ("n_folds", 2, lambda n: score_columns(FILMS, LABELS, ["sex"], n_folds=n)),
        ("seed", 0, lambda n: score_columns(FILMS, LABELS, ["sex"], seed=n)),
        ("seed", 0, lambda n: leave_out(FILMS, LABELS, "sex", "F", share=0.5, seed=n)),
        ("n", 1, lambda n: list(resample_patients([1, 2], n=n))),
        ("seed", 0, lambda n: list(resample_patients([1, 2], seed=n))),
        ("n_bins", 1, lambda n: calibration_error([0, 1], [0.2, 0.7], n_bins=n)),
    ],
)
def test_functions_refuse_what_is_too_small_or_not_whole(name, low, call):
    call(low)
    with pytest.raises(ValueError, match=rf"Expected {name} to be at least {low}\. Received"):
        call(low - 1)
    with pytest.raises(TypeError, match=rf"Expected {name} to be an integer\. Received 2\.5\."):
        call(2.5)

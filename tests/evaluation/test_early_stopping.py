"""Early stopping: the round that patience chooses, by hand, and what is refused."""

import numpy as np
import pandas as pd
import pytest

from helpers.evaluation import (
    BestRound,
    count_rising,
    describe_rising,
    find_best_round,
    train_until_best,
)
from helpers.results import tidy_values

VALUES = [0.50, 0.60, 0.70, 0.69, 0.70, 0.68, 0.90]  # of rounds 0, 2, … 12


def _curve(values=VALUES, hospital="A", every=2):
    return pd.DataFrame(
        {
            "round": every * np.arange(len(values)),
            "hospital": hospital,
            "metric": "auc",
            "value": values,
        }
    )


@pytest.mark.parametrize(
    ("patience", "round_idx", "stopped_at"),
    [(1, 4, 6), (2, 4, 8), (3, 4, 10), (4, 12, None), (9, 12, None)],
)
def test_a_tie_is_no_rise_and_later_scores_are_not_looked_at(patience, round_idx, stopped_at):
    best = find_best_round(_curve(), patience=patience)
    assert (best.round, best.stopped_at) == (round_idx, stopped_at)
    assert best.value == VALUES[round_idx // 2]


def test_a_rise_has_to_exceed_min_delta():
    best = find_best_round(_curve([0.5, 0.55, 0.7]), patience=1, min_delta=0.1)
    assert (best.round, best.stopped_at) == (0, 2)


def test_hospitals_are_averaged_by_their_weights_and_rounds_are_put_in_order():
    both = pd.concat([_curve([0.5, 0.9, 0.6]), _curve([0.5, 0.2, 0.6], "B")])[::-1]
    assert find_best_round(both, patience=9).round == 4  # .50, .55, .60
    best = find_best_round(both, patience=9, weights={"A": 3, "B": 1})
    assert best.round == 2
    assert best.value == pytest.approx((3 * 0.9 + 0.2) / 4)


@pytest.mark.parametrize(
    ("change", "rule", "message"),
    [
        (lambda c: c, {"metric": "loss"}, r"metric 'loss'. Received \['auc'\]"),
        (lambda c: c, {"patience": 0}, "patience to be at least 1"),
        (lambda c: c, {"min_delta": -0.1}, "min_delta of at least 0"),
        (lambda c: c, {"min_delta": np.nan}, "min_delta of at least 0"),
        (lambda c: c, {"weights": {"B": 1}}, r"Received none for \['A'\]"),
        (lambda c: c, {"weights": {"A": 0}}, "one of them above 0"),
        (lambda c: c.assign(value=np.nan), {}, "of A in round 0"),
        (lambda c: pd.concat([c, _curve([0.5], "B")]), {}, "of B in round 2"),
    ],
)
def test_what_cannot_be_ranked_is_refused(change, rule, message):
    with pytest.raises(ValueError, match=message):
        find_best_round(change(_curve()), **rule)


def test_training_goes_on_in_steps_until_patience_runs_out():
    asked = []

    def train(num_rounds):
        asked.append(num_rounds)
        return f"plan of {num_rounds}", _curve()[lambda c: c["round"] <= num_rounds]

    plan, curve, best = train_until_best(train, step=5, max_rounds=100, patience=2)
    assert (asked, plan, curve["round"].max()) == ([5, 10], "plan of 10", 10)
    assert (best.round, best.stopped_at) == (4, 8)


def test_training_ends_at_the_last_round_that_is_allowed():
    asked = []

    def train(num_rounds):
        asked.append(num_rounds)
        return None, _curve(np.linspace(0.5, 0.9, num_rounds + 1), every=1)

    _, _, best = train_until_best(train, step=4, max_rounds=10, patience=2)
    assert asked == [4, 8, 10]
    assert (best.round, best.stopped_at) == (10, None)


def test_a_step_of_nothing_is_refused():
    with pytest.raises(ValueError, match="step to be at least 1"):
        train_until_best(lambda n: (None, _curve()), step=0, max_rounds=3)


def test_runs_that_were_too_short_are_counted_and_seeds_are_added():
    counts = count_rising([BestRound(2, 0.7, None), BestRound(4, 0.8, 10), BestRound(6, 0.9, None)])
    assert counts == {"all": 3, "still rising": 2}
    results = pd.concat([tidy_values({"runs": counts}, seed=seed) for seed in (0, 1)])
    assert describe_rising(results).endswith("ended: 4 of 6 runs.")

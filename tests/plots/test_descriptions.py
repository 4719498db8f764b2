"""Each figure says what it shows, with numbers from its data."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers import plots
from helpers.evaluation import BestRound
from helpers.fairness import OddsRatio
from helpers.plots.style import WIDTH

INTERVALS = pd.DataFrame(
    {
        "arm": ["alone", "alone", "federated", "federated"],
        "hospital": ["North_A", "B", "North_A", "B"],
        "value": [0.61, 0.72, 0.83, -0.95],
        "low": [0.5, 0.6, 0.7, -1.0],
        "high": [0.7, 0.8, 0.9, -0.8],
    }
)
GAINS = INTERVALS.assign(metric="gain", seed=0)
CURVE = pd.DataFrame({"round": [0, 2], "hospital": "A", "value": [0.5, 0.66]})
COUNTS = pd.DataFrame(
    {"hospital": ["A", "A"], "split": ["train", "test"], "films": [8, 4], "positive": [2, 3]}
)
SHARES = pd.DataFrame({"films": [9, 3], "share": [0.21, 0.74], "low": 0.1, "high": 0.9}, ["F", "M"])
VIEWS = pd.DataFrame({"hospital": list("AABB"), "view": ["PA", "AP", "PA", "PA"]})
EFFECTS = pd.DataFrame(
    {
        "first": ["sex", "age_band"], "second": "label", "effect": [0.23, 0.01], "low": 0.0,
        "high": 0.3, "found": [True, False], "detectable": 0.15,
    }
)  # fmt: skip
GROUPS = pd.DataFrame(
    {"patients": [100, 3, 50], "auc": [0.83, 0.91, 0.7], "too_small": [False, True, False]},
    index=["F", "M", "other"],
)
PAIRS = pd.DataFrame(
    {"rate": [0.2, 0.6, 0.55, 0.5]}, pd.MultiIndex.from_product([["one", "two_b"], ["F", "M"]])
)
TRADE = pd.DataFrame(
    {"gap": [-0.11, 0.2], "gain": [0.7, 0.8]}, pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")])
)
EXACT = pd.DataFrame(
    {
        "algorithm": ["FedAvg", "Scaffold"], "reference": "NumPy", "difference": [0.0, 1e-3],
        "tolerance": 1e-6, "holds": [True, False],
    }
)  # fmt: skip
TASKS = pd.DataFrame(
    [("a", 0, "A", "train", False, 0, 1, 4, ""), ("b", 0, "B", "train", False, 0, 1, 5.5, "")],
    columns=[
        "task",
        "round",
        "hospital",
        "operation",
        "cached",
        "ready",
        "start",
        "end",
        "waited_for",
    ],
)
SPENT = pd.DataFrame({"A": [9.5, 1.5], "B": [4.0, 0.7]}, index=[0.5, 2.0])
AUCS = pd.DataFrame({"A": [0.7, 0.65], "B": [0.8, 0.6]}, index=[0.5, 2.0])
BINS = pd.DataFrame({"films": [10, 30], "predicted": [0.2, 0.7], "observed": [0.3, 0.6]})
FILMS = [np.full((4, 4), 50, np.uint8), np.full((4, 4, 1), 150, np.uint8)]
OPENED = {"images": np.stack([f.reshape(4, 4) for f in FILMS * 2]),
          "metadata": pd.DataFrame({"findings": list("abcd")})}  # fmt: skip

CASES = {
    "plot_calibration": (({"A": BINS},), "mean of the films, −0.05 (A)."),
    "plot_choices": (
        (INTERVALS, ["alone", "federated"]),
        "means of a row −0.06 (federated) to 0.67",
    ),
    "plot_exactness": ((EXACT,), "2 differences from references: 0 (FedAvg, NumPy) to 1e-03"),
    "plot_gains": (
        (INTERVALS, pd.Series({"North_A": 1600, "B": 120})),
        "120 (B) to 1,600 (North A)",
    ),
    "plot_intervals": (
        (INTERVALS,),
        "alone 0.61 (North A) to 0.72 (B); federated −0.95 (B) to 0.83",
    ),
    "plot_transfer": (
        (pd.DataFrame({"A": [0.9, 0.6], "B": [0.7, 0.8]}, index=["A", "pooled"]),),
        "0.60 (pooled at A) to 0.90 (A at A)",
    ),
    "plot_effects": ((EFFECTS,), "0.01 (age band – label) to 0.23 (sex – label); 1 found"),
    "plot_group_pairs": ((PAIRS, "rate", ("F", "M")), "F − M −0.40 (one) to +0.05 (two b)"),
    "plot_groups": ((GROUPS, "auc"), "0.70 (other) to 0.83 (F); too few patients in 1"),
    "plot_odds_ratios": (
        ({"mixed": OddsRatio(2.5, 1.5, 4), "within": OddsRatio(0.5, 0.25, 1)},),
        "first row mixed 2.50; last row within 0.50; of 2 intervals 1 is above 1 and 0 below",
    ),
    "plot_films": ((FILMS, ["x", "y"]), "50 (picture 1, x) to 150 (picture 2, y)"),
    "plot_grey_levels": (({"A": FILMS[0], "B": FILMS[1]},), "50 (A) to 150 (B)"),
    "plot_most_certain": ((OPENED, [-2.0, 0, 0, 2.0]), "lowest p = 0.12 to 0.50, with a, b, c"),
    "plot_bytes": (
        ({"plain": [1] * 255 + [257], "masked": [2] * 256},),
        "times: 1.00 (masked) to 128.50 (plain)",
    ),
    "plot_privacy": (
        (SPENT, AUCS, pd.Series({"A": 0.68, "B": 0.7})),
        "2 of 4 are above the hospital",
    ),
    "plot_folds": (({"view": [0.5, 0.7], "age": [0.61, 0.61]},), "0.60 (view) to 0.61 (age)"),
    "plot_hospitals": (
        (GAINS,),
        "federated −0.95 (B) to +0.83 (North A); of 4 intervals 3 are above",
    ),
    "plot_rounds": (
        ({("alone", "A"): CURVE}, {("alone", "A"): BestRound(2, 0.66, None)}),
        "Validation AUC over 2 rounds; alone best in round 2, 0.66.",
    ),
    "plot_association": (
        (pd.DataFrame([[1, 0.43], [0.43, 1]], ["a", "b"], ["a", "b"]),),
        "0.43 (a and b)",
    ),
    "plot_counts": (
        (COUNTS,),
        "4 (A, test) to 8 (A, train); share with the finding 25% (A, train)",
    ),
    "plot_label_shares": ((SHARES,), "Share with the finding in 2 groups: 21% (F) to 74% (M)"),
    "plot_timeline": ((TASKS,), "2 tasks at 2 hospitals: 2 train; the last ends after 5.5 s"),
    "plot_distances": (({"A": [0, 1, 0, 2], "B": [0, 3, 0, 4]}, [0.5]), "2.00 (A) to 4.00 (B)"),
}


@pytest.fixture(autouse=True)
def no_window():
    mpl.use("agg")
    yield
    plt.close("all")


def _describe(drawn):
    ax = np.ravel(drawn)[0]
    return ax.figure.get_label() or ax.get_label()


@pytest.mark.parametrize("name", CASES)
def test_a_figure_says_what_it_shows(name):
    arguments, expected = CASES[name]
    said = _describe(getattr(plots, name)(*arguments))
    assert expected in said
    assert said.endswith(".")
    assert len(said) < 250


def test_every_plot_is_described():
    others = {"plot_shares", "plot_trade_off", "plot_timelines"}  # below
    others |= {"plot_maps"}  # test_maps.py
    assert {name for name in dir(plots) if name.startswith("plot_")} == {*CASES, *others}


def test_plots_with_named_arguments_say_what_they_show():
    said = _describe(plots.plot_shares(VIEWS, "view", by="hospital"))
    assert said.endswith("in 2 rows; AP differs most, 0% (B) to 50% (A).")
    said = _describe(plots.plot_trade_off(TRADE, cost="gap", gain="gain", by=("w", "t")))
    assert said.endswith("2 on the Pareto front: a + x (−0.11, 0.70) to b + y (0.20, 0.80).")
    panels = plots.plot_timelines({"predicted": TASKS, "measured": TASKS})
    assert all("5.5 s" in ax.get_label() for ax in panels)


def test_a_reference_counts_the_intervals_on_its_sides():
    said = _describe(plots.plot_intervals(INTERVALS, reference=0.55))
    assert said.endswith("; of 4 intervals 2 are above 0.55 and 1 below.")


def test_many_arms_are_said_as_a_range():
    arms = [INTERVALS.assign(arm=f"{arm}{number}") for number in range(2) for arm in "ab"]
    said = _describe(plots.plot_intervals(pd.concat(arms)))
    assert "4 arms −0.95 (a0, B) to 0.83 (a0, North A)" in said
    curves = {(arm, "all"): CURVE for arm in "abcd"}
    stops = {(arm, "all"): BestRound(2, 0.6 + 0.1 * n, None) for n, arm in enumerate("abcd")}
    said = _describe(plots.plot_rounds(curves, stops))
    assert "best values of 4 arms 0.60 (a, round 2) to 0.90 (d, round 2)" in said


def test_lines_are_described_by_their_ends():
    ax = plots.make_panels(1, height=3)[0]
    ax.plot([0.7, 0.5, 0.25], label="training")
    ax.axhline(0.5)
    ax.set_ylabel("loss")
    assert plots.describe_lines(ax).get_label() == (
        "Lines of loss, from left to right; training 0.70 to 0.25."
    )


def test_values_that_are_missing_are_not_extremes():
    assert plots.describe_range({"A": float("nan")}) == "no value"
    assert plots.describe_range({"A": float("nan"), "B": -0.001, "C": 0.2}, "+.2f") == (
        "0.00 (B) to +0.20 (C)"
    )


@pytest.mark.parametrize("name", CASES)
def test_figures_fit_on_a_telephone(name):
    drawn = np.ravel(getattr(plots, name)(*CASES[name][0]))[0]
    assert drawn.figure.get_figwidth() == WIDTH
    sizes = {text.get_fontsize() for text in drawn.figure.findobj(mpl.text.Text) if text.get_text()}
    assert min(sizes, default=10) >= 10

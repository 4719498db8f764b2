"""Figures of fairness: what they show can be read back from the axes."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.fairness import OddsRatio
from helpers.plots import (
    pareto_front,
    plot_bytes,
    plot_calibration,
    plot_effects,
    plot_group_pairs,
    plot_groups,
    plot_odds_ratios,
    plot_privacy,
    plot_trade_off,
)


@pytest.fixture(autouse=True)
def no_open_figures():
    plt.switch_backend("Agg")
    yield
    plt.close("all")


def test_found_effects_are_filled():
    found = pd.DataFrame(
        {
            "first": ["sex", "age_band"], "second": ["label", "label"], "effect": [0.2, 0.01],
            "low": [0.1, 0.0], "high": [0.3, 0.1], "found": [True, False],
            "detectable": [0.15, 0.15],
        }
    )  # fmt: skip
    ax = plot_effects(found)
    dots = {line.get_label(): line for line in ax.get_lines()}
    assert dots["found"].get_xdata().tolist() == [0.2]
    assert dots["not found"].get_markerfacecolor() == "white"
    assert [t.get_text() for t in ax.get_yticklabels()] == ["sex – label", "age band – label"]


def test_odds_ratios_are_on_a_logarithmic_axis():
    ax = plot_odds_ratios({"mixed": OddsRatio(2, 1, 4), "within": OddsRatio(0.5, 0.25, 1)})
    assert ax.get_xscale() == "log"
    assert ax.get_lines()[1].get_xdata().tolist() == [2, 0.5]


def test_small_groups_are_hollow():
    measured = pd.DataFrame(
        {"patients": [100, 3], "auc": [0.8, 0.9], "too_small": [False, True]}, index=["F", "M"]
    )
    ax = plot_groups(measured, "auc")
    fills = {line.get_xdata()[0]: line.get_markerfacecolor() for line in ax.get_lines()}
    assert fills == {0.8: "black", 0.9: "white"}
    assert ax.get_yticklabels()[0].get_text() == "F (100)"


def test_trade_offs_mark_the_front():
    index = pd.MultiIndex.from_tuples(itertools.product(["a", "b"], ["x", "y"]))
    table = pd.DataFrame({"gap": [0.1, 0.2, 0.3, 0.2], "accuracy": [0.7, 0.8, 0.75, 0.7]}, index)
    ax = plot_trade_off(table, cost="gap", gain="accuracy", by=("weights", "thresholds"))
    front = next(line for line in ax.get_lines() if line.get_drawstyle() == "steps-post")
    assert front.get_xdata().tolist() == [0.1, 0.2]


def test_trade_offs_have_intervals():
    index = pd.MultiIndex.from_tuples([("a", "x"), ("b_c", "x")])
    table = pd.DataFrame({"gap": [0.1, 0.2], "accuracy": [0.7, 0.8]}, index)
    limits = pd.DataFrame(
        {
            ("gap", "low"): [0.0, 0.1], ("gap", "high"): [0.3, 0.4],
            ("accuracy", "low"): [0.6, 0.7], ("accuracy", "high"): [0.75, 0.85],
        },
        index,
    )  # fmt: skip
    ax = plot_trade_off(table, cost="gap", gain="accuracy", by=("w", "t"), limits=limits)
    across, up = (line.get_xydata().tolist() for line in ax.get_lines()[:2])
    assert across == [[0.0, 0.7], [0.3, 0.7]]
    assert up == [[0.1, 0.6], [0.1, 0.75]]
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == ["w:", "a", "b c", "t:", "x", " "]  # two columns of the same length


def test_pairs_show_the_gap_with_its_sign():
    index = pd.MultiIndex.from_product([["none"], ["one", "two_b"], ["F", "M"]])
    measured = pd.DataFrame({"selection_rate": [0.2, 0.6, 0.501, 0.503]}, index)
    ax = plot_group_pairs(measured, "selection_rate", ("F", "M"))
    dots = {line.get_label(): line.get_xdata().tolist() for line in ax.get_lines()}
    assert dots == {"F": [0.2, 0.501], "M": [0.6, 0.503]}
    assert [text.get_text() for text in ax.texts] == ["−0.40", "+0.00", "F − M"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["none + one", "none + two b"]


def test_scores_are_drawn_against_what_was_spent():
    spent = pd.DataFrame({"A": [9.0, 1.5], "B": [4.0, 0.7]}, index=[0.5, 2.0])
    scores = pd.DataFrame({"B": [0.8, 0.6], "A": [0.7, 0.65]}, index=[0.5, 2.0])
    ax = plot_privacy(spent, scores, pd.Series({"A": 0.75, "B": 0.7}))
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}
    assert lines["A"] == [[9.0, 0.7], [1.5, 0.65]]
    assert ax.get_xscale() == "log"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.5", "1", "2", "5", "10"]


def test_shares_of_bytes_are_drawn_against_equal_ones():
    counts = {"plain": np.array([3] + [0] * 254 + [1]), "masked": np.full(256, 2)}
    ax = plot_bytes(counts)
    heights = {patch.get_label(): patch.get_data().values for patch in ax.patches}
    assert heights["plain"][[0, 1, 255]].tolist() == [0.75, 0, 0.25]
    assert heights["masked"].tolist() == [1 / 256] * 256
    assert ax.get_lines()[0].get_ydata() == [1 / 256, 1 / 256]


def test_the_front_by_hand():
    assert pareto_front([1, 1, 2, 2], [5, 5, 6, 5]).tolist() == [True, True, True, False]
    assert pareto_front(np.array([1.0]), np.array([0.0])).tolist() == [True]


def test_calibration_is_drawn_by_bins():
    bins = pd.DataFrame({"films": [10, 30], "predicted": [0.2, 0.7], "observed": [0.3, 0.6]})
    ax = plot_calibration({"A": bins, "B": bins[:1]})
    assert ax.get_lines()[1].get_xydata().tolist() == [[0.2, 0.3], [0.7, 0.6]]
    assert [c.get_label() for c in ax.collections] == ["A", "B"]
    assert ax.collections[0].get_sizes().tolist() == [30, 90]

"""Figures of fairness: what they show can be read back from the axes."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.fairness import OddsRatio
from helpers.plots import (
    pareto_front,
    plot_calibration,
    plot_effects,
    plot_groups,
    plot_odds_ratios,
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


@pytest.mark.parametrize("noise", [(0.05, 0.02), (0.9, 0.4)])
def test_axes_are_at_least_as_long_as_the_noise(noise):
    index = pd.MultiIndex.from_tuples(itertools.product(["a", "b"], ["x", "y"]))
    table = pd.DataFrame({"gap": [0.1, 0.2, 0.3, 0.2], "accuracy": [0.7, 0.8, 0.75, 0.7]}, index)
    ax = plot_trade_off(table, cost="gap", gain="accuracy", by=("w", "t"), noise=noise)
    across, down = (np.asarray(bars.get_segments()[0]) for bars in ax.containers[0].lines[2])
    assert np.ptp(across[:, 0]) == pytest.approx(noise[0])
    assert np.ptp(down[:, 1]) == pytest.approx(noise[1])
    for limits, ends in ((ax.get_xlim(), across[:, 0]), (ax.get_ylim(), down[:, 1])):
        assert limits[0] <= ends.min()
        assert ends.max() <= limits[1]


def test_the_front_by_hand():
    assert pareto_front([1, 1, 2, 2], [5, 5, 6, 5]).tolist() == [True, True, True, False]
    assert pareto_front(np.array([1.0]), np.array([0.0])).tolist() == [True]


def test_calibration_is_drawn_by_bins():
    bins = pd.DataFrame({"films": [10, 30], "predicted": [0.2, 0.7], "observed": [0.3, 0.6]})
    ax = plot_calibration({"A": bins, "B": bins[:1]})
    assert ax.get_lines()[1].get_xydata().tolist() == [[0.2, 0.3], [0.7, 0.6]]
    assert [c.get_label() for c in ax.collections] == ["A", "B"]
    assert ax.collections[0].get_sizes().tolist() == [30, 90]

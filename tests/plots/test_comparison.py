import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest

from helpers.plots import (
    hospital_colors,
    hospital_styles,
    plot_choices,
    plot_exactness,
    plot_gains,
    plot_intervals,
    plot_transfer,
)


@pytest.fixture(autouse=True)
def no_window():
    mpl.use("agg")
    yield
    plt.close("all")


@pytest.fixture
def intervals():
    return pd.DataFrame(
        {
            "arm": ["alone", "alone", "federated", "federated"],
            "hospital": ["North_A", "B", "North_A", "B"],
            "value": [0.6, 0.7, 0.8, 0.9],
            "low": [0.5, 0.6, 0.7, 0.8],
            "high": [0.7, 0.8, 0.9, float("nan")],
        }
    )


def _points(ax):
    return [line for line in ax.lines if line.get_marker() != "None" and len(line.get_xdata()) == 1]


def test_intervals_have_a_row_for_each_hospital_and_a_mark_for_each_arm(intervals):
    ax = plot_intervals(intervals, reference=0.5)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["North A", "B"]
    assert [point.get_xdata()[0] for point in _points(ax)] == [0.6, 0.7, 0.8, 0.9]
    places = [point.get_ydata()[0] for point in _points(ax)]
    assert places[0] < 0 < places[2] < places[1] < 1 < places[3]
    colors = hospital_colors(["North_A", "B"])
    assert [point.get_color() for point in _points(ax)] == [colors["North_A"], colors["B"]] * 2
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["alone", "federated"]


def test_arms_without_a_style_have_different_marks(intervals):
    renamed = intervals.replace({"alone": "one level", "federated": "own level"})
    assert len({point.get_marker() for point in _points(plot_intervals(renamed))}) == 2


def test_a_single_arm_needs_no_legend(intervals):
    assert plot_intervals(intervals.iloc[:2]).get_legend() is None


def test_transfer_prints_every_score_and_the_own_ones_bold():
    scores = pd.DataFrame({"A": [0.9, 0.6], "B": [0.7, 0.8]}, index=["A", "federated"])
    ax = plot_transfer(scores, home=["A", "B"])
    assert [text.get_text() for text in ax.texts] == ["0.90", "0.70", "0.60", "0.80"]
    assert [text.get_weight() for text in ax.texts] == ["bold", "normal", "normal", "normal"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("tested at", "trained at")


def test_gains_stand_at_the_hospitals_sizes(intervals):
    sizes = pd.Series({"North_A": 600, "B": 120})
    ax = plot_gains(intervals[intervals["arm"] == "federated"], sizes)
    assert [tuple(*point.get_xydata()) for point in _points(ax)] == [(600, 0.8), (120, 0.9)]


def test_differences_are_drawn_beside_what_is_allowed():
    table = pd.DataFrame(
        {
            "algorithm": ["FedAvg", "Scaffold"],
            "reference": "NumPy",
            "difference": [0.0, 1e-3],
            "tolerance": 1e-6,
            "holds": [True, False],
        }
    )
    ax = plot_exactness(table)
    assert [label.get_text() for label in ax.get_yticklabels()] == [
        "FedAvg: NumPy",
        "Scaffold: NumPy",
    ]
    holds, fails = ax.collections[:2]
    assert [holds.get_offsets()[0, 0], fails.get_offsets()[0, 0]] == [1e-11, 1e-3]
    assert not (holds.get_facecolors() == fails.get_facecolors()).all()
    assert len(holds.get_paths()[0]) != len(fails.get_paths()[0])  # nor are they the same marks


def test_choices_have_a_row_each_and_a_stranger_is_hollow(intervals):
    ax = plot_choices(intervals, ["federated", "alone"], stranger="B")
    assert [label.get_text() for label in ax.get_yticklabels()] == ["federated", "alone"]
    lines = {line.get_label(): line for line in ax.lines}
    assert list(lines["North A"].get_xdata()) == [0.8, 0.6]
    styles = hospital_styles(["North_A", "B"])
    assert lines["North A"].get_marker() == styles["North_A"]["marker"]
    assert lines["B, only tests"].get_markerfacecolor() == "white"
    assert lines["B, only tests"].get_color() == hospital_colors(["North_A", "B"])["B"]
    bars = [segment for lines in ax.collections for segment in lines.get_segments()]
    limits = {tuple(bar[:, 0]) for bar in bars if len(bar)}
    assert limits == {(0.7, 0.9), (0.5, 0.7), (0.6, 0.8)}

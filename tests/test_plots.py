"""Plots: what is drawn, on which axes, in which color."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from helpers import plots


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture
def results():
    rows = [
        ("alone", "A", "A", 0.6), ("alone", "A", "B", 0.5),
        ("alone", "B", "A", 0.4), ("alone", "B", "B", 0.7),
        ("federated", "all", "A", 0.8), ("federated", "all", "B", 0.9),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["arm", "trained_at", "hospital", "value"])
    first = table.assign(value=0.5, round=0)
    return pd.concat([first, table.assign(round=2)]).assign(seed=0, metric="auc", split="test")


def test_a_hospital_keeps_its_color():
    assert plots.hospital_colors(["B", "A", "A"]) == plots.hospital_colors(["A", "B"])
    assert len(set(plots.hospital_colors("ABCDEFG").values())) == 7


def test_films_fill_their_axes():
    axes = plots.plot_films([np.zeros((4, 4)), np.ones((4, 4, 1))], ["x", "y"], n_columns=1)
    assert [ax.get_title() for ax in axes] == ["x", "y"]
    assert axes[1].images[0].get_array().shape == (4, 4)


def test_rounds_average_the_test_hospitals(results):
    _, ax = plt.subplots()
    assert plots.plot_rounds(results, ax=ax) is ax
    curves = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(curves["A alone"].get_ydata(), [0.5, 0.55])
    np.testing.assert_allclose(curves["federated"].get_ydata(), [0.5, 0.85])
    assert curves["A alone"].get_color() == plots.hospital_colors("AB")["A"]


def test_hospitals_show_their_own_model_only(results):
    ax = plots.plot_hospitals(results)
    points = {drawn.get_label(): drawn.get_offsets()[:, 0] for drawn in ax.collections}
    np.testing.assert_allclose(points["alone"], [0.6, 0.7])
    np.testing.assert_allclose(points["federated"], [0.8, 0.9])


def test_counts_and_shares():
    counts = pd.DataFrame(
        {"hospital": ["A", "A"], "split": ["train", "test"], "films": [8, 4], "positive": [3, 1]}
    )
    heights = [bar.get_height() for bar in plots.plot_counts(counts).patches]
    assert heights == [8, 4, 3, 1]
    table = pd.DataFrame({"hospital": list("AAAB"), "view": ["PA", "AP", None, "PA"]})
    ax = plots.plot_shares(table, "view", by="hospital")
    assert ax.get_legend_handles_labels()[1] == ["AP", "PA", "unknown"]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches][::2], [1 / 3] * 3)

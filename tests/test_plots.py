"""Plots: what is drawn, on which axes, in which color."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from helpers import plots
from helpers.evaluation import BestRound


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


def test_a_hospital_keeps_its_color():
    assert plots.hospital_colors(["B", "A", "A"]) == plots.hospital_colors(["A", "B"])
    assert len(set(plots.hospital_colors("ABCDEFG").values())) == 7


def test_hospitals_differ_without_their_colors():
    styles = plots.hospital_styles("ABCDEFGH")
    for what in ("marker", "linestyle"):
        assert len({style[what] for style in styles.values()}) == 7
    assert styles["A"] == styles["H"]  # they start again


def test_films_fill_their_axes():
    axes = plots.plot_films([np.zeros((4, 4)), np.ones((4, 4, 1))], ["x", "y"], n_columns=1)
    assert [ax.get_title() for ax in axes] == ["x", "y"]
    assert axes[1].images[0].get_array().shape == (4, 4)


def test_rounds_average_the_hospitals_and_mark_the_one_that_is_kept():
    own = pd.DataFrame({"round": [0, 2, 4], "hospital": "A", "value": [0.5, 0.6, 0.55]})
    all_ = pd.DataFrame(
        {"round": [0, 0, 2, 2], "hospital": list("ABAB"), "value": [0.4, 0.6, 0.8, 1]}
    )
    curves = {("alone", "A"): own, ("federated", "all"): all_}
    stops = {("alone", "A"): BestRound(2, 0.6, 4), ("federated", "all"): BestRound(2, 0.9, None)}
    _, ax = plt.subplots()
    assert plots.plot_rounds(curves, stops, ax=ax) is ax
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["A alone"].get_ydata(), [0.5, 0.6, 0.55])
    np.testing.assert_allclose(lines["federated"].get_ydata(), [0.5, 0.9])
    assert lines["A alone"].get_color() == plots.hospital_colors("A")["A"]
    dots = [line.get_xydata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    np.testing.assert_allclose(dots, [(2, 0.6), (2, 0.9)])


def test_hospitals_show_gains_of_the_first_seed_with_limits_and_the_other_seeds():
    rows = [
        (0, "federated", "A", "gain", 0.1, 0.05, 0.15),
        (0, "federated", "B", "gain", -0.1, -0.2, 0.0),
        (1, "federated", "A", "gain", 0.2, 0.15, 0.25),
        (0, "federated", "A", "auc", 0.9, np.nan, np.nan),
    ]
    columns = ["seed", "arm", "hospital", "metric", "value", "low", "high"]
    ax = plots.plot_hospitals(pd.DataFrame(rows, columns=columns))
    bars = [list(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) == 2]
    assert bars[:2] == [[0.05, 0.15], [-0.2, 0.0]]
    points = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert sorted(float(line.get_xdata()[0]) for line in points) == [-0.1, 0.1, 0.2]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A", "B"]


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


@pytest.fixture
def tasks():
    rows = [
        ("a", 0, "A", "train", False, 0, 0, 4, ""),
        ("b", 0, "B", "train", False, 0, 1, 5, ""),
        ("c", 0, "A", "evaluate", False, 0, 3, 6, ""),
        ("d", 1, "A", "aggregate", False, 5, 5, 6, "b"),
        ("e", 1, "B", "train", True, 6, 6, 6, "d"),
        ("f", 1, "A", "own", False, 6, 7, 10, "d"),
    ]
    columns = ["task", "round", "hospital", "operation", "cached", "ready", "start", "end"]
    return pd.DataFrame(rows, columns=[*columns, "waited_for"])


def test_timeline_has_bars_waiting_and_arrows_between_hospitals(tasks):
    _, ax = plt.subplots()
    assert plots.plot_timeline(tasks, ax=ax) is ax
    names = ax.get_legend_handles_labels()[1]
    assert names == ["train", "evaluate", "aggregate", "cached", "own", "waits for a core"]
    bars = dict(zip(names, ax.containers, strict=True))
    spans = [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars["train"]]
    assert spans == [(0, 4), (1, 5)]
    assert bars["cached"][0].get_hatch()
    assert [bar.get_width() for bar in bars["waits for a core"]] == [0, 1, 3, 0, 0, 1]
    arrows = [text for text in ax.texts if isinstance(text, mpl.text.Annotation)]
    assert [(arrow.xyann[0], arrow.xy[0]) for arrow in arrows] == [(5, 5), (6, 6)]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["A", "B"]


def test_timeline_gives_overlapping_tasks_of_a_hospital_lanes_of_their_own(tasks):
    ax = plots.plot_timeline(tasks)
    middle = {
        (bar.get_x(), bar.get_x() + bar.get_width()): bar.get_y() + bar.get_height() / 2
        for bars in ax.containers[:-1]
        for bar in bars
    }
    # The evaluation from 3 to 6 overlaps with the training and the aggregation of its hospital.
    assert middle[0, 4] == middle[5, 6] == middle[7, 10] < middle[3, 6] < middle[1, 5]


def test_timelines_of_several_runs_have_the_same_seconds(tasks):
    longer = tasks.assign(end=tasks["end"] * 2)
    top, bottom = plots.plot_timelines({"predicted": tasks, "measured": longer})
    assert [ax.get_title(loc="right") for ax in (top, bottom)] == ["predicted", "measured"]
    assert top.get_xlim() == bottom.get_xlim() == (0, 1.01 * 20)
    assert top.get_xlabel() == ""


def test_folds_are_drawn_around_their_mean():
    ax = plots.plot_folds({"view": [0.5, 0.7], "age": [0.6, 0.6]})
    folds, mean, *_ = (drawn.get_offsets().tolist() for drawn in ax.collections)
    assert folds == [[0.5, 0], [0.7, 0]]
    assert mean == [[pytest.approx(0.6), 0]]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["view", "age"]


def test_panels_are_below_each_other_or_fill_rows_and_the_rest_is_empty():
    assert plots.make_panels(3, height=2)[0].figure.get_size_inches().tolist() == [6, 6]
    panels = plots.make_panels(3, height=2, n_columns=2)
    assert len(panels) == 3
    figure = panels[0].figure
    assert figure.get_size_inches().tolist() == [6, 4]
    assert [ax.axison for ax in figure.axes] == [True, True, True, False]


def test_grey_levels_are_shares_of_pixels():
    films = {"B": np.zeros((2, 4, 4), np.uint8), "A_1": np.full((1, 4, 4), 255, np.uint8)}
    ax = plots.plot_grey_levels(films)
    drawn = {patch.get_label(): patch.get_data().values for patch in ax.patches}
    assert drawn["B"][0] == drawn["A 1"][-1] == 1
    assert drawn["B"].sum() == drawn["A 1"].sum() == 1


def test_the_most_certain_films_are_at_both_ends():
    films = np.arange(6, dtype=np.uint8).repeat(4).reshape(6, 2, 2, 1)
    metadata = pd.DataFrame({"findings": list("abcdef")})
    axes = plots.plot_most_certain(
        {"images": films, "metadata": metadata}, [0.0, -2.0, 9.0, 1.0, -1.0, 2.0], n_films=2
    )
    assert [ax.get_title() for ax in axes] == [
        "p = 0.12\nb", "p = 0.27\ne", "p = 0.88\nf", "p = 1.00\nc"
    ]  # fmt: skip
    assert [int(ax.images[0].get_array()[0, 0]) for ax in axes] == [1, 4, 5, 2]


@pytest.mark.parametrize("text", ["pooled", "Saint Alba alone", "alone " * 9])
def test_a_legend_stays_within_its_figure_however_long_its_texts(text):
    (ax,) = plots.make_panels(1, height=3)
    for number in range(6):
        ax.plot([0, 1], label=f"{text}{number}")
    plots.legend_below(ax)
    ax.figure.draw_without_rendering()
    legend, paper = ax.get_legend().get_window_extent(), ax.figure.bbox
    assert paper.x0 <= legend.x0
    assert legend.x1 <= paper.x1


def test_findings_of_a_certain_film_are_wrapped_to_its_width():
    findings = "Consolidation|Effusion|Nodule|Pneumonia"
    opened = {
        "images": np.zeros((6, 4, 4, 1), np.uint8),
        "metadata": pd.DataFrame({"findings": ["No Finding"] * 3 + [findings] * 3}),
    }
    titles = [ax.get_title() for ax in plots.plot_most_certain(opened, np.arange(6.0) - 3)]
    assert titles[0] == "p = 0.05\nNo Finding"
    assert titles[5] == "p = 0.88\nConsolidation, Effusion,\nNodule, Pneumonia"

"""Timeline of the tasks of a run: when each ran, and which waited for which."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

OPERATION_COLORS = {
    "initialize": "#56B4E9",
    "train": "#0072B2",
    "aggregate": "#D55E00",
    "evaluate": "#009E73",
}


def plot_timeline(tasks: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw when each task ran, in a lane for each hospital, and which waited for which.

    A bar is a task, with its round, from start to end; the pale strip below it is the time that
    it was ready and waited for a core. Tasks of one hospital that overlap are drawn one below the
    other. An arrow leads from a task to one of another hospital that could not begin before it
    had ended. What was cached, and not run, is grey and hatched.

    Parameters
    ----------
    tasks : pandas.DataFrame
        As :meth:`helpers.local_mode.Federation.tasks` or
        :func:`helpers.local_mode.predict_tasks` returns it, in seconds.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    lanes = _share_lanes(tasks)
    hospitals = list(dict.fromkeys(tasks["hospital"]))
    depth = lanes.groupby(tasks["hospital"]).max()[hospitals] + 1
    top = depth.cumsum() - depth + 0.4 * np.arange(len(depth))  # a gap between hospitals
    if ax is None:
        size = (9, 1.2 + 0.42 * (top.iloc[-1] + depth.iloc[-1]))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    tasks = tasks.assign(y=tasks["hospital"].map(top) + lanes)
    length = tasks["end"].max() or 1
    others = [name for name in tasks["operation"].unique() if name not in OPERATION_COLORS]
    colors = OPERATION_COLORS | dict.fromkeys(others, "0.5")
    for (operation, cached), rows in tasks.groupby(["operation", "cached"], sort=False):
        style = {"facecolor": colors[operation], "edgecolor": "white", "label": operation}
        if cached:
            style = {"facecolor": "0.9", "edgecolor": "0.5", "hatch": "////", "label": "cached"}
        if style["label"] in ax.get_legend_handles_labels()[1]:
            style.pop("label")
        ax.barh(rows["y"], rows["end"] - rows["start"], 0.6, rows["start"], **style)
    ax.barh(
        tasks["y"] + 0.38,
        tasks["start"] - tasks["ready"],
        0.12,
        tasks["ready"],
        color="0.4",
        alpha=0.3,  # darker where several wait
        label="waits for a core",
    )
    for row in tasks[tasks["end"] - tasks["start"] > 0.02 * length].itertuples():
        color = "black" if row.cached else "white"
        middle = (row.start + row.end) / 2
        ax.text(middle, row.y, row.round, color=color, fontsize=8, ha="center", va="center")
    by_key = tasks.set_index("task")
    for row in tasks[tasks["waited_for"].isin(tasks["task"])].itertuples():
        parent = by_key.loc[row.waited_for]
        if parent["hospital"] != row.hospital:
            ax.annotate(
                "",
                (row.start, row.y),
                (parent["end"], parent["y"]),
                arrowprops={"arrowstyle": "->", "color": "0.3", "linewidth": 0.8, "shrinkB": 0},
                zorder=0.9,  # below the bars
            )
    names = [name.replace("_", " ") for name in hospitals]
    ax.set_yticks(top + (depth - 1) / 2, names)
    ax.set(xlabel="seconds since the plan's start; numbers: round", xlim=(0, 1.01 * length))
    ax.invert_yaxis()
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(fontsize=8, ncols=6, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return ax


def plot_timelines(runs: Mapping[str, pd.DataFrame]) -> np.ndarray:
    """Draw the timelines of several runs below each other, with the same seconds.

    Parameters
    ----------
    runs : dict of str to pandas.DataFrame
        A title, and tasks as for :func:`plot_timeline`.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        The axes, one for each run.
    """
    size = (9, 3.5 * len(runs))
    _, axes = plt.subplots(len(runs), figsize=size, layout="constrained", sharex=True)
    axes = np.ravel(axes)
    for ax, (title, tasks) in zip(axes, runs.items(), strict=True):
        plot_timeline(tasks, ax=ax).set_title(title, loc="right")
    axes[-1].set_xlim(0, 1.01 * max(tasks["end"].max() for tasks in runs.values()))
    for ax in axes[:-1]:
        ax.set_xlabel("")
    return axes


def _share_lanes(tasks):
    """Give each task a lane of its hospital in which it overlaps with no other."""
    lanes, ends = {}, {}
    # Evaluations come last, below the chain of trainings; rounding must not make an overlap.
    order = tasks.assign(side=tasks["operation"] == "evaluate").sort_values(["side", "start"])
    for row in order.itertuples():
        taken = ends.setdefault(row.hospital, [])
        free = (
            lane
            for lane, spans in enumerate(taken)
            if all(row.end <= start + 1e-6 or row.start >= end - 1e-6 for start, end in spans)
        )
        lanes[row.Index] = lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((row.start, row.end))
    return pd.Series(lanes).reindex(tasks.index)

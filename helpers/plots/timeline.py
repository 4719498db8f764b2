"""Timeline of the tasks of a run: when each ran, and which waited for which."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.plots.describe import count, describe
from helpers.plots.style import legend_below, make_panels, new_axes, readable

# Colors and hatches: the operations differ without colors, too.
OPERATIONS = {
    "initialize": {"facecolor": "#56B4E9", "hatch": "\\\\"},
    "train": {"facecolor": "#0072B2"},
    "aggregate": {"facecolor": "#D55E00", "hatch": "xx"},
    "evaluate": {"facecolor": "#009E73", "hatch": ".."},
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
    ax = ax or new_axes(height=1.4 + 0.42 * (top.iloc[-1] + depth.iloc[-1]))
    tasks = tasks.assign(y=tasks["hospital"].map(top) + lanes)
    length = tasks["end"].max() or 1
    for (operation, cached), rows in tasks.groupby(["operation", "cached"], sort=False):
        style = {"edgecolor": "white", "label": operation, "facecolor": "0.5"}
        style |= OPERATIONS.get(operation, {})
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
    paper = {"facecolor": "white", "edgecolor": "none", "pad": 1}
    for row in tasks[tasks["end"] - tasks["start"] > 0.03 * length].itertuples():
        middle = (row.start + row.end) / 2
        ax.text(middle, row.y, row.round, ha="center", va="center", bbox=paper)
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
    names = [readable(name) for name in hospitals]
    ax.set_yticks(top + (depth - 1) / 2, names)
    ax.set(xlabel="seconds since the plan's start; numbers: round", xlim=(0, 1.01 * length))
    ax.invert_yaxis()
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    legend_below(ax)
    kinds = tasks["operation"].value_counts(sort=False)
    waited = (tasks["start"] - tasks["ready"]).sum()
    return describe(
        ax,
        f"Timeline of {count(len(tasks), 'task')} at {count(len(hospitals), 'hospital')}: "
        + ", ".join(f"{n} {name}" for name, n in kinds.items()),
        f"the last ends after {tasks['end'].max():.1f} s",
        f"they wait for a core for {waited:.1f} s in all",
    )


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
    axes = make_panels(len(runs), height=4, sharex=True)
    for ax, (title, tasks) in zip(axes, runs.items(), strict=True):
        plot_timeline(tasks, ax=ax).set_title(title, loc="right")
    axes[-1].set_xlim(0, 1.01 * max(tasks["end"].max() for tasks in runs.values()))
    for ax in axes[:-1]:
        ax.set_xlabel("")
        ax.get_legend().remove()
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

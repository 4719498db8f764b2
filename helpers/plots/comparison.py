"""Comparison of models hospital by hospital: intervals, transfer between hospitals, gains."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.plots.describe import count, describe, describe_range, describe_sides
from helpers.plots.style import (
    ARM_STYLES,
    hospital_colors,
    hospital_styles,
    legend_below,
    new_axes,
    readable,
)


def plot_intervals(
    intervals: pd.DataFrame, *, reference: float | None = None, ax: Axes | None = None
) -> Axes:
    """Draw scores or differences with intervals: a row for each hospital, a mark for each arm.

    Parameters
    ----------
    intervals : pandas.DataFrame
        Columns ``arm``, ``hospital``, ``value``, ``low`` and ``high``, such as
        :class:`helpers.evaluation.Interval` has them; limits that are NaN are not drawn.
    reference : float, optional
        Where a thin line is drawn: chance for a score, 0 for a difference.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    hospitals, arms = list(intervals["hospital"].unique()), list(intervals["arm"].unique())
    colors = hospital_colors(hospitals)
    shifts = dict(zip(arms, np.linspace(-0.25, 0.25, len(arms) + 2)[1:-1], strict=True))
    for row in intervals.itertuples():
        place = hospitals.index(row.hospital) + shifts[row.arm]
        ax.plot([row.low, row.high], [place] * 2, color=colors[row.hospital], alpha=0.5)
        ax.plot(row.value, place, **_mark(row.arm, colors[row.hospital], arms))
    if reference is not None:
        ax.axvline(reference, color="0.6", linewidth=1, zorder=0)
    ax.set_yticks(range(len(hospitals)), [readable(name) for name in hospitals])
    ax.set(ylim=(len(hospitals) - 0.5, -0.5))
    ax.locator_params(axis="x", nbins=5)
    if len(arms) > 1:
        _add_legend(ax, arms)
    sides = (
        "" if reference is None else describe_sides(intervals["low"], intervals["high"], reference)
    )
    return describe(ax, f"{count(len(hospitals), 'row')} of points", *_say_arms(intervals), sides)


def plot_choices(
    intervals: pd.DataFrame,
    arms: Sequence[str],
    *,
    stranger: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw scores with intervals: a row for each arm, a point for each hospital.

    Parameters
    ----------
    intervals : pandas.DataFrame
        Columns ``arm``, ``hospital``, ``value``, ``low`` and ``high``; limits that are NaN are not
        drawn.
    arms : sequence of str
        Which, from top to bottom.
    stranger : str, optional
        A hospital that only tests: its points are hollow.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes(height=0.6 * len(arms) + 1.2)
    styles = hospital_styles(intervals["hospital"])
    shifts = dict(zip(styles, np.linspace(-0.3, 0.3, len(styles) + 2)[1:-1], strict=True))
    for name, style in styles.items():
        look = style | {"linestyle": "none"}
        if name == stranger:
            look["markerfacecolor"] = "white"
        own = intervals[intervals["hospital"] == name].set_index("arm").loc[list(arms)]
        places = np.arange(len(arms)) + shifts[name]
        label = readable(name) + (", only tests" if name == stranger else "")
        ax.hlines(places, own["low"], own["high"], color=style["color"], alpha=0.5)
        ax.plot(own["value"], places, label=label, **look)
    ax.set_yticks(range(len(arms)), [readable(arm) for arm in arms])
    ax.set(ylim=(len(arms) - 0.5, -0.5))
    legend_below(ax, n_columns=2)
    table = intervals[intervals["arm"].isin(arms)].pivot(
        index="arm", columns="hospital", values="value"
    )
    met = describe_range(table[stranger]) if stranger in table else ""
    means = table.drop(columns=[stranger], errors="ignore").mean(axis="columns")
    return describe(
        ax,
        f"Points of {count(len(styles), 'hospital')} in {count(len(arms), 'row')}",
        f"means of a row {describe_range(means)}",
        met and f"{readable(stranger)}, which only tests, {met}",
    )


def plot_transfer(
    scores: pd.DataFrame, *, home: Sequence[str] = (), ax: Axes | None = None
) -> Axes:
    """Draw a table of scores: trained at (rows), tested at (columns).

    Parameters
    ----------
    scores : pandas.DataFrame
        Values in [0.5, 1]; index and columns are names of hospitals, or what a model is.
    home : sequence of str, default=()
        Names of the hospitals whose own films are printed in bold where row and column meet.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    ax.imshow(scores, cmap="cividis", vmin=0.5, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(scores.to_numpy()):
        at_home = scores.index[row] == scores.columns[column] and scores.columns[column] in home
        ax.text(
            column,
            row,
            f"{value:.2f}",
            ha="center",
            va="center",
            color="black" if value > 0.75 else "white",
            weight="bold" if at_home else "normal",
        )
    ax.set_xticks(range(scores.shape[1]), [readable(name) for name in scores.columns])
    ax.set_yticks(range(len(scores)), [readable(name) for name in scores.index])
    ax.set(xlabel="tested at", ylabel="trained at")
    tested = {
        f"{readable(row)} at {readable(column)}": value
        for (row, column), value in scores.stack().items()
    }
    return describe(ax, f"Table of scores, trained at and tested at: {describe_range(tested)}")


def plot_gains(gains: pd.DataFrame, sizes: pd.Series, *, ax: Axes | None = None) -> Axes:
    """Draw what hospitals gain against their size.

    Parameters
    ----------
    gains : pandas.DataFrame
        As for :func:`plot_intervals`.
    sizes : pandas.Series of int
        Training films of each hospital, by its name.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    colors = hospital_colors(gains["hospital"])
    arms = list(gains["arm"].unique())
    width = sizes.max() / 60
    for row in gains.itertuples():
        place = sizes[row.hospital] + width * (arms.index(row.arm) - (len(arms) - 1) / 2)
        ax.plot([place] * 2, [row.low, row.high], color=colors[row.hospital], alpha=0.5)
        ax.plot(place, row.value, **_mark(row.arm, colors[row.hospital], arms))
    for name in colors:
        ax.annotate(
            readable(name),
            (sizes[name], 0),
            xycoords=("data", "axes fraction"),
            xytext=(-6, 4),
            textcoords="offset points",
            rotation=90,
            ha="right",
        )
    ax.axhline(0, color="0.6", linewidth=1, zorder=0)
    ax.set(xlabel="training films of the hospital", ylabel="gain")
    _add_legend(ax, arms)
    films = describe_range(sizes[list(colors)], ",.0f")
    return describe(ax, f"Gain against training films, {films}", *_say_arms(gains, "+.2f"))


def plot_exactness(table: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw differences from references, each with its tolerance.

    Parameters
    ----------
    table : pandas.DataFrame
        Columns ``algorithm``, ``reference``, ``difference``, ``tolerance`` and ``holds``, such as
        ``helpers.exactness.Exactness.table`` returns them.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes(height=0.26 * len(table) + 1)
    places = np.arange(len(table))
    differences = table["difference"].clip(lower=1e-11)  # where zero is drawn
    for holds, color, marker in ((True, "#0072B2", "o"), (False, "#D55E00", "X")):
        rows = (table["holds"] == holds).to_numpy()
        label = "" if holds or not rows.any() else "does not hold"
        ax.scatter(differences[rows], places[rows], c=color, marker=marker, label=label, zorder=3)
    ax.scatter(table["tolerance"], places, marker="|", color="black", s=80, label="tolerance")
    ax.set_xscale("log")
    ax.set_yticks(places, table["algorithm"] + ": " + table["reference"])
    ax.grid(axis="y", color="0.9")
    ax.invert_yaxis()
    ax.set(xlabel="largest difference of a weight")
    legend_below(ax)
    named = table.set_index(["algorithm", "reference"])["difference"]
    return describe(
        ax,
        f"{count(len(table), 'difference')} from references: {describe_range(named, '.0e')}",
        f"within the tolerance are {table['holds'].sum()}",
    )


def _say_arms(intervals, form=".2f"):
    """Say the range of each arm over the hospitals, or that of all arms if they are many."""
    arms = intervals.groupby("arm", sort=False)
    if len(arms) > 3:
        named = intervals.set_index(["arm", "hospital"])["value"]
        return [f"{count(len(arms), 'arm')} {describe_range(named, form)}"]
    return [
        f"{arm} {describe_range(rows.set_index('hospital')['value'], form)}" for arm, rows in arms
    ]


def _mark(arm, color, arms):
    """Return the style of an arm's point; a ring is the arm ``alone``."""
    others = [name for name in arms if name not in ARM_STYLES]
    own = dict(zip(others, "v^P*X" * len(others), strict=False))
    marker = ARM_STYLES.get(arm, {}).get("marker") or own[arm]
    fill = "white" if arm == "alone" else color
    return {
        "color": color,
        "marker": marker,
        "linestyle": "none",
        "markersize": 6,
        "markerfacecolor": fill,
    }


def _add_legend(ax, arms):
    """Name the arms' marks, in grey: color is the hospital's."""
    for arm in arms:
        ax.plot([], [], label=arm, **_mark(arm, "0.3", arms))
    legend_below(ax)

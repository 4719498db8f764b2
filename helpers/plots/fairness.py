"""Fairness: associations, groups and trade-offs, each value with its interval."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from helpers.plots.describe import count, describe, describe_range, describe_sides, format_number
from helpers.plots.style import PALETTE, legend_below, new_axes, readable


def plot_effects(found: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw the effects that an audit found, and those that it could have found.

    Parameters
    ----------
    found : pandas.DataFrame
        As :func:`helpers.fairness.find_associations` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: filled dots are found, bars are intervals, a grey mark is the effect that this
        number of patients shows in four cases of five.
    """
    ax = ax or new_axes()
    places = np.arange(len(found))
    names = [
        f"{a} – {b}".replace("_", " ") for a, b in zip(found["first"], found["second"], strict=True)
    ]
    ax.hlines(places, found["low"], found["high"], color="0.4", linewidth=2)
    ax.plot(found["detectable"], places, "|", color="0.6", markersize=14, label="detectable")
    for is_found, fill, label in ((True, "black", "found"), (False, "white", "not found")):
        rows = (found["found"] == is_found).to_numpy()
        ax.plot(
            found["effect"][rows], places[rows], "o", color="black", markerfacecolor=fill,
            label=label,
        )  # fmt: skip
    ax.set_yticks(places, names)
    ax.invert_yaxis()
    ax.set(xlabel="effect, Cramér's V less chance", xlim=(-0.01, None))
    legend_below(ax)
    effects = dict(zip(names, found["effect"], strict=True))
    return describe(
        ax,
        f"Effects of {count(len(found), 'pair')} of columns: {describe_range(effects)}",
        f"{found['found'].sum()} found",
    )


def plot_odds_ratios(
    ratios: Mapping[str, tuple[float, float, float]], *, ax: Axes | None = None
) -> Axes:
    """Draw odds ratios below each other, with their intervals; 1 is no association.

    Parameters
    ----------
    ratios : dict of str to helpers.fairness.OddsRatio
        Name and ratio, the first on top.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, logarithmic.
    """
    ax = ax or new_axes()
    values = np.array(list(ratios.values()), dtype=float)
    places = np.arange(len(values))
    ax.axvline(1, color="0.6", linewidth=1)
    ax.hlines(places, values[:, 1], values[:, 2], color="0.4", linewidth=2)
    ax.plot(values[:, 0], places, "o", color="black")
    ax.set_yticks(places, [readable(name) for name in ratios])
    ax.invert_yaxis()
    ax.set(xscale="log", xlabel="odds ratio")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("{x:g}")
    ends = [
        f"{readable(name)} {ratios[name][0]:.2f}" for name in list(ratios)[:: len(ratios) - 1 or 1]
    ]
    return describe(
        ax,
        f"Odds ratios: first row {ends[0]}",
        f"last row {ends[-1]}",
        describe_sides(values[:, 1], values[:, 2], 1),
    )


def plot_groups(measured: pd.DataFrame, metric: str, *, ax: Axes | None = None) -> Axes:
    """Draw a metric of each group; groups that are too small are hollow and grey.

    Parameters
    ----------
    measured : pandas.DataFrame
        As :func:`helpers.fairness.measure_groups` returns it.
    metric : str
        One of its columns.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes; the number of patients follows each name.
    """
    ax = ax or new_axes()
    places = np.arange(len(measured))
    names = [
        f"{', '.join(map(str, key)) if isinstance(key, tuple) else key} ({patients:,})"
        for key, patients in measured["patients"].items()
    ]
    for small, color, fill in ((False, "black", "black"), (True, "0.7", "white")):
        rows = (measured["too_small"] == small).to_numpy()
        ax.plot(
            measured[metric][rows], places[rows], "o", color=color, markerfacecolor=fill,
            label="too few patients" if small and rows.any() else None,
        )  # fmt: skip
    if measured["too_small"].any():
        legend_below(ax)
    ax.set_yticks(places, [readable(name) for name in names])
    ax.grid(axis="y", color="0.9")
    ax.set(xlabel=readable(metric), xlim=(-0.03, 1.03), ylim=(len(places) - 0.5, -0.5))
    known = measured[metric][~measured["too_small"].to_numpy(dtype=bool)]
    return describe(
        ax,
        f"{readable(metric)} of {count(len(measured), 'group')}: {describe_range(known)}",
        f"too few patients in {measured['too_small'].sum()}",
    )


def plot_group_pairs(
    measured: pd.DataFrame, metric: str, between: tuple[str, str], *, ax: Axes | None = None
) -> Axes:
    """Draw a rate of two groups for each choice, and the gap between them with its sign.

    Parameters
    ----------
    measured : pandas.DataFrame
        Tables of :func:`helpers.fairness.measure_groups`, put together with the names of the
        choices as first levels of the index; the last level is the group.
    metric : str
        One of its columns.
    between : tuple of str
        The two groups; the gap is the first minus the second.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: a row for each choice, with the gap at its right end.
    """
    ax = ax or new_axes()
    first, second = (measured.xs(group, level=-1)[metric] for group in between)
    places = np.arange(len(first))
    ax.hlines(places, first, second, color="0.7", linewidth=2, zorder=1)
    for rates, group, color, mark in zip((first, second), between, PALETTE, "os", strict=False):
        ax.plot(rates, places, mark, color=color, label=group)
    for place, gap in zip(places, first - second, strict=True):
        signed = f"{round(gap, 2) + 0.0:+.2f}".replace("-", "−")
        ax.text(1.02, place, signed, transform=ax.get_yaxis_transform(), va="center")
    joined = [" + ".join(key) if isinstance(key, tuple) else key for key in first.index]
    names = [readable(name) for name in joined]
    ax.set_yticks(places, names)
    ax.grid(axis="y", color="0.9")
    ax.set(xlabel=readable(metric), xlim=(-0.03, 1.03), ylim=(len(places) - 0.5, -0.8))
    signs = f"{between[0]} − {between[1]}"
    ax.text(1.02, -0.8, signs, transform=ax.get_yaxis_transform())
    legend_below(ax)
    gaps = dict(zip(names, first - second, strict=True))
    return describe(
        ax,
        f"{readable(metric)} of {' and '.join(between)} in {count(len(names), 'row')}",
        f"{signs} {describe_range(gaps, '+.2f')}",
    )


def plot_trade_off(
    table: pd.DataFrame,
    *,
    cost: str,
    gain: str,
    by: tuple[str, ...],
    limits: pd.DataFrame | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw two metrics of many choices against each other, and mark the Pareto front.

    Parameters
    ----------
    table : pandas.DataFrame
        One row for each choice, indexed by its names (two levels: color, then shape), with the
        columns ``cost`` and ``gain``.
    cost : str
        Column whose values should be small, such as a gap; the horizontal axis.
    gain : str
        Column whose values should be large; the vertical axis.
    by : tuple of str
        What the two levels of the index are, for the legend.
    limits : pandas.DataFrame, optional
        Intervals, with the table's index: columns ``(cost, "low")``, ``(cost, "high")`` and the
        same for the gain. They are drawn as crosses.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes. No choice is better in both than those on the line.
    """
    ax = ax or new_axes(height=5)
    colors, shapes = (table.index.unique(level) for level in (0, 1))
    color_of = dict(zip(colors, PALETTE * 3, strict=False))
    shape_of = dict(zip(shapes, "os^DvPX*<>", strict=False))
    # Half of a mark or its outline is seen without colors.
    fill_of = dict(zip(colors, ("full", "none", "left", "top") * 6, strict=False))
    for (color, shape), row in table.iterrows():
        if limits is not None:
            own, faint = limits.loc[(color, shape)], {"color": color_of[color], "alpha": 0.3}
            ax.plot(own[cost][["low", "high"]], [row[gain]] * 2, zorder=0, **faint)
            ax.plot([row[cost]] * 2, own[gain][["low", "high"]], zorder=0, **faint)
        look = {"color": color_of[color], "fillstyle": fill_of[color], "markersize": 8}
        ax.plot(row[cost], row[gain], shape_of[shape], alpha=0.85, **look)
    front = table[pareto_front(table[cost], table[gain])].sort_values(cost)
    ax.step(front[cost], front[gain], where="post", color="0.5", linewidth=1, zorder=0)
    # One legend of two columns: headings, and what makes both equally long, have no marks.
    parts = (
        {c: {"marker": "o", "color": color_of[c], "fillstyle": fill_of[c]} for c in colors},
        {s: {"marker": shape_of[s], "color": "0.3"} for s in shapes},
    )
    for heading, looks in zip(by, parts, strict=True):
        rows = {f"{heading}:": {}} | {readable(name): look for name, look in looks.items()}
        rows |= {" " * n: {} for n in range(1, max(map(len, parts)) - len(looks) + 1)}
        for label, look in rows.items():
            ax.plot([], [], label=label, **({"linestyle": "none"} | look))
    legend_below(ax, n_columns=2)
    ax.set(xlabel=readable(cost), ylabel=readable(gain))
    ends = [
        f"{' + '.join(map(readable, key))} ({format_number(row[cost], '.2f')}, "
        f"{format_number(row[gain], '.2f')})"
        for key, row in front.iloc[:: len(front) - 1 or 1].iterrows()
    ]
    return describe(
        ax,
        f"{readable(gain)} against {readable(cost)} of {count(len(table), 'choice')}",
        f"{len(front)} on the Pareto front: {' to '.join(ends)}",
    )


def pareto_front(cost: ArrayLike, gain: ArrayLike) -> np.ndarray:
    """Return which choices are not dominated by another.

    Parameters
    ----------
    cost, gain : array, shape (n,)
        What should be small, and what should be large.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)
        Whether no other choice is at least as good in both and better in one.

    Examples
    --------
    >>> pareto_front([0.1, 0.2, 0.3], [0.7, 0.8, 0.75]).tolist()
    [True, True, False]
    """
    cost, gain = np.asarray(cost, dtype=float), np.asarray(gain, dtype=float)
    no_worse = (cost[:, None] <= cost) & (gain[:, None] >= gain)
    better = (cost[:, None] < cost) | (gain[:, None] > gain)
    return ~(no_worse & better).any(axis=0)

"""Counts and shares of films, drawn from the tables of `helpers.data`."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.data.summary import fill_unknown
from helpers.plots.describe import count, describe, describe_range
from helpers.plots.style import hospital_colors, legend_below, new_axes, readable


def plot_counts(counts: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how many films each hospital and split has, with and without the finding.

    Parameters
    ----------
    counts : pandas.DataFrame
        As :func:`helpers.data.count_hospitals` returns it: columns ``hospital``, ``split``,
        ``films`` and ``positive``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    colors = hospital_colors(counts["hospital"])
    places = np.arange(len(counts))
    fill = counts["hospital"].map(colors)
    ax.bar(places, counts["films"], color=fill, alpha=0.35, label="without")
    ax.bar(places, counts["positive"], color=fill, label="with the finding")
    ax.set_xticks(places, counts["split"], rotation=90)
    for hospital, rows in counts.reset_index(drop=True).groupby("hospital", sort=False):
        ax.text(
            rows.index.to_numpy().mean(),
            counts["films"].max() * 1.03,
            readable(hospital),
            ha="center",
        )
    ax.set(ylabel="films (dark: with the finding)", ylim=(0, counts["films"].max() * 1.12))
    named = counts.set_index(["hospital", "split"])
    return describe(
        ax,
        f"Bars of films: {describe_range(named['films'], ',.0f')}",
        f"share with the finding {describe_range(named['positive'] / named['films'], '.0%')}",
    )


def plot_shares(table: pd.DataFrame, column: str, *, by: str, ax: Axes | None = None) -> Axes:
    """Draw how a category is distributed within groups, as stacked shares.

    Parameters
    ----------
    table : pandas.DataFrame
        One row for each film.
    column : str
        The category; missing values are shown as "unknown".
    by : str
        The groups, one bar each.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    values = fill_unknown(table[column]).astype(str)
    shares = table.assign(**{column: values}).groupby([by, column]).size().unstack(fill_value=0)
    shares = shares.div(shares.sum(axis="columns"), axis="index")
    left = np.zeros(len(shares))
    greys = plt.get_cmap("cividis")(np.linspace(0.1, 0.9, shares.shape[1]))
    names = [readable(name) for name in shares.index]
    for color, (value, share) in zip(greys, shares.items(), strict=True):
        ax.barh(names, share, left=left, color=color, label=value)
        left += share.to_numpy()
    ax.invert_yaxis()
    ax.set(xlabel="share of films", xlim=(0, 1), title=readable(column))
    legend_below(ax, n_columns=min(4, shares.shape[1]))
    apart = (shares.max() - shares.min()).idxmax()
    return describe(
        ax,
        f"Stacked shares of {count(shares.shape[1], 'value')} in {count(len(names), 'row')}",
        f"{apart} differs most, {describe_range(shares[apart], '.0%')}",
    )


def plot_label_shares(
    shares: pd.DataFrame, *, colors: Mapping[str, str] | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the share of positive films of several groups, each as a dot as large as the group.

    Parameters
    ----------
    shares : pandas.DataFrame
        As :func:`helpers.data.summary.share_labels` returns it: a row for each group, columns
        ``films``, ``share``, ``low`` and ``high``.
    colors : dict of str to str, optional
        Color of each group, such as :func:`hospital_colors` returns; black by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    color = ["black" if colors is None else colors[group] for group in shares.index]
    names = [f"{readable(group)} ({films:,})" for group, films in shares["films"].items()]
    ax.hlines(names, shares["low"], shares["high"], color=color, linewidth=2, alpha=0.5)
    areas = 150 * shares["films"] / shares["films"].max()
    ax.scatter(shares["share"], names, s=10 + areas, c=color, zorder=3)
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.set(
        xlabel="share of films with the finding", xlim=(-0.03, 1.03), ylim=(len(names) - 0.5, -0.5)
    )
    said = describe_range(shares["share"], ".0%")
    return describe(ax, f"Share with the finding in {count(len(names), 'group')}: {said}")


def plot_association(association: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw how strongly columns are associated, pair by pair; the diagonal is empty.

    Parameters
    ----------
    association : pandas.DataFrame
        As :func:`helpers.data.summary.measure_association` returns it: square, values in [0, 1].
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    names = [readable(name) for name in association]
    shown = association.mask(np.eye(len(names), dtype=bool))
    ax.imshow(shown, cmap="Greys", vmin=0, vmax=0.5)  # above 0.5 all is black
    for (row, column), value in np.ndenumerate(association.to_numpy()):
        if row != column:
            color = "white" if value > 0.3 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.set_yticks(range(len(names)), names)
    pairs = {
        f"{names[row]} and {names[column]}": association.iloc[row, column]
        for row, column in zip(*np.triu_indices(len(names), 1), strict=True)
    }
    return describe(ax, f"Associations of {count(len(names), 'column')}: {describe_range(pairs)}")

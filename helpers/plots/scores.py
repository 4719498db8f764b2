"""Scores of arms and hospitals: curves over the rounds, and what each hospital gains."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.evaluation import BestRound
from helpers.plots.style import ARM_STYLES, hospital_colors, new_axes


def plot_rounds(
    curves: Mapping[tuple[str, str], pd.DataFrame],
    stops: Mapping[tuple[str, str], BestRound],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw validation scores round by round, with a dot at the round that is kept.

    Parameters
    ----------
    curves : dict of tuple of str to pandas.DataFrame
        Arm, where it was trained, and its scores: columns ``round`` and ``value``, averaged over
        the hospitals.
    stops : dict of tuple of str to helpers.evaluation.BestRound
        The round that is kept of each.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    colors = hospital_colors(trained_at for arm, trained_at in curves if arm == "alone")
    for (arm, trained_at), curve in curves.items():
        style = {**ARM_STYLES.get(arm, {}), "marker": ""}
        label = arm
        if arm == "alone":
            style["color"], label = colors[trained_at], f"{trained_at.replace('_', ' ')} alone"
        means = curve.groupby("round")["value"].mean()
        (line,) = ax.plot(means.index, means, label=label, **style)
        best = stops[arm, trained_at]
        marker = ARM_STYLES.get(arm, {}).get("marker", "o")
        ax.plot(best.round, best.value, marker=marker, color=line.get_color(), markersize=6)
    ax.axhline(0.5, color="0.8", linewidth=1, zorder=0)
    ax.set(xlabel="round", ylabel="validation AUC")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)
    return ax


def plot_hospitals(results: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Draw what each hospital gains over its own model, the first seed with its intervals.

    Parameters
    ----------
    results : pandas.DataFrame
        As :func:`helpers.evaluation.tidy_gains` returns them, of one seed or several.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    gains = results[results["metric"] == "gain"]
    first = gains["seed"] == gains["seed"].min()
    hospitals, arms = list(gains["hospital"].unique()), list(gains["arm"].unique())
    for number, arm in enumerate(arms):
        style = ARM_STYLES.get(arm, {"color": "black", "marker": "o"})
        look = {"color": style["color"], "linestyle": "none", "marker": style["marker"]}
        shift = 0.3 * (number - (len(arms) - 1) / 2)
        for (is_first, hospital), rows in gains[gains["arm"] == arm].groupby([first, "hospital"]):
            place = hospitals.index(hospital) + shift
            if is_first:
                low, high = rows["low"].iloc[0], rows["high"].iloc[0]
                ax.plot([low, high], [place, place], color=look["color"])
            size = 7 if is_first else 3
            ax.plot(rows["value"], [place] * len(rows), markersize=size, **look)
        ax.plot([], [], label=arm, **look)
    ax.axvline(0, color="0.6", linewidth=1, zorder=0)
    ax.set_yticks(range(len(hospitals)), [name.replace("_", " ") for name in hospitals])
    ax.set(ylim=(len(hospitals) - 0.5, -0.5), xlabel="AUC gained over the hospital's own model")
    ax.legend(fontsize=8)
    return ax


def plot_folds(scores: Mapping[str, Sequence[float]], *, ax: Axes | None = None) -> Axes:
    """Draw the AUC of several models, a row each: their folds in grey, the mean in black.

    Parameters
    ----------
    scores : dict of str to sequence of float
        Of each model the AUC of its folds, in [0.4, 1].
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    if ax is None:
        ax = plt.subplots(figsize=(7, 3.2), layout="constrained")[1]
    ax.axvline(0.5, color="0.6", linewidth=1)
    for number, folds in enumerate(scores.values()):
        ax.scatter(folds, np.full(len(folds), number), s=18, color="0.6")
        ax.scatter(np.mean(folds), number, s=70, color="black", marker="D", zorder=3)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.set(xlim=(0.4, 1), ylim=(len(scores) - 0.5, -0.5))
    return ax

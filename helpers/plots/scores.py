"""Scores of arms and hospitals: curves over the rounds, and what each hospital gains."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.evaluation import BestRound
from helpers.plots.describe import count, describe, describe_range, describe_sides
from helpers.plots.style import (
    ARM_STYLES,
    DASHES,
    MARKERS,
    PALETTE,
    hospital_styles,
    legend_below,
    new_axes,
    readable,
)


def plot_rounds(
    curves: Mapping[tuple[str, str], pd.DataFrame],
    stops: Mapping[tuple[str, str], BestRound],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw validation scores round by round, with a mark at the round that is kept.

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
    ax = ax or new_axes(height=4.4)
    at_hospitals = hospital_styles(trained_at for arm, trained_at in curves if arm == "alone")
    others = dict.fromkeys(arm for arm, _ in curves if arm not in ARM_STYLES)
    looks = [*zip(PALETTE * 2, DASHES * 2, MARKERS * 2, strict=True)][len(at_hospitals) :]
    styles = ARM_STYLES | {
        arm: {"color": color, "linestyle": dash, "marker": marker}
        for arm, (color, dash, marker) in zip(others, looks, strict=False)
    }
    for (arm, trained_at), curve in curves.items():
        style, label = styles[arm], arm
        if arm == "alone":
            style, label = at_hospitals[trained_at], f"{readable(trained_at)} alone"
        means, best = curve.groupby("round")["value"].mean(), stops[arm, trained_at]
        places = np.flatnonzero(means.index == best.round).tolist()
        width = 1.2 if arm == "alone" else 1.8
        ax.plot(means.index, means, label=label, linewidth=width, markevery=places, **style)
        ax.plot(best.round, best.value, marker=style["marker"], color=style["color"], markersize=7)
    ax.axhline(0.5, color="0.8", linewidth=1, zorder=0)
    ax.set(xlabel="round", ylabel="validation AUC")
    ax.xaxis.get_major_locator().set_params(integer=True)
    legend_below(ax, n_columns=3)
    last = max(curve["round"].max() for curve in curves.values())
    return describe(ax, f"Validation AUC over {count(last, 'round')}", *_say_best(stops, curves))


def _say_best(stops, curves):
    """Say the best round of each arm, or of all arms if they are many."""
    best = {key: stops[key] for key in curves}
    arms = {arm: [at for name, at in best if name == arm] for arm, _ in best}
    if len(arms) > 3:
        names = {(f"{arm}, round {stop.round}"): stop.value for (arm, _), stop in best.items()}
        return [f"best values of {count(len(arms), 'arm')} {describe_range(names)}"]
    said = []
    for arm, places in arms.items():
        if len(places) == 1:
            stop = best[arm, places[0]]
            said.append(f"{arm} best in round {stop.round}, {stop.value:.2f}")
        else:
            said.append(f"{arm} best {describe_range({at: best[arm, at].value for at in places})}")
    return said


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
    ax.set_yticks(range(len(hospitals)), [readable(name) for name in hospitals])
    ax.set(ylim=(len(hospitals) - 0.5, -0.5), xlabel="AUC gained over the hospital's own model")
    ax.locator_params(axis="x", nbins=5)
    legend_below(ax)
    own = gains[first]
    return describe(
        ax,
        "AUC gained over alone",
        *(
            f"{arm} {describe_range(rows.set_index('hospital')['value'], '+.2f')}"
            for arm, rows in own.groupby("arm", sort=False)
        ),
        describe_sides(own["low"], own["high"], 0),
    )


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
    ax = ax or new_axes(height=3.4)
    ax.axvline(0.5, color="0.6", linewidth=1)
    for number, folds in enumerate(scores.values()):
        ax.scatter(folds, np.full(len(folds), number), s=18, color="0.6")
        ax.scatter(np.mean(folds), number, s=70, color="black", marker="D", zorder=3)
    ax.set_yticks(range(len(scores)), list(scores))
    ax.set(xlim=(0.4, 1), ylim=(len(scores) - 0.5, -0.5))
    means = {name: np.mean(folds) for name, folds in scores.items()}
    said = f"AUC of {count(len(scores), 'model')} in folds, means {describe_range(means)}"
    return describe(ax, said)

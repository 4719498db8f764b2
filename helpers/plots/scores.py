"""Scores of arms and hospitals, drawn from a tidy table of results."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.plots.style import ARM_STYLES, hospital_colors, new_axes


def plot_rounds(results: pd.DataFrame, *, metric: str = "auc", ax: Axes | None = None) -> Axes:
    """Draw the score after each round: every hospital alone, federated, pooled.

    Parameters
    ----------
    results : pandas.DataFrame
        A tidy table with the column ``trained_at``; scores are averaged over test hospitals
        and seeds.
    metric : str, default="auc"
        Which metric.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    rows = results[results["metric"] == metric]
    curves = rows.groupby(["arm", "trained_at", "round"])["value"].mean()
    colors = hospital_colors(results["hospital"])
    for (arm, trained_at), curve in curves.groupby(level=["arm", "trained_at"], sort=False):
        style = dict(ARM_STYLES.get(arm, {}))
        if arm == "alone":
            style["color"] = colors[trained_at]
        label = f"{trained_at.replace('_', ' ')} alone" if arm == "alone" else arm
        rounds = curve.index.get_level_values("round")
        ax.plot(rounds, curve, markersize=4, label=label, **style)
    ax.axhline(0.5, color="0.8", linewidth=1, zorder=0)
    ax.set(xlabel="round", ylabel=f"test {metric.upper()}, mean of the hospitals")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)
    return ax


def plot_hospitals(results: pd.DataFrame, *, metric: str = "auc", ax: Axes | None = None) -> Axes:
    """Draw the final scores of each hospital: its own model, the federated, the pooled.

    Parameters
    ----------
    results : pandas.DataFrame
        A tidy table with the column ``trained_at``.
    metric : str, default="auc"
        Which metric.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or new_axes()
    last = results[(results["metric"] == metric) & (results["round"] == results["round"].max())]
    own = last[(last["arm"] != "alone") | (last["trained_at"] == last["hospital"])]
    hospitals = list(own[own["arm"] == "federated"]["hospital"].unique())
    colors = hospital_colors(results["hospital"])
    for arm, rows in own.groupby("arm", sort=False):
        values = rows.groupby("hospital")["value"].mean().reindex(hospitals)
        style = ARM_STYLES.get(arm, {})
        edge = [colors[name] for name in hospitals] if arm == "alone" else style.get("color")
        ax.scatter(
            values,
            hospitals,
            marker=style.get("marker", "o"),
            s=130 if arm == "alone" else 50,  # a ring, seen around a point of the same score
            label=arm,
            facecolors="none" if arm == "alone" else edge,
            edgecolors=edge,
            zorder=3,
        )
    ax.axvline(0.5, color="0.8", linewidth=1, zorder=0)
    ax.set_yticks(hospitals, [name.replace("_", " ") for name in hospitals])
    ax.invert_yaxis()
    ax.grid(axis="y", color="0.9")
    ax.set(xlabel=f"{metric.upper()} on the hospital's own test films")
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

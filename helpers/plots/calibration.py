"""Calibration: predicted probabilities against observed shares."""

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes

from helpers.plots.style import hospital_colors, new_axes


def plot_calibration(bins: Mapping[str, pd.DataFrame], *, ax: Axes | None = None) -> Axes:
    """Draw a reliability diagram with a line for each hospital.

    Parameters
    ----------
    bins : dict of str to pandas.DataFrame
        Hospital and its bins, as :func:`helpers.evaluation.calibration_bins` returns them.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: on the diagonal, findings are as frequent as predicted; above it they are more
        frequent. Dots are as large as their number of films.
    """
    ax = ax or new_axes()
    colors = hospital_colors(bins)
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, table in bins.items():
        ax.plot(table["predicted"], table["observed"], color=colors[name], linewidth=1)
        ax.scatter(
            table["predicted"],
            table["observed"],
            s=3 * table["films"],
            color=colors[name],
            label=name.replace("_", " "),
        )
    ax.set(
        xlabel="predicted probability",
        ylabel="share of films with a finding",
        xlim=(0, 1),
        ylim=(-0.03, 1.03),
    )
    return ax

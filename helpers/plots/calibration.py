"""Calibration: predicted probabilities against observed shares."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.plots.describe import count, describe, describe_range
from helpers.plots.style import hospital_styles, new_axes, readable


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
        frequent. Marks are as large as their number of films.
    """
    ax = ax or new_axes()
    styles = hospital_styles(bins)
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    off = {}
    for name, table in bins.items():
        color, marker, dash = styles[name].values()
        x, y = table["predicted"], table["observed"]
        ax.plot(x, y, color=color, linestyle=dash, linewidth=1)
        sizes = 3 * table["films"]
        ax.scatter(x, y, s=sizes, color=color, marker=marker, label=readable(name))
        off[name] = np.average(y - x, weights=table["films"])
    ax.set(
        xlabel="predicted probability",
        ylabel="share of films with a finding",
        xlim=(0, 1),
        ylim=(-0.03, 1.03),
    )
    return describe(
        ax,
        f"Reliability diagram of {count(len(bins), 'hospital')}",
        f"observed less predicted share, mean of the films, {describe_range(off, '+.2f')}",
    )

"""Style of the figures: one color for each hospital, one line for each arm."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

# Okabe & Ito's palette, distinguishable without color vision; the arms are grey and black.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
ARM_STYLES = {
    "alone": {"color": "0.6", "linestyle": ":", "marker": "o"},
    "federated": {"color": "black", "linestyle": "-", "marker": "s"},
    "pooled": {"color": "0.35", "linestyle": "--", "marker": "D"},
}


def hospital_colors(hospitals: Iterable[str]) -> dict[str, str]:
    """Choose a color for each hospital, the same on every figure of a page.

    Parameters
    ----------
    hospitals : iterable of str
        Names; their sorted order decides.

    Returns
    -------
    dict of str to str
        Name to color; the palette starts again after seven.
    """
    names = sorted(set(hospitals))
    return {name: PALETTE[number % len(PALETTE)] for number, name in enumerate(names)}


def new_axes() -> Axes:
    """Make the axes of a new figure."""
    return plt.subplots(figsize=(6, 4), layout="constrained")[1]


def make_panels(n_panels: int, *, height: float, n_columns: int = 2) -> np.ndarray:
    """Make a figure with rows of panels.

    Parameters
    ----------
    n_panels : int
        Number of panels, 1 or more. Places in the last row that are left over stay empty.
    height : float
        Height of a row in inches.
    n_columns : int, default=2
        Panels in a row.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes, shape (n_panels,)
        The panels, row by row.
    """
    n_rows = -(-n_panels // n_columns)
    size = (9, height * n_rows)
    _, axes = plt.subplots(n_rows, n_columns, figsize=size, layout="constrained", squeeze=False)
    for ax in axes.flat[n_panels:]:
        ax.set_axis_off()
    return axes.flatten()[:n_panels]

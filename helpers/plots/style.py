"""Style of the figures: their width, and one color, mark and dash for each hospital and arm."""

from collections.abc import Iterable
from itertools import cycle
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import ScaledTranslation

# Inches. On a telephone a figure is 350 pixels wide: text of 10 points then has 8 pixels.
WIDTH = 6
# Okabe & Ito's palette, distinguishable without color vision; the arms are grey and black.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
# Without the square and the diamond, which are arms.
MARKERS = ("o", "^", "v", "P", "X", "<", ">")
DASHES = (
    "-",
    (0, (6, 2)),
    (0, (1, 1)),
    (0, (6, 2, 1, 2)),
    (0, (3, 1)),
    (0, (3, 1, 1, 1)),
    (0, (1, 3)),
)
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
    return {name: style["color"] for name, style in hospital_styles(hospitals).items()}


def hospital_styles(hospitals: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Choose a color, a marker and a dash for each hospital: color alone is not seen by everyone.

    Parameters
    ----------
    hospitals : iterable of str
        Names; their sorted order decides.

    Returns
    -------
    dict of str to dict
        Name to ``color``, ``marker`` and ``linestyle``, as :meth:`matplotlib.axes.Axes.plot` takes
        them; they start again after seven.
    """
    styles = cycle(zip(PALETTE, MARKERS, DASHES, strict=True))
    return {
        name: {"color": color, "marker": marker, "linestyle": dash}
        for name, (color, marker, dash) in zip(sorted(set(hospitals)), styles, strict=False)
    }


def make_panels(
    n_panels: int,
    *,
    height: float,
    n_columns: int = 1,
    sharex: bool = False,
    sharey: bool = False,
) -> np.ndarray:
    """Make a figure of panels, below each other so that a telephone shows them, too.

    Parameters
    ----------
    n_panels : int
        Number of panels, 1 or more. Places in the last row that are left over stay empty.
    height : float
        Height of a row in inches.
    n_columns : int, default=1
        Panels in a row; more than one for pictures, or for panels with little text.
    sharex, sharey : bool, default=False
        Whether all panels have the same horizontal or vertical axis.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes, shape (n_panels,)
        The panels, row by row, in a figure that is 6 inches wide.
    """
    n_rows = -(-n_panels // n_columns)
    _, axes = plt.subplots(
        n_rows,
        n_columns,
        figsize=(WIDTH, height * n_rows),
        layout="constrained",
        squeeze=False,
        sharex=sharex,
        sharey=sharey,
    )
    for ax in axes.flat[n_panels:]:
        ax.set_axis_off()
    return axes.flatten()[:n_panels]


def legend_below(ax: Axes, *, n_columns: int = 3, **settings: Any) -> None:
    """Put the legend of axes below them, where it hides nothing and leaves them their width.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes with labelled artists.
    n_columns : int, default=3
        Entries in a row, fewer if their texts are long, at most two if panels stand side by side.
    **settings
        As :meth:`matplotlib.axes.Axes.legend` takes them.
    """
    inches = ScaledTranslation(0, -0.42, ax.figure.dpi_scale_trans)  # ticks and the axis' label
    place = {"bbox_to_anchor": (0.5, 0), "bbox_transform": ax.transAxes + inches}
    longest = max((len(text) for text in ax.get_legend_handles_labels()[1]), default=0)
    room = int(ax.figure.get_figwidth() / (0.6 + 0.1 * longest))  # inches of the mark and a letter
    n_columns = max(1, min(n_columns, room))
    look = {"loc": "upper center", "ncols": n_columns, "frameon": False}
    if ax.get_gridspec().ncols > 1:
        look |= {"ncols": min(2, n_columns), "handlelength": 1, "handletextpad": 0.4}
        look["columnspacing"] = 1
    ax.legend(**(look | place | settings))


def new_axes(height: float = 4) -> Axes:
    """Make the axes of a new figure, of a height in inches."""
    return make_panels(1, height=height)[0]


def readable(name: object) -> str:
    """Write a name as a figure shows it."""
    return str(name).replace("_", " ")

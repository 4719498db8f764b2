"""Style of the figures: one color for each hospital, one line for each arm."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
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

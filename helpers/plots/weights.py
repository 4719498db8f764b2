"""Distances of hospitals from the global model while they train."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from helpers.plots.style import hospital_colors


def plot_distances(
    distances: Mapping[str, Sequence[float]], steps: Sequence[float], *, ax: Axes | None = None
) -> Axes:
    """Draw how far each hospital is from the global model while it trains, as a sawtooth.

    Parameters
    ----------
    distances : dict of str to sequence of float
        Of each hospital the distances of all rounds, such as
        :class:`helpers.algorithms.WatchedFedAvgAlgo` records them: one round more than ``steps``.
    steps : sequence of float
        Length of the global model's step after each local training, drawn as squares.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    if ax is None:
        ax = plt.subplots(figsize=(8, 4), layout="constrained")[1]
    colors = hospital_colors(distances)
    for name, values in distances.items():
        places = np.linspace(0, len(steps) + 1, len(values), endpoint=False)
        ax.plot(places, values, color=colors[name], label=name)
    ax.plot(range(1, len(steps) + 1), steps, "ks", label="step of the global model")
    ax.set(xlabel="local training of round", ylabel="distance from the global model")
    ax.legend(fontsize=8)
    return ax

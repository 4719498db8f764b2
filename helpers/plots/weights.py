"""Distances of hospitals from the global model while they train."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from helpers.plots.describe import count, describe, describe_range
from helpers.plots.style import hospital_styles, new_axes, readable


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
    ax = ax or new_axes()
    for name, style in hospital_styles(distances).items():
        values = distances[name]
        places = np.linspace(0, len(steps) + 1, len(values), endpoint=False)
        often = max(1, len(values) // (2 * len(steps) + 2))  # a mark or two on each tooth
        ax.plot(places, values, label=readable(name), markevery=often, markersize=5, **style)
    ax.plot(range(1, len(steps) + 1), steps, "ks", label="step of the global model")
    ax.set(xlabel="local training of round", ylabel="distance from the global model")
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False)
    tips = {name: max(values) for name, values in distances.items()}
    return describe(
        ax,
        f"Sawtooth of the distance from the global model in {count(len(steps) + 1, 'round')}",
        f"highest tips {describe_range(tips)}",
        f"steps of the global model {min(steps):.2f} to {max(steps):.2f}",
    )

"""Films drawn side by side, and their grey levels."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from helpers.plots.style import hospital_colors


def plot_films(
    films: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    *,
    n_columns: int = 6,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Show films side by side.

    Parameters
    ----------
    films : sequence of numpy.ndarray, each of shape (H, W) or (H, W, 1)
        Grey levels, uint8.
    titles : sequence of str, optional
        One for each film.
    n_columns : int, default=6
        Films in a row; used when ``axes`` is not given.
    axes : array of matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        The axes with a film.
    """
    if axes is None:
        n_columns = min(n_columns, len(films))
        n_rows = -(-len(films) // n_columns)
        _, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(1.6 * n_columns, (1.6 + 0.35 * (titles is not None)) * n_rows),
            layout="constrained",
            squeeze=False,
        )
    axes = np.ravel(axes)
    for ax in axes:
        ax.set_axis_off()
    for number, film in enumerate(films):
        axes[number].imshow(np.squeeze(film), cmap="gray", vmin=0, vmax=255)
        if titles is not None:
            axes[number].set_title(titles[number], fontsize=8)
    return axes[: len(films)]


def plot_grey_levels(films: Mapping[str, np.ndarray], *, ax: Axes | None = None) -> Axes:
    """Draw how the grey levels of each hospital's films are distributed.

    Parameters
    ----------
    films : dict of str to numpy.ndarray
        Hospital, then its films: grey levels, uint8, of any shape.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    if ax is None:
        ax = plt.subplots(figsize=(7, 3.2), layout="constrained")[1]
    edges = np.arange(0, 257, 8)
    for name, color in hospital_colors(films).items():
        shares = np.histogram(films[name], edges)[0] / films[name].size
        ax.stairs(shares, edges, color=color, label=name.replace("_", " "), linewidth=1.5)
    ax.set(xlabel="grey level (0: black, 255: white)", ylabel="share of pixels", xlim=(0, 256))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return ax


def plot_most_certain(
    opened: Mapping[str, Any], logits: ArrayLike, *, n_films: int = 3
) -> np.ndarray:
    """Draw the films of whose answers a model is most certain, with its answer and their findings.

    Parameters
    ----------
    opened : dict
        What the opener returned: ``images`` and ``metadata`` with ``findings``.
    logits : array of float, shape (n,)
        The model's answers.
    n_films : int, default=3
        Number of films for each of the two answers.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        As :func:`plot_films` returns them.
    """
    order = np.argsort(logits)
    shown = np.concatenate([order[:n_films], order[-n_films:]])
    probabilities = 1 / (1 + np.exp(-np.asarray(logits, dtype=float)[shown]))
    findings = opened["metadata"]["findings"].iloc[shown]
    titles = [f"p = {p:.2f}\n{name}" for p, name in zip(probabilities, findings, strict=True)]
    return plot_films(opened["images"][shown], titles)

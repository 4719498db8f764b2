"""Films drawn side by side, and their grey levels."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from helpers.plots.describe import count, describe, describe_range
from helpers.plots.style import (
    WIDTH,
    hospital_styles,
    legend_below,
    make_panels,
    new_axes,
    readable,
)


def plot_films(
    films: Sequence[np.ndarray],
    titles: Sequence[str] | None = None,
    *,
    n_columns: int = 4,
    axes: np.ndarray | None = None,
) -> np.ndarray:
    """Show films side by side.

    Parameters
    ----------
    films : sequence of numpy.ndarray, each of shape (H, W) or (H, W, 1)
        Grey levels, uint8.
    titles : sequence of str, optional
        One for each film.
    n_columns : int, default=4
        Films in a row; used when ``axes`` is not given.
    axes : array of matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        The axes with a film. The new figure, or the first of the given axes, describes them.
    """
    given = axes is not None
    if not given:
        n_columns = min(n_columns, len(films))
        lines = 0 if titles is None else 1 + max(title.count("\n") for title in titles)
        height = WIDTH / max(n_columns, 3) + 0.2 * lines
        axes = make_panels(len(films), height=height, n_columns=n_columns)
    axes = np.ravel(axes)
    for ax in axes:
        ax.set_axis_off()
    for number, film in enumerate(films):
        axes[number].imshow(np.squeeze(film), cmap="gray", vmin=0, vmax=255)
        if titles is not None:
            axes[number].set_title(titles[number], fontsize=10)
    named = [""] * len(films) if titles is None else [" ".join(name.split()) for name in titles]
    keys = [(f"picture {number}", name) for number, name in enumerate(named, 1)]
    levels = {key: np.mean(film) for key, film in zip(keys, films, strict=True)}
    titled = f"{' to '.join(dict.fromkeys([named[0], named[-1]]))}, " if titles is not None else ""
    describe(
        axes[0] if given else axes[0].figure,
        f"{titled}{count(len(films), 'picture')} side by side",
        f"mean grey levels of 255: {describe_range(levels, '.0f')}",
    )
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
    ax = ax or new_axes(height=3.8)
    edges = np.arange(0, 257, 8)
    means = {}
    for name, style in hospital_styles(films).items():
        shares = np.histogram(films[name], edges)[0] / films[name].size
        look = {"color": style["color"], "linestyle": style["linestyle"], "linewidth": 1.5}
        ax.stairs(shares, edges, label=readable(name), **look)
        means[name] = np.mean(films[name])
    ax.set(xlabel="grey level (0: black, 255: white)", ylabel="share of pixels", xlim=(0, 256))
    legend_below(ax)
    return describe(
        ax,
        f"Histograms of the grey levels of {count(len(films), 'hospital')}",
        f"means of 255: {describe_range(means, '.0f')}",
    )


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
        As :func:`plot_films` returns them: a row for each of the two answers.
    """
    order = np.argsort(logits)
    shown = np.concatenate([order[:n_films], order[-n_films:]])
    probabilities = 1 / (1 + np.exp(-np.asarray(logits, dtype=float)[shown]))
    findings = opened["metadata"]["findings"].iloc[shown]
    named = [textwrap.fill(name.replace("|", ", "), 78 // n_films) for name in findings]
    titles = [f"p = {p:.2f}\n{name}" for p, name in zip(probabilities, named, strict=True)]
    axes = plot_films(opened["images"][shown], titles, n_columns=n_films)
    said = [
        f"p = {probabilities[row].min():.2f} to {probabilities[row].max():.2f}, with "
        + ", ".join(dict.fromkeys(findings[row]))
        for row in (slice(n_films), slice(n_films, None))
    ]
    describe(axes[0].figure, f"{count(len(shown), 'film')}: lowest {said[0]}", f"highest {said[1]}")
    return axes

"""Maps beside their films: where a network looks."""

from collections.abc import Mapping, Sequence

import numpy as np

from helpers.plots.describe import count, describe, describe_range
from helpers.plots.style import make_panels, readable

COLORS = "PuOr_r"  # purple for negative, orange for positive; white is nothing
OUTLINE = "#009E73"


def plot_maps(
    films: Sequence[np.ndarray],
    maps: Mapping[str, np.ndarray],
    *,
    masks: np.ndarray | None = None,
    titles: Sequence[str] | None = None,
) -> np.ndarray:
    """Show films, each in a row with its maps by several methods.

    Parameters
    ----------
    films : sequence of numpy.ndarray, each of shape (H, W) or (H, W, 1)
        Grey levels, uint8 or floats in [0, 1].
    maps : dict of str to numpy.ndarray of float, shape (n, H, W)
        Title of a column and its maps. Each map has its own scale: its largest absolute value is
        full orange if it is positive, full purple if it is negative.
    masks : numpy.ndarray of bool, shape (n, H, W), optional
        Outlined in the film and in its maps.
    titles : sequence of str, optional
        One for each film.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes, shape (n, 1 + number of maps)
        The panels; their figure says what share of each method's positive values is in the masks.
    """
    n, n_columns = len(films), 1 + len(maps)
    axes = make_panels(n * n_columns, height=6 / n_columns + 0.2, n_columns=n_columns)
    axes = axes.reshape(n, n_columns)
    for row, film in enumerate(films):
        film = np.squeeze(film)
        white = 255 if film.dtype == np.uint8 else 1
        axes[row, 0].imshow(film, cmap="gray", vmin=0, vmax=white)
        for ax, own in zip(axes[row, 1:], maps.values(), strict=True):
            limit = np.abs(own[row]).max() or 1
            ax.imshow(own[row], cmap=COLORS, vmin=-limit, vmax=limit)
        for ax in axes[row]:
            if masks is not None and masks[row].any():
                ax.contour(masks[row], [0.5], colors=OUTLINE, linewidths=1)
            ax.set_axis_off()
        if titles is not None:
            axes[row, 0].set_title(titles[row], fontsize=9)
    for ax, name in zip(axes[0, 1:], maps, strict=True):
        ax.set_title(readable(name), fontsize=9)
    said = f"{count(n, 'film')}, each beside its maps: {', '.join(map(readable, maps))}"
    inside = ""
    if masks is not None:
        shares = {
            name: np.mean([_share_inside(*pair) for pair in zip(own, masks, strict=True)])
            for name, own in maps.items()
        }
        inside = f"mean share of a map's positive values in the outline: {describe_range(shares)}"
    describe(axes[0, 0].figure, said, inside)
    return axes


def _share_inside(one, mask):
    positive = np.maximum(one, 0)
    return positive[mask].sum() / (positive.sum() or 1)

"""Privacy: what it costs hospitals, and what a message shows."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from helpers.plots.describe import count, describe, describe_range
from helpers.plots.style import hospital_styles, legend_below, new_axes, readable

_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100)


def plot_privacy(
    spent: pd.DataFrame, scores: pd.DataFrame, alone: pd.Series, *, ax: Axes | None = None
) -> Axes:
    """Draw each hospital's score against its own epsilon.

    Parameters
    ----------
    spent : pandas.DataFrame
        One row for each amount of noise, one column for each hospital: its epsilon, above 0.
    scores : pandas.DataFrame
        AUCs with the same index and columns.
    alone : pandas.Series
        The score of each hospital alone, by its name.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, logarithmic from left to right: a line for each hospital, a dotted line for its
        score alone, which begins with its mark, and a grey one for chance.
    """
    ax = ax or new_axes()
    ax.axhline(0.5, color="0.8", zorder=0)
    for name, style in hospital_styles(scores.columns).items():
        look = {"color": style["color"], "marker": style["marker"]}
        ax.plot(spent[name], scores.loc[spent.index, name], label=readable(name), **look)
        ax.axhline(alone[name], color=style["color"], linestyle=":", linewidth=1)
        at_edge = {"transform": ax.get_yaxis_transform(), "clip_on": False}
        ax.plot(0, alone[name], **look, **at_edge)
    ax.set(xscale="log", xlabel="ε (further right: less privacy)", ylabel="test AUC")
    low, high = spent.min().min(), spent.max().max()
    ticks = [tick for tick in _TICKS if low / 2 <= tick <= high * 2]
    ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    ax.minorticks_off()
    above = int((scores > alone[scores.columns]).to_numpy().sum())
    return describe(
        ax,
        f"Test AUC against ε of {count(len(scores.columns), 'hospital')}",
        f"ε {describe_range(spent.unstack(), '.1f')}",
        f"AUC {describe_range(scores.unstack())}",
        f"{above} of {scores.size} are above the hospital alone",
    )


def plot_bytes(counts: Mapping[str, np.ndarray], *, ax: Axes | None = None) -> Axes:
    """Draw how often each value of a byte occurs in messages.

    Parameters
    ----------
    counts : dict of str to numpy.ndarray, shape (256,)
        Kind of message, then how many of its bytes have each value.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes: shares of bytes, logarithmic, and a dotted line for equal ones.
    """
    ax = ax or new_axes(height=3.2)
    shares = {name: np.asarray(number) / np.sum(number) for name, number in counts.items()}
    for name, share in shares.items():
        ax.stairs(share, np.arange(257), label=readable(name), linewidth=1.5)
    ax.axhline(1 / 256, color="0.5", linestyle=":", zorder=0)
    ax.set(xlabel="value of a byte", ylabel="share of bytes", yscale="log", xlim=(0, 256))
    legend_below(ax)
    most = {name: share.max() * 256 for name, share in shares.items()}
    return describe(
        ax,
        f"How often bytes occur in {count(len(counts), 'kind')} of message",
        f"the most frequent one against equal shares, times: {describe_range(most, '.2f')}",
    )

"""Words for what a figure shows, computed from its numbers: they become its alternative text."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes

from helpers.plots.style import readable

Drawn = TypeVar("Drawn", bound=Artist)


def describe_range(values: Mapping | pd.Series, form: str = ".2f") -> str:
    """Say the smallest and the largest of some values, and whose they are.

    Parameters
    ----------
    values : dict or pandas.Series of float
        Values by name; a name of several parts is a tuple. Missing ones do not count.
    form : str, default=".2f"
        How a value is written.

    Returns
    -------
    str
        Part of a sentence.

    Examples
    --------
    >>> describe_range({"A": 0.5, "B_1": 0.75, ("C", "test"): 0.6})
    '0.50 (A) to 0.75 (B 1)'
    >>> describe_range({"A": 0.5})
    '0.50 (A)'
    """
    known = [(value, key) for key, value in values.items() if not pd.isna(value)]
    if not known:
        return "no value"
    ends = (end(known, key=lambda pair: pair[0]) for end in (min, max))
    said = [f"{format_number(value, form)} ({name_key(key)})" for value, key in ends]
    return " to ".join(dict.fromkeys(said))


def describe_sides(low: Iterable[float], high: Iterable[float], reference: float) -> str:
    """Count the intervals on each side of a reference.

    Parameters
    ----------
    low, high : iterable of float
        Limits; intervals without them are not counted.
    reference : float
        What they are compared with.

    Returns
    -------
    str
        A sentence without its full stop; empty if there are no intervals.

    Examples
    --------
    >>> describe_sides([0.1, -0.1, float("nan")], [0.3, 0.2, float("nan")], 0)
    'of 2 intervals 1 is above 0 and 0 below'
    """
    limits = np.array([[*low], [*high]], dtype=float)
    low, high = limits[:, ~np.isnan(limits).any(axis=0)]
    above, below = int((low > reference).sum()), int((high < reference).sum())
    verb = "is" if above == 1 else "are"
    said = f"of {len(low)} intervals {above} {verb} above {reference:g} and {below} below"
    return said if len(low) else ""


def describe_lines(ax: Axes, form: str = ".2f") -> Axes:
    """Describe axes by the first and last value of each line with a name.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Axes with lines and the label of their vertical axis.
    form : str, default=".2f"
        How a value is written.

    Returns
    -------
    matplotlib.axes.Axes
        The axes, whose label is the description.
    """
    said = [
        f"{line.get_label()} {format_number(y[0], form)} to {format_number(y[-1], form)}"
        for line in ax.lines
        if line.get_label()[0] != "_" and len(y := line.get_ydata())
    ]
    return describe(ax, f"Lines of {ax.get_ylabel()}, from left to right", *said)


def describe(drawn: Drawn, *parts: str) -> Drawn:
    """Describe axes or a figure by the parts of a sentence, of which empty ones are left out."""
    drawn.set_label("; ".join(part for part in parts if part) + ".")
    return drawn


def count(number: int, noun: str) -> str:
    """Write a number and its noun, in the plural where it has one.

    >>> count(1, "hospital"), count(1200, "film")
    ('1 hospital', '1,200 films')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def format_number(value: float, form: str) -> str:
    """Write a number; a zero has no sign, and a minus is one."""
    if value == 0 and "e" in form:
        return "0"
    written = format(value, form)
    if float(written.replace(",", "").rstrip("%")) == 0:
        written = written.lstrip("+-")
    return written.replace("-", "−") if "e" not in form else written


def name_key(key: object) -> str:
    """Write the key of a value: its parts, if it has several; empty ones are left out."""
    parts = key if isinstance(key, tuple) else (key,)
    return ", ".join(readable(part) for part in parts if part != "")

"""Display: tables and figures of a page, in the rendered page, a notebook, or a plain script."""

import builtins
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd

FOLDER = Path("results")
_SAVED, _NO_VALUE = "saved", "–"


def show(table: Any = None) -> Any:
    """Show a table, or without one the figures that are open, wherever the page runs.

    The gallery and a notebook show what a block ends with, and the figures that are open. A script
    does neither: here the table is printed. Figures appear in windows if there is a display;
    otherwise they are saved in ``results``, and it is said where.

    Parameters
    ----------
    table : object, optional
        What is shown. In a DataFrame, whole numbers have no decimals, also in a column with missing
        values, and a dash stands where there is no value.

    Returns
    -------
    object or None
        The table in the gallery and in a notebook, so that it can end a block; otherwise None.
    """
    if isinstance(table, pd.DataFrame):
        table = _Table(table)
    if not _is_script():
        if table is None:
            plt.show()
        return table
    if table is not None:
        print(table.to_string() if isinstance(table, pd.Series) else table)
    elif mpl.get_backend().lower() != "agg":
        plt.show()
    else:
        _save_figures()
    return None


class _Table:
    """A DataFrame as a reader expects it, in text and in HTML."""

    def __init__(self, table):
        self.table = table.apply(_without_decimals)

    def __repr__(self):
        return self.table.to_string(na_rep=_NO_VALUE)

    def _repr_html_(self):
        return self.table.to_html(na_rep=_NO_VALUE, border=0)


def _without_decimals(column):
    """Write a column of whole numbers, among them missing ones, as integers are written."""
    is_whole = column.dtype.kind == "f" and (column.dropna() % 1 == 0).all()
    return column.map("{:.0f}".format, na_action="ignore") if is_whole else column


def _is_script():
    """Whether this process runs a plain script: no gallery, no notebook, no prompt."""
    return not (
        "sphinx_gallery" in sys.modules or hasattr(builtins, "get_ipython") or hasattr(sys, "ps1")
    )


def _save_figures():
    """Save the figures that are not saved yet; they stay open, which numbers them."""
    FOLDER.mkdir(exist_ok=True)
    stem = Path(sys.argv[0]).stem or "figure"
    for number in plt.get_fignums():
        figure = plt.figure(number)
        if figure.get_gid() != _SAVED:
            path = FOLDER / f"{stem}_{number}.png"
            figure.savefig(path)
            figure.set_gid(_SAVED)
            print(f"Figure: {path}")

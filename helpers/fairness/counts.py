"""Counts: how many films or patients a hospital has in each group, all that an audit sends.

Every hospital counts its own, hides small cells and sends the table; the tables are added.
A table of counts has a column for each variable and the column ``count`` (``Int64``); a hidden
cell is missing.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from helpers.data.patients import check_labels, number_patients
from helpers.data.summary import fill_unknown


def count_groups(
    table: pd.DataFrame, labels: pd.Series | None, columns: list[str], *, unit: str = "patients"
) -> pd.DataFrame:
    """Count the films or patients of each group and label; runs where the films are.

    Films of one patient are not independent, and a test that ignores this is overconfident.
    With ``unit="patients"`` one film counts for each patient, the first with a label in the order
    of the table, and tests on the counts are valid.

    Parameters
    ----------
    table : pandas.DataFrame
        Films of one hospital, with ``image``, ``patient`` and the columns.
    labels : pandas.Series or None
        0, 1 or missing for each film, with the table's index. Films without one do not count.
        None counts all films, without a column ``label``.
    columns : list of str
        Columns of categories, such as ``"sex"`` or an age band; may be empty. Missing values are
        the group "unknown". ``"label"`` is not one of them.
    unit : {"patients", "films"}, default="patients"
        What is counted.

    Returns
    -------
    pandas.DataFrame
        The columns, ``label`` (int64) and ``count`` (Int64): one row for each combination of
        values that occur, sorted; zeros included.

    Raises
    ------
    ValueError
        If a column is missing, or the unit unknown.

    Examples
    --------
    >>> films = pd.DataFrame({"image": list("abc"), "patient": ["1", "1", "2"], "sex": list("FFM")})
    >>> labels = pd.Series([1, 0, 0], dtype="Int64")
    >>> print(count_groups(films, labels, ["sex"]).to_string(index=False))
    sex  label  count
      F      0      0
      F      1      1
      M      0      1
      M      1      0
    """
    if unit not in ("patients", "films"):
        raise ValueError(f"Expected unit to be 'patients' or 'films'. Received {unit!r}.")
    missing = [name for name in columns if name not in table]
    if missing or "label" in columns:
        raise ValueError(
            f"Expected columns of the table, without 'label'. Received {list(columns)}; the table "
            f"has {list(table)}. Name columns that are there."
        )
    films = pd.DataFrame(
        {name: fill_unknown(table[name]) for name in columns},
        index=table.index,
    )
    variables = list(columns)
    films["patient"] = number_patients(table)[0]
    if labels is not None:
        films["label"] = check_labels(table, labels)
        films = films.dropna(subset=["label"]).astype({"label": "int64"})
        variables.append("label")
    if unit == "patients":
        films = films.drop_duplicates("patient")
    if not variables:
        return pd.DataFrame({"count": pd.array([len(films)], dtype="Int64")})
    values = [sorted(films[name].unique(), key=str) for name in columns]
    values += [[0, 1]] if labels is not None else []
    cells = pd.MultiIndex.from_product(values, names=variables)
    counts = films.groupby(variables).size()
    counts.index = pd.MultiIndex.from_tuples(
        [key if isinstance(key, tuple) else (key,) for key in counts.index], names=variables
    )
    return counts.reindex(cells, fill_value=0).astype("Int64").rename("count").reset_index()


def sum_counts(tables: Iterable[pd.DataFrame], *, add: Callable = sum) -> pd.DataFrame:
    """Add the counts of several hospitals.

    Parameters
    ----------
    tables : sequence of pandas.DataFrame
        As :func:`count_groups` or :func:`suppress` returns them, with the same columns.
    add : callable, default=sum
        Adds one array of counts of each hospital. With :class:`helpers.exchange.MaskedSum` whoever
        adds them learns the sum and no summand; the cells themselves are known to all, and none
        may be hidden: call :func:`suppress` on the sum.

    Returns
    -------
    pandas.DataFrame
        The same columns, all combinations that occur, sorted. A cell that one hospital does not
        list is 0 there; a cell that one hospital hides is hidden in the sum, too.

    Raises
    ------
    ValueError
        If there is no table, or the columns differ.
    """
    tables = list(tables)
    columns = list(tables[0]) if tables else []
    if not tables or any(list(table) != columns for table in tables):
        raise ValueError(
            "Expected tables with the same columns, at least one. Received "
            f"{[list(table) for table in tables]}. Let all hospitals count the same."
        )
    cells = pd.concat(tables).groupby(columns[:-1], sort=True).size().index
    counts = [
        table.set_index(columns[:-1])["count"].reindex(cells, fill_value=0) for table in tables
    ]
    return pd.Series(add(counts), cells, "Int64", "count").reset_index()


def suppress(counts: pd.DataFrame, minimum: int = 5) -> pd.DataFrame:
    """Hide small cells, and the larger ones from which they could be worked out.

    Cells from 1 to ``minimum - 1`` are hidden. Somebody who knows the sums of the table (for
    example from another table of the same hospital) could subtract; so further cells are hidden,
    the smallest first, until no hidden small cell is determined by the sums along each variable.

    This protects the exact value of every small cell against anybody who has this table and its
    sums. *Not* protected are: that a cell is empty (zeros are shown); bounds that follow from sums
    because no count is negative; and what the difference of two tables about almost the same
    patients, such as those of yesterday and today, reveals. Against these only noise helps.

    Parameters
    ----------
    counts : pandas.DataFrame
        As :func:`count_groups` returns it.
    minimum : int, default=5
        The smallest count above 0 that is shown; at least 1, which hides nothing.

    Returns
    -------
    pandas.DataFrame
        The same rows; hidden counts are missing.

    Raises
    ------
    ValueError
        If ``minimum`` is below 1.

    Examples
    --------
    >>> counts = pd.DataFrame({"sex": list("FFMM"), "label": [0, 1, 0, 1]})
    >>> counts["count"] = pd.array([40, 3, 50, 20], dtype="Int64")
    >>> suppress(counts)["count"].isna().tolist()
    [True, True, True, True]
    """
    if minimum < 1:
        raise ValueError(f"Expected minimum of at least 1. Received {minimum}.")
    numbers = counts["count"].to_numpy(dtype=float, na_value=np.nan)
    small = (numbers > 0) & (numbers < minimum)
    hidden = small | np.isnan(numbers)
    sums = _sums(counts)
    while len(exposed := _determined(sums, hidden, small)):
        lonely = sums[(sums & hidden).sum(axis=1) == 1]
        around = sums[sums[:, exposed].any(axis=1)]
        # A single hidden cell follows from its sum; empty cells are hidden last.
        choices = [part.any(axis=0) & ~hidden for part in (lonely, around)]
        choices = [choice & known for known in (numbers > 0, True) for choice in choices]
        candidates = next((np.flatnonzero(c) for c in choices if c.any()), ())
        if not len(candidates):
            break  # nothing that could be hidden is left
        hidden[candidates[np.argmin(numbers[candidates])]] = True
    return counts.assign(count=counts["count"].mask(hidden))


def _sums(counts):
    """Return which cells each sum along one variable adds: bool, shape (n_sums, n_cells)."""
    variables = list(counts.columns[:-1])
    sums = []
    for variable in variables:
        others = [name for name in variables if name != variable]
        lines = counts.groupby(others).ngroup().to_numpy() if others else np.zeros(len(counts))
        sums += [lines == line for line in np.unique(lines)]
    return np.array(sums, dtype=bool).reshape(len(sums), len(counts))


def _determined(sums, hidden, small):
    """Return the hidden small cells that follow from the sums and the cells shown."""
    places = np.flatnonzero(hidden)
    if not len(places) or not small.any():
        return places[:0]
    # Changes of the hidden cells that change no sum: the null space of the sums.
    _, values, rows = np.linalg.svd(sums[:, places].astype(float), full_matrices=True)
    free = rows[np.count_nonzero(values > 1e-9) :]
    fixed = np.all(np.abs(free) < 1e-9, axis=0)
    return places[fixed & small[places]]

"""Patients: what a table of films records about each person.

A patient is identified by the number in the column ``patient``. Each film without a number counts
as a patient, which is an assumption: :func:`has_patients` returns whether it is needed.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

_SHOWN = 3  # names shown in an error
_ADVICE = {
    "hospital": "If these are the same persons, give all their films to one hospital. If each "
    "hospital numbers its patients from 1, they are not: read with patients='per hospital'.",
    "split": "If these are the same persons, make new splits with split_patients. If numbers start "
    "anew in each split, correct the patients' names first.",
}


def has_patients(table: pd.DataFrame) -> bool:
    """Return whether every film names its patient.

    If not, no check can find out whether two unnamed films show the same person: tell the reader
    so.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with a column ``patient``.

    Returns
    -------
    bool
        False if at least one film has no patient number.

    Examples
    --------
    >>> import pandas as pd
    >>> has_patients(pd.DataFrame({"patient": ["00001", None]}))
    False
    """
    return bool(table["patient"].notna().all())


def number_names(names: pd.Series | np.ndarray) -> np.ndarray:
    """Give each name a number from 0, and each missing one a number of its own after them."""
    numbers = pd.factorize(names)[0].astype(np.int64)
    unnamed = numbers < 0
    numbers[unnamed] = numbers.max(initial=-1) + 1 + np.arange(unnamed.sum())
    return numbers


def number_patients(
    table: pd.DataFrame, *, within: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """Give each patient a number, in the order of their first film.

    Patients with equal films (column ``same_film``, if there is one) count as one, so that these
    films are never separated.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with columns ``image`` and ``patient``.
    within : sequence of str, default=()
        Columns such as ``"split"``: equal films count only if they have the same values there.

    Returns
    -------
    numbers : numpy.ndarray
        Patient of each film, ``int64`` of shape (n_films,), from 0.
    names : numpy.ndarray
        Name of each patient, ``object`` of shape (n_patients,): its number in the table, or
        ``"film …"`` for a film without one.
    """
    numbers = number_names(table["patient"])
    if "same_film" in table:
        films = table["same_film"]
        for column in within:
            films = films + "|" + table[column].fillna("").astype("str")
        numbers = _join_groups(numbers, number_names(films))
    numbers = pd.factorize(numbers)[0].astype(np.int64)
    first = np.unique(numbers, return_index=True)[1]
    names = table["patient"].to_numpy(dtype=object, copy=True)
    unnamed = table["patient"].isna().to_numpy()
    names[unnamed] = [f"film {image}" for image in table["image"].to_numpy()[unnamed]]
    return numbers, names[first]


def qualify_patients(table: pd.DataFrame) -> pd.DataFrame:
    """Put the hospital before each patient's number, for hospitals that number from 1.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with columns ``image``, ``patient`` and ``hospital``.

    Returns
    -------
    pandas.DataFrame
        A copy with patients such as ``"North/1"``; missing ones stay missing.

    Raises
    ------
    ValueError
        If a film with a patient has no hospital.

    Examples
    --------
    >>> import pandas as pd
    >>> films = pd.DataFrame({"image": ["a"], "patient": ["1"], "hospital": ["North"]})
    >>> qualify_patients(films)["patient"].tolist()
    ['North/1']
    """
    alone = table["image"][table["patient"].notna() & table["hospital"].isna()]
    if len(alone):
        raise ValueError(
            "Expected the hospital of each film whose patient is numbered per hospital. Received "
            f"{len(alone):,} films without one: {name_some(alone.tolist())}. Fill the column "
            "'hospital', or read without patients='per hospital'."
        )
    return table.assign(patient=table["hospital"] + "/" + table["patient"])


def _join_groups(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Join all that share a group of the first or the second kind, and number what is joined."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones, place = np.ones(len(first), bool), (first, second + first.max(initial=-1) + 1)
    size = max(map(np.max, place), default=-1) + 1 if len(first) else 0
    graph = coo_array((ones, place), shape=(size, size))
    return connected_components(graph, directed=False)[1][first]


def patient_values(table: pd.DataFrame, column: str) -> pd.Series:
    """Give each patient the value that most of their films have.

    If several values are equally frequent, the one that comes first in the table is used. Missing
    values do not count.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    column : str
        A column of the table, such as ``"view"``.

    Returns
    -------
    pandas.Series
        One value per patient, missing where no film has one; the index numbers the patients as
        :func:`number_patients` does.

    Examples
    --------
    >>> import pandas as pd
    >>> films = pd.DataFrame({"image": list("abc"), "patient": ["7", "7", "7"]})
    >>> films["view"] = ["AP", "PA", "PA"]
    >>> patient_values(films, "view").tolist()
    ['PA']
    """
    numbers, names = number_patients(table)
    films = pd.DataFrame({"patient": numbers, "value": table[column].to_numpy()})
    films["place"] = np.arange(len(films))
    films = films.dropna(subset=["value"])
    counts = films.groupby(["patient", "value"])["place"].agg(["size", "min"]).reset_index()
    counts = counts.sort_values(["patient", "size", "min"], ascending=[True, False, True])
    leading = counts.drop_duplicates("patient").set_index("patient")["value"]
    return leading.reindex(range(len(names)))


def patient_labels(
    table: pd.DataFrame, labels: pd.Series | None, *, within: Sequence[str] = ()
) -> np.ndarray:
    """Label each patient: positive if any film is.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    labels : pandas.Series or None
        0, 1 or missing for each film, with the table's index.
    within : sequence of str, default=()
        As in :func:`number_patients`.

    Returns
    -------
    numpy.ndarray
        ``int64`` of shape (n_patients,): 1 if any film is positive, 0 if some film is negative
        and none positive, -1 if no film has a label (all are -1 without ``labels``).
    """
    numbers, names = number_patients(table, within=within)
    result = np.full(len(names), -1, dtype=np.int64)
    if labels is not None:
        np.maximum.at(result, numbers, check_labels(table, labels).fillna(-1).to_numpy(np.int64))
    return result


def patient_strata(
    table: pd.DataFrame, labels: pd.Series | pd.DataFrame | None, *, within: Sequence[str] = ()
) -> np.ndarray:
    """Group the patients, so that each split gets its share of every group.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    labels : pandas.Series, pandas.DataFrame or None
        0, 1 or missing for each film, and for each finding, with the table's index.
    within : sequence of str, default=()
        As in :func:`number_patients`.

    Returns
    -------
    numpy.ndarray
        ``int64`` of shape (n_patients,), for one label that of :func:`patient_labels`. For several
        findings the groups are the rarest finding that a patient has (1 is the rarest of all),
        0 for a patient without any, and -1 for one without a label. A patient counts once, and a
        rare finding needs its patients most.
    """
    if not isinstance(labels, pd.DataFrame):
        return patient_labels(table, labels, within=within)
    own = [patient_labels(table, labels[name], within=within) for name in labels]
    own = np.stack(own, axis=1)
    is_positive = own[:, np.argsort((own == 1).sum(axis=0), kind="stable")] == 1
    return np.where(is_positive.any(axis=1), is_positive.argmax(axis=1) + 1, own.max(axis=1))


def is_labelled(labels: pd.Series | pd.DataFrame) -> pd.Series:
    """Return which films have a label, of several findings at least one."""
    known = labels.notna()
    return known.any(axis="columns") if isinstance(known, pd.DataFrame) else known


def check_labels(
    table: pd.DataFrame, labels: pd.Series | pd.DataFrame, *, several: bool = False
) -> pd.Series | pd.DataFrame:
    """Check that labels belong to a table.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    labels : pandas.Series or pandas.DataFrame
        0, 1 or missing for each film, with the table's index.
    several : bool, default=False
        Whether a column for each of several findings is accepted, too.

    Returns
    -------
    pandas.Series or pandas.DataFrame
        The labels as ``Int64``.

    Raises
    ------
    ValueError
        If the indices differ, a label is neither 0, 1 nor missing, or there are labels of several
        findings where one is needed.
    """
    if isinstance(labels, pd.DataFrame):
        names = list(labels.columns)
        if not several:
            raise ValueError(
                f"Expected the labels of one finding. Received those of {len(names)}: "
                f"{name_some(names)}. Choose one, such as labels[{names[0] if names else ''!r}]."
            )
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"Expected a column of labels for each finding. Received {names}. Make them with "
                "label_films."
            )
        return pd.DataFrame({name: check_labels(table, labels[name]) for name in names})
    if not isinstance(labels, pd.Series) or not labels.index.equals(table.index):
        received = (
            f"{len(labels):,} labels with another index"
            if isinstance(labels, pd.Series)
            else f"{type(labels).__name__}"
        )
        raise ValueError(
            f"Expected labels as a Series with the index of the table's {len(table):,} films. "
            f"Received {received}. Make them with label_films on this very table."
        )
    known = labels.dropna()
    strange = known[~known.isin([0, 1])].unique().tolist()
    if strange:
        raise ValueError(
            f"Expected labels 0, 1 or missing. Received {strange[:5]}. Make them with label_films."
        )
    return labels.astype("Int64")


def check_whole(table: pd.DataFrame, column: str) -> None:
    """Check that no patient has two values of a column, and no film is listed twice.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    column : {"hospital", "split"}
        The column; missing values do not count.

    Raises
    ------
    ValueError
        If a patient has two values or a film is listed twice; the message names the first few.
    """
    for unit in ("patient", "image"):
        known = table.dropna(subset=[unit, column])
        counts = known.groupby(unit, sort=False)[column].nunique()
        torn = counts.index[counts > 1]
        if len(torn):
            shown = known[known[unit].isin(torn[:_SHOWN])]
            places = shown.groupby(unit, sort=False)[column].unique()
            described = [f"{name} ({' and '.join(map(str, v))})" for name, v in places.items()]
            raise ValueError(
                f"Expected every {unit} in one {column}. Received {unit}s in several: "
                f"{name_some(described, len(torn))}. {_ADVICE[column]}"
            )


def name_some(names: Sequence[str] | np.ndarray, total: int | None = None) -> str:
    """Join the first few names, and add how many more there are.

    Parameters
    ----------
    names : sequence of str
        Names, at least the first few.
    total : int, optional
        How many there are in all, by default those given.

    Returns
    -------
    str
        Text for an error.

    Examples
    --------
    >>> name_some(["00001", "00002", "00005", "00007"])
    '00001, 00002, 00005 and 1 more'
    """
    total = len(names) if total is None else total
    shown = [str(name) for name in names[:_SHOWN]]
    more = f" and {total - len(shown):,} more" if total > len(shown) else ""
    return ", ".join(shown) + more

"""Hospitals: which patients they have, and which of these train, validate and test.

Everything here moves whole patients, never single films. Two films of a patient look alike, so with
a patient in both training and test a network could pass by recognizing people. Each film without a
patient number counts as a patient.
"""

import re

import numpy as np
import pandas as pd

from helpers.data.arguments import check_integer
from helpers.data.metadata import SPLITS
from helpers.data.patients import (
    check_labels,
    check_whole,
    is_labelled,
    name_some,
    number_patients,
    patient_strata,
)
from helpers.data.patients import has_patients as has_patients
from helpers.data.skews import (
    assign_by_age,
    assign_by_label_skew,
    assign_by_size,
    assign_by_value,
    share_out,
)

WAYS = ("hospital", "view", "age", "sex", "dirichlet", "size", "iid")


def assign_hospitals(
    table: pd.DataFrame,
    by: str = "hospital",
    *,
    n_hospitals: int = 3,
    alpha: float = 0.5,
    labels: pd.Series | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    r"""Give every film a hospital, whole patients at a time.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    by : {"hospital", "view", "age", "sex", "dirichlet", "size", "iid"}, default="hospital"
        How the hospitals differ.

        - ``"hospital"``: the table's own column is kept.
        - ``"view"``, ``"sex"``: one hospital per value found, such as ``view_PA``. A patient
          belongs to the value that most of their films have; if several are equally frequent, to
          the one that comes first in the table.
        - ``"age"``: ``n_hospitals`` bands of whole years with about equal numbers of patients,
          such as ``age_18-41``; a patient's age is chosen like a view.
        - ``"dirichlet"``: label skew after Hsu, Qi and Brown [1]_. All hospitals have the same
          number of patients, plus or minus one; hospital :math:`h` draws its shares of the two
          labels from

          .. math:: q_h \sim \mathrm{Dir}(\alpha\, p),

          where :math:`p` are the labels' shares among all patients. A patient is positive if any
          film is. All patients are used: :func:`helpers.data.skews.assign_by_label_skew` describes
          how the draws are adjusted to their number, so that each hospital has both labels.
        - ``"size"``: size skew, :math:`n_h \propto \alpha^{h-1}` patients drawn at random: with
          ``alpha=0.5`` each hospital has half the patients of the one before it.
        - ``"iid"``: equal numbers of patients drawn at random, plus or minus one.
    n_hospitals : int, default=3
        Number of hospitals, at least 1, for ``"age"``, ``"dirichlet"``, ``"size"`` and ``"iid"``.
    alpha : float, default=0.5
        Strength of the skew. For ``"dirichlet"`` at least 1e-6, the larger the more alike; for
        ``"size"`` in (0, 1], where 1 means equal sizes.
    labels : pandas.Series, optional
        0, 1 or missing for each film, with the table's index; needed for ``"dirichlet"``, unused
        otherwise. Patients without a label are assigned evenly.
    seed : int, default=0
        Seed of ``"dirichlet"``, ``"size"`` and ``"iid"``; not negative.

    Returns
    -------
    pandas.DataFrame
        A copy of the table with ``hospital`` filled. Names are short and can be folder names.

    Raises
    ------
    TypeError
        If ``n_hospitals`` or ``seed`` is not a whole number.
    ValueError
        If an argument is out of range, patients lack what ``by`` needs, there are too few
        patients, or one patient is in two hospitals already (``by="hospital"``).

    References
    ----------
    .. [1] T.-M. H. Hsu, H. Qi and M. Brown, "Measuring the effects of non-identical data
       distribution for federated visual classification", arXiv:1909.06335, 2019.
    """
    if by not in WAYS:
        raise ValueError(f"Expected by to be one of {list(WAYS)}. Received {by!r}.")
    n_hospitals = check_integer("n_hospitals", n_hospitals, 1)
    seed = check_integer("seed", seed, 0)
    if len(table) == 0:
        raise ValueError("Expected a table with at least one film. Received none.")
    if by == "hospital":
        check_known(table, "hospital", "Choose by='iid' or another way to make hospitals.")
        check_names(table["hospital"])
        check_whole(table, "hospital")
        return table.copy()
    if by in ("view", "sex"):
        hospitals = assign_by_value(table, by)
    elif by == "age":
        hospitals = assign_by_age(table, n_hospitals)
    else:
        rng = np.random.default_rng(seed)
        if by == "dirichlet":
            places = assign_by_label_skew(table, labels, n_hospitals, alpha, rng)
        else:
            places = assign_by_size(table, n_hospitals, alpha if by == "size" else 1.0, rng)
        width = len(str(n_hospitals))
        hospitals = np.array([f"hospital_{place + 1:0{width}d}" for place in places], object)
    return _fill(table, "hospital", hospitals)


def make_hospitals(
    table: pd.DataFrame,
    labels: pd.Series | pd.DataFrame,
    *,
    by: str | None = None,
    n_hospitals: int = 3,
    alpha: float = 0.5,
    seed: int = 0,
) -> pd.DataFrame:
    """Make hospitals and splits, with both checks.

    By default the table's own hospitals and its official split are kept where every film has
    them; otherwise the patients are assigned at random to ``n_hospitals`` hospitals of equal size,
    and split 60 : 15 : 25. Films without a label are left out.

    Parameters
    ----------
    table : pandas.DataFrame
        The radiographs' table.
    labels : pandas.Series or pandas.DataFrame
        0, 1 or missing for each film, and for each of several findings, with the table's index.
    by : str, optional
        Another way to make hospitals, see :func:`assign_hospitals`.
    n_hospitals, alpha
        As there; not used for hospitals that the table names.
    seed : int, default=0
        Seed of the assignment and the splits.

    Returns
    -------
    pandas.DataFrame
        The labelled films, with ``hospital`` and ``split`` filled and the index of ``table``.

    Raises
    ------
    ValueError
        If a patient would be in two hospitals or splits, or a hospital or split is too small.
    """
    labels = check_labels(table, labels, several=True)
    known = is_labelled(labels)
    films, labels = table[known], labels[known]
    if by is None:
        by = "hospital" if films["hospital"].notna().all() else "iid"
    options = {"n_hospitals": n_hospitals, "alpha": alpha, "labels": labels, "seed": seed}
    films = assign_hospitals(films, by, **options)
    keep_split = bool(films["split"].notna().all())
    films = split_patients(films, labels=labels, seed=seed, keep_split=keep_split)
    check_no_leak(films)
    check_hospitals(films, labels)
    return films


def split_patients(
    table: pd.DataFrame,
    *,
    fractions: tuple[float, float, float] = (0.6, 0.15, 0.25),
    labels: pd.Series | pd.DataFrame | None = None,
    seed: int = 0,
    keep_split: bool = False,
) -> pd.DataFrame:
    """Split every hospital's patients into train, valid and test.

    Patients are shuffled and assigned by ``fractions`` within each label, so that the splits of
    one hospital have about the same share of positive patients. A patient is positive if any
    film is. Where a label has three patients or more, every split gets at least one of them;
    where it has six or more, two. With several findings the same holds for the rarest finding that
    each patient has.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with ``hospital`` filled.
    fractions : tuple of float, default=(0.6, 0.15, 0.25)
        Shares of train, valid and test among the patients, each positive, with sum 1.
    labels : pandas.Series or pandas.DataFrame, optional
        0, 1 or missing for each film, and for each of several findings, with the table's index.
        Without labels, patients are shuffled regardless of what their films show.
    seed : int, default=0
        Seed of the shuffle; not negative.
    keep_split : bool, default=False
        Keep the official split of the table. A hospital without ``valid`` gets one, taken from its
        ``train`` patients in the ratio of the first two ``fractions``.

    Returns
    -------
    pandas.DataFrame
        A copy of the table with ``split`` filled.

    Raises
    ------
    ValueError
        If the fractions are wrong, the seed is negative, a film has no hospital, a patient is in
        two hospitals, or ``keep_split`` is asked for and a film has no official split or a patient
        has two.
    """
    shares = np.asarray(fractions, dtype=float)
    if shares.shape != (3,) or not np.all(shares > 0) or not np.isclose(shares.sum(), 1):
        raise ValueError(
            "Expected fractions as three positive numbers with sum 1, for train, valid and test. "
            f"Received {fractions}."
        )
    seed = check_integer("seed", seed, 0)
    check_known(table, "hospital", "Call assign_hospitals first.")
    check_whole(table, "hospital")
    if keep_split:
        check_known(table, "split", "Choose keep_split=False to make splits.")
        check_split_names(table)
        check_whole(table, "split")
    numbers, names = number_patients(table)
    first = np.unique(numbers, return_index=True)[1]
    hospitals = table["hospital"].to_numpy(dtype=object)[first]
    splits = (
        table["split"].to_numpy(dtype=object)[first]
        if keep_split
        else np.full(len(names), "", dtype=object)
    )
    strata = patient_strata(table, labels)
    rng = np.random.default_rng(seed)
    for hospital in sorted(set(hospitals)):
        here = hospitals == hospital
        if not keep_split:
            targets, parts = SPLITS, shares
        elif "valid" not in splits[here]:
            here &= splits == "train"
            targets, parts = SPLITS[:2], shares[:2] / shares[:2].sum()
        else:
            continue
        for stratum in range(strata.max(initial=-1), -2, -1):
            places = rng.permutation(np.flatnonzero(here & (strata == stratum)))
            at_least = min(2, len(places) // len(parts))
            counts = share_out(len(places), parts, at_least)
            splits[places] = np.repeat(np.array(targets, dtype=object), counts)
    return _fill(table, "split", splits)


def shuffle_hospitals(films: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Give the same patients to the hospitals at random; each keeps its number of patients.

    The hospitals then differ only by chance, and are as large as before: remaining differences
    between them are not due to their patients or scanners.

    Parameters
    ----------
    films : pandas.DataFrame
        Films with columns ``image``, ``patient`` and ``hospital``, such as
        :func:`make_hospitals` returns them. Splits move with the patients.
    seed : int, default=0
        Seed of the draw.

    Returns
    -------
    pandas.DataFrame
        The same films with another ``hospital``.

    Examples
    --------
    >>> films = pd.DataFrame(
    ...     {"image": ["a", "b", "c"], "patient": [1, 1, 2], "hospital": ["A", "A", "B"]}
    ... )
    >>> shuffle_hospitals(films, seed=1).groupby("hospital")["patient"].nunique().tolist()
    [1, 1]
    """
    numbers = number_patients(films)[0]
    first = np.unique(numbers, return_index=True)[1]
    owners = films["hospital"].to_numpy(dtype=object)[first]
    shuffled = np.random.default_rng(seed).permutation(owners)
    return films.assign(hospital=shuffled[numbers])


def check_no_leak(table: pd.DataFrame) -> None:
    """Refuse a table in which one patient is in two splits or in two hospitals.

    A film that is listed twice, in two splits or hospitals, is refused too.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with ``hospital`` and ``split``.

    Raises
    ------
    ValueError
        If a patient or a film is in two of them; the message names the first few.
    """
    check_whole(table, "hospital")
    check_whole(table, "split")


def count_hospitals(table: pd.DataFrame, labels: pd.Series | pd.DataFrame) -> pd.DataFrame:
    """Count films, patients and positive films of every hospital and split.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with ``hospital`` and ``split``.
    labels : pandas.Series or pandas.DataFrame
        0, 1 or missing for each film, and for each of several findings, with the table's index.
        Films without a label do not count.

    Returns
    -------
    pandas.DataFrame
        Columns ``hospital``, ``split`` (train, valid, test for each hospital), ``films``,
        ``patients`` and ``positive`` (films), zero where there are none. With several findings a
        column for each takes the place of ``positive``.
    """
    check_known(table, "hospital", "Call assign_hospitals first.")
    check_known(table, "split", "Call split_patients first.")
    check_split_names(table)
    labels = check_labels(table, labels, several=True)
    several = isinstance(labels, pd.DataFrame)
    positives = labels if several else labels.rename("positive").to_frame()
    films = pd.DataFrame(
        {
            "hospital": table["hospital"].to_numpy(dtype=object),
            "split": table["split"].to_numpy(dtype=object),
            "patient": number_patients(table)[0],
        }
    )
    known = is_labelled(labels).to_numpy()
    places = [films[name][known] for name in ("hospital", "split")]
    groups = films[known].groupby(["hospital", "split"])
    counts = pd.DataFrame({"films": groups.size(), "patients": groups["patient"].nunique()})
    for name in positives:
        is_positive = pd.Series((positives[name] == 1).fillna(False).to_numpy(bool)[known])
        counts[name] = is_positive.set_axis(places[0].index).groupby(places).sum().astype(np.int64)
    every = pd.MultiIndex.from_product(
        [sorted(set(films["hospital"])), SPLITS], names=["hospital", "split"]
    )
    return counts.reindex(every, fill_value=0).reset_index()


def check_hospitals(
    table: pd.DataFrame,
    labels: pd.Series | pd.DataFrame,
    *,
    minimum: int = 10,
    minimum_per_class: int = 2,
) -> pd.DataFrame:
    """Refuse hospitals that are too small to train, validate or test.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with ``hospital`` and ``split``.
    labels : pandas.Series or pandas.DataFrame
        0, 1 or missing for each film, and for each of several findings, with the table's index.
        Films without a label do not count.
    minimum : int, default=10
        Smallest number of films in each split of each hospital.
    minimum_per_class : int, default=2
        Smallest number of films of each label in each split of each hospital. An AUC needs one. Of
        several findings at least one has so many; :func:`find_unmeasured` lists the others.

    Returns
    -------
    pandas.DataFrame
        The counts of :func:`count_hospitals`.

    Raises
    ------
    ValueError
        If any split of any hospital is too small or has one label only. The message lists all of
        them with their counts, and what to change.
    """
    counts = count_hospitals(table, labels)
    several = isinstance(labels, pd.DataFrame)
    own = [count_hospitals(table, labels[name]) for name in labels] if several else [counts]
    rarer = [np.minimum(one["films"] - one["positive"], one["positive"]) for one in own]
    most = np.max(rarer, axis=0)
    poor = counts[(counts["films"] < minimum) | (most < minimum_per_class)]
    if len(poor):
        lines = [
            f"  {row.hospital}, {row.split}: {row.films:,} films "
            + (
                f"(at most {most[row.Index]:,} of the rarer label of a finding)"
                if several
                else f"({row.positive:,} positive, {row.films - row.positive:,} negative)"
            )
            for row in poor.itertuples()
        ]
        raise ValueError(
            f"Expected at least {minimum} films, and {minimum_per_class} of each label"
            + (f" of at least one of {len(labels.columns)} findings" if several else "")
            + ", in every split of every hospital. Received:\n"
            + "\n".join(lines)
            + "\n"
            "What to change: fewer hospitals (n_hospitals), a larger alpha, other fractions, "
            "another seed, another task, or more films."
        )
    return counts


def find_unmeasured(table: pd.DataFrame, labels: pd.DataFrame) -> dict[str, list[str]]:
    """List the findings that cannot be measured everywhere, and where.

    A score needs films with and without the finding. The mean over the findings leaves out those
    that lack one of both.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with ``hospital`` and ``split``.
    labels : pandas.DataFrame
        0, 1 or missing for each film and finding, with the table's index.

    Returns
    -------
    dict of str to list of str
        Finding, then hospital and split, such as ``"hospital_1/test"``; without the findings that
        can be measured everywhere.
    """
    lacking = {}
    for name in labels:
        counts = count_hospitals(table, labels[name])
        poor = counts[(counts["positive"] == 0) | (counts["positive"] == counts["films"])]
        if len(poor):
            lacking[name] = [f"{row.hospital}/{row.split}" for row in poor.itertuples()]
    return lacking


def check_names(hospitals: pd.Series) -> None:
    """Refuse hospital names that cannot be the names of folders on every system.

    Parameters
    ----------
    hospitals : pandas.Series
        Names.

    Raises
    ------
    ValueError
        If a name has other characters than letters, digits, spaces, ``_``, ``-`` and ``.``, does
        not start with a letter or digit, ends with a space or period, is longer than 40
        characters, or if two names differ in case only.
    """
    names = sorted(set(hospitals.astype(str)))
    wrong = [name for name in names if not re.fullmatch(r"\w([\w .-]{0,38}[\w-])?", name)]
    if wrong:
        raise ValueError(
            "Expected hospital names of at most 40 letters, digits, spaces, '_', '-' and '.', "
            "since they become names of folders. Received "
            f"{name_some([repr(name) for name in wrong])}. Rename them in the column 'hospital'."
        )
    folded = pd.Series(names, dtype=object).str.casefold()
    same = [name for name, twice in zip(names, folded.duplicated(keep=False), strict=True) if twice]
    if same:
        raise ValueError(
            "Expected hospital names that differ in more than upper and lower case, since they "
            f"become names of folders. Received {name_some(same)}. Rename them in the column "
            "'hospital'."
        )


def check_known(table: pd.DataFrame, column: str, advice: str) -> None:
    """Refuse a table in which films lack a value of a column; the advice ends the message."""
    unknown = table[column].isna() if column in table.columns else pd.Series(True, table.index)
    if unknown.any():
        raise ValueError(
            f"Expected a {column} for each of {len(table):,} films. Received {unknown.sum():,} "
            f"without one: {name_some(table['image'][unknown].tolist())}. {advice}"
        )


def check_split_names(table: pd.DataFrame) -> None:
    """Refuse a table with other splits than train, valid and test."""
    strange = sorted(set(table["split"].astype(str)) - set(SPLITS))
    if strange:
        raise ValueError(
            f"Expected the splits {', '.join(SPLITS)}. Received {name_some(strange)}. "
            "Rename them in the column 'split'."
        )


def _fill(table: pd.DataFrame, column: str, values: np.ndarray) -> pd.DataFrame:
    """Copy a table and give each film the value of its patient."""
    films = values[number_patients(table)[0]]
    return table.assign(**{column: pd.Series(films, index=table.index, dtype="str")})

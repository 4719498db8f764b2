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

_MINIMUM = 10  # films of each split of each hospital
_MINIMUM_PER_CLASS = 2
_PLACE = ["hospital", "split"]
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

    By default the table's own hospitals are kept; without any, the patients are assigned at random
    to ``n_hospitals`` hospitals of equal size. A hospital's official split is kept; without one,
    its patients are split 60 : 15 : 25. An official ``valid`` that is too small for
    :func:`check_hospitals` is chosen anew among the patients of ``train`` and ``valid``, and an
    absent split among those of ``train``; this is printed. Films without a label are left out.
    Patients with equal films (column ``same_film``) are assigned together; an official split that
    separates equal films is kept, and the report of the reading names them.

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
        If a patient would be in two hospitals or splits, if a hospital or split is too small, or if
        only some films have a hospital or, within a hospital, an official split.
    """
    labels = check_labels(table, labels, several=True)
    known = is_labelled(labels)
    films, labels = table[known], labels[known]
    if by is None:
        by = "hospital" if films["hospital"].notna().any() else "iid"
    if by == "hospital":
        check_known(
            films,
            "hospital",
            "Fill the column 'hospital', remove it, or choose another way, such as by='iid'.",
        )
    options = {"n_hospitals": n_hospitals, "alpha": alpha, "labels": labels, "seed": seed}
    films = assign_hospitals(films, by, **options)
    keep_split = bool(films["split"].notna().any())
    if keep_split:
        films = _give_small_valid_back(films, labels)
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
        Keep the official split of each hospital that has one. If it lacks ``valid`` or ``test``,
        that one is taken from its ``train`` patients, in the ratio of ``fractions``.

    Returns
    -------
    pandas.DataFrame
        A copy of the table with ``split`` filled.

    Raises
    ------
    ValueError
        If the fractions are wrong, the seed is negative, a film has no hospital, a patient is in
        two hospitals, or ``keep_split`` is asked for and no hospital has an official split, a film
        of one that has lacks it, or a patient has two.
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
        official = table[table["hospital"].isin(table["hospital"][table["split"].notna()])]
        check_known(
            table if official.empty else official,
            "split",
            "Choose keep_split=False to make splits.",
        )
        check_split_names(official)
        check_whole(table, "split")
    # Hospitals and official splits are kept even where they separate equal films: see the report.
    within = ["hospital", "split"] if keep_split else ["hospital"]
    numbers, names = number_patients(table, within=within)
    first = np.unique(numbers, return_index=True)[1]
    hospitals = table["hospital"].to_numpy(dtype=object)[first]
    splits = np.full(len(names), "", dtype=object)
    if keep_split:
        splits = table["split"].fillna("").to_numpy(dtype=object)[first]
    strata = patient_strata(table, labels, within=within)
    rng = np.random.default_rng(seed)
    for hospital in sorted(set(hospitals)):
        here = hospitals == hospital
        targets = [name for name in SPLITS if name == "train" or name not in splits[here]]
        if targets == ["train"]:
            continue
        here &= np.isin(splits, ("", "train"))
        parts = shares[[SPLITS.index(name) for name in targets]]
        parts = parts / parts.sum()
        for stratum in range(strata.max(initial=-1), -2, -1):
            places = rng.permutation(np.flatnonzero(here & (strata == stratum)))
            at_least = min(2, len(places) // len(parts))
            counts = share_out(len(places), parts, at_least)
            splits[places] = np.repeat(np.array(targets, dtype=object), counts)
    return table.assign(split=pd.Series(splits[numbers], index=table.index, dtype="str"))


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
    known = is_labelled(labels)
    positive = labels == 1 if isinstance(labels, pd.DataFrame) else {"positive": labels == 1}
    counts = _sum_places(table, pd.DataFrame({"films": known, **positive}))
    patients = pd.Series(number_patients(table)[0], table.index)[known]
    places = [table[name][known].to_numpy(dtype=object) for name in _PLACE]
    counts.insert(1, "patients", patients.groupby(places).nunique())
    return counts.fillna({"patients": 0}).astype(np.int64).reset_index()


def check_hospitals(
    table: pd.DataFrame,
    labels: pd.Series | pd.DataFrame,
    *,
    minimum: int = _MINIMUM,
    minimum_per_class: int = _MINIMUM_PER_CLASS,
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
    several = isinstance(labels, pd.DataFrame)
    counts, most = _count_places(table, labels)
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
    rarer = _count_rarer(table, check_labels(table, labels, several=True))
    lacking = {name: rarer.index[rarer[name] == 0] for name in rarer}
    return {
        name: ["/".join(place) for place in places]
        for name, places in lacking.items()
        if len(places)
    }


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


def _count_places(
    table: pd.DataFrame, labels: pd.Series | pd.DataFrame
) -> tuple[pd.DataFrame, np.ndarray]:
    """Count as count_hospitals, and the films of the rarer label; of several findings the most."""
    most = _count_rarer(table, pd.DataFrame(labels)).max(axis=1).to_numpy()
    return count_hospitals(table, labels), most


def _count_rarer(table: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Count the films of each finding's rarer label in every hospital and split."""
    return np.minimum(_sum_places(table, labels == 1), _sum_places(table, labels == 0))


def _sum_places(table: pd.DataFrame, flags: pd.DataFrame) -> pd.DataFrame:
    """Count the true flags of every hospital and split; a missing one is not true."""
    places = [table[name].to_numpy(dtype=object) for name in _PLACE]
    sums = flags.fillna(False).astype(np.int64).groupby(places).sum()
    every = pd.MultiIndex.from_product([sorted(set(places[0])), SPLITS], names=_PLACE)
    return sums.reindex(every, fill_value=0)


def _give_small_valid_back(films: pd.DataFrame, labels: pd.Series | pd.DataFrame) -> pd.DataFrame:
    """Give official validation films that are too few to training; print what is made anew."""
    hospitals = films["hospital"]
    official = hospitals.isin(hospitals[films["split"].notna()])
    check_known(films[official], "split", "Fill the column 'split', or remove it to make new ones.")
    check_split_names(films[official])
    counts, most = _count_places(films[official], labels[official])
    small = (counts["films"] < _MINIMUM) | (most < _MINIMUM_PER_CLASS)
    small = counts[small & (counts["split"] == "valid") & (counts["films"] > 0)]
    absent = counts[counts["films"] == 0]
    for made, places in {
        "New splits, since there is no official one": sorted(set(hospitals[~official])),
        "Splits without official films, taken from train": [
            f"{row.hospital} ({row.split})" for row in absent.itertuples()
        ],
        "Official valid splits that are too small, chosen anew among train and valid": [
            f"{row.hospital} ({row.films:,} films)" for row in small.itertuples()
        ],
    }.items():
        if places:
            print(f"{made}: {name_some(places)}.")
    back = hospitals.isin(small["hospital"]) & (films["split"] == "valid")
    return films.assign(split=films["split"].mask(back, "train"))


def _fill(table: pd.DataFrame, column: str, values: np.ndarray) -> pd.DataFrame:
    """Copy a table and give each film the value of its patient."""
    films = values[number_patients(table)[0]]
    return table.assign(**{column: pd.Series(films, index=table.index, dtype="str")})

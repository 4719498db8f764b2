"""Skews: the ways in which patients may be assigned to hospitals that differ.

Every function returns one value per patient, numbered as
:func:`helpers.data.patients.number_patients` does.
"""

import numpy as np
import pandas as pd

from helpers.data.patients import name_some, number_patients, patient_labels, patient_values

_FEWEST = 3  # patients in a hospital, one for each split


def assign_by_value(table: pd.DataFrame, column: str) -> np.ndarray:
    """Name each patient's hospital after a value such as a view.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    column : {"view", "sex"}
        The column whose leading value counts.

    Returns
    -------
    numpy.ndarray
        Names such as ``"view_PA"``, ``object`` of shape (n_patients,).

    Raises
    ------
    ValueError
        If a patient has no value, or all have the same.
    """
    values = _known_values(table, column)
    if values.nunique() < 2:
        raise ValueError(
            f"Expected at least two values of {column!r}, one per hospital. Received only "
            f"{values.iloc[0]!r}. Choose by={_ways_at_hand(table, but=column)}."
        )
    return np.array([f"{column}_{value}" for value in values], dtype=object)


def assign_by_age(table: pd.DataFrame, n_hospitals: int) -> np.ndarray:
    """Name each patient's hospital after a band of ages.

    Each cut between two whole years is placed where the number of patients below it comes closest
    to an equal share.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with ``age`` in years.
    n_hospitals : int
        Number of bands, at least 1.

    Returns
    -------
    numpy.ndarray
        Names such as ``"age_18-41"``, ``object`` of shape (n_patients,).

    Raises
    ------
    ValueError
        If a patient has no age, or there are fewer different ages than bands.
    """
    years = np.floor(_known_values(table, "age").to_numpy(dtype=float)).astype(int)
    different, counts = np.unique(years, return_counts=True)
    if len(different) < n_hospitals:
        raise ValueError(
            f"Expected at least {n_hospitals} different ages in years for {n_hospitals} "
            f"hospitals. Received {len(different)}. Use fewer hospitals."
        )
    reached = np.cumsum(counts)  # patients up to and including each year
    cuts = [-1]
    for band in range(1, n_hospitals):
        # Leave at least one year for each band still to come.
        candidates = np.arange(cuts[-1] + 1, len(different) - (n_hospitals - band))
        goal = band * len(years) / n_hospitals
        cuts.append(int(candidates[np.argmin(np.abs(reached[candidates] - goal))]))
    lowest = different[np.array(cuts) + 1]
    highest = np.append(lowest[1:] - 1, different[-1])
    names = [
        f"age_{low}" if low == high else f"age_{low}-{high}"
        for low, high in zip(lowest, highest, strict=True)
    ]
    return np.array(names, dtype=object)[np.searchsorted(lowest, years, side="right") - 1]


def assign_by_size(
    table: pd.DataFrame, n_hospitals: int, ratio: float, rng: np.random.Generator
) -> np.ndarray:
    r"""Assign patients at random to hospitals whose sizes are a geometric sequence.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    n_hospitals : int
        Number of hospitals, at least 1.
    ratio : float
        Size of a hospital over that of the one before it, in (0, 1].
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        Place of each patient's hospital from 0, ``int64`` of shape (n_patients,).

    Raises
    ------
    ValueError
        If the ratio is out of range or a hospital would have fewer than three patients.
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"Expected alpha in (0, 1] with by='size'. Received {ratio}.")
    n_patients = len(number_patients(table)[1])
    counts = share_out(n_patients, ratio ** np.arange(n_hospitals, dtype=float))
    if counts.min() < _FEWEST:
        raise ValueError(
            "Expected at least three patients per hospital, one for each split. Received "
            f"{n_patients} patients in {n_hospitals} hospitals of {counts.tolist()}. Use fewer "
            "hospitals, a larger alpha (by='size') or more films."
        )
    return rng.permutation(np.repeat(np.arange(n_hospitals), counts))


def assign_by_label_skew(
    table: pd.DataFrame,
    labels: pd.Series | None,
    n_hospitals: int,
    alpha: float,
    rng: np.random.Generator,
) -> np.ndarray:
    r"""Assign patients to hospitals of equal size with their own shares of the labels.

    Hsu, Qi and Brown (2019) draw the shares of hospital :math:`h` from
    :math:`q_h \sim \mathrm{Dir}(\alpha\, p)` and give it examples accordingly. Here the number of
    patients is given, and all are used: the odds of all draws are multiplied by one factor
    :math:`c`, so that :math:`\sum_h n_h q'_h` is the number of positive patients, with

    .. math:: \frac{q'_h}{1 - q'_h} = c\, \frac{q_h}{1 - q_h}.

    Ratios of odds between hospitals remain as drawn, except that each hospital gets at least two
    patients of each label per split, or one where there are not enough.

    Parameters
    ----------
    table : pandas.DataFrame
        Films.
    labels : pandas.Series or None
        0, 1 or missing for each film, with the table's index.
    n_hospitals : int
        Number of hospitals, at least 1.
    alpha : float
        Concentration :math:`\alpha`, at least 1e-6.
    rng : numpy.random.Generator
        Source of randomness.

    Returns
    -------
    numpy.ndarray
        Place of each patient's hospital from 0, ``int64`` of shape (n_patients,).

    Raises
    ------
    ValueError
        If labels are missing, ``alpha`` is out of range, or there are too few patients for three of
        each label in every hospital.
    """
    if labels is None:
        raise ValueError(
            "Expected labels with by='dirichlet'. Received None. Make them with label_films."
        )
    if not 1e-6 <= alpha < np.inf:
        raise ValueError(
            f"Expected a positive alpha of at least 1e-6 with by='dirichlet'. Received {alpha}."
        )
    label = patient_labels(table, labels)
    n_positive, n_negative = int(np.sum(label == 1)), int(np.sum(label == 0))
    at_least = min(2 * _FEWEST, min(n_positive, n_negative) // n_hospitals)
    if at_least < _FEWEST:
        raise ValueError(
            "Expected at least three positive and three negative patients per hospital, one for "
            f"each split. Received {n_positive} positive and {n_negative} negative patients for "
            f"{n_hospitals} hospitals. Use fewer hospitals, another task or more films."
        )
    share = n_positive / (n_positive + n_negative)
    log_odds = _draw_log_gamma(alpha * share, n_hospitals, rng) - _draw_log_gamma(
        alpha * (1 - share), n_hospitals, rng
    )
    sizes = share_out(n_positive + n_negative, np.ones(n_hospitals))
    positive = _fit_total(log_odds, sizes, n_positive, at_least)
    unlabelled = share_out(int(np.sum(label < 0)), np.ones(n_hospitals))
    places = np.empty(len(label), dtype=np.int64)
    for value, counts in ((1, positive), (0, sizes - positive), (-1, unlabelled)):
        places[label == value] = rng.permutation(np.repeat(np.arange(n_hospitals), counts))
    return places


def share_out(total: int, shares: np.ndarray, at_least: int = 0) -> np.ndarray:
    """Round shares of a total to whole numbers with that sum, by largest remainders.

    Parameters
    ----------
    total : int
        The number to divide.
    shares : numpy.ndarray
        Positive weights, of any sum.
    at_least : int, default=0
        Smallest count; taken from the largest ones. At most ``total // len(shares)``.

    Returns
    -------
    numpy.ndarray
        Counts, ``int64`` of the shares' shape.

    Examples
    --------
    >>> import numpy as np
    >>> share_out(10, np.array([0.6, 0.15, 0.25])).tolist()
    [6, 2, 2]
    """
    counts = _round_to_sum(total * shares / np.sum(shares), total)
    while counts.min() < at_least:
        counts[np.argmax(counts)] -= 1
        counts[np.argmin(counts)] += 1
    return counts


def _draw_log_gamma(shape: float, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draw logarithms of gamma variates; for small shapes the variates would be zero.

    Gamma(a) is Gamma(a + 1) U^(1/a) with U uniform on (0, 1), and -log U is exponential.
    """
    variates = np.log(rng.standard_gamma(shape + 1, size=number))
    return variates - rng.standard_exponential(size=number) / shape


def _fit_total(
    log_odds: np.ndarray, sizes: np.ndarray, n_positive: int, at_least: int
) -> np.ndarray:
    """Return whole numbers of positive patients with these odds times one factor and this sum."""

    def expected(log_factor: float) -> np.ndarray:
        shares = (1 + np.tanh((log_odds + log_factor) / 2)) / 2  # sigmoid that never overflows
        return np.clip(sizes * shares, at_least, sizes - at_least)

    high = np.abs(log_odds).max() + 50.0
    low = -high
    for _ in range(100):  # bisection: the sum grows with the factor
        middle = (low + high) / 2
        if expected(middle).sum() < n_positive:
            low = middle
        else:
            high = middle
    return _round_to_sum(expected(high), n_positive)


def _round_to_sum(exact: np.ndarray, total: int) -> np.ndarray:
    """Round numbers to integers with this sum: those with the largest remainders up."""
    counts = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: total - counts.sum()]] += 1
    return counts


def _known_values(table: pd.DataFrame, column: str) -> pd.Series:
    """Return each patient's value, or refuse when some have none."""
    values = patient_values(table, column)
    unknown = values.isna().to_numpy()
    if unknown.all():
        raise ValueError(
            f"Expected a table with the column {column!r} filled. Received no value in it. "
            f"Choose by={_ways_at_hand(table, but=column)}."
        )
    if unknown.any():
        names = number_patients(table)[1][unknown]
        raise ValueError(
            f"Expected every patient to have a value of {column!r}. Received {len(names):,} of "
            f"{len(values):,} patients without one: {name_some(names)}. Leave these patients "
            f"out, or choose by={_ways_at_hand(table, but=column)}."
        )
    return values


def _ways_at_hand(table: pd.DataFrame, but: str) -> str:
    known = [c for c in ("hospital", "view", "age", "sex") if c != but and table[c].notna().all()]
    return " or ".join(repr(way) for way in (*known, "iid", "size", "dirichlet"))

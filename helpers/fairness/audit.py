"""Audit: associations of variables with the label and with each other, from counts alone."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import chi2, ncx2, norm

from helpers.data.summary import share_with_interval


class OddsRatio(NamedTuple):
    """An odds ratio and the limits of its interval; 1 is no association."""

    value: float
    low: float
    high: float


def measure_imbalance(counts: pd.DataFrame, column: str, *, level: float = 0.95) -> pd.DataFrame:
    """Measure how large each group is, and its share of positives.

    Parameters
    ----------
    counts : pandas.DataFrame
        With the column and ``label``, such as :func:`~helpers.fairness.sum_counts` returns it.
        Further variables are summed over.
    column : str
        The groups.
    level : float in (0, 1), default=0.95
        Level of the interval, which is Wilson's.

    Returns
    -------
    pandas.DataFrame
        Indexed by group: ``count``, ``of_all`` (its share of all, in [0, 1]), ``positive``,
        ``share`` of positives with ``low`` and ``high``; missing where a cell is hidden.
    """
    cells = _cross(counts, column, "label").reindex(columns=[0, 1], fill_value=0)
    total, positive = cells.sum(axis=1, skipna=False), cells[1]
    groups = pd.DataFrame(
        {
            "count": total.astype("Int64"),
            "of_all": (total / total.sum()).astype(float),
            "positive": positive.astype("Int64"),
        }
    )
    return groups.join(share_with_interval(positive, total, level=level))


def find_associations(
    tables: Iterable[pd.DataFrame],
    *,
    within: str | list[str] | None = None,
    alpha: float = 0.05,
    add: Callable = sum,
) -> pd.DataFrame:
    r"""Test pairs of variables for association, all pairs as one family.

    Each pair gets the Cochran–Mantel–Haenszel statistic of general association (Landis et al.
    1978 [1]_), :math:`Q = d^\top V^+ d` with :math:`d = \sum_h (O_h - E_h)` over the strata
    :math:`h` of ``within`` and :math:`V` its covariance when the margins are fixed. With one
    stratum that is Pearson's chi-squared times :math:`(n - 1) / n`. The p-values of *all* tables
    of one call are corrected together by Holm's method [2]_, so that the chance of finding *any*
    association where there is none is at most ``alpha``. Two calls are two families, and their
    chances add up: pass everything that is reported together in one call.

    The effect is :math:`\sqrt{\max(0, Q - \nu) / (n \min(r - 1, c - 1))}`, Cramér's V less what
    chance adds for :math:`\nu` degrees of freedom; its interval inverts the noncentral
    chi-squared distribution.

    Parameters
    ----------
    tables : sequence of pandas.DataFrame
        Counts of *patients*: two variables, and ``within`` if there is one. Rows with a hidden
        count are left out together with everything else of the first variable's value in that
        stratum, which changes no share within the others.
    within : str or list of str, optional
        Variables that define strata: an association is tested inside each value, such as within
        each hospital. A table of two variables of which one is itself in ``within``, such as
        hospital and label, is tested without strata.
    alpha : float in (0, 1), default=0.05
        Chance of one false finding or more.
    add : callable, default=sum
        Adds what the strata contribute to :math:`d`, :math:`V` and the number of patients. If the
        strata are hospitals, :class:`helpers.exchange.MaskedSum` hides their tables. A table that
        is tested without strata is the sum of the hospitals' tables already, see
        :func:`~helpers.fairness.sum_counts`; one in which the hospital is a variable shows them.

    Returns
    -------
    pandas.DataFrame
        One row for each table: ``first``, ``second``, ``patients`` (counted), ``effect`` in
        [0, 1] with its 95 % interval ``low`` and ``high``, ``p``, ``p_holm``, ``found``, and
        ``detectable``: the effect that so many patients reveal in four cases of five.

    Raises
    ------
    ValueError
        If a table has neither two variables besides ``within``, nor two of which one is in it.

    References
    ----------
    .. [1] J. R. Landis, E. R. Heyman and G. G. Koch, "Average partial association in three-way
       contingency tables", International Statistical Review 46, 1978.
    .. [2] S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian
       Journal of Statistics 6, 1979.
    """
    strata = [within] if isinstance(within, str) else list(within or [])
    tables = list(tables)
    rows = []
    for counts in tables:
        variables = list(counts.columns[:-1])
        of_a_stratum = len(variables) == 2 and bool(set(variables) & set(strata))
        own = [] if of_a_stratum else strata
        pair = [name for name in variables if name not in own]
        if len(pair) != 2 or any(name not in counts for name in own):
            raise ValueError(
                f"Expected counts of two variables within {strata}. Received the columns "
                f"{list(counts)}. Count with count_groups and sum over the others."
            )
        q, degrees, n, size = _general_association(counts, *pair, own, add)
        effect = np.sqrt(max(0.0, q - degrees) / size) if size else np.nan
        low, high = (
            (np.sqrt(x / size) for x in _noncentrality(q, degrees)) if size else [np.nan] * 2
        )
        strict = alpha / len(tables)
        rows.append(
            {
                "first": pair[0],
                "second": pair[1],
                "patients": n,
                "effect": effect,
                "low": low,
                "high": min(high, 1.0),
                "p": float(chi2.sf(q, degrees)) if degrees else np.nan,
                "detectable": np.sqrt(_needed(degrees, strict) / size) if size else np.nan,
            }
        )
    found = pd.DataFrame(rows)
    found.insert(7, "p_holm", correct_holm(found["p"]))
    found.insert(8, "found", found["p_holm"] <= alpha)
    return found


def name_pairs(pairs: pd.DataFrame) -> str:
    """List pairs of variables for a sentence.

    Parameters
    ----------
    pairs : pandas.DataFrame
        Columns ``first`` and ``second``, such as rows of :func:`find_associations`.

    Returns
    -------
    str
        The pairs, or ``"none"``.

    Examples
    --------
    >>> name_pairs(pd.DataFrame({"first": ["sex", "age_band"], "second": ["label", "view"]}))
    'sex–label, age band–view'
    """
    names = [f"{a}–{b}" for a, b in zip(pairs["first"], pairs["second"], strict=True)]
    return ", ".join(names).replace("_", " ") or "none"


def describe_planted(audited: pd.DataFrame, effects: pd.Series, name: str) -> str:
    """Describe in sentences which planted associations an audit has found.

    Parameters
    ----------
    audited : pandas.DataFrame
        As :func:`find_associations` returns it, with a column ``planted``; ``found`` and
        ``planted`` may be 0 and 1.
    effects : pandas.Series
        The effect of each pair in a population that shows it, indexed by ``first`` and
        ``second``.
    name : str
        What the sentences call the audit.

    Returns
    -------
    str
        Three lines: the planted pairs that were missed; the pairs that were found though not
        planted; and how many of the missed effects are smaller than what can be detected.

    Examples
    --------
    >>> rows = {"first": ["sex"], "second": ["view"], "found": [False], "planted": [True]}
    >>> audited = pd.DataFrame(rows | {"detectable": [0.2]})
    >>> effects = audited.set_index(["first", "second"])["detectable"] / 2
    >>> print(describe_planted(audited, effects, "small"))
    small: missed of 1 planted: sex–view.
    small: found though not planted: none.
    small: of 1 missed, left of their grey mark: 1.
    """
    found, planted = audited["found"].astype(bool), audited["planted"].astype(bool)
    missed = audited[planted & ~found]
    bars = zip(missed["first"], missed["second"], missed["detectable"], strict=True)
    unseen = sum(bool(effects[first, second] < bar) for first, second, bar in bars)
    return (
        f"{name}: missed of {planted.sum()} planted: {name_pairs(missed)}.\n"
        f"{name}: found though not planted: {name_pairs(audited[found & ~planted])}.\n"
        f"{name}: of {len(missed)} missed, left of their grey mark: {unseen}."
    )


def correct_holm(p_values: ArrayLike) -> np.ndarray:
    """Correct p-values for multiple tests (Holm 1979).

    Parameters
    ----------
    p_values : array, shape (n,)
        In [0, 1]; NaN stays NaN and does not count.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        In [0, 1], at least as large.

    Examples
    --------
    >>> correct_holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p_values = np.asarray(p_values, dtype=float)
    corrected = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: np.count_nonzero(~np.isnan(p_values))]
    factors = len(order) - np.arange(len(order))
    corrected[order] = np.minimum(1, np.maximum.accumulate(p_values[order] * factors))
    return corrected


def measure_odds_ratio(
    counts: pd.DataFrame,
    column: str,
    values: tuple,
    *,
    within: str | list[str] | None = None,
    level: float = 0.95,
    add: Callable = sum,
) -> OddsRatio:
    r"""Measure how the odds of a positive label differ between two groups.

    Without ``within`` it is the odds ratio of one table, with Woolf's interval. With it, it is
    that of Mantel and Haenszel, :math:`\frac{\sum_h a_h d_h / n_h}{\sum_h b_h c_h / n_h}`, which
    compares within each stratum only, with the interval of Robins, Breslow and Greenland
    (1986 [1]_, Equation 1).

    Parameters
    ----------
    counts : pandas.DataFrame
        With the column, ``label`` and ``within``; further variables are summed over.
    column : str
        The groups.
    values : tuple
        The group in the numerator of the odds ratio, then the one in the denominator.
    within : str or list of str, optional
        The strata.
    level : float in (0, 1), default=0.95
        Level of the interval.
    add : callable, default=sum
        Adds the five numbers that each stratum contributes. If the strata are hospitals,
        :class:`helpers.exchange.MaskedSum` hides their tables.

    Returns
    -------
    OddsRatio
        In [0, inf]; NaN if hidden or empty cells leave nothing to compare. Strata with a hidden
        cell do not count.

    References
    ----------
    .. [1] J. Robins, N. Breslow and S. Greenland, "Estimators of the Mantel-Haenszel variance
       consistent in both sparse data and large-strata limiting models", Biometrics 42, 1986.
    """
    strata = [within] if isinstance(within, str) else list(within or [])
    cells = counts[counts[column].isin(values)]
    parts = []
    for _, rows in cells.groupby(strata) if strata else [(None, cells)]:
        table = _cross(rows, column, "label").reindex(index=values, columns=[0, 1], fill_value=0)
        parts.append(np.zeros(5))
        if table.notna().all(axis=None) and table.to_numpy().any():
            (a, b), (c, d) = table[[1, 0]].to_numpy(float)
            n = a + b + c + d
            right, wrong, agree, differ = a * d / n, b * c / n, (a + d) / n, (b + c) / n
            mixed = agree * wrong + differ * right
            parts[-1][:] = right, wrong, agree * right, mixed, differ * wrong
    right, wrong, agree, mixed, differ = (add if strata else sum)(parts) if parts else np.zeros(5)
    if right == 0 or wrong == 0:
        return OddsRatio(*[float("nan")] * 3)
    value = right / wrong
    variance = agree / (2 * right**2) + mixed / (2 * right * wrong) + differ / (2 * wrong**2)
    half = norm.ppf((1 + level) / 2) * np.sqrt(variance)
    return OddsRatio(float(value), float(value * np.exp(-half)), float(value * np.exp(half)))


def explain_association(
    counts: pd.DataFrame, column: str, values: tuple, *, within: str | list[str]
) -> pd.Series:
    """Return whether an association persists within strata, or is due to mixing them.

    Parameters
    ----------
    counts : pandas.DataFrame
        With the column, ``label`` and ``within``.
    column, values
        As for :func:`measure_odds_ratio`.
    within : str or list of str
        The strata, which might explain the association.

    Returns
    -------
    pandas.Series
        ``crude`` and ``adjusted`` odds ratios with ``…_low`` and ``…_high`` (95 %), and the
        ``verdict``:

        - ``"reverses"``: both intervals exclude 1, on different sides (Simpson's paradox);
        - ``"vanishes"``: the crude one excludes 1, the adjusted one does not, and less than half of
          the crude log odds ratio is left;
        - ``"appears"``: only the adjusted one excludes 1;
        - ``"stays"``: both exclude 1, on the same side;
        - ``"unclear"``: the crude one excludes 1, the adjusted one does not, and half of the crude
          log odds ratio or more is left;
        - ``"none"``: neither excludes 1.

        ``n_reversed`` is the number of strata whose ratio is on the other side of 1 than the crude
        one.
    """
    strata = [within] if isinstance(within, str) else list(within)
    crude = measure_odds_ratio(counts, column, values)
    adjusted = measure_odds_ratio(counts, column, values, within=strata)
    single = [measure_odds_ratio(rows, column, values).value for _, rows in counts.groupby(strata)]
    against = np.log([value for value in single if value > 0]) * np.log(crude.value) < 0
    return pd.Series(
        {
            "crude": crude.value,
            "crude_low": crude.low,
            "crude_high": crude.high,
            "adjusted": adjusted.value,
            "adjusted_low": adjusted.low,
            "adjusted_high": adjusted.high,
            "n_strata": len(single),
            "n_reversed": int(against.sum()),
            "verdict": _verdict(crude, adjusted),
        }
    )


def _verdict(crude, adjusted):
    crude_side, adjusted_side = ((r.low > 1) - (r.high < 1) for r in (crude, adjusted))
    if crude_side and adjusted_side:
        return "stays" if crude_side == adjusted_side else "reverses"
    if adjusted_side:
        return "appears"
    if not crude_side:
        return "none"
    left = np.log(adjusted.value) / np.log(crude.value)
    return "vanishes" if left < 0.5 else "unclear"


def _cross(counts, first, second):
    """Sum a table of counts over all but two variables; a sum with a hidden cell is missing."""
    sums = counts.groupby([first, second])["count"].agg(lambda cells: cells.sum(skipna=False))
    return sums.astype("Float64").unstack(fill_value=0)


def _general_association(counts, first, second, strata, add):
    """Return Q, its degrees of freedom, the patients that count, and n min(r - 1, c - 1)."""
    values = [counts[name].drop_duplicates() for name in (first, second)]
    shape = tuple(map(len, values))
    size = np.prod(shape)
    parts = []
    for _, rows in counts.groupby(strata) if strata else [(None, counts)]:
        table = _cross(rows, first, second).reindex(index=values[0], columns=values[1])
        table = table[table.notna().all(axis=1)].reindex(values[0], fill_value=0)
        cells = table.to_numpy(dtype=float)
        total, down, along = cells.sum(), cells.sum(axis=1), cells.sum(axis=0)
        parts.append(np.zeros(1 + size + size**2))
        if total < 2:
            continue
        difference = cells - np.outer(down, along) / total
        spread = (np.diag(x) * total - np.outer(x, x) for x in (down, along))
        covariance = np.kron(*spread) / (total**2 * (total - 1))
        parts[-1][:] = total, *difference.flat, *covariance.flat
    # Without strata there is one table, which is a sum already.
    n, difference, covariance = np.split((add if strata else sum)(parts), [1, 1 + size])
    n, covariance = int(n[0]), covariance.reshape(size, size)
    inverse = np.linalg.pinv(covariance, rcond=1e-7, hermitian=True)
    q = float(difference @ inverse @ difference)
    degrees = int(np.linalg.matrix_rank(covariance, tol=1e-7 * max(1.0, covariance.max())))
    return q, degrees, n, n * (min(shape) - 1) if degrees else 0


def _noncentrality(q, degrees, level=0.95):
    """Return the limits of the noncentrality from which the statistic may have been drawn."""
    limits = []
    for tail in ((1 + level) / 2, (1 - level) / 2):
        top = 10 * q + 100

        def gap(x, tail=tail):
            return (ncx2.cdf(q, degrees, x) if x > 0 else chi2.cdf(q, degrees)) - tail

        limits.append(brentq(gap, 0.0, top) if gap(0.0) > 0 else 0.0)
    return limits


def _needed(degrees, alpha, power=0.8):
    """Return the noncentrality that a test at this level detects with this power."""
    bar = chi2.isf(alpha, degrees)
    return brentq(lambda x: ncx2.sf(bar, degrees, x) - power, 1e-6, 10 * bar + 100)

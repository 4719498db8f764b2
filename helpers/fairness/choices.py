"""Choices: ways to decide on the same films, each compared with one of them."""

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from helpers.evaluation import balanced_accuracy, bootstrap_difference, describe_change
from helpers.evaluation.metrics import Labels, labels_of
from helpers.fairness.group_metrics import compare_gaps

RATES = ("true_positive_rate", "false_positive_rate", "selection_rate")


def compare_choices(
    labels: Labels,
    decided: Mapping[Hashable, ArrayLike],
    against: Hashable,
    groups: pd.Series,
    patients: ArrayLike,
    *,
    between: tuple[str, str],
    rates: Sequence[str] = RATES,
    share: float = 1.0,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare several ways to decide with one of them: accuracy and gaps, on the same patients.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    decided : dict of hashable to array, shape (n,)
        Name of each choice, text or a tuple, and its decisions 0 or 1 about the same films.
    against : hashable
        The choice that the others are compared with.
    groups : pandas.Series of n rows
        Group of each film.
    patients : array, shape (n,)
        Patient of each film.
    between : tuple of str
        The two groups; a gap is the rate of the first minus that of the second.
    rates : sequence of str, default=RATES
        Whose gaps are compared.
    share, n, seed, level
        As for :func:`helpers.fairness.compare_gaps`.

    Returns
    -------
    pandas.DataFrame
        For each choice a row ``"balanced_accuracy"`` and a row for each rate, such as
        ``"true_positive_rate_gap"``; the metric is the last level of the index. ``before`` is the
        value of ``against`` and ``after`` that of the choice, a gap with its sign. ``value``,
        ``low`` and ``high`` compare them: the change of the balanced accuracy; the *size* of the
        gap less ``share`` times its size before. The other columns are those of
        :func:`helpers.fairness.compare_gaps`, missing for the accuracy.

    Raises
    ------
    ValueError
        If ``against`` is not among the choices, or as :func:`helpers.fairness.compare_gaps` does.

    Examples
    --------
    >>> sex = pd.Series(["F", "F", "M", "M"] * 20)
    >>> decided = {"floor": [0, 0, 1, 0] * 20, "fair": [1, 0, 1, 0] * 20}
    >>> found = compare_choices(
    ...     [1, 0, 1, 0] * 20, decided, "floor", sex, range(80), between=("F", "M"), n=50
    ... )
    >>> found.loc[("fair", "true_positive_rate_gap"), ["after", "value"]].tolist()
    [0.0, -1.0]
    """
    if against not in decided:
        raise ValueError(f"Expected one of the choices {list(decided)}. Received {against!r}.")
    how = {"n": n, "seed": seed, "level": level}
    labels, floor = labels_of(labels), np.ravel(decided[against])
    rows = {}
    for choice, decisions in decided.items():
        key = choice if isinstance(choice, tuple) else (choice,)
        change = bootstrap_difference(balanced_accuracy, labels, decisions, floor, patients, **how)
        rows[*key, "balanced_accuracy"] = {
            "before": balanced_accuracy(labels, floor),
            "after": balanced_accuracy(labels, decisions),
            **change._asdict(),
        }
        for rate in rates:
            rows[*key, f"{rate}_gap"] = compare_gaps(
                labels, floor, decisions, groups, patients, between=between, rate=rate, share=share,
                **how,
            ).to_dict()  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index")
    table.index = pd.MultiIndex.from_tuples(rows)
    return table


def describe_gap(row: pd.Series, rate: str, groups: tuple[str, str]) -> str:
    """Describe in sentences how a gap between two groups changed.

    Parameters
    ----------
    row : pandas.Series
        A row of a gap, as :func:`compare_choices` returns it.
    rate : str
        Name of the rate in the sentences, such as ``"TPR"``.
    groups : tuple of str
        Names of the two groups in the sentences.

    Returns
    -------
    str
        Three lines: the gap before and after, with its sign, and whether that was levelling down;
        the change of its size with its interval; and the change of each group's rate.

    Examples
    --------
    >>> sex = pd.Series(["F", "F", "M", "M"] * 20)
    >>> decided = {"floor": [0, 0, 1, 0] * 20, "fair": [1, 0, 1, 0] * 20}
    >>> found = compare_choices(
    ...     [1, 0, 1, 0] * 20, decided, "floor", sex, range(80), between=("F", "M"), n=50
    ... )
    >>> row = found.loc[("fair", "true_positive_rate_gap")]
    >>> print(describe_gap(row, "TPR", ("women", "men")))
    gap of TPR -1.000 → +0.000.
      Its size: -1.000 [-1.000, -1.000], smaller.
      TPR of women +1.000, of men +0.000.
    """
    change = describe_change(*row[["value", "low", "high"]], below="smaller", above="LARGER")
    first, second = groups
    return (
        f"gap of {rate} {row['before']:+.3f} → {row['after']:+.3f}"
        f"{', sign reversed' if row['reversed'] else ''}"
        f"{', levelling down' if row['levelled_down'] else ''}.\n"
        f"  Its size: {change}.\n"
        f"  {rate} of {first} {row['first_change']:+.3f}, of {second} {row['second_change']:+.3f}."
    )

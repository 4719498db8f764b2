"""Intervals: how much a score varies with other patients, and with other seeds.

Films of one patient resemble each other, so patients are resampled with all their films (a cluster
bootstrap; Field & Welsh 2007 [1]_). Intervals are percentiles of the resampled values.

.. [1] C. A. Field and A. H. Welsh, "Bootstrapping clustered data", Journal of the Royal
   Statistical Society B 69, 2007.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from helpers.data.arguments import check_integer
from helpers.data.patients import number_names
from helpers.evaluation.metrics import Labels, check_finite, check_length, labels_of, split_seeds


class Interval(NamedTuple):
    """A value and the limits of its interval; limits are NaN if they could not be computed."""

    value: float
    low: float
    high: float


def side_of(interval: Interval, bar: float = 0.0) -> str:
    """Return on which side of a number an interval lies, for a computed sentence.

    Parameters
    ----------
    interval : Interval
        A value with its limits.
    bar : float, default=0.0
        The number: 0 for a difference, the agreed value for a rate.

    Returns
    -------
    {"above", "below", "undecided"}
        "undecided" if the number lies within the limits, or a limit is NaN.

    Examples
    --------
    >>> side_of(Interval(0.1, 0.02, 0.2)), side_of(Interval(0.1, -0.02, 0.2))
    ('above', 'undecided')
    """
    if interval.low > bar:
        return "above"
    return "below" if interval.high < bar else "undecided"


def describe_sides(intervals: pd.DataFrame, bar: float = 0.0) -> str:
    """Count the intervals on each side of a number, for a sentence.

    Parameters
    ----------
    intervals : pandas.DataFrame
        Columns ``value``, ``low`` and ``high``, such as one row for each hospital.
    bar : float, default=0.0
        As in :func:`side_of`.

    Returns
    -------
    str
        How many lie above, how many below, and how many are undecided.

    Examples
    --------
    >>> gains = pd.DataFrame({"value": [0.1, 0.1], "low": [0.02, -0.02], "high": [0.2, 0.2]})
    >>> describe_sides(gains)
    'above 1, below 0, undecided 1'
    """
    rows = intervals[["value", "low", "high"]].itertuples(index=False)
    sides = [side_of(Interval(*row), bar) for row in rows]
    return ", ".join(f"{side} {sides.count(side)}" for side in ("above", "below", "undecided"))


def describe_change(value: float, low: float, high: float, *, below: str, above: str) -> str:
    """Put a change, its interval and the verdict into words.

    Parameters
    ----------
    value, low, high : float
        The change and its limits, such as ``*interval`` gives them.
    below, above : str
        The verdict if the interval lies below 0, or above 0.

    Returns
    -------
    str
        The numbers with their signs and the verdict, ``"undecided"`` if the interval contains 0.

    Examples
    --------
    >>> describe_change(0.1, 0.02, 0.2, below="worse", above="better")
    '+0.100 [+0.020, +0.200], better'
    """
    words = {"below": below, "above": above, "undecided": "undecided"}
    verdict = words[side_of(Interval(value, low, high))]
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}], {verdict}"


def resample_patients(
    patients: ArrayLike, *, n: int = 1000, seed: int = 0, strata: ArrayLike | None = None
) -> Iterator[np.ndarray]:
    """Draw as many patients as there are, with replacement, repeatedly.

    Parameters
    ----------
    patients : array, shape (n_films,)
        Patient of each film, numbers or names. A film without one is a patient of its own.
    n : int, default=1000
        Number of resamples.
    seed : int, default=0
        Seed of the draws; the same seed and patients always give the same resamples.
    strata : array, shape (n_films,), optional
        Such as the hospital of each film: the number of patients in each is kept. A patient with
        films in two strata counts as two.

    Yields
    ------
    numpy.ndarray of int64
        Indices of the drawn films: all films of a patient as often as the patient is drawn.

    Raises
    ------
    ValueError
        If there is no film, ``n`` is not positive, the seed is negative, or the lengths differ.
    """
    check_integer("n", n, 1)
    check_integer("seed", seed, 0)
    numbers = number_names(np.ravel(np.asarray(patients, dtype=object)))
    if len(numbers) == 0:
        raise ValueError("Expected at least one film to resample. Received none.")
    parts = [np.arange(len(numbers))]
    if strata is not None:
        strata = np.ravel(np.asarray(strata, dtype=object))
        check_length(strata, "stratum", numbers, "patients")
        parts = [np.flatnonzero(strata == name) for name in dict.fromkeys(strata)]
    # For each stratum its films, and the number of the patient of each film, from 0.
    numbers = [np.unique(numbers[films], return_inverse=True)[1] for films in parts]
    rng = np.random.default_rng(seed)
    for _ in range(n):
        drawn = []
        for films, patient in zip(parts, numbers, strict=True):
            size = patient.max() + 1
            times = np.bincount(rng.integers(size, size=size), minlength=size)
            drawn.append(np.repeat(films, times[patient]))
        yield np.concatenate(drawn)


def interval_of(value: float, draws: ArrayLike, *, level: float = 0.95) -> Interval:
    """Make an interval from the values of resamples.

    Parameters
    ----------
    value : float
        The value on the films as they are.
    draws : array, shape (n,)
        Values of the resamples. Those that are NaN (a resample with one class only, say) do not
        count.
    level : float in (0, 1), default=0.95
        Share of the resamples between the limits.

    Returns
    -------
    Interval
        ``value``, ``low``, ``high``; the limits are NaN if fewer than half of the draws count.

    Raises
    ------
    ValueError
        If ``level`` is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"Expected level between 0 and 1. Received {level}. Give a share, not %.")
    draws = np.asarray(draws, dtype=float)
    known = draws[~np.isnan(draws)]
    if 2 * len(known) < len(draws) or not len(known):
        return Interval(float(value), float("nan"), float("nan"))
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high))


def seed_interval(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Return the mean over seeds with the interval of Student's t.

    Parameters
    ----------
    values : array of float, shape (n_seeds,)
        One value for each seed.
    level : float in (0, 1), default=0.95
        The probability.

    Returns
    -------
    Interval
        The mean and its limits, which are NaN for a single seed.
    """
    values = check_finite(values, "value")
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, np.nan, np.nan)
    half = float(stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def bootstrap_patients(
    metric: Callable[..., float],
    labels: Labels,
    scores: ArrayLike,
    patients: ArrayLike,
    *,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Measure a score with its interval over patients, and over seeds if there are several.

    Parameters
    ----------
    metric : callable
        ``metric(labels, scores)`` returns a float: :func:`helpers.evaluation.auc`,
        :func:`helpers.evaluation.balanced_accuracy`, a function of scikit-learn …
    labels : array, shape (n_films,); (n_films, k) for k findings
        0 or 1; of several findings NaN where not known, for the metrics of this package.
    scores : array, shape (n_films,), (n_films, 1) or (n_seeds, n_films); k findings are a last axis
        Scores of one model, or of one model trained with several seeds: then the metric is
        averaged over seeds, and every resample draws seeds as well. A few seeds represent all
        seeds poorly: with three, the interval is somewhat too narrow.
    patients : array, shape (n_films,)
        Patient of each film.
    n : int, default=1000
        Number of resamples.
    seed : int, default=0
        Seed of the resamples.
    level : float in (0, 1), default=0.95
        Share of the resamples between the limits.

    Returns
    -------
    Interval
        ``value``, ``low`` and ``high``.

    Raises
    ------
    ValueError
        If the lengths differ, or a score is not finite.

    Examples
    --------
    >>> from helpers.evaluation import auc
    >>> labels, patients = [0, 0, 1, 1] * 20, list(range(80))
    >>> scores = [0.1, 0.6, 0.4, 0.9] * 20
    >>> interval = bootstrap_patients(auc, labels, scores, patients, n=200)
    >>> interval.value, interval.low < 0.75 < interval.high
    (0.75, True)
    """
    labels, (scores,), patients = _align(labels, {"scores": scores}, patients)
    value = np.mean([metric(labels, row) for row in scores])
    draws = _draw(metric, labels, [scores], patients, n, seed)
    return interval_of(value, draws, level=level)


def bootstrap_mean(
    values: ArrayLike, patients: ArrayLike, *, n: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Average a number that every film has, with its interval over patients.

    Parameters
    ----------
    values : array of float, shape (n_films,)
        One number for each film. Films where it is NaN do not count.
    patients : array, shape (n_films,)
        Patient of each film.
    n, seed, level
        As for :func:`bootstrap_patients`.

    Returns
    -------
    Interval
        ``value``, ``low`` and ``high``; all NaN if no film counts.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> interval = bootstrap_mean([0.0, 1.0, 1.0, np.nan] * 20, range(80), n=200)
    >>> round(interval.value, 3), interval.low < interval.value < interval.high
    (0.667, True)
    """
    values = np.ravel(np.asarray(values, dtype=float))
    patients = np.ravel(np.asarray(patients, dtype=object))
    check_length(patients, "patient", values, "values")
    known = ~np.isnan(values)
    if not known.any():
        return Interval(np.nan, np.nan, np.nan)
    values, patients = values[known], patients[known]
    draws = [values[films].mean() for films in resample_patients(patients, n=n, seed=seed)]
    return interval_of(values.mean(), draws, level=level)


def bootstrap_difference(
    metric: Callable[..., float],
    labels: Labels,
    scores: ArrayLike,
    baseline: ArrayLike,
    patients: ArrayLike,
    *,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Measure by how much one model beats another on the same films, with its interval.

    Every resample judges both models on the same patients (and draws the same seeds for both), so
    that a patient's difficulty cancels out.

    Parameters
    ----------
    metric : callable
        As for :func:`bootstrap_patients`.
    labels : array, shape (n_films,); (n_films, k) for k findings
        As for :func:`bootstrap_patients`.
    scores, baseline : array, shape as for :func:`bootstrap_patients`
        Scores of both models; the same shape. Row for row they belong to the same seed.
    patients : array, shape (n_films,)
        Patient of each film.
    n, seed, level
        As for :func:`bootstrap_patients`.

    Returns
    -------
    Interval
        Metric of ``scores`` minus metric of ``baseline``; an interval that contains 0 leaves
        open which is better.

    Raises
    ------
    ValueError
        If the lengths or the numbers of seeds differ, or a score is not finite.
    """
    models = {"scores": scores, "baseline": baseline}
    labels, models, patients = _align(labels, models, patients)
    ours, theirs = ([metric(labels, row) for row in model] for model in models)
    draws = _draw(metric, labels, models, patients, n, seed)
    return interval_of(np.mean(ours) - np.mean(theirs), draws, level=level)


def compare_at_hospitals(
    metric: Callable[..., float],
    scored: Mapping[str, pd.DataFrame],
    against: str,
    *,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Measure several models at every hospital, and what each gains over one of them.

    Parameters
    ----------
    metric : callable
        As for :func:`bootstrap_patients`.
    scored : dict of str to pandas.DataFrame
        Model and its test films: ``hospital``, ``patient``, ``label`` and ``score``, such as
        :func:`helpers.results.score_films` returns them. At each hospital the films are the same,
        in the same order.
    against : str
        The model that the others are compared with, on the same resampled patients.
    n, seed, level
        As for :func:`bootstrap_patients`.

    Returns
    -------
    pandas.DataFrame
        ``arm``, ``hospital``, ``metric`` (``"score"`` or ``"gain"``), ``value``, ``low`` and
        ``high``.

    Raises
    ------
    ValueError
        If the films of two models are not the same, or a score is not finite.
    """
    rows = []
    for arm, table in scored.items():
        for hospital, own in table.groupby("hospital", sort=False):
            floor = scored[against]
            floor = floor[floor["hospital"] == hospital]
            same = ["patient", "label"]
            if own[same].to_numpy(dtype=object).tolist() != floor[same].to_numpy(object).tolist():
                raise ValueError(
                    f"Expected the same films of {hospital} for {arm!r} and {against!r}. Received "
                    f"{len(own):,} and {len(floor):,}, or others. Score both on the same samples."
                )
            about = (own["label"], own["score"])
            how = {"n": n, "seed": seed, "level": level}
            found = {
                "score": bootstrap_patients(metric, *about, own["patient"], **how),
                "gain": bootstrap_difference(metric, *about, floor["score"], own["patient"], **how),
            }
            rows += [
                {"arm": arm, "hospital": hospital, "metric": name, **interval._asdict()}
                for name, interval in found.items()
            ]
    return pd.DataFrame(rows)


def bootstrap_fit(
    measure: Callable[[np.ndarray, np.ndarray], Mapping[Hashable, float]],
    fitted_on: ArrayLike,
    judged_on: ArrayLike,
    *,
    fitted_strata: ArrayLike | None = None,
    judged_strata: ArrayLike | None = None,
    n: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> dict[Hashable, Interval]:
    """Measure a quantity that is fitted on some patients and judged on others, with intervals.

    Every resample draws the patients of the fit and those of the test, and fits again (Efron &
    Tibshirani 1993 [1]_, Chapter 17, for prediction rules). An interval that resamples only the
    test patients treats the fit as fixed, and is too narrow.

    Parameters
    ----------
    measure : callable
        ``measure(fit_films, test_films)`` gets two arrays of indices of films, fits on the first,
        judges on the second, and returns names and numbers. What it measures in one call is
        paired: a difference of two methods is one of its numbers.
    fitted_on, judged_on : array, shape (n_fit_films,), (n_test_films,)
        Patient of each film.
    fitted_strata, judged_strata : array, optional
        As in :func:`resample_patients`: the hospital of each film.
    n : int, default=500
        Number of resamples.
    seed : int, default=0
        Seed of the resamples.
    level : float in (0, 1), default=0.95
        Share of the resamples between the limits.

    Returns
    -------
    dict
        The names of ``measure``, each with its :class:`Interval`. A resample that cannot be
        fitted (``measure`` raises ValueError) does not count.

    Notes
    -----
    A resample holds fewer different patients than there are, so that its fit is somewhat worse:
    with few patients the intervals reach too far towards a bad fit.

    References
    ----------
    .. [1] B. Efron and R. J. Tibshirani, "An introduction to the bootstrap", Chapman & Hall 1993.

    Examples
    --------
    >>> heights = np.array([1.0, 2.0, 3.0, 4.0])
    >>> def error_of_mean(fit, test):
    ...     return {"error": heights[test].mean() - heights[fit].mean()}
    >>> found = bootstrap_fit(error_of_mean, range(4), range(4))["error"]
    >>> found.value, found.low < 0 < found.high
    (0.0, True)
    """
    films = [np.arange(len(np.ravel(np.asarray(p, dtype=object)))) for p in (fitted_on, judged_on)]
    values = measure(*films)
    draws = {name: np.full(n, np.nan) for name in values}
    resamples = zip(
        resample_patients(fitted_on, n=n, seed=seed, strata=fitted_strata),
        resample_patients(judged_on, n=n, seed=seed + 1, strata=judged_strata),
        strict=True,
    )
    for number, (fit_films, test_films) in enumerate(resamples):
        try:
            drawn = measure(fit_films, test_films)
        except ValueError:
            continue  # for example, the drawn films of a hospital are all of one class
        for name in draws:
            draws[name][number] = drawn[name]
    return {name: interval_of(values[name], draws[name], level=level) for name in values}


def _draw(metric, labels, models, patients, n, seed):
    """Return the metric of each resample: of one model, or the first minus the second."""
    n_seeds = len(models[0])
    seeds = np.random.default_rng([seed, 1]).integers(n_seeds, size=(n, n_seeds))
    draws = np.empty(n)
    for number, films in enumerate(resample_patients(patients, n=n, seed=seed)):
        rows, counts = np.unique(seeds[number], return_counts=True)
        drawn = labels[films]
        values = [[metric(drawn, model[row, films]) for row in rows] for model in models]
        means = [np.average(value, weights=counts) for value in values]
        draws[number] = means[0] - means[1] if len(means) == 2 else means[0]
    return draws


def _align(labels, models, patients):
    """Return labels and patients, and the models' scores, with an axis for the seeds."""
    labels = labels_of(labels, several=True)
    patients = np.ravel(np.asarray(patients, dtype=object))
    check_length(patients, "patient", labels, "labels")
    models = [split_seeds(scores, labels, name) for name, scores in models.items()]
    shapes = [model.shape for model in models]
    if any(shape != shapes[0] or shape[1:] != labels.shape for shape in shapes):
        raise ValueError(
            f"Expected scores of shape ({len(labels)},), or (n_seeds, {len(labels)}), the same "
            f"for both models. Received {shapes}. Take all from the same films and seeds."
        )
    return labels, models, patients

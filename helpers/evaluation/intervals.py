"""Intervals: how far a score would move with other patients, and with other seeds.

Films of one patient resemble each other, so that patients are drawn, with all their films
(a cluster bootstrap; Field & Welsh 2007 [1]_). Intervals are percentiles of the drawn values.

.. [1] C. A. Field and A. H. Welsh, "Bootstrapping clustered data", Journal of the Royal
   Statistical Society B 69, 2007.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from helpers.data.arguments import check_integer
from helpers.data.patients import number_names
from helpers.evaluation.metrics import Labels, check_finite, check_length, labels_of


class Interval(NamedTuple):
    """A value and the limits of its interval; limits are NaN where they could not be drawn."""

    value: float
    low: float
    high: float


def resample_patients(patients: ArrayLike, *, n: int = 1000, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw as many patients as there are, with replacement, again and again.

    Parameters
    ----------
    patients : array, shape (n_films,)
        Patient of each film, numbers or names. A film without one is a patient of its own.
    n : int, default=1000
        Number of resamples.
    seed : int, default=0
        Seed of the draws; the same seed and patients always give the same resamples.

    Yields
    ------
    numpy.ndarray of int64
        Which films are drawn: all films of a patient as often as the patient is.

    Raises
    ------
    ValueError
        If there is no film, ``n`` is not positive, or the seed is negative.
    """
    check_integer("n", n, 1)
    check_integer("seed", seed, 0)
    numbers = number_names(np.ravel(np.asarray(patients, dtype=object)))
    if len(numbers) == 0:
        raise ValueError("Expected at least one film to resample. Received none.")
    n_patients = numbers.max() + 1
    films = np.arange(len(numbers))
    rng = np.random.default_rng(seed)
    for _ in range(n):
        drawn = np.bincount(rng.integers(n_patients, size=n_patients), minlength=n_patients)
        yield np.repeat(films, drawn[numbers])


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
    labels : array, shape (n_films,)
        0 or 1.
    scores : array, shape (n_films,), (n_films, 1) or (n_seeds, n_films)
        Scores of one model, or of one model trained with several seeds: then the metric is
        averaged over seeds, and every resample draws seeds as well. A few seeds say little about
        all seeds: with three, the interval is somewhat too narrow.
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

    Every resample judges both models on the same patients (and takes the same seeds of both), so
    that what makes a patient hard for both cancels out.

    Parameters
    ----------
    metric : callable
        As for :func:`bootstrap_patients`.
    labels : array, shape (n_films,)
        0 or 1.
    scores, baseline : array, shape (n_films,), (n_films, 1) or (n_seeds, n_films)
        Scores of both models; the same shape. Row for row they belong to the same seed.
    patients : array, shape (n_films,)
        Patient of each film.
    n, seed, level
        As for :func:`bootstrap_patients`.

    Returns
    -------
    Interval
        Metric of ``scores`` minus metric of ``baseline``; an interval that holds 0 leaves open
        which is better.

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


def _draw(metric, labels, models, patients, n, seed):
    """Return the metric of each resample: of the one model, or of the first minus the second."""
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
    """Return flat labels and patients, and the models' scores of shape (n_seeds, n_films)."""
    labels = labels_of(labels)
    patients = np.ravel(np.asarray(patients, dtype=object))
    check_length(patients, "patient", labels, "labels")
    models = [check_finite(scores, name) for name, scores in models.items()]
    models = [model.reshape(1, -1) if 1 in model.shape[1:] else model for model in models]
    models = [np.atleast_2d(model) for model in models]
    shapes = [model.shape for model in models]
    if any(shape != shapes[0] or shape[1:] != labels.shape for shape in shapes):
        raise ValueError(
            f"Expected scores of shape ({len(labels)},), or (n_seeds, {len(labels)}), the same "
            f"for both models. Received {shapes}. Take all from the same films and seeds."
        )
    return labels, models, patients

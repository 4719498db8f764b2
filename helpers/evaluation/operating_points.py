"""Operating points: thresholds on a score, and their sensitivity and specificity.

A film is called positive when its score is *at least* the threshold. Thresholds are chosen on
validation films and judged on test films; judged on the films used to choose it, a threshold looks
too good.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from sklearn.metrics import roc_curve

from helpers.evaluation.metrics import (
    Labels,
    align_scores,
    check_both_classes,
    check_finite,
    share_of,
)


class Rates(NamedTuple):
    """Sensitivity and specificity in [0, 1]; NaN if no film has the label."""

    sensitivity: float
    specificity: float


def choose_threshold(
    labels: Labels,
    scores: ArrayLike,
    *,
    specificity: float | None = None,
    sensitivity: float | None = None,
) -> np.float64:
    """Choose a threshold: for the best balanced accuracy, or for a required rate.

    Thresholds lie midway between neighboring scores. With ``specificity`` the lowest that reaches
    this specificity is chosen, which is the most sensitive; with ``sensitivity`` the highest that
    reaches this sensitivity. Without either, sensitivity plus specificity is maximized (Youden's
    index); of several such thresholds the highest is chosen.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    scores : array, shape (n,) or (n, 1)
        Logits or probabilities: higher means more likely positive.
    specificity, sensitivity : float in [0, 1], optional
        The least rate on these films; give at most one of them.

    Returns
    -------
    numpy.float64
        Call ``scores >= threshold`` positive, as :func:`decide` does. It is infinite if the
        rate is reached only by calling every film positive, or none.

    Raises
    ------
    ValueError
        If both rates are given, one lies outside [0, 1], the films are all of one class, or a
        score is not finite.

    Examples
    --------
    >>> float(choose_threshold([0, 0, 1, 1], [0.1, 0.4, 0.6, 0.9]))
    0.5
    >>> float(choose_threshold([0, 1, 0, 1], [0.1, 0.4, 0.6, 0.9], specificity=1))
    0.75
    """
    if specificity is not None and sensitivity is not None:
        raise ValueError(
            f"Expected specificity or sensitivity. Received both: {specificity}, {sensitivity}. "
            "A threshold can hold one of them; leave the other out."
        )
    for name, rate in (("specificity", specificity), ("sensitivity", sensitivity)):
        if rate is not None and not 0 <= rate <= 1:
            raise ValueError(f"Expected {name} in [0, 1]. Received {rate}. Give a share, not %.")
    labels, scores = align_scores(labels, scores)
    check_both_classes(labels, "choose a threshold")
    false_alarms, found, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    if specificity is not None:
        place = np.flatnonzero(1 - false_alarms >= specificity - 1e-12)[-1]
    elif sensitivity is not None:
        place = np.flatnonzero(found >= sensitivity - 1e-12)[0]
    else:
        place = np.argmax(np.round(found - false_alarms, 12))
    if place == 0:
        return np.float64(np.inf)
    if place == len(thresholds) - 1:
        return np.float64(-np.inf)
    above, below = thresholds[place], thresholds[place + 1]
    middle = below + (above - below) / 2
    return np.float64(middle if middle > below else above)


def decide(scores: ArrayLike, threshold: ArrayLike) -> np.ndarray:
    """Call those films positive whose score is at least the threshold.

    Parameters
    ----------
    scores : array, shape (n,) or (n, 1)
        Logits or probabilities.
    threshold : float or array of shape (n,)
        One for all films, or one for each.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        0 or 1.

    Raises
    ------
    ValueError
        If a score is not finite.
    """
    # In float64: float32 scores would round the threshold to one of them.
    return (check_finite(np.ravel(scores)) >= threshold).astype(np.int64)


def rates_at_threshold(labels: Labels, scores: ArrayLike, threshold: ArrayLike) -> Rates:
    """Measure sensitivity and specificity of a threshold that was chosen elsewhere.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    scores : array, shape (n,) or (n, 1)
        Logits or probabilities.
    threshold : float or array of shape (n,)
        As for :func:`decide`.

    Returns
    -------
    Rates
        ``sensitivity`` and ``specificity`` in [0, 1]; NaN where no film has the label.

    Raises
    ------
    ValueError
        If the lengths differ, or a score is not finite.
    """
    labels, scores = align_scores(labels, scores)
    called = decide(scores, threshold)
    return Rates(*(share_of(called[labels == label] == label) for label in (1, 0)))


def sensitivity_at_specificity(
    labels: Labels, scores: ArrayLike, *, specificity: float = 0.9
) -> float:
    """Measure the sensitivity at a given specificity on these films.

    The threshold is chosen on the same films, so that models with scores on different scales can be
    compared. For a threshold from validation films use :func:`rates_at_threshold`.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    scores : array, shape (n,) or (n, 1)
        Logits or probabilities.
    specificity : float in [0, 1], default=0.9
        The least specificity.

    Returns
    -------
    float
        In [0, 1]; NaN when the films are all of one class.

    Raises
    ------
    ValueError
        If ``specificity`` lies outside [0, 1], the lengths differ, or a score is not finite.
    """
    labels, scores = align_scores(labels, scores)
    if len(np.unique(labels)) < 2:
        return float("nan")
    threshold = choose_threshold(labels, scores, specificity=specificity)
    return rates_at_threshold(labels, scores, threshold).sensitivity

"""Metrics with SubstraFL's signature: what the opener returned, what the model predicted.

They equal scikit-learn's up to rounding, in a few lines of NumPy: an interval needs a metric
thousands of times, and scikit-learn takes longer to check its inputs than to compute.
"""

from collections.abc import Mapping, Sized
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

# Labels 0 and 1, or what the opener returned.
Labels = ArrayLike | Mapping[str, Any]


def auc(data_from_opener: Labels, predictions: ArrayLike) -> float:
    """Area under the ROC curve.

    The probability that a film with the finding gets a higher score than one without. It needs no
    threshold and is the same for logits and probabilities; 0.5 is chance.

    Parameters
    ----------
    data_from_opener : dict or array
        What the opener returned; ``labels`` is int64, shape (n,), 0 or 1. Or the labels alone.
    predictions : array, shape (n, 1) or (n,)
        One score for each film.

    Returns
    -------
    float
        In [0, 1]; NaN when the films are all of one class, for which it is not defined.

    Raises
    ------
    ValueError
        If a score is not finite.
    """
    labels, scores = align_scores(data_from_opener, predictions, "predictions")
    positive = labels == 1
    n_pairs = positive.sum() * (~positive).sum()
    if n_pairs == 0:
        return float("nan")
    # Pairs in the right order, ties counted half: the statistic of Mann and Whitney.
    with_finding, without = scores[positive], np.sort(scores[~positive])
    below = np.searchsorted(without, with_finding, side="left").sum()
    not_above = np.searchsorted(without, with_finding, side="right").sum()
    return float((below + not_above) / 2 / n_pairs)


def balanced_accuracy(data_from_opener: Labels, predictions: ArrayLike) -> float:
    """Mean of sensitivity and specificity of a model of logits, at probability one half.

    Parameters
    ----------
    data_from_opener : dict or array
        What the opener returned; ``labels`` is int64, shape (n,), 0 or 1. Or the labels alone.
    predictions : array, shape (n, 1) or (n,)
        One *logit* for each film; positive means more likely than not.

    Returns
    -------
    float
        In [0, 1]; 0.5 is chance, and the score of a model with the same answer for every film.
        NaN when the films are all of one class.

    Raises
    ------
    ValueError
        If a score is not finite.
    """
    labels, scores = align_scores(data_from_opener, predictions, "predictions")
    positive, called = labels == 1, scores > 0
    return (share_of(called[positive]) + share_of(~called[~positive])) / 2


def brier_score(data_from_opener: Labels, probabilities: ArrayLike) -> float:
    r"""Mean squared error of the probabilities, :math:`\frac{1}{n} \sum_i (p_i - y_i)^2`.

    A proper score (Brier 1950): it is smallest, on average, for the true probabilities, and
    rewards both calibration and discrimination.

    Parameters
    ----------
    data_from_opener : dict or array
        Labels 0 or 1, shape (n,); or what the opener returned.
    probabilities : array, shape (n, 1) or (n,)
        In [0, 1].

    Returns
    -------
    float
        In [0, 1], smaller is better; NaN without films.

    Raises
    ------
    ValueError
        If a probability is not finite, or the lengths differ.
    """
    labels, p = align_scores(data_from_opener, probabilities, "probabilities")
    return float(np.mean((p - labels) ** 2)) if len(p) else float("nan")


def log_loss(data_from_opener: Labels, probabilities: ArrayLike) -> float:
    r"""Cross entropy, :math:`-\frac{1}{n} \sum_i y_i \log p_i + (1 - y_i) \log(1 - p_i)`.

    A proper score, too; wrong certainty costs more than in :func:`brier_score`.

    Parameters
    ----------
    data_from_opener : dict or array
        Labels 0 or 1, shape (n,); or what the opener returned.
    probabilities : array, shape (n, 1) or (n,)
        In [0, 1]; 0 and 1 are moved by the smallest float64 step, as scikit-learn does.

    Returns
    -------
    float
        At least 0, smaller is better; NaN without films.

    Raises
    ------
    ValueError
        If a probability is not finite, or the lengths differ.
    """
    labels, p = align_scores(data_from_opener, probabilities, "probabilities")
    if not len(p):
        return float("nan")
    smallest = np.finfo(np.float64).eps
    p = np.clip(p, smallest, 1 - smallest)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))


def share_of(flags: np.ndarray) -> float:
    """Return the share of true values; NaN without films."""
    return float(flags.mean()) if len(flags) else float("nan")


def labels_of(data_from_opener: Labels) -> np.ndarray:
    """Get the labels from what the opener returned.

    Parameters
    ----------
    data_from_opener : dict or array
        What the opener returned, or labels 0 and 1 of shape (n,).

    Returns
    -------
    numpy.ndarray, shape (n,)
        The labels.
    """
    is_data = isinstance(data_from_opener, Mapping)
    return np.ravel(data_from_opener["labels"] if is_data else data_from_opener)


def check_finite(scores: ArrayLike, name: str = "scores") -> np.ndarray:
    """Convert scores to float64; refuse NaN and infinity.

    Metrics and thresholds are meaningless with them: a NaN is neither above nor below a threshold,
    so that its film would silently be called negative.

    Parameters
    ----------
    scores : array
        Logits, probabilities or decisions, of any shape.
    name : str, default="scores"
        Their name in the error.

    Returns
    -------
    numpy.ndarray of float64
        The same scores in the same shape.

    Raises
    ------
    ValueError
        If some are not finite; the message says how many, and which is the first.

    Examples
    --------
    >>> check_finite([[1], [0]]).tolist()
    [[1.0], [0.0]]
    """
    scores = np.asarray(scores, dtype=np.float64)
    wrong = ~np.isfinite(scores)
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0])
        raise ValueError(
            f"Expected {name} that are finite. Received {wrong.sum():,} of {scores.size:,} that "
            f"are not; the first, {name}[{', '.join(map(str, first))}], is {scores[first]}. "
            "A training that diverged gives such values: lower its learning rate, or clip its "
            "gradients."
        )
    return scores


def align_scores(
    labels: Labels, scores: ArrayLike, name: str = "scores"
) -> tuple[np.ndarray, np.ndarray]:
    """Convert labels and scores of the same films to arrays of one length.

    Parameters
    ----------
    labels : array or dict
        As for :func:`labels_of`.
    scores : array, shape (n,) or (n, 1)
        Logits or probabilities.
    name : str, default="scores"
        Their name in errors.

    Returns
    -------
    labels : numpy.ndarray, shape (n,)
        The labels.
    scores : numpy.ndarray of float64, shape (n,)
        The scores.

    Raises
    ------
    ValueError
        If their numbers differ, or a score is not finite.
    """
    labels, scores = labels_of(labels), check_finite(np.ravel(scores), name)
    check_length(scores, "score", labels, "labels")
    return labels, scores


def check_length(values: Sized, name: str, films: Sized, of: str) -> None:
    """Refuse values whose number differs from that of the films' labels or scores."""
    if len(values) != len(films):
        raise ValueError(
            f"Expected a {name} for each of {len(films):,} {of}. Received {len(values):,}. "
            "Take both from the same films."
        )


def check_both_classes(labels: np.ndarray, purpose: str) -> None:
    """Refuse labels that are all the same; the error names the purpose."""
    found = np.unique(labels).tolist()
    if len(found) < 2:
        raise ValueError(
            f"Expected films of both classes to {purpose}. Received {len(labels):,} films with "
            f"the labels {found}. Use more films."
        )

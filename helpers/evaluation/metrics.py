"""Metrics with SubstraFL's signature: what the opener returned, what the model predicted.

They are scikit-learn's, to the last digit but one, in a few lines of NumPy: an interval asks for
a metric thousands of times, and scikit-learn takes longer to check its inputs than to compute.
"""

from collections.abc import Mapping

import numpy as np


def auc(data_from_opener, predictions):
    """Area under the ROC curve.

    The probability that the model scores a film with the finding above one without. It needs
    no threshold and is the same for logits and probabilities; 0.5 is chance.

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
        If a score is NaN.
    """
    positive, scores = _read(data_from_opener, predictions)
    n_pairs = positive.sum() * (~positive).sum()
    if n_pairs == 0:
        return float("nan")
    # Pairs in the right order, ties counted half: the statistic of Mann and Whitney.
    with_finding, without = scores[positive], np.sort(scores[~positive])
    below = np.searchsorted(without, with_finding, side="left").sum()
    not_above = np.searchsorted(without, with_finding, side="right").sum()
    return float((below + not_above) / 2 / n_pairs)


def balanced_accuracy(data_from_opener, predictions):
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
        In [0, 1]; 0.5 is chance, and what a model gets that gives every film the same answer.
        NaN when the films are all of one class.

    Raises
    ------
    ValueError
        If a score is NaN.
    """
    positive, scores = _read(data_from_opener, predictions)
    if positive.all() or not positive.any():
        return float("nan")
    decisions = scores > 0
    return float((decisions[positive].mean() + (~decisions[~positive]).mean()) / 2)


def labels_of(data_from_opener):
    """Take the labels out of what the opener returned.

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


def align_scores(labels, scores):
    """Take labels and scores that belong to the same films.

    Parameters
    ----------
    labels : array or dict
        As for :func:`labels_of`.
    scores : array, shape (n,) or (n, 1)
        Logits or probabilities.

    Returns
    -------
    labels : numpy.ndarray, shape (n,)
        The labels.
    scores : numpy.ndarray of float64, shape (n,)
        The scores.

    Raises
    ------
    ValueError
        If their numbers differ.
    """
    labels, scores = labels_of(labels), np.ravel(scores).astype(np.float64)
    if len(labels) != len(scores):
        raise ValueError(
            f"Expected one score for each of {len(labels):,} labels. Received {len(scores):,}. "
            "Take both from the same films."
        )
    return labels, scores


def _read(data_from_opener, predictions):
    """Return which films are positive, and their scores."""
    labels, scores = align_scores(data_from_opener, predictions)
    if np.isnan(scores).any():
        raise ValueError(
            f"Expected a score for every film. Received {np.isnan(scores).sum():,} that are NaN. "
            "Did the training diverge?"
        )
    return labels == 1, scores

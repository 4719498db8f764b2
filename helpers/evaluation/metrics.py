"""Metrics with SubstraFL's signature: what the opener returned, what the model predicted.

They are scikit-learn's, to the last digit but one, in a few lines of NumPy: an interval asks for
a metric thousands of times, and scikit-learn takes longer to check its inputs than to compute.
"""

from collections.abc import Mapping

import numpy as np
from scipy.stats import rankdata


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
    positive = labels_of(data_from_opener) == 1
    scores = np.ravel(predictions)
    _check_scores(positive, scores)
    n_pairs = positive.sum() * (~positive).sum()
    if n_pairs == 0:
        return float("nan")
    n_positive = positive.sum()
    # Pairs in the right order, ties counted half: the statistic of Mann and Whitney.
    right = rankdata(scores)[positive].sum() - n_positive * (n_positive + 1) / 2
    return float(right / n_pairs)


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
    positive = labels_of(data_from_opener) == 1
    scores = np.ravel(predictions)
    _check_scores(positive, scores)
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


def _check_scores(labels, scores):
    if labels.shape != scores.shape:
        raise ValueError(
            f"Expected one score for each of {len(labels):,} labels. Received {len(scores):,}. "
            "Take both from the same films."
        )
    if np.isnan(scores).any():
        raise ValueError(
            f"Expected a score for every film. Received {np.isnan(scores).sum():,} that are NaN. "
            "Did the training diverge?"
        )

"""Metrics with SubstraFL's signature: what the opener returned, what the model predicted."""

import numpy as np
from sklearn.metrics import balanced_accuracy_score, roc_auc_score


def auc(data_from_opener, predictions):
    """Area under the ROC curve.

    The probability that the model scores a film with the finding above one without. It needs
    no threshold and is the same for logits and probabilities; 0.5 is chance.

    Parameters
    ----------
    data_from_opener : dict
        What the opener returned; ``labels`` is int64, shape (n,), 0 or 1.
    predictions : array, shape (n, 1) or (n,)
        One score for each film.

    Returns
    -------
    float
        In [0, 1]; NaN when the films are all of one class, for which it is not defined.
    """
    labels = np.asarray(data_from_opener["labels"])
    if len(np.unique(labels)) < 2:
        return float("nan")
    return float(roc_auc_score(labels, np.ravel(predictions)))


def balanced_accuracy(data_from_opener, predictions):
    """Mean of sensitivity and specificity of a model of logits, at probability one half.

    Parameters
    ----------
    data_from_opener : dict
        What the opener returned; ``labels`` is int64, shape (n,), 0 or 1.
    predictions : array, shape (n, 1) or (n,)
        One *logit* for each film; positive means more likely than not.

    Returns
    -------
    float
        In [0, 1]; 0.5 is chance, and what a model gets that gives every film the same answer.
    """
    decisions = np.ravel(predictions) > 0
    return float(balanced_accuracy_score(data_from_opener["labels"], decisions))

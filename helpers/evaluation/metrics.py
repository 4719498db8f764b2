"""Metrics with SubstraFL's signature: what the opener returned, what the model predicted.

They equal scikit-learn's up to rounding, in a few lines of NumPy: an interval needs a metric
thousands of times, and scikit-learn takes longer to check its inputs than to compute.

For several findings, labels and predictions have the shape (n, k), and a label that is not known is
NaN. A metric is then computed for each finding, on the films where it is known, and averaged over
those findings for which it is defined.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Any

import numpy as np
import pandas as pd
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
        What the opener returned; ``labels`` is int64, shape (n,), 0 or 1, or of k findings float,
        shape (n, k), NaN where not known. Or the labels alone.
    predictions : array, shape (n, 1) or (n,); (n, k) for k findings
        One score for each film.

    Returns
    -------
    float
        In [0, 1]; NaN when the films are all of one class, for which it is not defined. The mean
        over the findings for which it is.

    Raises
    ------
    ValueError
        If a score is not finite, or the shapes do not agree.
    """
    return _average(_auc, data_from_opener, predictions, "predictions")


def _auc(labels, scores):
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
        What the opener returned; ``labels`` is int64, shape (n,), 0 or 1, or of k findings float,
        shape (n, k), NaN where not known. Or the labels alone.
    predictions : array, shape (n, 1) or (n,); (n, k) for k findings
        One *logit* for each film; positive means more likely than not.

    Returns
    -------
    float
        In [0, 1]; 0.5 is chance, and the score of a model with the same answer for every film.
        NaN when the films are all of one class. The mean over the findings for which it is defined.

    Raises
    ------
    ValueError
        If a score is not finite, or the shapes do not agree.
    """
    return _average(_balanced_accuracy, data_from_opener, predictions, "predictions")


def _balanced_accuracy(labels, scores):
    positive, called = labels == 1, scores > 0
    return (share_of(called[positive]) + share_of(~called[~positive])) / 2


def brier_score(data_from_opener: Labels, probabilities: ArrayLike) -> float:
    r"""Mean squared error of the probabilities, :math:`\frac{1}{n} \sum_i (p_i - y_i)^2`.

    A proper score (Brier 1950): it is smallest, on average, for the true probabilities, and
    rewards both calibration and discrimination.

    Parameters
    ----------
    data_from_opener : dict or array
        Labels 0 or 1, shape (n,), or of k findings (n, k), NaN where not known; or what the opener
        returned.
    probabilities : array, shape (n, 1) or (n,); (n, k) for k findings
        In [0, 1].

    Returns
    -------
    float
        In [0, 1], smaller is better; NaN without films. The mean over the findings.

    Raises
    ------
    ValueError
        If a probability is not finite, or the lengths differ.
    """
    return _average(_brier_score, data_from_opener, probabilities, "probabilities")


def _brier_score(labels, p):
    return float(np.mean((p - labels) ** 2)) if len(p) else float("nan")


def log_loss(data_from_opener: Labels, probabilities: ArrayLike) -> float:
    r"""Cross entropy, :math:`-\frac{1}{n} \sum_i y_i \log p_i + (1 - y_i) \log(1 - p_i)`.

    A proper score, too; wrong certainty costs more than in :func:`brier_score`.

    Parameters
    ----------
    data_from_opener : dict or array
        Labels 0 or 1, shape (n,), or of k findings (n, k), NaN where not known; or what the opener
        returned.
    probabilities : array, shape (n, 1) or (n,); (n, k) for k findings
        In [0, 1]; 0 and 1 are moved by the smallest float64 step, as scikit-learn does.

    Returns
    -------
    float
        At least 0, smaller is better; NaN without films. The mean over the findings.

    Raises
    ------
    ValueError
        If a probability is not finite, or the lengths differ.
    """
    return _average(_log_loss, data_from_opener, probabilities, "probabilities")


def _log_loss(labels, p):
    if not len(p):
        return float("nan")
    smallest = np.finfo(np.float64).eps
    p = np.clip(p, smallest, 1 - smallest)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))


def metrics_per_finding(
    metric: Callable[..., float], findings: Sequence[str]
) -> dict[str, Callable[..., float]]:
    """Make the functions that measure a metric of each finding, for SubstraFL's strategies.

    Parameters
    ----------
    metric : callable
        ``metric(labels, predictions)``, such as :func:`helpers.evaluation.auc`.
    findings : sequence of str
        Names of the findings, in the order of the model's outputs.

    Returns
    -------
    dict of str to callable
        For ``metric_functions``: the metric's name, for the mean over the findings; then, such as
        ``"auc of Effusion"``, that of each. SubstraFL wants ASCII, so that accents are left out.

    Raises
    ------
    ValueError
        If two findings have one name.

    Examples
    --------
    >>> metrics = metrics_per_finding(auc, ["Effusion", "Edema"])
    >>> labels, logits = [[0, 0], [1, np.nan], [1, 1]], [[-1, 2], [3, 0], [-2, 1]]
    >>> {name: metric(labels, logits) for name, metric in metrics.items()}
    {'auc': 0.25, 'auc of Effusion': 0.5, 'auc of Edema': 0.0}
    """
    names = [
        unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().replace("|", "/")
        for name in findings
    ]
    if len(set(names)) < len(names):
        raise ValueError(f"Expected a name of its own for each finding. Received {list(findings)}.")
    own = {
        f"{metric.__name__} of {name}": _measure_one(metric, place)
        for place, name in enumerate(names)
    }
    return {metric.__name__: metric} | (own if len(own) > 1 else {})


def _measure_one(metric, place):
    """Make the metric of one finding; SubstraFL asks for a function with these arguments."""

    def measure(data_from_opener: Labels, predictions: ArrayLike) -> float:
        labels = labels_of(data_from_opener, several=True)[:, place]
        known = ~pd.isna(labels)
        return metric(labels[known], np.asarray(predictions)[known, place])

    return measure


def _average(metric, data_from_opener, scores, name):
    """Average the metric of each finding, of its known labels, over those that have one."""
    labels = labels_of(data_from_opener, several=True)
    if labels.ndim < 2:
        return metric(*align_scores(labels, scores, name))
    scores = check_finite(scores, name)
    if scores.shape != labels.shape:
        raise ValueError(
            f"Expected {name} of shape {labels.shape}, one for each film and finding. Received "
            f"{scores.shape}. Build the model with n_outputs={labels.shape[1]}."
        )
    known = ~pd.isna(labels)
    values = [
        metric(labels[films, place], scores[films, place]) for place, films in enumerate(known.T)
    ]
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def share_of(flags: np.ndarray) -> float:
    """Return the share of true values; NaN without films."""
    return float(flags.mean()) if len(flags) else float("nan")


def labels_of(data_from_opener: Labels, *, several: bool = False) -> np.ndarray:
    """Get the labels from what the opener returned.

    Parameters
    ----------
    data_from_opener : dict or array
        What the opener returned, or labels 0 and 1 of shape (n,) or (n, 1); of several findings
        (n, k), NaN where not known.
    several : bool, default=False
        Whether labels of several findings are accepted.

    Returns
    -------
    numpy.ndarray, shape (n,) or (n, k)
        The labels.

    Raises
    ------
    ValueError
        If there are several findings where one is needed, or a label of one is not known.
    """
    is_data = isinstance(data_from_opener, Mapping)
    labels = np.asarray(data_from_opener["labels"] if is_data else data_from_opener)
    if several and labels.ndim == 2 and labels.shape[1] > 1:
        return labels
    if labels.ndim > 1 and labels.shape[1] > 1:
        raise ValueError(
            f"Expected the labels of one finding, of shape (n,). Received {labels.shape}. Choose "
            "one with choose_finding."
        )
    labels = labels.ravel()
    if pd.isna(labels).any():
        raise ValueError(
            f"Expected a label for each of {len(labels):,} films. Received "
            f"{pd.isna(labels).sum():,} that are not known. Leave these films out, as "
            "choose_finding does."
        )
    return labels


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


def split_seeds(scores: ArrayLike, labels: np.ndarray, name: str = "scores") -> np.ndarray:
    """Give the scores of one model an axis for the seeds, if they have none.

    Parameters
    ----------
    scores : array, shape (n,), (n, 1) or (n_seeds, n); (n, k) or (n_seeds, n, k) for k findings
        The scores.
    labels : numpy.ndarray, shape (n,) or (n, k)
        The labels.
    name : str, default="scores"
        Their name in the error.

    Returns
    -------
    numpy.ndarray of float64, shape (n_seeds, n) or (n_seeds, n, k)
        The scores.

    Raises
    ------
    ValueError
        If a score is not finite.
    """
    scores = check_finite(scores, name)
    if labels.ndim < 2 and 1 in scores.shape[1:]:
        return scores.reshape(1, -1)
    return scores if scores.ndim > labels.ndim else scores[None]


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

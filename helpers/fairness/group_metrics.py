"""Group metrics: how a model does for each group of patients, and how far the groups are apart."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from fairlearn.metrics import MetricFrame, count
from numpy.typing import ArrayLike

from helpers.data.summary import fill_unknown
from helpers.evaluation import (
    auc,
    balanced_accuracy,
    calibration_error,
    interval_of,
    resample_patients,
)
from helpers.evaluation.metrics import Labels, check_finite, labels_of, share_of

# Of decisions, then of probabilities: a resample is measured thousands of times, so in NumPy.
_RATES = {
    "selection_rate": lambda labels, called: share_of(called == 1),
    "true_positive_rate": lambda labels, called: share_of(called[labels == 1] == 1),
    "false_positive_rate": lambda labels, called: share_of(called[labels == 0] == 1),
    "balanced_accuracy": lambda labels, called: balanced_accuracy(labels, called == 1),
}
_SCORES = {"auc": auc, "calibration_error": calibration_error}
METRICS = (*_RATES, *_SCORES)


def measure_groups(
    labels: Labels,
    decisions: ArrayLike,
    groups: pd.Series | pd.DataFrame,
    patients: ArrayLike,
    *,
    probabilities: ArrayLike | None = None,
    minimum: int = 10,
) -> pd.DataFrame:
    """Measure a model for each group, with fairlearn's ``MetricFrame``.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    decisions : array, shape (n,)
        0 or 1, such as :meth:`helpers.fairness.Thresholds.decide` returns them.
    groups : pandas.Series or pandas.DataFrame of n rows
        Group of each film: sex, age band, view, hospital … Several columns make groups of their
        combinations. Missing values are the group "unknown".
    patients : array, shape (n,)
        Patient of each film.
    probabilities : array, shape (n,) or (n, 1), optional
        In [0, 1]; without them there is no AUC and no calibration error.
    minimum : int, default=10
        A group is marked as too small if fewer patients have a positive film, or fewer a
        negative one.

    Returns
    -------
    pandas.DataFrame
        Indexed by group: ``films``, ``patients``, ``positive`` (films), ``selection_rate`` (share
        called positive), ``true_positive_rate`` (sensitivity), ``false_positive_rate``,
        ``balanced_accuracy``, ``auc``, ``calibration_error`` (ECE), all in [0, 1] and NaN where
        not defined, and ``too_small``: these numbers are not facts about the group.

    Raises
    ------
    ValueError
        If the lengths differ, or a decision or probability is not finite.
    """
    labels, decisions, groups, patients, scores = _align(
        labels, decisions, groups, patients, probabilities
    )
    wanted = {"films": count, **_RATES}
    params = {}
    if scores is not None:
        # y_pred is the decisions; these two want the probabilities instead.
        for name, metric in _SCORES.items():
            wanted[name] = lambda y_true, y_pred, scores, metric=metric: metric(y_true, scores)
            params[name] = {"scores": scores}
    frame = MetricFrame(
        metrics=wanted,
        y_true=labels,
        y_pred=decisions,
        sensitive_features=groups,
        sample_params=params,
    )
    table = frame.by_group.dropna(subset=["films"]).astype(float)
    films = groups.assign(patient=patients, label=labels)
    by = films.groupby(list(groups.columns), sort=True)
    of_label = {
        label: films[films["label"] == label].groupby(list(groups.columns))["patient"].nunique()
        for label in (0, 1)
    }
    fewest = pd.concat(
        [found.reindex(table.index, fill_value=0) for found in of_label.values()], axis=1
    ).min(axis=1)
    return pd.DataFrame(
        {
            "films": table["films"].astype(np.int64),
            "patients": by["patient"].nunique().reindex(table.index).astype(np.int64),
            "positive": by["label"].sum().reindex(table.index).astype(np.int64),
            **{name: table[name] for name in METRICS if name in table},
            "too_small": fewest < minimum,
        }
    )


def measure_gaps(
    labels: Labels,
    decisions: ArrayLike,
    groups: pd.Series | pd.DataFrame,
    patients: ArrayLike,
    *,
    probabilities: ArrayLike | None = None,
    minimum: int = 10,
    metrics: Sequence[str] = METRICS,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Measure how far the groups are apart, with intervals over patients.

    The gap of a metric is the largest value minus the smallest, among groups that are not too
    small. The interval is that of the difference between *these two* groups, so that it can hold
    0; with many groups the largest gap is large by chance alone, and the interval does not know.

    Parameters
    ----------
    labels, decisions, groups, patients, probabilities, minimum
        As for :func:`measure_groups`.
    metrics : sequence of str, default=METRICS
        Which of its metrics.
    n : int, default=1000
        Number of resamples.
    seed : int, default=0
        Seed of the resamples.
    level : float in (0, 1), default=0.95
        Share of the resamples between the limits.

    Returns
    -------
    pandas.DataFrame
        Indexed by metric: ``value`` (at least 0), ``low``, ``high``, ``largest`` and ``smallest``,
        the two groups. NaN and missing if fewer than two groups are large enough.

    Raises
    ------
    ValueError
        If the lengths differ, a metric is unknown, or a decision or probability is not finite.
    """
    metrics = [name for name in metrics if probabilities is not None or name not in _SCORES]
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise ValueError(f"Expected metrics among {METRICS}. Received {unknown}.")
    measured = measure_groups(
        labels, decisions, groups, patients, probabilities=probabilities, minimum=minimum
    )
    measured = measured[~measured["too_small"]]
    labels, decisions, groups, patients, scores = _align(
        labels, decisions, groups, patients, probabilities
    )
    keys = pd.MultiIndex.from_frame(groups) if groups.shape[1] > 1 else groups.iloc[:, 0]
    pairs, members = {}, {}
    for name in metrics:
        values = measured[name].dropna()
        if len(values) >= 2:
            pairs[name] = (values.idxmax(), values.idxmin())
            for key in pairs[name]:
                members[key] = np.array([one == key for one in keys])
    draws = {name: np.full(n, np.nan) for name in pairs}
    for number, films in enumerate(resample_patients(patients, n=n, seed=seed)):
        own = {key: films[member[films]] for key, member in members.items()}
        for name, pair in pairs.items():
            top, bottom = (_metric(name, labels, decisions, scores, own[key]) for key in pair)
            draws[name][number] = top - bottom
    rows = {}
    for name in metrics:
        if name not in pairs:
            rows[name] = (np.nan, np.nan, np.nan, None, None)
            continue
        top, bottom = pairs[name]
        value = measured.loc[[top], name].item() - measured.loc[[bottom], name].item()
        rows[name] = (*interval_of(value, draws[name], level=level), _say(top), _say(bottom))
    columns = ["value", "low", "high", "largest", "smallest"]
    gaps = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    return gaps.rename_axis("metric")


def _metric(name, labels, decisions, scores, films):
    """Compute what MetricFrame does, for a resample of one group."""
    if name in _SCORES:
        return _SCORES[name](labels[films], scores[films])
    return _RATES[name](labels[films], decisions[films])


def _say(key):
    return " and ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _align(labels, decisions, groups, patients, probabilities):
    """Return arrays of one length, and the groups as a table of text."""
    labels, decisions = labels_of(labels), check_finite(np.ravel(decisions), "decisions")
    groups = groups.to_frame() if isinstance(groups, pd.Series) else pd.DataFrame(groups)
    groups = fill_unknown(groups.reset_index(drop=True)).astype(str)
    patients = np.ravel(np.asarray(patients, dtype=object))
    scores = None
    if probabilities is not None:
        scores = check_finite(np.ravel(probabilities), "probabilities")
    received = [len(x) for x in (decisions, groups, patients, scores) if x is not None]
    if any(length != len(labels) for length in received):
        raise ValueError(
            f"Expected a decision, group, patient and probability for each of {len(labels):,} "
            f"labels. Received {received}. Take all from the same films."
        )
    return labels, decisions, groups, patients, scores

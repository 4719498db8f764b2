"""Group metrics: how a model performs for each group of patients, and the gaps between groups."""

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

# Metrics of decisions, then of probabilities; in NumPy, as thousands of resamples need them.
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
        not defined, and ``too_small``: the group is too small to interpret its numbers.

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
        # y_pred holds the decisions; these two take the probabilities instead.
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
    """Measure the gaps between groups, with intervals over patients.

    The gap of a metric is the largest value minus the smallest, among groups that are not too
    small. The interval is that of the difference between *these two* groups, so that it can contain
    0. With many groups the largest gap is large by chance alone, which the interval ignores.

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


def compare_gaps(
    labels: Labels,
    before: ArrayLike,
    after: ArrayLike,
    groups: pd.Series,
    patients: ArrayLike,
    *,
    between: tuple[str, str],
    rate: str = "true_positive_rate",
    share: float = 1.0,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.Series:
    r"""Compare the gap between two groups before and after a change, on the same patients.

    With :math:`g` the rate of the first group minus that of the second, the value is
    :math:`|g_\text{after}| - s\,|g_\text{before}|`. With :math:`s = 1` it is the change of the gap;
    with :math:`s = 0.5` it is below 0 if the gap was cut in half. Every resample judges both
    decisions on the same patients. Its absolute values are somewhat too large where a gap is
    close to 0, so that the interval is slow to call a gap closed.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    before, after : array, shape (n,)
        Decisions 0 or 1 about the same films.
    groups : pandas.Series of n rows
        Group of each film.
    patients : array, shape (n,)
        Patient of each film.
    between : tuple of str
        The two groups.
    rate : str, default="true_positive_rate"
        A metric of decisions; see :func:`measure_groups`.
    share : float, default=1.0
        :math:`s`.
    n, seed, level
        As for :func:`measure_gaps`.

    Returns
    -------
    pandas.Series
        ``before`` and ``after``: the gaps with their signs, first group minus second;
        ``first_change`` and ``second_change``: of each group's rate; ``value``, ``low`` and
        ``high`` of the comparison; ``reversed``: whether the sign changed; ``levelled_down``:
        whether the gap became smaller and the group with the larger value lost more than the
        other gained. For a rate of which more is better, this is levelling down (Mittelstadt et
        al. 2023 [1]_).

    Raises
    ------
    ValueError
        If the lengths differ, the rate is unknown, a group has no film, or a decision is not
        finite.

    References
    ----------
    .. [1] B. Mittelstadt, S. Wachter and C. Russell, "The unfairness of fair machine learning:
       Levelling down and strict egalitarianism by default", Michigan Technology Law Review 30,
       2023.

    Examples
    --------
    >>> groups = pd.Series(["F"] * 4 + ["M"] * 4)
    >>> before, after = [1, 1, 0, 0, 1, 1, 1, 1], [1, 1, 0, 0, 1, 1, 0, 0]
    >>> found = compare_gaps([1] * 8, before, after, groups, range(8), between=("F", "M"))
    >>> found[["before", "after", "value"]].tolist(), found["levelled_down"]
    ([-0.5, 0.0, -0.5], True)
    """
    if rate not in _RATES:
        raise ValueError(f"Expected a rate among {tuple(_RATES)}. Received {rate!r}.")
    before, after = check_finite(before, "before"), check_finite(after, "after")
    labels, before, table, patients, _ = _align(labels, before, groups, patients, None)
    after = _align(labels, after, groups, patients, None)[1]
    names = table.iloc[:, 0].to_numpy()
    members = [names == str(name) for name in between]
    if not all(member.any() for member in members):
        raise ValueError(
            f"Expected films of the groups {between}. Received films of {sorted(set(names))}."
        )

    def measure(films):
        own = [films[member[films]] for member in members]
        return np.array(
            [
                [_metric(rate, labels, called, None, part) for part in own]
                for called in (before, after)
            ]
        )

    def compare(rates):
        gaps = rates[:, 0] - rates[:, 1]
        return abs(gaps[1]) - share * abs(gaps[0])

    rates = measure(np.arange(len(labels)))
    draws = [compare(measure(films)) for films in resample_patients(patients, n=n, seed=seed)]
    interval = interval_of(compare(rates), draws, level=level)
    gaps = rates[:, 0] - rates[:, 1]
    changes = rates[1] - rates[0]
    ahead, behind = (0, 1) if gaps[0] > 0 else (1, 0)
    return pd.Series(
        {
            "before": float(gaps[0]),
            "after": float(gaps[1]),
            "first_change": float(changes[0]),
            "second_change": float(changes[1]),
            **interval._asdict(),
            "reversed": bool(gaps[0] * gaps[1] < 0),
            "levelled_down": bool(
                abs(gaps[1]) < abs(gaps[0]) and -changes[ahead] > changes[behind]
            ),
        }
    )


def split_selection_gap(measured: pd.DataFrame, between: tuple[str, str]) -> pd.Series:
    r"""Split the gap of selection rates into the parts of prevalence, sensitivity and false alarms.

    A group with prevalence :math:`\pi` is called positive at the rate :math:`\pi\,\text{TPR} +
    (1 - \pi)\,\text{FPR}`. With :math:`\Delta` the first group minus the second, and a bar for the
    mean of the two groups,

    .. math::

        \Delta\text{SR} = (\overline{\text{TPR}} - \overline{\text{FPR}})\,\Delta\pi
        + \overline{\pi}\,\Delta\text{TPR} + (1 - \overline{\pi})\,\Delta\text{FPR},

    exactly. Equalized odds make the last two terms zero and leave the first. It is zero only if
    the groups are ill equally often, or if TPR and FPR are equal, which means that decisions are
    unrelated to the label. A perfect model has TPR 1 and FPR 0: its gap is the whole
    :math:`\Delta\pi`.

    Parameters
    ----------
    measured : pandas.DataFrame
        As :func:`measure_groups` returns it.
    between : tuple of str
        The first group and the second.

    Returns
    -------
    pandas.Series
        ``prevalence``, ``true_positive_rate`` and ``false_positive_rate``: the three terms, with
        their signs; ``selection_rate``: their sum.

    Examples
    --------
    >>> groups = pd.Series(["F"] * 4 + ["M"] * 4, name="sex")
    >>> labels = [1, 0, 0, 0, 1, 1, 0, 0]
    >>> perfect = measure_groups(labels, labels, groups, range(8))
    >>> split_selection_gap(perfect, ("F", "M")).tolist()
    [-0.25, 0.0, 0.0, -0.25]
    """
    rows = measured.loc[list(between)]
    prevalence = (rows["positive"] / rows["films"]).to_numpy()
    found, alarmed = (rows[f"{name}_positive_rate"].to_numpy() for name in ("true", "false"))
    parts = {
        "prevalence": (found - alarmed).mean() * -np.diff(prevalence)[0],
        "true_positive_rate": prevalence.mean() * -np.diff(found)[0],
        "false_positive_rate": (1 - prevalence.mean()) * -np.diff(alarmed)[0],
    }
    return pd.Series(parts | {"selection_rate": sum(parts.values())}) + 0.0


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

"""Thresholds: from scores to decisions, the same for all patients or group by group.

All are fitted on validation films (labels, scores, groups) and then decide on others (scores,
groups). A threshold for each group needs the group of every new patient, too.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from fairlearn.postprocessing import ThresholdOptimizer
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, ClassifierMixin

from helpers.evaluation import choose_threshold, decide
from helpers.evaluation.metrics import Labels, align_scores, check_finite, check_length

PARITIES = {
    "demographic_parity": "all groups are called positive equally often",
    "equalized_odds": "all groups have one sensitivity and one specificity",
    "true_positive_rate_parity": "all groups have one sensitivity (equal opportunity)",
}
_TOLERANCE = 0.02  # of a gap between sensitivities
METHODS = ("one", "per_group", *PARITIES, "reject_option")


@dataclass(frozen=True)
class Thresholds:
    """One threshold for each group.

    Parameters
    ----------
    by_group : dict of str to float
        Group and its threshold. The group ``None`` is for all groups that are not named.
    """

    by_group: dict

    def decide(self, scores: ArrayLike, groups: ArrayLike | None = None) -> np.ndarray:
        """Decide for each film.

        Parameters
        ----------
        scores : array, shape (n,) or (n, 1)
            On the scale that the thresholds were fitted to.
        groups : array, shape (n,), optional
            Group of each film; not needed with one threshold for all.

        Returns
        -------
        numpy.ndarray of int64, shape (n,)
            0 or 1.

        Raises
        ------
        ValueError
            If a group has no threshold, or a score is not finite.
        """
        scores = np.ravel(scores)
        groups = np.full(len(scores), None) if groups is None else np.asarray(groups, dtype=object)
        check_length(groups, "group", scores, "scores")
        rest = self.by_group.get(None)
        found = [self.by_group.get(name, rest) for name in groups]
        unknown = {str(g) for g, t in zip(groups, found, strict=True) if t is None}
        _check_known(unknown, self.by_group)
        return decide(scores, np.array(found, dtype=np.float64))


@dataclass(frozen=True)
class RandomizedThresholds:
    """Fairlearn's thresholds: two for each group, between which the decision is randomized.

    Parameters
    ----------
    optimizer : fairlearn.postprocessing.ThresholdOptimizer
        Fitted to scores in one column.
    """

    optimizer: Any

    def decide(self, scores: ArrayLike, groups: ArrayLike, *, seed: int = 0) -> np.ndarray:
        """Decide for each film; some of the decisions are drawn at random.

        Parameters
        ----------
        scores : array, shape (n,) or (n, 1)
            On the scale that the thresholds were fitted to.
        groups : array, shape (n,)
            Group of each film.
        seed : int, default=0
            Seed of the draws.

        Returns
        -------
        numpy.ndarray of int64, shape (n,)
            0 or 1.

        Raises
        ------
        ValueError
            If a group is not one that was fitted, or a score is not finite.
        """
        scores, groups = check_finite(np.ravel(scores)), _names(groups)
        check_length(groups, "group", scores, "scores")
        known = set(self.optimizer.interpolated_thresholder_.interpolation_dict)
        _check_known(set(groups) - known, known)
        decisions = self.optimizer.predict(
            scores[:, None], sensitive_features=groups, random_state=seed
        )
        return np.asarray(decisions).astype(np.int64)


def fit_thresholds(
    labels: Labels, scores: ArrayLike, groups: ArrayLike, method: str = "one"
) -> Thresholds | RandomizedThresholds:
    """Fit thresholds to validation films.

    - ``"one"``: one threshold with the best balanced accuracy over all films;
    - ``"per_group"``: for each group the threshold with its best balanced accuracy, for example
      with the hospitals as groups;
    - ``"demographic_parity"``, ``"equalized_odds"``, ``"true_positive_rate_parity"``: the best
      balanced accuracy among the decisions with this parity on these films (Hardt et al.
      2016 [1]_), by fairlearn's ``ThresholdOptimizer``. They are randomized;
    - ``"reject_option"``: films close to the one threshold are called positive in the groups
      detected too rarely, and negative in the others (Kamiran et al. 2012 [2]_); how close is
      chosen so that the gap of sensitivities is at most 0.02 above the smallest possible.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    scores : array, shape (n,) or (n, 1)
        Logits or probabilities, higher means more likely positive.
    groups : array, shape (n,)
        Group of each film.
    method : str, default="one"
        One of the above.

    Returns
    -------
    Thresholds or RandomizedThresholds
        Call its ``decide(scores, groups)``.

    Raises
    ------
    ValueError
        If the method is unknown, the lengths differ, a group (all films, for ``"one"``) has
        films of one class only, or a score is not finite.

    References
    ----------
    .. [1] M. Hardt, E. Price and N. Srebro, "Equality of opportunity in supervised learning",
       NeurIPS 2016.
    .. [2] F. Kamiran, A. Karim and X. Zhang, "Decision theory for discrimination-aware
       classification", IEEE International Conference on Data Mining 2012.

    Examples
    --------
    >>> thresholds = fit_thresholds([0, 1, 0, 1], [1, 3, 5, 7], ["a", "a", "b", "b"], "per_group")
    >>> thresholds.decide([2.5, 2.5], ["a", "b"]).tolist()
    [1, 0]
    """
    if method not in METHODS:
        raise ValueError(f"Expected one of the methods {METHODS}. Received {method!r}.")
    groups = _names(groups)
    check_length(groups, "group", np.ravel(scores), "scores")
    labels, scores = align_scores(labels, scores)
    if method == "one":
        return Thresholds({None: choose_threshold(labels, scores)})
    for name in np.unique(groups):
        of_group = np.unique(labels[groups == name]).tolist()
        if len(of_group) < 2:
            raise ValueError(
                f"Expected films of both classes in every group. Received only {of_group} in "
                f"{name!r}. Merge small groups, or leave this one out."
            )
    if method == "per_group":
        return Thresholds(
            {
                str(name): choose_threshold(labels[groups == name], scores[groups == name])
                for name in np.unique(groups)
            }
        )
    if method == "reject_option":
        return _fit_reject_option(labels, scores, groups)
    optimizer = ThresholdOptimizer(
        estimator=_Scores().fit(scores[:, None], labels),
        constraints=method,
        objective="balanced_accuracy_score",
        prefit=True,
        predict_method="predict",
    )
    return RandomizedThresholds(optimizer.fit(scores[:, None], labels, sensitive_features=groups))


def _fit_reject_option(labels, scores, groups, n_margins=100):
    """Move the thresholds of the groups apart until the gap of sensitivities is smallest."""
    middle = choose_threshold(labels, scores)
    names = np.unique(groups)
    ill = labels == 1

    def sensitivities(by_group):
        called = Thresholds(by_group).decide(scores, groups)
        return np.array([called[ill & (groups == name)].mean() for name in names])

    found = sensitivities({None: middle})
    # The films closest to the threshold, from none to half of all.
    distances = np.abs(scores - middle)
    margins = np.quantile(distances, np.linspace(0, 0.5, n_margins))
    choices = [{str(name): middle for name in names}]
    choices += [
        {
            str(name): middle - margin if rate < found.mean() else middle + margin
            for name, rate in zip(names, found, strict=True)
        }
        for margin in margins
        if np.isfinite(middle)
    ]
    gaps = np.array([np.ptp(sensitivities(choice)) for choice in choices])
    # Of those that are about as good, the one that changes the fewest decisions.
    best = choices[np.flatnonzero(gaps <= gaps.min() + _TOLERANCE)[0]]
    return Thresholds(best)


class _Scores(ClassifierMixin, BaseEstimator):
    """A classifier whose prediction is its one feature: the score itself."""

    def fit(self, features, labels):
        self.classes_ = np.unique(labels)
        self.n_features_in_ = 1
        return self

    def predict(self, features):
        return np.ravel(features)


def _names(groups):
    return np.array([str(name) for name in np.asarray(groups, dtype=object).ravel()], dtype=object)


def _check_known(unknown, known):
    """Refuse groups that no threshold was fitted for."""
    if unknown:
        raise ValueError(
            f"Expected films of the groups {sorted(map(str, known))}. Received {sorted(unknown)}. "
            "Fit thresholds on validation films of these groups, too."
        )

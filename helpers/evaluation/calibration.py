"""Calibration: making predicted probabilities match frequencies, hospital by hospital.

A model that predicts 80 % for ten films is calibrated if eight of them have the finding. Networks
often are not calibrated, and one that was trained across hospitals need not be so at any of them:
each has its own share of ill patients. A calibration transforms the logits with at most two
numbers. A positive slope keeps their order, and so a hospital's AUC. It is fitted on validation
films.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from helpers.data.arguments import check_integer
from helpers.evaluation.metrics import (
    Labels,
    align_scores,
    check_both_classes,
    check_finite,
    check_length,
    labels_of,
)

METHODS = ("temperature", "platt")
TEMPERATURES = (0.02, 50.0)


@dataclass(frozen=True)
class Calibration:
    """A straight line through the logits.

    Parameters
    ----------
    slope : float, default=1.0
        Factor of the logits; ``1 / temperature``.
    intercept : float, default=0.0
        Added to them, in units of log odds.
    """

    slope: float = 1.0
    intercept: float = 0.0

    def apply(self, logits: ArrayLike) -> np.ndarray:
        """Turn logits into calibrated probabilities.

        Parameters
        ----------
        logits : array, shape (n,) or (n, 1)
            The model's outputs.

        Returns
        -------
        numpy.ndarray of float64, shape (n,)
            In [0, 1].

        Raises
        ------
        ValueError
            If a logit is not finite.
        """
        return expit(self.slope * check_finite(np.ravel(logits), "logits") + self.intercept)


def fit_temperature(labels: Labels, logits: ArrayLike) -> Calibration:
    r"""Fit a temperature: one number by which all logits are divided.

    :math:`T` minimizes the cross entropy of :math:`\sigma(z / T)` (Guo et al. 2017 [1]_,
    Section 4.2). It corrects an overconfident model, not one that predicts too many ill patients.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,), of validation films; or what the opener returned.
    logits : array, shape (n,) or (n, 1)
        The model's outputs.

    Returns
    -------
    Calibration
        With ``slope`` :math:`1 / T`, :math:`T` between 0.02 and 50, and no intercept.

    Raises
    ------
    ValueError
        If the films are all of one class, the lengths differ, or a logit is not finite.

    References
    ----------
    .. [1] C. Guo, G. Pleiss, Y. Sun and K. Q. Weinberger, "On calibration of modern neural
       networks", ICML 2017.
    """
    labels, logits = _check(labels, logits)
    signs = np.where(labels == 1, 1.0, -1.0)

    def cross_entropy(log_temperature):
        return np.logaddexp(0, -signs * logits / np.exp(log_temperature)).mean()

    found = minimize_scalar(
        cross_entropy, bounds=np.log(TEMPERATURES), method="bounded", options={"xatol": 1e-8}
    )
    return Calibration(slope=float(np.exp(-found.x)))


def fit_platt(labels: Labels, logits: ArrayLike) -> Calibration:
    r"""Fit a slope and an intercept: Platt's scaling.

    :math:`\sigma(a z + b)` is fitted by maximum likelihood to targets that are not quite 0 and 1,
    :math:`(n_1 + 1) / (n_1 + 2)` and :math:`1 / (n_0 + 2)` (Platt 1999 [1]_), so that a perfect
    separation does not lead to infinite certainty. The intercept also corrects for another share of
    ill patients.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,), of validation films; or what the opener returned.
    logits : array, shape (n,) or (n, 1)
        The model's outputs.

    Returns
    -------
    Calibration
        ``slope`` and ``intercept``.

    Raises
    ------
    ValueError
        If the films are all of one class, the lengths differ, or a logit is not finite.

    References
    ----------
    .. [1] J. C. Platt, "Probabilistic outputs for support vector machines and comparisons to
       regularized likelihood methods", Advances in Large Margin Classifiers, 1999.
    """
    labels, logits = _check(labels, logits)
    n_positive = (labels == 1).sum()
    high, low = (n_positive + 1) / (n_positive + 2), 1 / (len(labels) - n_positive + 2)
    targets = np.where(labels == 1, high, low)
    # A film with a target between 0 and 1 counts partly as positive, partly as negative.
    regression = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.concatenate([logits, logits])[:, None],
        np.repeat([1, 0], len(logits)),
        np.concatenate([targets, 1 - targets]),
    )
    return Calibration(float(regression.coef_[0, 0]), float(regression.intercept_[0]))


def fit_hospitals(
    labels: Labels, logits: ArrayLike, hospitals: ArrayLike, *, method: str = "platt"
) -> dict[str, Calibration]:
    """Fit a calibration at each hospital, on its own validation films, which stay there.

    Parameters
    ----------
    labels : array, shape (n,)
        0 or 1.
    logits : array, shape (n,) or (n, 1)
        The model's outputs.
    hospitals : array, shape (n,)
        Hospital of each film.
    method : {"temperature", "platt"}, default="platt"
        What is fitted.

    Returns
    -------
    dict of str to Calibration
        By hospital.

    Raises
    ------
    ValueError
        If the method is unknown, a hospital has films of one class only, the lengths differ, or a
        logit is not finite.
    """
    if method not in METHODS:
        raise ValueError(f"Expected one of the methods {METHODS}. Received {method!r}.")
    fit = fit_platt if method == "platt" else fit_temperature
    logits = check_finite(np.ravel(logits), "logits")
    labels, hospitals = labels_of(labels), np.asarray(hospitals)
    check_length(logits, "logit", labels, "labels")
    check_length(hospitals, "hospital", labels, "labels")
    calibrations = {}
    for name in np.unique(hospitals):
        own = hospitals == name
        try:
            calibrations[str(name)] = fit(labels[own], logits[own])
        except ValueError as error:
            raise ValueError(f"Hospital {name!s}: {error}") from error
    return calibrations


def apply_hospitals(
    logits: ArrayLike, hospitals: ArrayLike, calibrations: Mapping[str, Calibration]
) -> np.ndarray:
    """Turn logits into probabilities, each with the calibration of its hospital.

    Parameters
    ----------
    logits : array, shape (n,) or (n, 1)
        The model's outputs.
    hospitals : array, shape (n,)
        Hospital of each film.
    calibrations : dict of str to Calibration
        As :func:`fit_hospitals` returns it.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        In [0, 1].

    Raises
    ------
    ValueError
        If a hospital has no calibration, the lengths differ, or a logit is not finite.
    """
    logits, hospitals = check_finite(np.ravel(logits), "logits"), np.asarray(hospitals)
    check_length(hospitals, "hospital", logits, "logits")
    unknown = sorted(set(map(str, np.unique(hospitals))) - set(calibrations))
    if unknown:
        raise ValueError(
            f"Expected films of the hospitals {sorted(calibrations)}. Received films of "
            f"{unknown}. Fit a calibration on their validation films first."
        )
    probabilities = np.empty(len(logits))
    for name, calibration in calibrations.items():
        own = hospitals == name
        probabilities[own] = calibration.apply(logits[own])
    return probabilities


def calibration_error(labels: Labels, probabilities: ArrayLike, *, n_bins: int = 10) -> float:
    r"""Measure the expected calibration error (ECE).

    Films are put into bins of equal width by their probability; the error is
    :math:`\sum_b \frac{n_b}{n} |\bar y_b - \bar p_b|` (Guo et al. 2017, Equation 3, for the
    probability of a finding). Chance alone makes it positive, more so with fewer films: compare
    groups of different size with care.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    probabilities : array, shape (n,) or (n, 1)
        In [0, 1].
    n_bins : int, default=10
        Number of bins, at least 1.

    Returns
    -------
    float
        In [0, 1]; NaN without films.

    Raises
    ------
    ValueError
        If a probability is not finite or lies outside [0, 1], the lengths differ, or there is no
        bin.

    Examples
    --------
    >>> calibration_error([1, 1, 0, 1], [0.75, 0.75, 0.75, 0.75])
    0.0
    """
    check_integer("n_bins", n_bins, 1)
    labels, probabilities = align_scores(labels, probabilities, "probabilities")
    if not len(labels):
        return float("nan")
    if not ((probabilities >= 0) & (probabilities <= 1)).all():
        raise ValueError(
            f"Expected probabilities in [0, 1]. Received values from {probabilities.min():.3g} to "
            f"{probabilities.max():.3g}. Turn logits into probabilities with Calibration().apply."
        )
    bins = _bins(probabilities, n_bins)
    differences = np.bincount(bins, labels - probabilities, minlength=n_bins)
    return float(np.abs(differences).sum() / len(labels))


def error_by_chance(
    probabilities: ArrayLike, *, n_bins: int = 10, n_draws: int = 200, seed: int = 0
) -> float:
    """Measure the calibration error of a model whose probabilities are all exactly right.

    Labels are drawn from the probabilities, again and again. With few films the error is well
    above 0.

    Parameters
    ----------
    probabilities : array, shape (n,) or (n, 1)
        In [0, 1].
    n_bins : int, default=10
        As for :func:`calibration_error`.
    n_draws : int, default=200
        How often labels are drawn.
    seed : int, default=0
        Seed of the draws.

    Returns
    -------
    float
        The mean error, at least 0.

    Raises
    ------
    ValueError
        As :func:`calibration_error` does.

    Examples
    --------
    >>> error_by_chance([0.0, 1.0])
    0.0
    >>> error_by_chance([0.5] * 10) > error_by_chance([0.5] * 1000) > 0
    True
    """
    probabilities = np.ravel(probabilities)
    rng = np.random.default_rng(seed)
    draws = rng.random((n_draws, len(probabilities))) < probabilities
    errors = [calibration_error(drawn, probabilities, n_bins=n_bins) for drawn in draws]
    return float(np.mean(errors))


def calibration_bins(labels: Labels, probabilities: ArrayLike, *, n_bins: int = 10) -> pd.DataFrame:
    """Tabulate the bins of :func:`calibration_error`, for a reliability diagram.

    Parameters
    ----------
    labels, probabilities, n_bins
        As for :func:`calibration_error`.

    Returns
    -------
    pandas.DataFrame
        Indexed by bin, without empty ones: ``films``, ``predicted`` (mean probability) and
        ``observed`` (share with the label 1). The mean of their absolute differences over films
        is the calibration error.

    Raises
    ------
    ValueError
        As for :func:`calibration_error`.

    Examples
    --------
    >>> calibration_bins([0, 1, 1], [0.2, 0.8, 0.9], n_bins=2)["observed"].tolist()
    [0.0, 1.0]
    """
    calibration_error(labels, probabilities, n_bins=n_bins)  # which checks them
    labels, probabilities = align_scores(labels, probabilities, "probabilities")
    films = pd.DataFrame({"predicted": probabilities, "observed": labels.astype(float)})
    by = films.groupby(pd.Series(_bins(probabilities, n_bins), name="bin"))
    return pd.concat([by.size().rename("films"), by.mean()], axis=1)


def _bins(probabilities, n_bins):
    """Return the bin of each probability; 1 itself is in the last."""
    return np.minimum((probabilities * n_bins).astype(np.int64), n_bins - 1)


def _check(labels, logits):
    labels, logits = align_scores(labels, logits, "logits")
    check_both_classes(labels, "fit a calibration")
    return labels, logits

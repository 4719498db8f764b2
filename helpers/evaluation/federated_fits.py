"""Fits across hospitals that send sums and no scores: a common calibration or alarm level.

A common temperature or alarm level depends on the scores of all hospitals. The scores need not be
sent: Newton's method needs sums over films, and a quantile needs counts. The functions here run
the whole exchange in one place, on a list of hospitals; a hospital computes
:func:`calibration_sums` or :func:`count_healthy_below`, and only their results are added. With
``add=helpers.exchange.MaskedSum(n_hospitals)`` whoever adds them learns the sum and no summand.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit

from helpers.evaluation.calibration import METHODS, TEMPERATURES, Calibration
from helpers.evaluation.metrics import Labels, align_scores

_STEPS = 100
_RANGE = (-64.0, 64.0)  # of a level, in log odds: fixed, so that nobody sends a score


class FederatedFit(NamedTuple):
    """A fitted calibration and the number of exchanges."""

    calibration: Calibration
    n_exchanges: int


class FederatedLevel(NamedTuple):
    """A common threshold and the number of exchanges."""

    threshold: float
    n_exchanges: int


def calibration_sums(
    labels: Labels, logits: ArrayLike, calibration: Calibration, targets: tuple[float, float]
) -> np.ndarray:
    r"""Compute the six numbers that a hospital sends for one Newton step.

    With :math:`s_i = a z_i + b`, :math:`p_i = \sigma(s_i)` and the target :math:`t_i` of film
    :math:`i`, they are the cross entropy :math:`\sum_i \log(1 + e^{s_i}) - t_i s_i`, its gradient
    :math:`\sum_i (p_i - t_i)(z_i, 1)`, and of its Hessian :math:`\sum_i p_i (1 - p_i)
    (z_i, 1)^\top (z_i, 1)` the upper triangle.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    logits : array, shape (n,) or (n, 1)
        The model's outputs.
    calibration : Calibration
        The current fit: :math:`a` and :math:`b`.
    targets : tuple of float
        Target of a film with the label 0, and of one with the label 1.

    Returns
    -------
    numpy.ndarray of float64, shape (6,)
        Loss, gradient by slope and by intercept, Hessian by slope twice, by both, by intercept
        twice. They add up over hospitals.

    Raises
    ------
    ValueError
        If the lengths differ, or a logit is not finite.
    """
    labels, z = align_scores(labels, logits, "logits")
    t = np.where(labels == 1, targets[1], targets[0])
    s = calibration.slope * z + calibration.intercept
    p = expit(s)
    wrong, spread = p - t, p * (1 - p)
    return np.array(
        [
            (np.logaddexp(0, s) - t * s).sum(),
            (wrong * z).sum(),
            wrong.sum(),
            (spread * z * z).sum(),
            (spread * z).sum(),
            spread.sum(),
        ]
    )


def fit_federated(
    hospitals: Sequence[tuple[Labels, ArrayLike]], *, method: str = "platt", add: Callable = sum
) -> FederatedFit:
    """Fit one calibration for all hospitals from sums, by Newton's method.

    The result is that of :func:`~helpers.evaluation.fit_platt` or
    :func:`~helpers.evaluation.fit_temperature` on all films together. Each exchange is one call
    of :func:`calibration_sums` at every hospital. For Platt's targets the numbers of films of each
    label are added first. A step that would raise the loss is halved.

    Parameters
    ----------
    hospitals : sequence of (labels, logits)
        The validation films of each hospital.
    method : {"temperature", "platt"}, default="platt"
        One number or two.
    add : callable, default=sum
        Adds one array of each hospital, such as :class:`helpers.exchange.MaskedSum`.

    Returns
    -------
    FederatedFit
        ``calibration`` and ``n_exchanges``.

    Raises
    ------
    ValueError
        If the method is unknown, the films of all hospitals are of one class, the lengths differ,
        or a logit is not finite.

    Examples
    --------
    >>> fitted = fit_federated([([0, 1, 1], [-2.0, 1.0, -1.0]), ([0, 0, 1], [-3.0, 1.0, 2.0])])
    >>> round(fitted.calibration.slope, 2), round(fitted.calibration.intercept, 2)
    (0.4, 0.13)
    """
    if method not in METHODS:
        raise ValueError(f"Expected one of the methods {METHODS}. Received {method!r}.")
    films = [align_scores(labels, logits, "logits") for labels, logits in hospitals]
    n_negative, n_positive = map(int, add([np.bincount(y == 1, minlength=2) for y, _ in films]))
    if not (n_positive and n_negative):
        raise ValueError(
            "Expected films of both classes to fit a calibration. Received "
            f"{n_negative:,} with the label 0 and {n_positive:,} with the label 1. Use more films."
        )
    targets = (0.0, 1.0)
    if method == "platt":
        targets = (1 / (n_negative + 2), (n_positive + 1) / (n_positive + 2))

    def ask(slope, intercept):
        at = Calibration(slope, intercept)
        return add([calibration_sums(labels, logits, at, targets) for labels, logits in films])

    place = np.array([1.0, 0.0])
    sums = ask(*place)
    for n_exchanges in range(2, _STEPS):
        step = _newton_step(sums, method)
        if method == "temperature":  # with the limits of fit_temperature
            low, high = (1 / temperature for temperature in reversed(TEMPERATURES))
            step[0] = place[0] - np.clip(place[0] - step[0], low, high)
        if np.abs(step).max() < 1e-9:
            break
        new = ask(*(place - step))
        while new[0] > sums[0] + 1e-9 * abs(sums[0]) and np.abs(step).max() > 1e-9:
            step /= 2
            n_exchanges += 1
            new = ask(*(place - step))
        place, sums = place - step, new
    return FederatedFit(Calibration(float(place[0]), float(place[1])), n_exchanges)


def _newton_step(sums, method):
    """Return the step that Newton's method subtracts from slope and intercept."""
    _, by_slope, by_intercept, twice_slope, both, twice_intercept = sums
    if method == "temperature":
        return np.array([by_slope / max(twice_slope, 1e-300), 0.0])
    hessian = np.array([[twice_slope, both], [both, twice_intercept]]) + 1e-12 * np.eye(2)
    return np.linalg.solve(hessian, [by_slope, by_intercept])


def count_healthy_below(labels: Labels, scores: ArrayLike, level: float) -> tuple[int, int]:
    """Count the healthy films below a level, which a hospital sends during the search.

    Parameters
    ----------
    labels : array or dict
        0 or 1, shape (n,); or what the opener returned.
    scores : array, shape (n,) or (n, 1)
        Logits or probabilities.
    level : float
        The proposed level.

    Returns
    -------
    below : int
        Films without a finding that score below the level.
    healthy : int
        All films without a finding.

    Raises
    ------
    ValueError
        If the lengths differ, or a score is not finite.
    """
    labels, scores = align_scores(labels, scores)
    healthy = scores[labels == 0]
    return int((healthy < level).sum()), len(healthy)


def choose_federated_level(
    hospitals: Sequence[tuple[Labels, ArrayLike]],
    *,
    specificity: float,
    tolerance: float = 1e-6,
    add: Callable = sum,
) -> FederatedLevel:
    """Choose one level for all hospitals from counts, by bisection.

    It decides these films as the threshold of :func:`~helpers.evaluation.choose_threshold` on the
    pooled films does, unless two scores are closer than ``tolerance``. Each exchange is one call of
    :func:`count_healthy_below` at every hospital.

    Parameters
    ----------
    hospitals : sequence of (labels, scores)
        The validation films of each hospital; scores between −64 and 64, such as logits.
    specificity : float in [0, 1]
        The least specificity over all films together.
    tolerance : float, default=1e-6
        How far above the lowest such level the result may lie.
    add : callable, default=sum
        Adds one array of each hospital, such as :class:`helpers.exchange.MaskedSum`.

    Returns
    -------
    FederatedLevel
        ``threshold``, infinite if the specificity is reached only by calling every film positive,
        or none; and ``n_exchanges``.

    Raises
    ------
    ValueError
        If ``specificity`` is out of its range, no film is healthy, the lengths differ, or a score
        is not finite.
    """
    if not 0 <= specificity <= 1:
        raise ValueError(f"Expected specificity in [0, 1]. Received {specificity}.")

    def holds(level):
        below, healthy = add([np.array(count_healthy_below(*films, level)) for films in hospitals])
        if not healthy:
            raise ValueError("Expected films without a finding to choose a level. Received none.")
        return below >= specificity * healthy - 1e-9

    low, high = _RANGE
    if holds(low):
        return FederatedLevel(float("-inf"), 1)
    if not holds(high):
        return FederatedLevel(float("inf"), 2)
    n_exchanges = 2
    while high - low > tolerance:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
        n_exchanges += 1
    return FederatedLevel(high, n_exchanges)

"""Accounting: the privacy that a training spends, computed by the package dp-accounting."""

import math

# Step of the discretized privacy loss. A ten times finer one takes ten times as long and lowers the
# result by a thousandth.
_STEP = 1e-3


def spent_epsilon(
    n_samples: int, batch_size: int, n_updates: int, noise_multiplier: float, delta: float
) -> float:
    r"""Compute the :math:`\varepsilon` that an organization's training has spent.

    Two sets of samples are neighbors if one has one sample more (add or remove). With
    ``DPSGD(unit="patient")`` read patients for samples throughout. The accountant composes privacy
    loss distributions (Koskela et al. 2020), by the package dp-accounting; its result is an upper
    bound. Organizations with different samples do not add up: each has its own
    :math:`\varepsilon`.

    Parameters
    ----------
    n_samples : int
        Samples, or patients, that the organization trains on.
    batch_size : int
        Expected number of samples, or patients, of a batch.
    n_updates : int
        All updates: those of one round times the rounds. SubstraFL trains once more than it
        averages: N rounds are N + 1 trainings.
    noise_multiplier : float
        :math:`\sigma`. With 0 the result is infinite.
    delta : float in (0, 1)
        :math:`\delta`; it should be well below 1 / n_samples.

    Returns
    -------
    float
        :math:`\varepsilon`.

    Raises
    ------
    ValueError
        If a number is out of its range.

    Examples
    --------
    >>> round(spent_epsilon(1000, 20, 500, noise_multiplier=1.0, delta=1e-4), 2)
    2.31
    """
    _check_run(n_samples, batch_size, n_updates, delta)
    if noise_multiplier < 0:
        raise ValueError(f"Expected a noise_multiplier of 0 or more. Received {noise_multiplier}.")
    if noise_multiplier == 0:
        return float("inf")
    spent = _accountant().compose(_event(n_samples, batch_size, n_updates, noise_multiplier))
    return float(spent.get_epsilon(delta))


def find_noise(
    epsilon: float, n_samples: int, batch_size: int, n_updates: int, delta: float
) -> float:
    r"""Find the noise multiplier with which a training spends at most :math:`\varepsilon`.

    Parameters
    ----------
    epsilon : float
        What may be spent, above 0.
    n_samples, batch_size, n_updates, delta
        As in :func:`spent_epsilon`.

    Returns
    -------
    float
        The smallest noise multiplier, to a thousandth, that keeps to it.

    Raises
    ------
    ValueError
        If a number is out of its range.
    """
    from dp_accounting import LowerEndpointAndGuess, calibrate_dp_mechanism

    _check_run(n_samples, batch_size, n_updates, delta)
    if not epsilon > 0:
        raise ValueError(f"Expected an epsilon above 0. Received {epsilon}.")
    return calibrate_dp_mechanism(
        _accountant,
        lambda noise: _event(n_samples, batch_size, n_updates, noise),
        epsilon,
        delta,
        LowerEndpointAndGuess(0.1, 1.0),
        tol=1e-3,
    )


def group_privacy(epsilon: float, delta: float, size: int) -> tuple[float, float]:
    r"""Compute the guarantee of a group of samples from that of one sample.

    If a mechanism is :math:`(\varepsilon, \delta)`-private for one sample, then for :math:`k`
    samples that are present or absent together, such as those of one patient, it is
    :math:`(k\varepsilon, k e^{(k - 1)\varepsilon}\delta)`-private (Dwork & Roth 2014 [1]_, Section
    2.3).

    Parameters
    ----------
    epsilon : float
        :math:`\varepsilon` of one sample, at least 0.
    delta : float in [0, 1]
        :math:`\delta` of one sample.
    size : int
        :math:`k`, at least 1.

    Returns
    -------
    epsilon : float
        That of the group.
    delta : float
        That of the group. At 1 or above the guarantee is void: it excludes nothing. The formula is
        an upper bound; the true loss may be smaller, and needs another account.

    Raises
    ------
    ValueError
        If a number is out of its range.

    References
    ----------
    .. [1] C. Dwork and A. Roth, "The algorithmic foundations of differential privacy", Foundations
       and Trends in Theoretical Computer Science 9, 2014.

    Examples
    --------
    >>> epsilon, delta = group_privacy(0.5, 1e-6, 3)
    >>> round(epsilon, 2), round(delta * 1e6, 2)
    (1.5, 8.15)
    """
    if not epsilon >= 0:
        raise ValueError(f"Expected an epsilon of 0 or more. Received {epsilon}.")
    if not 0 <= delta <= 1:
        raise ValueError(f"Expected delta between 0 and 1. Received {delta}.")
    if size < 1:
        raise ValueError(f"Expected a size of at least 1. Received {size}.")
    if delta == 0:
        return size * epsilon, 0.0
    logarithm = math.log(size * delta) + (size - 1) * epsilon
    return size * epsilon, math.exp(logarithm) if logarithm < 700 else math.inf


def _accountant():
    """Make a new accountant."""
    from dp_accounting.pld import PLDAccountant  # takes a second to import, and no task needs it

    return PLDAccountant(value_discretization_interval=_STEP)


def _event(n_samples, batch_size, n_updates, noise_multiplier):
    """Describe a training to the accountant."""
    import dp_accounting

    update = dp_accounting.GaussianDpEvent(noise_multiplier)
    share = min(1.0, batch_size / n_samples)
    sampled = dp_accounting.PoissonSampledDpEvent(share, update)
    return dp_accounting.SelfComposedDpEvent(sampled, n_updates)


def _check_run(n_samples, batch_size, n_updates, delta):
    """Refuse numbers of samples, updates or failures that make no sense."""
    numbers = {"n_samples": n_samples, "batch_size": batch_size, "n_updates": n_updates}
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"Expected {name} of at least 1. Received {number}.")
    if not 0 < delta < 1:
        raise ValueError(f"Expected delta between 0 and 1. Received {delta}.")

"""Accounting: what private training spends, by the package dp-accounting."""

# Steps of the distributions of privacy loss; ten times finer ones cost ten times the time, for a
# thousandth less.
_STEP = 1e-3


def spent_epsilon(
    n_samples: int, batch_size: int, n_updates: int, noise_multiplier: float, delta: float
) -> float:
    r"""Compute the :math:`\varepsilon` that an organization's training has spent.

    Neighbors are two sets of samples of which one has one sample more. The accountant adds up
    privacy loss distributions (Koskela et al. 2020), by the package dp-accounting; its result is an
    upper bound. Organizations with different samples do not add up: each has an :math:`\varepsilon`
    of its own.

    Parameters
    ----------
    n_samples : int
        Samples that the organization trains on.
    batch_size : int
        Expected number of samples of a batch.
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


def _accountant():
    """Make an accountant that has counted nothing yet."""
    from dp_accounting.pld import PLDAccountant  # a second to import, which no task has to pay

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

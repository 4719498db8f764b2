"""What privacy costs: as dp-accounting says, and never more than was asked for."""

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from helpers.algorithms import find_noise, spent_epsilon

RUN = {"n_samples": 500, "batch_size": 20, "n_updates": 200, "delta": 1e-4}


def test_epsilon_is_that_of_the_accountant():
    sampled = dp_accounting.PoissonSampledDpEvent(0.04, dp_accounting.GaussianDpEvent(1.5))
    event = dp_accounting.SelfComposedDpEvent(sampled, 200)
    found = spent_epsilon(**RUN, noise_multiplier=1.5)
    finer = PLDAccountant().compose(event).get_epsilon(1e-4)
    assert found == PLDAccountant(value_discretization_interval=1e-3).compose(event).get_epsilon(
        1e-4
    )
    assert finer <= found < 1.001 * finer
    assert 0.8 < found / RdpAccountant().compose(event).get_epsilon(1e-4) < 1  # a looser bound
    assert spent_epsilon(**RUN, noise_multiplier=0) == float("inf")


def test_more_films_more_noise_and_fewer_updates_protect_better():
    spent = spent_epsilon(**RUN, noise_multiplier=1.5)
    for change in ({"n_samples": 1000}, {"n_updates": 100}, {"noise_multiplier": 3.0}):
        assert spent_epsilon(**{**RUN, "noise_multiplier": 1.5} | change) < spent
    few = {**RUN, "n_samples": 10, "batch_size": 20}  # all films are in every batch
    assert spent_epsilon(**few, noise_multiplier=1.5) == spent_epsilon(
        **few | {"batch_size": 10}, noise_multiplier=1.5
    )


@pytest.mark.parametrize("epsilon", [0.5, 8.0])
def test_the_noise_that_is_found_spends_what_was_allowed(epsilon):
    noise = find_noise(epsilon, **RUN)
    assert 0.98 * epsilon < spent_epsilon(**RUN, noise_multiplier=noise) <= epsilon


def test_senseless_numbers_are_refused():
    with pytest.raises(ValueError, match=r"n_samples of at least 1. Received 0"):
        spent_epsilon(**RUN | {"n_samples": 0}, noise_multiplier=1)
    with pytest.raises(ValueError, match=r"delta between 0 and 1. Received 1"):
        find_noise(1.0, **RUN | {"delta": 1})
    with pytest.raises(ValueError, match=r"noise_multiplier of 0 or more. Received -1"):
        spent_epsilon(**RUN, noise_multiplier=-1)
    with pytest.raises(ValueError, match=r"epsilon above 0. Received 0"):
        find_noise(0, **RUN)

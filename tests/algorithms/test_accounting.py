"""What privacy costs: as dp-accounting says, and never more than was asked for."""

import math

import dp_accounting
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from helpers.algorithms import find_noise, group_privacy, spent_epsilon

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


def test_group_privacy_by_hand():
    epsilon, delta = group_privacy(1.0, 1e-5, 3)
    assert epsilon == 3.0
    assert delta == pytest.approx(3 * math.e**2 * 1e-5)
    assert group_privacy(2.0, 1e-5, 1) == (2.0, pytest.approx(1e-5))
    assert group_privacy(2.0, 0.0, 4) == (8.0, 0.0)


def test_the_guarantee_of_six_films_that_the_page_once_promised_is_void():
    """With epsilon 3.43 and delta 1e-3 for a film: delta of six films is far above 1."""
    epsilon, delta = group_privacy(3.43, 1e-3, 6)
    assert epsilon == pytest.approx(20.58)
    assert delta > 1e5
    assert group_privacy(1000.0, 1e-3, 6)[1] == math.inf


def test_group_privacy_is_an_upper_bound_of_what_the_gaussian_mechanism_loses():
    """k films at once are k times the sensitivity: the true delta at k epsilon is smaller."""
    noise, size = 4.0, 3
    one = dp_accounting.GaussianDpEvent(noise)
    epsilon = PLDAccountant().compose(one).get_epsilon(1e-6)
    bound, delta = group_privacy(epsilon, 1e-6, size)
    together = dp_accounting.GaussianDpEvent(noise / size)
    assert PLDAccountant().compose(together).get_epsilon(delta) < bound


def test_a_senseless_group_is_refused():
    for numbers in ((-1, 0.1, 2), (1, 1.5, 2), (1, 0.1, 0)):
        with pytest.raises(ValueError, match=r"Received"):
            group_privacy(*numbers)

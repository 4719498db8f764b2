"""Participation: who is drawn, and what a hospital must be able to do."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from substrafl.algorithms.algo import Algo
from substrafl.strategies import FedAvg
from substrafl.strategies.schemas import StrategyName

from helpers.strategies import Participation
from helpers.strategies.participation import draw_participants


@given(st.integers(1, 30), st.floats(0.01, 1), st.integers(0, 1000), st.integers(0, 1000))
def test_as_many_as_asked_for_and_nobody_twice(n_hospitals, fraction, seed, round_idx):
    drawn = draw_participants(n_hospitals, fraction, seed=seed, round_idx=round_idx)
    assert len(drawn) == len(set(drawn)) == max(1, round(fraction * n_hospitals))
    assert drawn == sorted(drawn)
    assert set(drawn) <= set(range(n_hospitals))


def test_rounds_are_drawn_by_themselves_and_all_hospitals_get_their_turn():
    rounds = [draw_participants(5, 0.4, seed=3, round_idx=number) for number in range(500)]
    assert rounds[7] == draw_participants(5, 0.4, seed=3, round_idx=7)
    assert rounds != [draw_participants(5, 0.4, seed=4, round_idx=n) for n in range(500)]
    counts = np.bincount(np.ravel(rounds), minlength=5)
    # Binomial with mean 200 and standard deviation 11.
    assert (np.abs(counts - 200) < 50).all()


class Stubborn(Algo):
    strategies = property(lambda self: [StrategyName.FEDERATED_AVERAGING])
    model = property(lambda self: None)

    def train(self, data_from_opener, shared_state=None):
        """Nothing."""

    predict = save_local_state = load_local_state = train


def test_wrong_arguments():
    strategy = FedAvg(algo=Stubborn())
    with pytest.raises(TypeError, match=r"such as TFFedAvgAlgo. Received Stubborn, without"):
        Participation(strategy, 0.5)
    for fraction in (0, -0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"a fraction in \(0, 1\]"):
            Participation(strategy, fraction)
    with pytest.raises(TypeError, match=r"Expected a strategy to wrap"):
        Participation(FedAvg, 0.5)

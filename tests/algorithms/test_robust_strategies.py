"""Robust strategies on a model that trains, with a hostile hospital, against their references."""

import functools

import numpy as np
import pytest
from substrafl.remote import remote_data

from helpers.algorithms import TFFedAvgAlgo
from helpers.local_mode import Federation
from helpers.numpy_reference import LinearHospitals, multi_krum, robust_fed_avg, trimmed
from helpers.strategies import FedMedian, FedTrimmedMean, MultiKrum

ROUNDS = 2


class HostileAlgo(TFFedAvgAlgo):
    """The hospital with 12 films sends its update with the wrong sign, and 100-fold."""

    @remote_data
    def train(self, data_from_opener, shared_state=None):
        state = super().train(
            data_from_opener=data_from_opener, shared_state=shared_state, _skip=True
        )
        if state.n_samples == 12:
            state.parameters_update = [-100 * value for value in state.parameters_update]
        return state


@pytest.mark.parametrize(
    ("make", "average"),
    [
        (FedMedian, functools.partial(trimmed, n_trimmed=1)),
        (FedTrimmedMean, functools.partial(trimmed, n_trimmed=1)),
    ],
)
def test_the_papers_averages(run_rounds, linear, reference, weights, make, average):
    algo = HostileAlgo(**linear())
    start = weights(algo)
    found = run_rounds(make(algo), ROUNDS)
    expected = robust_fed_avg(reference, start, ROUNDS, average, hostile={1})
    assert np.abs(expected - start).max() > 0.01
    for one in found:
        np.testing.assert_allclose(weights(one), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_multi_krum(tiny_samples, linear, films, draw_batches, weights):
    # Five hospitals, the fewest for one that is hostile; two of them hold the films of others.
    held = ["A", "B", "C", "A", "C"]
    samples = dict(zip("ABCDE", (tiny_samples[name] for name in held), strict=True))
    films = [films["ABC".index(name)] for name in held]
    hospitals = LinearHospitals(films, [draw_batches(len(y)) for _, y in films], 0.05)
    algo = HostileAlgo(**linear())
    start = weights(algo)
    with Federation(samples) as federation:
        states, _ = federation.simulate(MultiKrum(algo, n_chosen=3), num_rounds=ROUNDS)
        found = weights(federation.algos(states)["B", ROUNDS])
    average = functools.partial(multi_krum, n_hostile=1, n_chosen=3)
    expected = robust_fed_avg(hospitals, start, ROUNDS, average, hostile={1})
    assert np.abs(expected - start).max() > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)

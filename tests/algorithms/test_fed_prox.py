"""FedProx against the paper in NumPy, and its two limits."""

import keras
import numpy as np
import pytest
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.algorithms.traces import Traces
from helpers.numpy_reference import fed_prox

ROUNDS = 3


def test_the_papers_algorithm(run_rounds, linear, reference, weights):
    algo = TFFedAvgAlgo(**linear(proximal_mu=2.0))
    start = weights(algo)
    found = run_rounds(FedAvg(algo=algo), ROUNDS)
    expected = fed_prox(reference, start, ROUNDS, mu=2.0)
    assert np.abs(expected - start).max() > 0.01
    for one in found:
        np.testing.assert_allclose(weights(one), expected, rtol=0, atol=1e-6)


def train(algo, data):
    return algo.train(data_from_opener=data, shared_state=None, _skip=True).parameters_update


def test_without_the_term_it_is_federated_averaging(data, linear):
    plain, zero = (
        train(TFFedAvgAlgo(**linear(**changes)), data) for changes in ({}, {"proximal_mu": 0.0})
    )
    np.testing.assert_equal(zero, plain)
    some = train(TFFedAvgAlgo(**linear(proximal_mu=1.0)), data)
    assert np.abs(some[0] - plain[0]).max() > 1e-4


def test_with_an_infinite_term_nothing_moves(data, linear):
    strong = 1e6  # SGD is stable up to a rate of 1 / mu
    algo = TFFedAvgAlgo(**linear(proximal_mu=strong, optimizer=keras.optimizers.SGD(1 / strong)))
    for update in train(algo, data):
        assert 0 < np.abs(update).max() < 1e-5


def test_a_saved_trace_pulls_back_to_the_weights_of_its_own_round(data, linear, tmp_path):
    algo = TFFedAvgAlgo(**linear(proximal_mu=2.0))
    train(algo, data)
    algo.save_local_state(tmp_path / "state")
    updates = []
    for keep_trace in (True, False):
        again = TFFedAvgAlgo(**linear(proximal_mu=2.0)).load_local_state(tmp_path / "state")
        again.model.set_weights([weight + 1 for weight in again.model.get_weights()])
        if not keep_trace:
            again._traces = Traces()
        updates.append(train(again, data))
        assert again._traces.get("step", None, None, None).is_cached is keep_trace
    np.testing.assert_equal(*updates)


def test_a_negative_term_is_refused(linear):
    with pytest.raises(ValueError, match=r"proximal_mu of 0 or more. Received -1"):
        TFFedAvgAlgo(**linear(proximal_mu=-1))

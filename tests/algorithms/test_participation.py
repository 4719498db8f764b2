"""Sitting out: the references, real tasks, and what does not change."""

import keras
import numpy as np
import pytest
from substrafl.strategies import FedAvg
from substrafl.strategies.schemas import FedAvgAveragedState

from helpers.algorithms import FedAdam, TFFedAvgAlgo
from helpers.local_mode import Federation
from helpers.numpy_reference import fed_avg
from helpers.strategies import FedMedian, Participation, SafeExchange
from helpers.strategies.participation import draw_participants

ROUNDS, FRACTION, SEED = 3, 0.7, 5


def drawn(round_idx):
    return draw_participants(3, FRACTION, seed=SEED, round_idx=round_idx)


def test_the_participants_are_averaged_and_all_receive(run_rounds, linear, reference, weights):
    # Rounds 0 to 2 are averaged: everybody sits out at least once, and not always the same.
    assert len({tuple(drawn(round_idx)) for round_idx in range(ROUNDS)}) > 1
    algo = TFFedAvgAlgo(**linear())
    start = weights(algo)
    found = run_rounds(Participation(FedAvg(algo=algo), FRACTION, SEED), ROUNDS)
    expected = fed_avg(reference, start, ROUNDS, participants=drawn)
    assert np.abs(expected - start).max() > 0.01
    for one in found:
        np.testing.assert_allclose(weights(one), expected, rtol=0, atol=1e-6)


@pytest.mark.slow
def test_with_everybody_it_is_federated_averaging_bit_for_bit(run_rounds, linear, weights):
    plain, wrapped = (
        run_rounds(wrap(FedAvg(algo=TFFedAvgAlgo(**linear()))), 2)
        for wrap in (lambda strategy: strategy, lambda strategy: Participation(strategy, 1.0))
    )
    for a, b in zip(plain, wrapped, strict=True):
        np.testing.assert_array_equal(weights(a), weights(b))


@pytest.mark.slow
def test_it_composes_and_simulates(tiny_samples, run_tasks, linear, weights):
    settings = linear(
        server_optimizer=FedAdam(), proximal_mu=0.5, optimizer=keras.optimizers.Adam(0.01)
    )
    strategy = Participation(FedMedian(TFFedAvgAlgo(**settings)), FRACTION, SEED)
    with Federation(tiny_samples) as federation:
        states, _ = federation.simulate(strategy, num_rounds=ROUNDS)
    simulated = [
        weights(state.algo)
        for state, number in zip(states.state, states.round_idx, strict=True)
        if number == ROUNDS
    ]
    # With packed states, of which one is missing, the tasks compute the same.
    for one, other in zip(run_tasks(SafeExchange(strategy), ROUNDS), simulated, strict=True):
        np.testing.assert_allclose(weights(one), other, rtol=0, atol=1e-6)
    # The memories of the server's optimizer are in step.
    np.testing.assert_allclose(simulated, [simulated[0]] * 3, rtol=0, atol=0)


def test_receiving_adds_the_average_and_keeps_the_films_for_later(data, linear):
    algo, trained = (TFFedAvgAlgo(**linear(server_optimizer=FedAdam())) for _ in range(2))
    average = FedAvgAveragedState(
        avg_parameters_update=[np.ones((64, 1), np.float32), np.ones(1, np.float32)]
    )
    sent = algo.receive(data_from_opener=data, shared_state=average, _skip=True)
    assert [len(value) for value in sent.values()] == [0]
    trained.train(data_from_opener=data, shared_state=average, _skip=True)
    for one, other in zip(algo.model.get_weights(), trained.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_equal(algo._server_memory, trained._server_memory)
    assert algo._index_generator.counter == 0
    assert int(algo._optimizer.iterations) == 0
    before = algo.model.get_weights()
    algo.receive(data_from_opener=data, shared_state=None, _skip=True)
    np.testing.assert_equal(algo.model.get_weights(), before)

"""The algorithm that records distances: what it records, and that it trains as the other one."""

import numpy as np
import pytest
from substrafl.model_loading import download_algo_state, download_train_shared_state
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo, WatchedFedAvgAlgo
from helpers.local_mode import Federation

ROUNDS, UPDATES = 2, 4


def test_distances_begin_at_zero_end_at_the_update_and_change_no_bit(tiny_samples, linear, weights):
    with Federation(tiny_samples) as federation:
        plan, _ = federation.execute(
            FedAvg(algo=WatchedFedAvgAlgo(**linear())), num_rounds=ROUNDS, eval_every=ROUNDS
        )
        client = federation.clients["B"]
        watched = download_algo_state(client, plan.key)
        states, _ = federation.simulate(FedAvg(algo=TFFedAvgAlgo(**linear())), num_rounds=ROUNDS)
        plain = federation.algos(states)
        sent = [download_train_shared_state(client, plan.key, r) for r in range(ROUNDS + 1)]
    assert set(plain) == {(name, r) for name in "ABC" for r in range(ROUNDS + 1)}
    np.testing.assert_array_equal(weights(watched), weights(plain["B", ROUNDS]))
    teeth = np.reshape(watched.distances, (ROUNDS + 1, UPDATES + 1))
    assert (teeth[:, 0] == 0).all()
    assert (teeth[:, 1:] > 0).all()
    lengths = [np.sqrt(sum((v**2).sum() for v in state.parameters_update)) for state in sent]
    np.testing.assert_allclose(teeth[:, -1], lengths, rtol=1e-5)


def test_a_wrong_argument_is_named():
    with pytest.raises(TypeError, match=r"Received 'criterion'\. Use loss"):
        WatchedFedAvgAlgo(criterion="mse")

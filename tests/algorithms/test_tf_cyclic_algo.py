"""Cyclic weight transfer against its reference, through real tasks; its limits and errors."""

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.exceptions import IncompatibleAlgoStrategyError, MultipleTaskError
from substrafl.model_loading import download_algo_state
from substrafl.strategies import FedAvg, SingleOrganization

from helpers.algorithms import TFCyclicAlgo, TFSingleOrganizationAlgo
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.numpy_reference import cyclic_transfer
from helpers.strategies import CyclicTransfer
from helpers.strategies.cyclic import CyclicState

ROUNDS = 3


def test_the_papers_algorithm(run_rounds, linear, reference, weights):
    algo = TFCyclicAlgo(**linear())
    start = weights(algo)
    found = [weights(one) for one in run_rounds(CyclicTransfer(algo=algo), ROUNDS)]
    expected = cyclic_transfer(reference, start, ROUNDS)
    assert np.abs(expected - start).max() > 0.01
    for one in found:
        np.testing.assert_allclose(one, expected, rtol=0, atol=1e-6)


def with_batch_norm():
    return keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Flatten(), layers.BatchNormalization(), layers.Dense(1)]
    )


@pytest.mark.slow
def test_every_hospital_is_evaluated_with_the_model_that_went_round_last(
    tiny_samples, linear, weights
):
    def mean(data_from_opener, predictions):
        return float(np.mean(predictions))

    settings = linear(model=with_batch_norm, optimizer=keras.optimizers.SGD(0.001, momentum=0.9))
    strategy = CyclicTransfer(
        algo=TFCyclicAlgo(**settings), metric_functions={"auc": auc, "mean": mean}
    )
    # C only tests: it is given what the first one has.
    run = {"train_on": ("A", "B"), "num_rounds": 2}
    with Federation(tiny_samples) as federation:
        plan, scores = federation.execute(strategy, **run)
        found = [
            download_algo_state(federation.clients[hospital], plan.key) for hospital in ("A", "B")
        ]
        of_round_1 = download_algo_state(federation.clients["B"], plan.key, round_idx=1)
        with pytest.raises(MultipleTaskError):
            download_algo_state(federation.clients["A"], plan.key, round_idx=1)
        tasks = federation.tasks()
        states, simulated = federation.simulate(strategy, **run)
        both = scores.merge(simulated, on=["round", "hospital", "metric"])
    assert len(both) == len(scores) == 3 * 3 * 2
    np.testing.assert_allclose(both["value_x"], both["value_y"], rtol=0, atol=1e-6)
    for a, b in zip(found[0].model.get_weights(), found[1].model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert len(tasks) == plan.task_count == 2 + 2 * (2 * 2 - 1) + (1 + 2) * 3
    assert np.abs(weights(of_round_1) - weights(found[0])).max() > 1e-3
    # The slots have not gone round: each hospital's own momentum.
    momenta = [[v.numpy() for v in algo._optimizer.variables[2:]] for algo in found]
    assert np.abs(momenta[0][0] - momenta[1][0]).max() > 1e-6
    # One state of each hospital and round is kept, that of the model of the round.
    kept = sorted(zip(states.round_idx, states.worker, strict=True))
    assert len(kept) == len(set(kept)) == 2 * 2
    last = [s.algo for s, n in zip(states.state, states.round_idx, strict=True) if n == 2]
    np.testing.assert_array_equal(*(weights(algo) for algo in last))


def test_with_one_hospital_it_is_training_at_one_hospital(tiny_samples, linear, weights):
    settings = linear(model=with_batch_norm, optimizer=keras.optimizers.Adam(0.01))
    alone = {"A": tiny_samples["A"]}
    with Federation(alone) as federation:
        runs = [
            federation.simulate(strategy, num_rounds=ROUNDS)[0]
            for strategy in (
                CyclicTransfer(algo=TFCyclicAlgo(**settings)),
                SingleOrganization(algo=TFSingleOrganizationAlgo(**settings)),
            )
        ]
    found, expected = (weights(run.state[-1].algo) for run in runs)
    np.testing.assert_array_equal(found, expected)


def test_moving_statistics_go_round_or_stay(data, linear):
    for go_round, n_tensors in ((True, 6), (False, 4)):
        algo = TFCyclicAlgo(**linear(model=with_batch_norm, with_batch_norm_parameters=go_round))
        own = algo.model.layers[1].moving_mean.numpy()
        sent = [
            np.ones(v.shape, np.float32)
            for v in algo.model.trainable_variables
            + (algo.model.layers[1].non_trainable_variables if go_round else [])
        ]
        state = CyclicState(parameters=sent)
        handed_on = algo.receive(data_from_opener=data, shared_state=state, _skip=True)
        assert len(handed_on.parameters) == n_tensors
        np.testing.assert_equal(handed_on.parameters, sent)
        expected = np.ones_like(own) if go_round else own
        np.testing.assert_array_equal(algo.model.layers[1].moving_mean.numpy(), expected)
        assert algo.summary()["with_batch_norm_parameters"] == str(go_round)


def test_weights_of_another_model_are_refused(data, linear):
    algo = TFCyclicAlgo(**linear())
    state = CyclicState(parameters=[np.zeros((3, 1), np.float32)])
    with pytest.raises(ValueError, match=r"the weights of the organization before. Received 1"):
        algo.train(data_from_opener=data, shared_state=state, _skip=True)
    diverging = TFCyclicAlgo(**linear(optimizer=keras.optimizers.SGD(1e30)))
    with pytest.raises(ValueError, match=r"weights after local training"):
        diverging.train(data_from_opener=data, shared_state=None, _skip=True)


def test_strategy_and_algorithm_must_be_made_for_each_other(linear):
    with pytest.raises(IncompatibleAlgoStrategyError, match=r"Cyclic weight transfer"):
        CyclicTransfer(algo=TFSingleOrganizationAlgo(**linear()))
    with pytest.raises(
        IncompatibleAlgoStrategyError, match=r"not compatible with the strategy FedAvg"
    ):
        FedAvg(algo=TFCyclicAlgo(**linear()))

import keras
import numpy as np
import pytest
from substrafl.algorithms.tensorflow import TFFedAvgAlgo
from substrafl.strategies import FedAvg
from substrafl.strategies.schemas import FedAvgAveragedState, StrategyName


def train(algo, data, state=None):
    return algo.train(data_from_opener=data, shared_state=state, _skip=True)


def test_the_update_is_that_of_the_same_training_in_numpy(
    settings, data, weights_of, draw_batches, descend
):
    algo = TFFedAvgAlgo(**settings())
    start = weights_of(algo)
    shared = train(algo, data)
    trained = descend(start, data, draw_batches(20)())
    assert shared.n_samples == 20
    for update, before, after in zip(shared.parameters_update, start, trained, strict=True):
        assert np.abs(after - before).max() > 0.1
        np.testing.assert_allclose(update, after - before, rtol=0, atol=1e-5)


def test_the_weights_are_set_back_after_the_training(settings, data):
    algo = TFFedAvgAlgo(**settings())
    start = algo.model.get_weights()
    train(algo, data)
    for before, after in zip(start, algo.model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)


def test_the_next_round_begins_with_the_average(settings, data):
    algo = TFFedAvgAlgo(**settings())
    start = algo.model.get_weights()
    train(algo, data)
    average = [np.full_like(weight, 0.25) for weight in start]
    train(algo, data, FedAvgAveragedState(avg_parameters_update=average))
    for before, after in zip(start, algo.model.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before + np.float32(0.25))


def test_three_rounds_of_two_organizations_are_those_of_numpy(
    settings, both, weights_of, draw_batches, descend
):
    algos = [TFFedAvgAlgo(**settings()) for _ in both]
    strategy = FedAvg(algo=algos[0])
    expected, draws = weights_of(algos[0]), [draw_batches(len(one["x"])) for one in both]
    state = None
    for _ in range(3):
        shared = [train(algo, one, state) for algo, one in zip(algos, both, strict=True)]
        state = strategy.avg_shared_states(shared_states=shared, _skip=True)
        trained = [descend(expected, one, draw()) for one, draw in zip(both, draws, strict=True)]
        expected = [(20 * a + 12 * b) / 32 for a, b in zip(*trained, strict=True)]
    for algo, one in zip(algos, both, strict=True):
        train(algo, one, state)  # the last average is added in the task that follows
        for weight, value in zip(weights_of(algo), expected, strict=True):
            np.testing.assert_allclose(weight, value, rtol=0, atol=1e-5)


@pytest.mark.parametrize("with_batch_norm_parameters", [False, True])
def test_statistics_of_batch_norm_are_sent_by_choice(
    settings, models, data, with_batch_norm_parameters
):
    algo = TFFedAvgAlgo(
        **settings(model=models["batch_norm"]),
        with_batch_norm_parameters=with_batch_norm_parameters,
    )
    shared = train(algo, data)
    assert len(shared.parameters_update) == (8 if with_batch_norm_parameters else 6)


def test_an_average_of_another_model_is_refused(settings, data):
    algo = TFFedAvgAlgo(**settings())
    with pytest.raises(ValueError, match="tensors"):
        train(algo, data, FedAvgAveragedState(avg_parameters_update=[np.zeros(1)]))


def test_a_training_that_diverges_is_reported(settings, data):
    algo = TFFedAvgAlgo(**settings(optimizer=keras.optimizers.SGD(1e30)))
    with pytest.raises(ValueError, match="not finite"):
        train(algo, data)


def test_it_serves_federated_averaging(settings):
    assert TFFedAvgAlgo(**settings()).strategies == [StrategyName.FEDERATED_AVERAGING]

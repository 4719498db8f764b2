"""TFScaffoldAlgo against the paper in NumPy, through real tasks; its properties and its errors."""

import keras
import numpy as np
import pytest
from substrafl.exceptions import (
    NumUpdatesValueError,
    OptimizerValueError,
    ScaffoldLearningRateError,
    TorchScaffoldAlgoParametersUpdateError,
)
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import Scaffold

from helpers.algorithms import CUpdateRule, TFScaffoldAlgo
from helpers.numpy_reference import scaffold

ROUNDS, AGGREGATION_RATE = 3, 0.8
UPDATES = 4  # as in conftest.py


def test_tasks_compute_the_papers_algorithm(run_tasks, linear, make_reference, weights):
    algo = TFScaffoldAlgo(**linear())
    start = weights(algo)
    found = run_tasks(Scaffold(algo=algo, aggregation_lr=AGGREGATION_RATE), ROUNDS)
    settings = {"n_updates": UPDATES, "aggregation_rate": AGGREGATION_RATE}
    expected, _, _ = scaffold(make_reference(), start, ROUNDS, **settings)
    assert np.abs(expected - start).max() > 0.01
    for one in found:
        np.testing.assert_allclose(weights(one), expected, rtol=0, atol=1e-6)
    # One more local training follows the last aggregation; it renews the variates.
    _, c, variates = scaffold(make_reference(), start, ROUNDS + 1, **settings)
    own = [np.concatenate([np.ravel(v) for v in a._client_control_variate.values()]) for a in found]
    for mine, expected in zip(own, variates, strict=True):
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(mine, expected, rtol=0, atol=1e-5)
    # What is subtracted here is added there: the corrections of all films sum to zero.
    np.testing.assert_allclose(make_reference().average(own), c, rtol=0, atol=1e-5)


def test_a_training_loop_of_ones_own_must_correct_every_update(data, linear):
    class Forgetful(TFScaffoldAlgo):
        def _local_train(self, train_dataset):
            for indices in self._index_generator:
                self._model.train_on_batch(*train_dataset[indices])

    with pytest.raises(
        TorchScaffoldAlgoParametersUpdateError, match=r"Expected 4 calls.*Received 0"
    ):
        Forgetful(**linear()).train(data_from_opener=data, shared_state=None, _skip=True)


def test_the_rate_of_a_schedule_is_that_of_the_last_update(data, linear, caplog):
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([3], [0.1, 0.2])
    algo = TFScaffoldAlgo(**linear(optimizer=keras.optimizers.SGD(schedule)))
    assert "has not been scientifically validated" in caplog.text
    seen = []
    correct = algo._scaffold_parameters_update

    def watch():
        correct()
        seen.append(algo._current_lr)

    algo._scaffold_parameters_update = watch
    algo.train(data_from_opener=data, shared_state=None, _skip=True)
    # Keras' boundary belongs to the first piece: updates 0 to 3.
    np.testing.assert_allclose(seen, [0.1] * 4)
    algo._optimizer.iterations.assign(5)
    algo._update_current_lr()
    assert algo._current_lr == pytest.approx(0.2)


@pytest.mark.parametrize("optimizer", ["adam", keras.optimizers.SGD(0.1, momentum=0.9)])
def test_optimizers_without_theory_are_allowed_with_a_warning(optimizer, linear, caplog):
    TFScaffoldAlgo(**linear(optimizer=optimizer))
    assert "guaranteed to work with the Scaffold strategy is SGD" in caplog.text


def test_plain_sgd_brings_no_warning(linear, caplog):
    TFScaffoldAlgo(**linear())
    assert caplog.text == ""


def test_wrong_arguments(linear):
    with pytest.raises(ScaffoldLearningRateError, match=r"positive learning rate.*Received 0"):
        TFScaffoldAlgo(**linear(optimizer=keras.optimizers.SGD(0.0)))
    with pytest.raises(NumUpdatesValueError, match=r"at least 1. Received 0"):
        TFScaffoldAlgo(**linear(index_generator=NpIndexGenerator(batch_size=4, num_updates=0)))
    with pytest.raises(NotImplementedError, match=r"CUpdateRule.FAST"):
        TFScaffoldAlgo(**linear(c_update_rule=CUpdateRule.STABLE))
    with pytest.raises(OptimizerValueError, match=r"needs its learning rate"):
        TFScaffoldAlgo(**linear(optimizer=None))


def test_a_wrong_control_variate_is_refused(data, linear):
    from substrafl.strategies.schemas import ScaffoldAveragedStates

    algo = TFScaffoldAlgo(**linear())
    algo.train(data_from_opener=data, shared_state=None, _skip=True)
    weights = [np.zeros_like(weight) for weight in algo.model.get_weights()]
    state = ScaffoldAveragedStates(
        avg_parameters_update=weights, server_control_variate=weights[::-1]
    )
    with pytest.raises(ValueError, match=r"server's control variate"):
        algo.train(data_from_opener=data, shared_state=state, _skip=True)

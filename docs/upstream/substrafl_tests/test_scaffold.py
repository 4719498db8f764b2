import keras
import numpy as np
import pytest
from substrafl.algorithms.tensorflow import TFScaffoldAlgo
from substrafl.algorithms.tensorflow.tf_scaffold_algo import CUpdateRule
from substrafl.exceptions import (
    NumUpdatesValueError,
    ScaffoldLearningRateError,
    TorchScaffoldAlgoParametersUpdateError,
)
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import Scaffold

RATE, N_UPDATES = 0.1, 4  # of the settings


def train(algo, data, state=None):
    return algo.train(data_from_opener=data, shared_state=state, _skip=True)


def test_three_rounds_of_two_organizations_are_those_of_numpy(
    settings, both, weights_of, draw_batches, descend
):
    algos = [TFScaffoldAlgo(**settings()) for _ in both]
    strategy = Scaffold(algo=algos[0], aggregation_lr=1)
    draws = [draw_batches(len(one["x"])) for one in both]
    expected = weights_of(algos[0])
    server = [np.zeros_like(weight) for weight in expected]
    local = [list(server) for _ in both]
    state = None
    for _ in range(3):
        shared = [train(algo, one, state) for algo, one in zip(algos, both, strict=True)]
        state = strategy.avg_shared_states(shared_states=shared, _skip=True)
        updates, changes = [], []
        for number, (one, draw) in enumerate(zip(both, draws, strict=True)):
            correction = [mine - theirs for mine, theirs in zip(local[number], server, strict=True)]
            trained = descend(expected, one, draw(), correction)
            update = [after - before for after, before in zip(trained, expected, strict=True)]
            change = [
                -of_all - moved / (RATE * N_UPDATES)
                for of_all, moved in zip(server, update, strict=True)
            ]
            local[number] = [a + b for a, b in zip(local[number], change, strict=True)]
            updates.append(update)
            changes.append(change)
        for sent, update, change in zip(shared, updates, changes, strict=True):
            for received, value in zip(sent.parameters_update, update, strict=True):
                np.testing.assert_allclose(received, value, rtol=0, atol=1e-5)
            for received, value in zip(sent.control_variate_update, change, strict=True):
                np.testing.assert_allclose(received, value, rtol=0, atol=1e-4)
        averaged = [(20 * a + 12 * b) / 32 for a, b in zip(*updates, strict=True)]
        expected = [before + update for before, update in zip(expected, averaged, strict=True)]
        moved = [(20 * a + 12 * b) / 32 for a, b in zip(*changes, strict=True)]
        server = [before + change for before, change in zip(server, moved, strict=True)]


def test_the_control_variate_survives_a_pause(settings, data, tmp_path):
    algo = TFScaffoldAlgo(**settings())
    train(algo, data)
    algo.save_local_state(tmp_path / "state")
    loaded = TFScaffoldAlgo(**settings()).load_local_state(tmp_path / "state")
    assert any(np.any(value) for value in algo._client_control_variate.values())
    for name, value in algo._client_control_variate.items():
        np.testing.assert_array_equal(loaded._client_control_variate[name], value)


def test_the_rate_is_that_of_the_last_update(settings, data):
    schedule = keras.optimizers.schedules.ExponentialDecay(RATE, 1, 0.5)
    algo = TFScaffoldAlgo(**settings(optimizer=keras.optimizers.SGD(schedule)))
    assert algo._current_lr == pytest.approx(RATE)
    train(algo, data)
    assert algo._current_lr == pytest.approx(RATE * 0.5 ** (N_UPDATES - 1))


@pytest.mark.parametrize("num_updates", [-10, 0])
def test_a_round_needs_an_update(settings, num_updates):
    generator = NpIndexGenerator(batch_size=5, num_updates=num_updates)
    with pytest.raises(NumUpdatesValueError):
        TFScaffoldAlgo(**settings(index_generator=generator))


def test_the_stable_rule_is_not_there_yet(settings):
    with pytest.raises(NotImplementedError):
        TFScaffoldAlgo(**settings(), c_update_rule=CUpdateRule.STABLE)


def test_a_rate_of_zero_is_refused(settings):
    with pytest.raises(ScaffoldLearningRateError):
        TFScaffoldAlgo(**settings(optimizer=keras.optimizers.SGD(0.0)))


def test_another_optimizer_than_sgd_is_warned_of(settings, caplog):
    TFScaffoldAlgo(**settings(optimizer=keras.optimizers.Adam(RATE)))
    assert "guaranteed to work with the Scaffold strategy" in caplog.text


def test_every_update_must_be_corrected(settings, data):
    class Forgetful(TFScaffoldAlgo):
        def _local_train(self, train_dataset):
            for _ in self._index_generator:
                pass
            self._scaffold_parameters_update()

    with pytest.raises(TorchScaffoldAlgoParametersUpdateError):
        train(Forgetful(**settings()), data)

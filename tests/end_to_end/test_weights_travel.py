"""The first attempt's failure: weights that entered the compute plan and were never averaged.

Everything here goes through SubstraFL's experiments, and, where it says *tasks*, through real
local-mode tasks with a process for each.
"""

import zlib

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator
from substrafl.model_loading import download_algo_state, download_train_shared_state
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.exchange import exchanged_variables, get_parameters
from helpers.local_mode import Federation

ROUNDS = 3
N_FILMS = {"A": 24, "B": 12, "C": 18}


def build():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3),
            layers.GroupNormalization(2),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(1),
        ]
    )


def fingerprint_of_weights(model):
    """Boil all weights down to a number below 2**32, which a float64 holds exactly."""
    return zlib.crc32(b"".join(weight.numpy().tobytes() for weight in model.weights))


class MyAlgo(TFFedAvgAlgo):
    """Dropout and Adam: an algorithm with every kind of local state."""

    def __init__(self):
        super().__init__(
            model=build,
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(0.01),
            index_generator=NpIndexGenerator(batch_size=5, num_updates=4),
            dataset=ChestXrayDataset,
            seed=0,
        )

    def _local_predict(self, predict_dataset):
        self.evaluated = fingerprint_of_weights(self._model)
        predictions = super()._local_predict(predict_dataset)
        return np.append(predictions.astype("float64"), self.evaluated)[:, None]


def score(data_from_opener, predictions):
    return auc(data_from_opener, predictions[:-1])


def weights_evaluated(data_from_opener, predictions):
    return float(predictions[-1, 0])


METRICS = {"auc": score, "weights": weights_evaluated}


@pytest.fixture(scope="module")
def run(tiny_samples):
    """One experiment through tasks: its scores, and every state that it left."""
    with Federation(tiny_samples) as federation:
        compute_plan, scores = federation.execute(
            FedAvg(algo=MyAlgo(), metric_functions=METRICS), num_rounds=ROUNDS
        )
        # Local training after round r makes the average of round r + 1.
        states = {
            (hospital, number): download_algo_state(client, compute_plan.key, round_idx=number)
            for hospital, client in federation.clients.items()
            for number in range(ROUNDS + 1)
        }
        updates = {
            (hospital, number): download_train_shared_state(
                client, compute_plan.key, round_idx=number
            )
            for hospital, client in federation.clients.items()
            for number in range(ROUNDS + 1)
        }
        simulated, simulated_scores = federation.simulate(
            FedAvg(algo=MyAlgo(), metric_functions=METRICS), num_rounds=ROUNDS
        )
        yield {
            "compute_plan": compute_plan,
            "scores": scores,
            "weights": {
                key: get_parameters(exchanged_variables(algo.model)) for key, algo in states.items()
            },
            "updates": updates,
            "simulated": simulated,
            "simulated_scores": simulated_scores,
        }


def test_every_hospital_evaluates_the_same_weights(run):
    scores = run["scores"]
    evaluated = scores[scores["metric"] == "weights"].groupby("round")["value"]
    assert list(evaluated.nunique()) == [1] * (ROUNDS + 1)
    assert list(evaluated.count()) == [3] * (ROUNDS + 1)
    assert scores[scores["metric"] == "weights"]["value"].nunique() == ROUNDS + 1


def test_what_is_downloaded_is_the_same_at_every_hospital(run):
    for number in range(ROUNDS + 1):
        first, *others = (run["weights"][hospital, number] for hospital in N_FILMS)
        for other in others:
            assert all(np.array_equal(first[name], other[name]) for name in first)


def test_every_trainable_tensor_changes_in_every_round(run):
    for number in range(1, ROUNDS + 1):
        before, after = run["weights"]["A", number - 1], run["weights"]["A", number]
        for name in before:
            assert np.abs(after[name] - before[name]).max() > 1e-6, (number, name)


def test_the_new_weights_are_the_weighted_mean_by_hand(run):
    total = sum(N_FILMS.values())
    for number in range(1, ROUNDS + 1):
        before = list(run["weights"]["A", number - 1].values())
        after = list(run["weights"]["A", number].values())
        for position in range(len(before)):
            expected = before[position].astype("float64")
            for hospital, n_films in N_FILMS.items():
                update = run["updates"][hospital, number - 1]
                assert update.n_samples == n_films
                expected = expected + n_films / total * update.parameters_update[position]
            np.testing.assert_allclose(after[position], expected, rtol=0, atol=1e-6)


def test_hospitals_sent_different_updates(run):
    a, b = (run["updates"][hospital, 0].parameters_update for hospital in "AB")
    assert all(np.abs(x - y).max() > 1e-5 for x, y in zip(a, b, strict=True))


def test_round_0_scores_the_untrained_model(run):
    scores = run["scores"]
    first = scores[(scores["round"] == 0) & (scores["metric"] == "weights")]["value"]
    assert set(first) == {fingerprint_of_weights(MyAlgo().model)}


def test_tasks_and_simulation_give_the_same_bits(run):
    """Tasks save and load the state in every round; the simulation goes through in one go."""
    order = ["metric", "round", "hospital"]
    scores, simulated = (
        run[name].sort_values(order, ignore_index=True) for name in ("scores", "simulated_scores")
    )
    assert scores["value"].tolist() == simulated["value"].tolist()
    memory = run["simulated"]
    assert memory.round_idx[: ROUNDS + 1] == list(range(ROUNDS + 1))
    for number in range(ROUNDS + 1):
        expected = get_parameters(
            exchanged_variables(memory.state[number].algo.model)
        )  # hospital A comes first
        weights = run["weights"]["A", number]
        assert all(np.array_equal(weights[name], expected[name]) for name in weights)


def test_training_pays(run):
    scores = run["scores"]
    by_round = scores[scores["metric"] == "auc"].groupby("round")["value"].mean()
    assert by_round[ROUNDS] > by_round[0] + 0.1


def test_number_of_tasks(run):
    hospitals, rounds = 3, ROUNDS
    evaluations = rounds + 1
    expected = 2 * hospitals + rounds * (hospitals + 1) + evaluations * hospitals
    assert run["compute_plan"].task_count == run["compute_plan"].done_count == expected


def test_a_hospital_that_only_tests_gets_the_first_training_hospitals_model(tiny_samples):
    with Federation(tiny_samples) as federation:
        states, scores = federation.simulate(
            FedAvg(algo=MyAlgo(), metric_functions=METRICS),
            train_on=("A", "B"),
            test_on=("C",),
            num_rounds=1,
        )
    weights = scores[(scores["metric"] == "weights") & (scores["round"] == 1)]["value"].item()
    first = next(
        state
        for state, worker, number in zip(states.state, states.worker, states.round_idx, strict=True)
        if number == 1 and worker == states.worker[0]
    )
    assert weights == fingerprint_of_weights(first.algo.model)


# Federated full-batch gradient descent is pooled gradient descent.


def build_smooth():
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(4, 3, activation="tanh"),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


class FullBatch(TFFedAvgAlgo):
    def __init__(self):
        super().__init__(
            model=build_smooth,
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.SGD(0.5),
            index_generator=NpIndexGenerator(batch_size=None, num_updates=1),
            dataset=ChestXrayDataset,
            seed=0,
        )


def test_one_full_batch_step_a_round_equals_pooled_gradient_descent(tiny_samples):
    rounds = 5
    with Federation(tiny_samples) as federation:
        compute_plan, _ = federation.execute(
            FedAvg(algo=FullBatch()), num_rounds=rounds, eval_every=rounds
        )
        algo = download_algo_state(federation.clients["C"], compute_plan.key, round_idx=rounds)

    films = [np.load(tiny_samples[h]["train"] / "images.npy") for h in N_FILMS]
    labels = [pd.read_csv(tiny_samples[h]["train"] / "metadata.csv")["label"] for h in N_FILMS]
    x = np.concatenate(films).astype("float32") / 255
    y = np.concatenate(labels).astype("float32")[:, None]
    start = FullBatch().model
    pooled = keras.models.clone_model(start)
    pooled.set_weights(start.get_weights())
    pooled.compile(keras.optimizers.SGD(0.5), keras.losses.BinaryCrossentropy(from_logits=True))
    pooled.fit(x, y, batch_size=len(x), epochs=rounds, verbose=0)

    for federated, reference, before in zip(
        algo.model.get_weights(), pooled.get_weights(), start.get_weights(), strict=True
    ):
        assert np.abs(reference - before).max() > 1e-3
        np.testing.assert_allclose(federated, reference, rtol=0, atol=1e-5)

"""Recording: what a simulation's hospitals sent, and that it adds up to the global model."""

import copy

import keras
import numpy as np
import pytest
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.exchange import exchanged_variables, get_parameters
from helpers.local_mode import Federation
from helpers.strategies import Recorded, Updates


def _strategy(updates):
    algo = TFFedAvgAlgo(
        model=lambda: keras.Sequential(
            [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
        ),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.1),
        index_generator=NpIndexGenerator(batch_size=4, num_updates=2, seed=0),
        dataset=ChestXrayDataset,
        seed=0,
    )
    return Recorded(FedAvg(algo=algo, metric_functions={"auc": auc}), updates)


@pytest.mark.slow
def test_recorded_updates_lead_from_one_global_model_to_the_next(tiny_samples):
    hospitals, updates = list(tiny_samples), Updates()
    with Federation(tiny_samples) as federation:
        states, _ = federation.simulate(_strategy(updates), num_rounds=2)
        algos = federation.algos(states)
        with pytest.raises(TypeError, match="download_train_shared_state"):
            federation.execute(_strategy(updates), num_rounds=1)
    rounds = updates.by_round(hospitals)
    assert [list(sent) for sent in rounds] == [hospitals] * 3
    for number, sent in enumerate(rounds[:2]):
        before, after = (
            list(get_parameters(exchanged_variables(algos[hospitals[0], at].model)).values())
            for at in (number, number + 1)
        )
        total = sum(state.n_samples for state in sent.values())
        for place, tensor in enumerate(before):
            step = sum(s.n_samples / total * s.parameters_update[place] for s in sent.values())
            np.testing.assert_allclose(tensor + step, after[place], rtol=0, atol=1e-6)


def test_a_copy_records_for_the_caller_and_other_hospitals_are_refused():
    updates = Updates()
    copy.deepcopy({"strategy": updates})["strategy"].add(0, "what A sent")
    assert updates.by_round(["A"]) == [{"A": "what A sent"}]
    with pytest.raises(ValueError, match="hospitals that trained"):
        updates.by_round(["A", "B"])

"""Frozen layers, through real tasks, and given weights: what stays, what travels, fine-tuning."""

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.model_loading import download_algo_state, download_train_shared_state
from substrafl.strategies import FedAvg, SingleOrganization

from helpers.algorithms import TFFedAvgAlgo, TFSingleOrganizationAlgo
from helpers.local_mode import Federation
from helpers.models import freeze_layers, start_from


def build():
    """Make a model whose first layer is to be frozen."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Flatten(),
            layers.Dense(4, activation="relu", name="features"),
            layers.Dense(1),
        ]
    )


@pytest.mark.slow
def test_frozen_weights_stay_and_only_the_rest_travels(tiny_samples, linear):
    algo = TFFedAvgAlgo(**linear(model=freeze_layers(build, "features")))
    start = algo.model.get_weights()
    with Federation(tiny_samples) as federation:
        plan, _ = federation.execute(FedAvg(algo=algo), num_rounds=1)
        for client in federation.clients.values():
            sent = download_train_shared_state(client, plan.key, 1).parameters_update
            assert [array.shape for array in sent] == [(4, 1), (1,)]
            found = download_algo_state(client, plan.key, 1).model.get_weights()
            for one, other in zip(found[:2], start[:2], strict=True):
                np.testing.assert_array_equal(one, other)
            assert np.abs(found[2] - start[2]).max() > 1e-4


@pytest.mark.slow
def test_each_hospital_fine_tunes_the_federated_weights(
    tiny_samples, linear, reference, weights, run_rounds
):
    federated = run_rounds(FedAvg(algo=TFFedAvgAlgo(**linear())), 1)[0]
    settings = linear()
    settings["model"] = start_from(settings["model"], federated.model)
    start = weights(federated)
    for k, hospital in enumerate(tiny_samples):
        tuned = TFSingleOrganizationAlgo(**settings)
        np.testing.assert_array_equal(weights(tuned), start)
        with Federation({hospital: tiny_samples[hospital]}) as federation:
            states, _ = federation.simulate(SingleOrganization(algo=tuned), num_rounds=1)
            found = federation.algos(states)[hospital, 1]
        expected = start + reference.train(k, start)
        assert np.abs(expected - start).max() > 1e-3
        np.testing.assert_allclose(weights(found), expected, rtol=0, atol=1e-6)

"""BatchNorm: each choice against NumPy, one through real tasks, and what it leaves and sends."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import BatchNorm, FedAdam, TFFedAvgAlgo
from helpers.exchange import exchanged_variables
from helpers.local_mode import Federation
from helpers.models import build_cnn, start_from
from helpers.openers.chest_xray_opener import ChestXrayOpener

ROUNDS, RATE, MOMENTUM, EPSILON = 2, 0.002, 0.9, 1e-3
SHARED = {
    "statistics_local": ("gamma", "beta", "kernel", "bias"),
    "averaged": ("gamma", "beta", "kernel", "bias", "moving_mean", "moving_variance"),
    "local": ("kernel", "bias"),
    "frozen": ("kernel", "bias"),
    "group": ("gamma", "beta", "kernel", "bias"),
}


def build():
    """Normalize the pixels, then a linear model."""
    norm = layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON, name="norm")
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), norm, layers.Dense(1)])


def values(algo):
    """Read the last part of each weight's name, and the weight as float64 row."""
    return {w.name: np.ravel(w.numpy()).astype(float) for w in algo.model.weights}


def train_in_numpy(state, generator, images, labels, choice, mu=0.0):
    """Make the updates of one round; the normalization is the first layer."""
    state, start = dict(state), state
    generator.reset_counter()
    for batch in generator:
        x, axis = images[batch], 1 if choice == "group" else 0
        mean, variance = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
        if choice == "frozen":
            mean, variance = state["moving_mean"], state["moving_variance"]
        z = (x - mean) / np.sqrt(variance + EPSILON)
        h = state["gamma"] * z + state["beta"]
        error = 2 * (h @ state["kernel"] + state["bias"] - labels[batch]) / len(x)
        gradients = {"kernel": h.T @ error, "bias": error.sum()}
        if choice != "frozen":
            gradients["gamma"] = state["kernel"] * (z.T @ error)
            gradients["beta"] = state["kernel"] * error.sum()
        for name, gradient in gradients.items():
            pull = mu * (state[name] - start[name]) if name in SHARED[choice] else 0
            state[name] = state[name] - RATE * (gradient + pull)
        if choice not in ("frozen", "group"):
            for name, value in (("moving_mean", mean[0]), ("moving_variance", variance[0])):
                state[name] = MOMENTUM * state[name] + (1 - MOMENTUM) * value
    return state


def federate_in_numpy(start, films, choice, step=lambda average: average, mu=0.0):
    """Federated Averaging in SubstraFL's order; return each hospital's local state."""
    shares = np.array([len(labels) for _, labels in films]) / sum(len(y) for _, y in films)
    generators = [NpIndexGenerator(5, 4, seed=3) for _ in films]
    for generator, (_, labels) in zip(generators, films, strict=True):
        generator.n_samples = len(labels)
    states, updates, own = [start] * len(films), None, [{}] * len(films)
    for _ in range(ROUNDS + 1):
        if updates is not None:
            average = {n: np.tensordot(shares, [u[n] for u in updates], 1) for n in updates[0]}
            added = step(average)
            states = [s | {n: s[n] + added[n] for n in added} for s in states]
            states = [s | mine for s, mine in zip(states, own, strict=True)]
        trained = [
            train_in_numpy(*one, choice, mu)
            for one in zip(states, generators, *zip(*films, strict=True), strict=True)
        ]
        pairs = list(zip(trained, states, strict=True))
        updates = [{n: t[n] - s[n] for n in SHARED[choice]} for t, s in pairs]
        if choice == "local":  # held back until the average comes that they belong to
            own = [{n: t[n] for n in t if n not in SHARED[choice]} for t, _ in pairs]
        else:
            states = [t | {n: s[n] for n in SHARED[choice]} for t, s in pairs]
    return states


@pytest.fixture
def normalized(linear):
    """Settings of an algorithm whose model begins with a normalization."""

    def settings(**changes):
        weights = np.random.default_rng(1).uniform(0.3, 0.7, (6, 64)).astype("float32")
        weights = [*weights[:4], 0.1 * weights[4, :, None], weights[5, :1]]
        return linear(
            model=start_from(build, weights),
            optimizer=keras.optimizers.SGD(RATE),
            index_generator=NpIndexGenerator(5, 4, seed=3),
            **changes,
        )

    return settings


@pytest.mark.slow
@pytest.mark.parametrize("choice", list(SHARED))
def test_the_federation_does_what_the_choice_says(run_rounds, films, normalized, choice):
    algo = TFFedAvgAlgo(**normalized(batch_norm=choice))
    start = values(algo)
    assert ("moving_mean" in start) == (choice != "group")
    found = [values(one) for one in run_rounds(FedAvg(algo=algo), ROUNDS)]
    expected = federate_in_numpy(start, films, choice)
    assert np.abs(expected[0]["kernel"] - start["kernel"]).max() > 1e-3
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            np.testing.assert_allclose(one[name], value, rtol=0, atol=1e-6, err_msg=name)
    for name in found[0]:
        is_same = np.array_equal(found[0][name], found[1][name])
        assert is_same == (name in SHARED[choice] or choice == "frozen"), name
    if choice == "frozen":
        for name in ("gamma", "beta", "moving_mean", "moving_variance"):
            np.testing.assert_array_equal(found[0][name], start[name])


@pytest.mark.slow
def test_fedprox_under_fedadam_with_fedbn(run_tasks, films, normalized):
    optimizer, memory = FedAdam(learning_rate=0.01), None

    def step(average):
        nonlocal memory
        added, memory = optimizer.step(average, memory)
        return added

    algo = TFFedAvgAlgo(
        **normalized(batch_norm="local", proximal_mu=20.0, server_optimizer=FedAdam(0.01))
    )
    found = run_tasks(FedAvg(algo=algo), ROUNDS)
    expected = federate_in_numpy(values(algo), films, "local", step, mu=20.0)
    for one, other in zip(map(values, found), expected, strict=True):
        for name, value in other.items():
            np.testing.assert_allclose(one[name], value, rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_a_hospital_that_only_tests_gets_the_batch_norm_of_the_first_that_trains(
    tiny_samples, normalized
):
    def mean_prediction(data_from_opener, predictions):
        return float(np.mean(predictions))

    algo = TFFedAvgAlgo(**normalized(batch_norm="local"))
    strategy = FedAvg(algo=algo, metric_functions={"mean": mean_prediction})
    with Federation(tiny_samples) as federation:
        states, scores = federation.simulate(
            strategy, train_on=["B", "A"], test_on=["C"], num_rounds=ROUNDS
        )
        first = federation.clients["B"].organization_info().organization_id
    of_first = [
        state.algo
        for worker, number, state in zip(states.worker, states.round_idx, states.state, strict=True)
        if worker == first and number == ROUNDS
    ]
    films = ChestXrayOpener().get_data([tiny_samples["C"]["test"]])
    expected = np.mean(of_first[0].predict(films))
    last = scores[scores["round"] == ROUNDS]["value"].item()
    assert last == pytest.approx(expected, abs=1e-6)


def inner_models():
    """Make a model within a model, a shared convolution, and layers without names."""
    inner = keras.Sequential(
        [keras.Input((6, 6, 4)), layers.Conv2D(12, 3), layers.BatchNormalization(), layers.ReLU()]
    )
    inputs = keras.Input((8, 8, 1))
    convolve = layers.Conv2D(4, 3)
    x = layers.Add()([convolve(inputs), convolve(1.0 - inputs)])
    x = layers.BatchNormalization(epsilon=0.01, scale=False)(x)
    x = layers.GlobalAveragePooling2D()(inner(x))
    return keras.Model(inputs, layers.Dense(1)(layers.Dropout(0.5)(x)))


def test_group_norm_takes_the_place_of_every_layer_and_nothing_else_changes():
    keras.utils.set_random_seed(0)
    model = inner_models()
    changed = BatchNorm.GROUP.change(lambda: model)()
    kinds = [type(layer).__name__ for layer in changed._flatten_layers()]
    assert "BatchNormalization" not in kinds
    groups = [layer for layer in changed._flatten_layers() if "Group" in type(layer).__name__]
    assert [(g.groups, g.epsilon, g.scale) for g in groups] == [(4, 0.01, False), (6, 1e-3, True)]
    kept = [w.numpy() for w in model.weights if "moving" not in w.name]
    for one, other in zip(changed.get_weights(), kept, strict=True):
        np.testing.assert_array_equal(one, other)
    # The names stay those within the model, in every process.
    again = BatchNorm.GROUP.change(inner_models)()
    assert list(exchanged_variables(changed))[2:4] == list(exchanged_variables(again))[2:4]
    assert [name.rpartition("/")[2] for name in list(exchanged_variables(changed))[:4]] == [
        "kernel",
        "bias",
        "beta",
        "kernel",
    ]


def test_a_group_of_one_value_is_not_made():
    def dense():
        return keras.Sequential(
            [keras.Input((3,)), layers.Dense(8), layers.BatchNormalization(), layers.Dense(1)]
        )

    changed = BatchNorm.GROUP.change(dense)()
    assert [g.groups for g in changed.layers if "Group" in type(g).__name__] == [1]


def test_without_batch_norm_nothing_changes():
    build_plain = functools.partial(build_cnn, 8, (8,))
    assert BatchNorm.GROUP.change(build_plain)().count_params() == build_plain().count_params()
    assert BatchNorm.LOCAL.change(build_plain) is build_plain


def test_the_choice_decides_what_is_sent(data, normalized):
    sizes = {}
    for choice in SHARED:
        algo = TFFedAvgAlgo(**normalized(batch_norm=choice))
        sent = algo.train(data_from_opener=data, shared_state=None, _skip=True)
        sizes[choice] = sum(array.size for array in sent.parameters_update)
        assert algo.summary()["batch_norm"] == choice
    head, norm = 65, 64
    assert sizes == {
        "statistics_local": head + 2 * norm,
        "averaged": head + 4 * norm,
        "local": head,
        "frozen": head,
        "group": head + 2 * norm,
    }


def test_wrong_choices_are_refused(linear):
    with pytest.raises(ValueError, match=r"'averaged', 'local', .*Received 'fedbn'"):
        TFFedAvgAlgo(**linear(batch_norm="fedbn"))
    with pytest.raises(ValueError, match=r"Received both: .* is batch_norm='averaged'"):
        TFFedAvgAlgo(**linear(batch_norm="local", with_batch_norm_parameters=True))

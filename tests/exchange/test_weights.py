"""Named arrays: laws, hand-computed sums, and every error."""

import keras
import numpy as np
import pytest
from keras import layers

from helpers.exchange import (
    add_parameters,
    check_parameters,
    exchanged_variables,
    get_parameters,
    increment_parameters,
    name_parameters,
    norm_parameters,
    set_parameters,
    step_norms,
    subtract_parameters,
    unchanged_parameters,
    weighted_sum_parameters,
    zeros_like_parameters,
)

BATCH_NORM = pytest.mark.parametrize("with_batch_norm_parameters", [False, True])


def build(named=False):
    """Make a model with everything that must not be confused: BatchNorm, dropout, frozen."""
    name = {"name": "mine"} if named else {}
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(2, 3, **name),
            layers.BatchNormalization(),
            layers.Conv2D(3, 3),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(4, trainable=False),
            layers.Dense(1),
        ]
    )
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.normal(size=weight.shape))
    return model


def equal(a, b):
    """Compare two sets of parameters bit by bit, order included."""
    return list(a) == list(b) and all(np.array_equal(a[name], b[name]) for name in a)


def test_what_is_exchanged_and_in_which_order():
    trainable = [
        "sequential/conv2d/kernel",
        "sequential/conv2d/bias",
        "sequential/batch_normalization/gamma",
        "sequential/batch_normalization/beta",
        "sequential/conv2d_1/kernel",
        "sequential/conv2d_1/bias",
        "sequential/batch_normalization_1/gamma",
        "sequential/batch_normalization_1/beta",
        "sequential/dense_1/kernel",
        "sequential/dense_1/bias",
    ]
    statistics = [
        "sequential/batch_normalization/moving_mean",
        "sequential/batch_normalization/moving_variance",
        "sequential/batch_normalization_1/moving_mean",
        "sequential/batch_normalization_1/moving_variance",
    ]
    assert list(exchanged_variables(build())) == trainable
    assert list(exchanged_variables(build(), True)) == trainable + statistics


def test_names_do_not_depend_on_what_was_built_before():
    first = build()
    for _ in range(3):
        build()
    assert list(exchanged_variables(build())) == list(exchanged_variables(first))
    assert first.layers[0].name != build().layers[0].name  # Keras' own names do


def test_names_given_by_the_user_stay():
    assert "sequential/mine/kernel" in exchanged_variables(build(named=True))


def test_seed_generators_optimizer_slots_and_metrics_are_never_sent():
    model = build()
    model.compile("adam", "mse", metrics=["mae"])
    x = np.zeros((2, 8, 8, 1), "float32")
    model.train_on_batch(x, np.zeros((2, 1), "float32"))
    names = " ".join(get_parameters(exchanged_variables(model, True)))
    assert len(names.split()) == 14
    for word in ("seed", "adam", "momentum", "velocity", "iteration", "total", "count"):
        assert word not in names


@BATCH_NORM
def test_set_after_get_is_identity(with_batch_norm_parameters):
    source, target = build(), build()
    for weight in target.weights:
        weight.assign(weight * 0 + 7)
    parameters = get_parameters(exchanged_variables(source, with_batch_norm_parameters))
    set_parameters(exchanged_variables(target, with_batch_norm_parameters), parameters)
    assert equal(
        get_parameters(exchanged_variables(target, with_batch_norm_parameters)), parameters
    )
    untouched = target.layers[1].moving_mean.numpy()
    assert (untouched == 7).all() != with_batch_norm_parameters


def test_get_returns_copies():
    model = build()
    parameters = get_parameters(exchanged_variables(model))
    before = {name: value.copy() for name, value in parameters.items()}
    increment_parameters(exchanged_variables(model), parameters)
    assert equal(parameters, before)


@BATCH_NORM
def test_laws_of_addition(with_batch_norm_parameters):
    model = build()
    x = get_parameters(exchanged_variables(model, with_batch_norm_parameters))
    zeros = zeros_like_parameters(exchanged_variables(model, with_batch_norm_parameters))
    assert equal(subtract_parameters(x, x), zeros)
    assert equal(add_parameters(x, zeros), x)
    assert equal(add_parameters(x, x), {name: 2 * value for name, value in x.items()})
    increment_parameters(
        exchanged_variables(model, with_batch_norm_parameters), x, updates_multiplier=-1.0
    )
    assert equal(get_parameters(exchanged_variables(model, with_batch_norm_parameters)), zeros)


def test_weighted_sum_by_hand():
    a = {"w": np.float32([[1, 2], [3, 4]]), "b": np.float32(10)}
    b = {"w": np.float32([[5, 6], [7, 8]]), "b": np.float32(20)}
    result = weighted_sum_parameters([a, b], [0.25, 0.75])
    np.testing.assert_array_equal(result["w"], np.float32([[4, 5], [6, 7]]))
    assert result["b"] == 17.5
    assert result["w"].dtype == np.float32


def test_increment_by_hand():
    variables = exchanged_variables(
        keras.Sequential([keras.Input((2,)), layers.Dense(1, name="out")])
    )
    kernel, bias = variables
    set_parameters(variables, {kernel: np.float32([[1], [2]]), bias: np.float32([3])})
    update = {kernel: np.float32([[10], [20]]), bias: np.float32([30])}
    increment_parameters(variables, update, updates_multiplier=0.5)
    kernel, bias = get_parameters(variables).values()
    np.testing.assert_array_equal(kernel, [[6], [12]])
    np.testing.assert_array_equal(bias, [18])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.pop("b"), "b: missing"),
        (lambda p: p.update(c=p["b"]), "c: not a tensor of this model"),
        (lambda p: p.update(w=p["w"].T), r"w: expected shape \(2, 3\), received \(3, 2\)"),
        (
            lambda p: p.update(w=p["w"].astype("float64")),
            "w: expected dtype float32, received float64",
        ),
        (lambda p: p.update(w=p["w"] * np.float32(np.nan)), "w: 6 of 6 values are not finite"),
        (lambda p: p.update(w=p["w"] * np.float32(np.inf)), "w: 6 of 6 values are not finite"),
        (lambda p: p.update(w=[1, 2]), "w: expected a NumPy array, received list"),
        (lambda p: p.update(w=p.pop("w")), "wrong order"),
    ],
)
def test_every_fault_names_the_tensor(change, message):
    expected = {"w": np.ones((2, 3), "float32"), "b": np.ones(2, "float32")}
    parameters = dict(expected)
    change(parameters)
    with pytest.raises(ValueError, match=message):
        check_parameters(parameters, expected)


def test_all_faults_are_told_at_once():
    expected = {"w": np.ones((2, 3), "float32"), "b": np.ones(2, "float32")}
    with pytest.raises(ValueError, match=r"(?s)in Northfield's update.*w: expected.*b: 2 of 2"):
        check_parameters(
            {"w": np.ones(1, "float32"), "b": np.full(2, np.nan, "float32")},
            expected,
            origin="Northfield's update",
        )


def test_a_list_is_not_a_set_of_parameters():
    with pytest.raises(TypeError, match="dictionary of named arrays"):
        check_parameters([np.ones(2)], {"w": np.ones(2)})


def test_a_refused_set_leaves_the_model_as_it_was():
    model = build()
    before = get_parameters(exchanged_variables(model))
    broken = dict(before) | {"sequential/dense_1/bias": np.float32([np.nan])}
    with pytest.raises(ValueError, match="sequential/dense_1/bias"):
        set_parameters(exchanged_variables(model), broken)
    assert equal(get_parameters(exchanged_variables(model)), before)


def test_names_are_given_back_to_a_list():
    expected = get_parameters(exchanged_variables(build()))
    named = name_parameters(list(expected.values()), expected)
    assert equal(named, expected)
    with pytest.raises(ValueError, match=r"Expected 10 tensors .* in the average\. Received 9"):
        name_parameters(list(expected.values())[1:], expected, origin="the average")


def test_number_of_sets_and_coefficients():
    with pytest.raises(ValueError, match="2 sets and 1 coefficients"):
        weighted_sum_parameters([{}, {}], [1.0])
    with pytest.raises(ValueError, match="0 sets"):
        weighted_sum_parameters([], [])


def test_a_model_without_variables_is_refused():
    with pytest.raises(ValueError, match="Expected a built model"):
        get_parameters(exchanged_variables(keras.Sequential([layers.Dense(1)])))


def test_norm_takes_all_tensors_together_and_steps_are_norms_of_differences():
    one = {"w": np.float32([[1, 2]]), "b": np.float32([2])}
    assert norm_parameters(one) == 3
    zero = {name: np.zeros_like(value) for name, value in one.items()}
    assert step_norms([zero, one, one]) == [3, 0]
    assert step_norms([one]) == []


def test_a_tensor_is_unchanged_only_if_every_bit_is():
    before = {"w": np.float32([1, 2]), "b": np.float32([0])}
    after = {"w": np.float32([1, np.nextafter(np.float32(2), np.float32(3))]), "b": before["b"]}
    assert unchanged_parameters(before, after) == ["b"]
    assert unchanged_parameters(before, before) == ["w", "b"]

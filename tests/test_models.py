"""The pages' network: size, output, normalization; frozen layers, given weights."""

import functools

import cloudpickle
import keras
import numpy as np
import pytest
from keras import layers

from helpers.algorithms.loss_checks import has_logits
from helpers.exchange import exchanged_variables, get_parameters
from helpers.models import augment, build_cnn, build_small_cnn, freeze_layers, start_from


def test_size_and_output():
    model = build_cnn()
    # Convolutions 3·3·(1·16 + 16·32 + 32·64 + 64·64) and biases, norms, the last layer.
    channels = 16 + 32 + 64 + 64
    assert model.count_params() == 9 * (16 + 512 + 2048 + 4096) + channels * 3 + 65 == 60641
    assert model(np.zeros((2, 64, 64, 1), "float32")).shape == (2, 1)
    assert has_logits(model)


def test_normalization_decides_what_has_statistics():
    extra = {
        kind: len(exchanged_variables(build_cnn(normalization=kind), True))
        - len(exchanged_variables(build_cnn(normalization=kind)))
        for kind in ("group", "batch", None)
    }
    assert extra == {"group": 0, "batch": 8, None: 0}
    with pytest.raises(ValueError, match=r"'group', 'batch' or None\. Received 'layer'"):
        build_cnn(normalization="layer")


def build_two_blocks():
    """Make a model with a named and an unnamed convolution, both normalized."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(2, 3, name="first"),
            layers.BatchNormalization(name="norm"),
            layers.Conv2D(3, 3),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


def test_frozen_layers_are_not_exchanged():
    every = get_parameters(exchanged_variables(build_two_blocks(), True))
    frozen = freeze_layers(build_two_blocks, "first", "norm")()
    rest = ["conv2d/kernel", "conv2d/bias", "dense/kernel", "dense/bias"]
    assert list(exchanged_variables(frozen, True)) == [f"sequential/{name}" for name in rest]
    sizes = [
        sum(array.nbytes for array in p.values())
        for p in (every, get_parameters(exchanged_variables(frozen)))
    ]
    assert sizes == [4 * (18 + 2 + 4 * 2 + 57 + 49), 4 * (57 + 49)]


def test_layers_are_named_within_the_model_or_by_pattern():
    build_two_blocks()  # Keras' own numbers go on
    assert list(exchanged_variables(freeze_layers(build_two_blocks, "conv2d")())) == list(
        exchanged_variables(freeze_layers(freeze_layers(build_two_blocks, "conv2d"), "conv*")())
    )
    inner = freeze_layers(lambda: keras.Sequential([build_two_blocks(), layers.ReLU()]), "dense")
    assert len(inner().trainable_variables) == 6


def test_names_that_fit_no_layer_are_refused():
    with pytest.raises(ValueError, match=r"at least one layer.*Received none"):
        freeze_layers(build_two_blocks)
    with pytest.raises(ValueError, match=r"first, norm, conv2d, flatten, dense\. Received 'b\*'"):
        freeze_layers(build_two_blocks, "b*")()


def test_a_builder_starts_from_the_weights_that_a_model_had():
    model = build_two_blocks()
    given = [
        np.full(weight.shape, number, "float32") for number, weight in enumerate(model.weights)
    ]
    model.set_weights(given)
    build = freeze_layers(start_from(build_two_blocks, model), "first")
    model.set_weights([0 * array for array in given])
    found = cloudpickle.loads(cloudpickle.dumps(build))()
    assert not found.get_layer("first").trainable
    for one, other in zip(found.get_weights(), given, strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_another_model_are_refused():
    weights = build_two_blocks().get_weights()
    with pytest.raises(ValueError, match=r"Expected 10 arrays.*Received 9: give"):
        start_from(build_two_blocks, weights[1:])()
    with pytest.raises(ValueError, match=r"first/bias: expected shape \(2,\), received \(3,\)"):
        start_from(build_two_blocks, [weights[0], np.zeros(3), *weights[2:]])()
    with pytest.raises(ValueError, match=r"NaN or infinity in the arrays number \[1\]"):
        start_from(build_two_blocks, [weights[0], np.float32([np.nan, 0]), *weights[2:]])


def test_augmentation_changes_films_only_while_it_trains():
    build = functools.partial(build_cnn, 16, (8, 8), dropout=0.0)
    model, plain = augment(build)(), build()
    plain.set_weights([w for w in model.get_weights() if w.dtype == np.float32])
    films = np.random.default_rng(0).random((4, 16, 16, 1), dtype=np.float32)
    np.testing.assert_array_equal(model(films, training=False), plain(films))
    np.testing.assert_array_equal(model.predict(films, verbose=0), plain.predict(films, verbose=0))
    twice = [np.asarray(model(films, training=True)) for _ in range(2)]
    assert (twice[0] != twice[1]).all()
    assert (twice[0] != np.asarray(plain(films))).all()
    own = get_parameters(exchanged_variables(model))
    assert [value.shape for value in own.values()] == [
        value.shape for value in get_parameters(exchanged_variables(plain)).values()
    ]
    assert cloudpickle.loads(cloudpickle.dumps(augment(build)))().count_params() == (
        plain.count_params()
    )


def test_augmented_films_stay_within_their_range():
    model = augment(functools.partial(build_cnn, 16, (8, 8)), 0.5)()
    random = keras.Model(model.input, model.get_layer("contrast").output)
    films = np.random.default_rng(0).integers(2, size=(64, 16, 16, 1)).astype(np.float32)
    changed = np.asarray(random(films, training=True))
    assert np.isfinite(changed).all()
    assert changed.min() >= 0
    assert changed.max() <= 1


@pytest.mark.parametrize("amount", [0, -0.1, 0.6, float("nan")])
def test_an_amount_out_of_range_is_refused(amount):
    with pytest.raises(ValueError, match=r"amount in \(0, 0.5\]"):
        augment(build_cnn, amount)


def test_the_small_network_is_that_of_the_first_page():
    """Its output is computed by hand: rescale, three convolutions with ReLU, maximum, one sum."""
    model = build_small_cnn(16, (2, 3, 4))
    assert build_small_cnn().count_params() == 5921
    x = np.random.default_rng(0).random((2, 16, 16, 1), np.float32)
    kernels = [weights.numpy() for weights in model.trainable_variables]
    signal = x * 4 - 2
    for number, stride in enumerate((2, 2, 1)):
        kernel, bias = kernels[2 * number : 2 * number + 2]
        windows = np.lib.stride_tricks.sliding_window_view(signal, (3, 3), axis=(1, 2))
        windows = windows[:, ::stride, ::stride]
        signal = np.maximum(np.einsum("nhwcij,ijcf->nhwf", windows, kernel) + bias, 0)
    expected = signal.max(axis=(1, 2)) @ kernels[6] + kernels[7]
    np.testing.assert_allclose(model(x).numpy(), expected, rtol=1e-5, atol=1e-6)

"""Maps against hand-written gradients, against what they must add up to, and on bad input."""

import importlib.util
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

from helpers.explanation import METHODS, explain, find_layer
from helpers.models import augment, build_cnn

pytest.importorskip("xplique")
pytest.importorskip("shap")

QUICK = [
    "saliency", "gradient_input", "integrated_gradients", "smoothgrad", "guided_backprop",
    "deconvnet", "grad_cam", "occlusion", "gradient_shap", "kernel_shap",
]  # fmt: skip


def differences(model, films, background):
    """Return by how much each film's logit exceeds that of the average film, and the mean logit."""
    average = background.mean(axis=0, keepdims=True)
    logits, of_background = (model(x, training=False).numpy()[:, 0] for x in (films, background))
    return logits - model(average, training=False).numpy()[0, 0], logits - of_background.mean()


@pytest.mark.parametrize("normalization", ["group", None])
def test_grad_cam_equals_a_hand_written_tape(make_cnn, films, normalization):
    model = make_cnn(normalization)
    inner = keras.Model(model.inputs[0], [model.get_layer("block4_relu").output, model.outputs[0]])
    with tf.GradientTape() as tape:
        features, logits = inner(films)
    weights = tf.reduce_mean(tape.gradient(logits, features), axis=(1, 2), keepdims=True)
    cams = tf.nn.relu(tf.reduce_sum(weights * features, axis=-1, keepdims=True))
    expected = np.maximum(tf.image.resize(cams, (32, 32), "bicubic")[..., 0], 0)
    assert expected.max() > 0.01
    np.testing.assert_allclose(explain(model, films, "grad_cam"), expected, atol=1e-5)


def test_grad_cam_of_an_activation_within_a_convolution(small_cnn, films):
    inner = keras.Model(small_cnn.inputs[0], small_cnn.get_layer("block3_conv").output)
    features = inner(films).numpy()
    # Global maximum pooling passes the gradient, the last weight, to one place of each channel.
    kernel = small_cnn.get_layer("logit").kernel.numpy()[:, 0]
    cams = np.maximum((features * kernel / features[0, :, :, 0].size).sum(-1, keepdims=True), 0)
    expected = np.maximum(tf.image.resize(cams, (32, 32), "bicubic")[..., 0], 0)
    np.testing.assert_allclose(explain(small_cnn, films, "grad_cam"), expected, atol=1e-5)


def test_saliency_and_gradient_input_equal_a_tape(small_cnn, films):
    with tf.GradientTape() as tape:
        tape.watch(x := tf.constant(films))
        logits = small_cnn(x)
    gradient = tape.gradient(logits, x).numpy()[..., 0]
    np.testing.assert_allclose(explain(small_cnn, films, "saliency"), abs(gradient), atol=1e-6)
    expected = gradient * films[..., 0]
    np.testing.assert_allclose(explain(small_cnn, films, "gradient_input"), expected, atol=1e-6)


@pytest.mark.parametrize("normalization", ["batch", None])
def test_integrated_gradients_are_complete(make_cnn, films, background, normalization):
    model = make_cnn(normalization)
    maps = explain(model, films, "integrated_gradients", background=background, steps=200)
    expected, _ = differences(model, films, background)
    assert np.abs(expected).min() > 1e-3
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), expected, rtol=0.01)


def test_integrated_gradients_through_group_normalization(make_cnn, films, background):
    # The path is bent more sharply there, and one of the differences is nearly zero.
    model = make_cnn("group")
    maps = explain(model, films, "integrated_gradients", background=background, steps=200)
    expected, _ = differences(model, films, background)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), expected, atol=0.01 * abs(expected).max())


@pytest.mark.parametrize("normalization", ["batch", None])
def test_deep_shap_adds_up(make_cnn, films, background, normalization):
    model = make_cnn(normalization)
    maps = explain(model, films, "deep_shap", background=background)
    _, expected = differences(model, films, background)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), expected, atol=1e-3)


@pytest.mark.parametrize(
    "method", ["kernel_shap", pytest.param("partition_shap", marks=pytest.mark.slow)]
)
def test_shap_of_parts_adds_up(small_cnn, films, background, method):
    maps = explain(small_cnn, films[:2], method, background=background)
    expected, _ = differences(small_cnn, films[:2], background)
    np.testing.assert_allclose(maps.sum(axis=(1, 2)), expected, atol=1e-3)


def test_kernel_shap_of_a_linear_network_is_its_terms(background):
    inputs = keras.Input((8, 8, 1))
    dense = keras.layers.Dense(1)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    films, background = np.random.default_rng(2).random((2, 8, 8, 1)), background[:, :8, :8]
    maps = explain(model, films, "kernel_shap", background=background, n_tiles=4)
    terms = (films - background.mean(0)).reshape(2, 8, 8) * dense.kernel.numpy().reshape(8, 8)
    tiles = terms.reshape(2, 4, 2, 4, 2).sum(axis=(2, 4))
    expected = np.repeat(np.repeat(tiles, 2, axis=1), 2, axis=2) / 4
    np.testing.assert_allclose(maps, expected, atol=1e-5)


def test_occlusion_shows_the_average_film(small_cnn, films, background):
    how = {"background": background, "patch_size": 16, "patch_stride": 16}
    maps = explain(small_cnn, films[:1], "occlusion", **how)
    covered = films[:1].copy()
    covered[:, :16, 16:] = background.mean(axis=0)[:16, 16:]
    expected = small_cnn(films[:1]).numpy() - small_cnn(covered).numpy()
    np.testing.assert_allclose(maps[0, :16, 16:], expected[0, 0], atol=1e-5)


@pytest.mark.parametrize("method", QUICK)
def test_maps_are_finite_and_the_same_for_the_same_seed(make_cnn, films, background, method):
    model = make_cnn()
    if method == "kernel_shap":
        films = films[:1]
    np.random.seed(5)  # noqa: NPY002
    maps = explain(model, films, method, background=background, seed=3)
    drawn = np.random.random()  # noqa: NPY002
    assert maps.shape == films.shape[:3]
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert METHODS[method].signed == bool((maps < 0).any())
    again = explain(model, films, method, background=background, seed=3)
    np.testing.assert_array_equal(maps, again)
    np.random.seed(5)  # noqa: NPY002
    assert drawn == np.random.random()  # noqa: NPY002


@pytest.mark.slow
@pytest.mark.parametrize("method", [name for name in METHODS if name not in QUICK])
def test_slower_methods_give_finite_maps(make_cnn, films, background, method):
    model = make_cnn(None if method == "deep_shap" else "group")
    maps = explain(model, films, method, background=background)
    assert maps.shape == (4, 32, 32)
    assert np.isfinite(maps).all()
    assert (np.ptp(maps, axis=(1, 2)) > 0).all()


def test_batches_do_not_change_the_maps(make_cnn, films):
    model = make_cnn()
    one = explain(model, films, "grad_cam", batch_size=3)
    np.testing.assert_allclose(one, explain(model, films, "grad_cam"), rtol=1e-5, atol=1e-5)


def test_integers_are_grey_levels(small_cnn):
    films = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1), dtype=np.uint8)
    maps = explain(small_cnn, films, "saliency")
    np.testing.assert_array_equal(maps, explain(small_cnn, films / np.float32(255), "saliency"))


@pytest.mark.parametrize("method", [name for name in QUICK if name != "grad_cam"] + ["rise"])
def test_a_dead_network_has_zero_maps(small_cnn, films, method):
    logit = small_cnn.get_layer("logit")
    logit.kernel.assign(np.zeros(logit.kernel.shape))
    logit.bias.assign([0.7])
    with pytest.warns(UserWarning, match=f"2 of 2 maps of '{method}' are zero"):
        maps = explain(small_cnn, films[:2], method)
    np.testing.assert_array_equal(maps, 0)


def test_grad_cam_of_dead_features_is_zero(make_cnn, films):
    model = make_cnn(None)
    model.get_layer("block4_conv").bias.assign(np.full(64, -1e3))
    with pytest.warns(UserWarning, match="4 of 4 maps of 'grad_cam' are zero"):
        np.testing.assert_array_equal(explain(model, films, "grad_cam"), 0)


def test_the_layer_is_the_last_activation(small_cnn):
    assert find_layer(build_cnn(32)) == "block4_relu"
    assert find_layer(small_cnn) == "block3_conv"
    assert find_layer(build_cnn(32), "block2_norm") == "block2_norm"
    inputs = keras.Input((8, 8, 1))
    linear = keras.layers.Conv2D(2, 3, name="only")(inputs)
    outputs = keras.layers.Dense(1)(keras.layers.Flatten()(linear))
    assert find_layer(keras.Model(inputs, outputs)) == "only"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"films": np.zeros((2, 16, 16, 1))}, r"Expected films of shape \(n, 32, 32, 1\)"),
        ({"films": np.zeros((2, 32, 32, 3))}, r"Received \(2, 32, 32, 3\)"),
        ({"films": np.zeros((32, 32, 1))}, r"Received \(32, 32, 1\)"),
        ({"films": np.zeros((0, 32, 32, 1))}, r"Received \(0, 32, 32, 1\)"),
        ({"films": np.full((1, 32, 32, 1), 200.0)}, "Divide by 255"),
        ({"films": np.full((1, 32, 32, 1), np.nan)}, r"Expected grey levels in \[0, 1\]"),
        ({"background": np.zeros((2, 16, 16, 1))}, r"Received \(2, 16, 16, 1\)"),
        ({"method": "magic"}, "Expected a method among .*grad_cam.*Received 'magic'"),
        ({"method": "grad_cam", "layer": "nose"}, "one of the layers .*block3_conv.*'nose'"),
        ({"method": "grad_cam", "layer": "logit"}, "one of the layers .*Received 'logit'"),
        ({"method": "deep_shap"}, r"layers that shap.*Received \['features'\]"),
        ({"output": 1}, "one of them from 0 to"),
        ({"batch_size": 0}, "batch_size to be at least 1"),
    ],
)
def test_bad_input_is_named(small_cnn, films, change, message):
    with pytest.raises(ValueError, match=message):
        explain(small_cnn, **{"films": films, "method": "saliency"} | change)


def test_deep_shap_refuses_group_normalization(make_cnn, films):
    with pytest.raises(ValueError, match=r"Received \['block1_norm', .*normalization=None"):
        explain(make_cnn(), films, "deep_shap")


def test_a_network_without_convolution_has_no_grad_cam(films):
    inputs = keras.Input((32, 32, 1))
    model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.Flatten()(inputs)))
    with pytest.raises(ValueError, match="Expected a convolutional network"):
        explain(model, films, "grad_cam")
    assert np.isfinite(explain(model, films, "saliency")).all()


def test_other_models_are_refused(small_cnn, films):
    with pytest.raises(TypeError, match="Expected a Keras model"):
        explain(lambda x: x, films)
    with pytest.raises(ValueError, match=re.escape("model.get_layer('chest_xray_cnn')")):
        explain(augment(lambda: build_cnn(32))(), films)
    small_cnn.get_layer("logit").bias.assign([np.nan])
    with pytest.raises(ValueError, match="finite outputs"):
        explain(small_cnn, films)


def test_a_missing_package_is_named(small_cnn, films, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="needs the package xplique: pip install --no-deps"):
        explain(small_cnn, films, "saliency")
    with pytest.raises(ImportError, match="pip install shap"):
        explain(small_cnn, films, "kernel_shap")

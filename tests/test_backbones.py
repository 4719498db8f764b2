"""Networks of keras.applications: their input range, weights from files, frozen stages."""

import functools
import importlib
import re

import cloudpickle
import keras
import numpy as np
import pytest
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset, label_films, prepare_samples, read_radiographs
from helpers.evaluation import auc
from helpers.exchange import exchanged_variables
from helpers.local_mode import Federation
from helpers.models import BACKBONES, build_backbone, freeze_layers, start_from
from helpers.openers.chest_xray_opener import ChestXrayOpener

SMALL = functools.partial(build_backbone, "MobileNetV2", 32, alpha=0.35, dropout=0.0)
MODULES = {
    "MobileNetV3": "mobilenet_v3",
    "MobileNetV2": "mobilenet_v2",
    "MobileNet": "mobilenet",
    "DenseNet": "densenet",
    "EfficientNetV2": "efficientnet_v2",
    "EfficientNetB": "efficientnet",
    r"ResNet\d+V2": "resnet_v2",
    "ResNet": "resnet",
    "VGG16": "vgg16",
    "VGG19": "vgg19",
    "InceptionV3": "inception_v3",
    "Xception": "xception",
}


@pytest.fixture(scope="module")
def pretrained():
    """A small backbone with a head, whose weights and moving statistics are all drawn."""
    return draw_weights(SMALL())


def draw_weights(model):
    """Draw all weights and moving statistics of a model."""
    draw = np.random.default_rng(0)
    model.set_weights([draw.uniform(0.1, 0.5, w.shape).astype("float32") for w in model.weights])
    return model


def _backbone_weights(model):
    return model.get_layer("backbone").get_weights()


def _assert_equal(arrays, others):
    assert all((a == b).all() for a, b in zip(arrays, others, strict=True))


@pytest.mark.parametrize("name", BACKBONES)
def test_films_come_in_the_range_that_keras_states(name):
    """A film in [0, 1], scaled, is what `preprocess_input` makes of three channels to 255."""
    module = next(module for start, module in MODULES.items() if re.match(start, name))
    preprocess = importlib.import_module(f"keras.applications.{module}").preprocess_input
    grey = np.arange(256, dtype=np.float32).reshape(16, 16, 1)
    expected = preprocess(np.repeat(grey, 3, axis=-1))
    scale, offset = BACKBONES[name]
    received = np.repeat(grey / 255, 3, axis=-1) * scale + offset
    if module == "efficientnet":  # its ImageNet weights also need a division inside: see models.py
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        expected = (expected / 255 - mean) / deviation / np.sqrt(deviation)
        received = (received / 255 - mean) / deviation
    np.testing.assert_allclose(received, expected, atol=2e-4)


def cut_network(monkeypatch, name, last):
    """Let a network of Keras end with its layer `last`: it is built and saved in no time."""
    whole = getattr(keras.applications, name)

    @functools.cache
    def build_stem(**options):
        network = whole(**options)
        return keras.Model(network.input, network.get_layer(last).output)

    def build(*, name, **options):
        stem = keras.models.clone_model(build_stem(**options))
        return keras.Model(stem.input, stem.output, name=name)

    monkeypatch.setattr(keras.applications, name, build)


@pytest.fixture
def one_stage(monkeypatch):
    """The first stage of the small backbone, with a head; all weights are drawn."""
    cut_network(monkeypatch, "MobileNetV2", "bn_Conv1")
    return draw_weights(SMALL())


def test_the_whole_is_the_network_of_keras_on_three_channels(pretrained):
    grey = np.random.default_rng(1).integers(0, 256, (2, 32, 32, 1)).astype(np.float32)
    rgb = keras.applications.mobilenet_v2.preprocess_input(np.repeat(grey, 3, axis=-1))
    plain = keras.applications.MobileNetV2(
        (32, 32, 3), alpha=0.35, include_top=False, weights=None, pooling="avg"
    )
    plain.set_weights(_backbone_weights(pretrained))
    kernel, bias = pretrained.get_layer("logit").get_weights()
    expected = plain(rgb, training=False).numpy() @ kernel + bias
    np.testing.assert_allclose(pretrained(grey / 255, training=False), expected, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_efficientnet_standardizes_as_its_imagenet_weights_expect(tmp_path, monkeypatch):
    """The mean and variance of the file are used, also by start_from, and one more division."""
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    cut_network(monkeypatch, "EfficientNetB0", "stem_conv")
    keras_own = build_backbone("EfficientNetB0", 32).get_layer("backbone")
    (inside,) = (own for own in keras_own.layers if isinstance(own, keras.layers.Normalization))
    inside.set_weights([mean, deviation**2, inside.get_weights()[2]])
    keras_own.save(tmp_path / "own.keras")
    keras_own.save_weights(tmp_path / "own.weights.h5")
    build = functools.partial(build_backbone, "EfficientNetB0", 32)
    model = build(weights=tmp_path / "own.keras")
    grey = np.float32([[[[0]], [[51]], [[255]]]])
    for made in (model, build(weights=tmp_path / "own.weights.h5"), start_from(build, model)()):
        backbone = made.get_layer("backbone")
        (inside,) = (own for own in backbone.layers if isinstance(own, keras.layers.Normalization))
        rgb = made.get_layer("rescaled")(np.repeat(grey / 255, 3, axis=-1))
        expected = (np.repeat(grey / 255, 3, axis=-1) - mean) / deviation / np.sqrt(deviation)
        np.testing.assert_allclose(inside(rgb / 255.0), expected, atol=1e-5)


def test_the_number_of_outputs_is_given():
    assert SMALL(n_outputs=14).output_shape == (None, 14)


@pytest.mark.parametrize("ending", ["whole.keras", "alone.keras", "alone.weights.h5", "alone.h5"])
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_weights_come_from_a_local_file(one_stage, tmp_path, ending, recwarn):
    path, backbone = tmp_path / ending, one_stage.get_layer("backbone")
    if ending.endswith(".weights.h5"):
        backbone.save_weights(path)
    else:
        (one_stage if ending.startswith("whole") else backbone).save(path)
    recwarn.clear()  # Keras calls its older format legacy
    model = SMALL(weights=path)
    _assert_equal(_backbone_weights(model), _backbone_weights(one_stage))
    assert (model.get_weights()[-2] != one_stage.get_weights()[-2]).any()  # a new head


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy")
def test_files_that_do_not_fit_are_refused(one_stage, tmp_path):
    wider = functools.partial(build_backbone, "MobileNetV2", 32, alpha=0.75)
    for ending in ("m.keras", "m.weights.h5"):
        backbone, path = one_stage.get_layer("backbone"), tmp_path / ending
        (backbone.save if ending == "m.keras" else backbone.save_weights)(path)
        with pytest.raises(ValueError, match=r"to hold the weights of MobileNetV2 .*(?s:.*)Conv"):
            wider(weights=path)
    diverged = SMALL().get_layer("backbone")
    diverged.get_layer("bn_Conv1").moving_mean.assign(np.full(16, np.nan, "float32"))
    diverged.save(tmp_path / "nan.keras")
    with pytest.raises(ValueError, match=r"no finite values for 1 tensors, first bn_Conv1/mov"):
        SMALL(weights=tmp_path / "nan.keras")
    (tmp_path / "text.h5").write_text("no weights")
    with pytest.raises(ValueError, match=r"Expected .*text\.h5' to hold the weights"):
        SMALL(weights=tmp_path / "text.h5")


def test_nothing_is_downloaded():
    with pytest.raises(
        ValueError, match=r"Received 'imagenet'.*nothing is downloaded.*include_top"
    ):
        SMALL(weights="imagenet")
    with pytest.raises(ValueError, match=r"Expected one of MobileNet, .*Received 'LeNet'"):
        build_backbone("LeNet")


def test_frozen_batch_norm_uses_the_statistics_of_the_file(pretrained):
    model = start_from(freeze_layers(SMALL, "backbone"), pretrained)()
    films = np.random.default_rng(0).random((4, 32, 32, 1), np.float32)
    np.testing.assert_array_equal(model(films, training=True), model(films, training=False))
    model.compile(optimizer="sgd", loss=keras.losses.BinaryCrossentropy(from_logits=True))
    model.train_on_batch(films, np.ones((4, 1), "float32"))
    _assert_equal(_backbone_weights(model), _backbone_weights(pretrained))
    assert list(exchanged_variables(model, True)) == ["logit/kernel", "logit/bias"]


def test_stages_are_frozen_by_name(pretrained):
    build = freeze_layers(SMALL, "Conv1", "bn_Conv1", "block_?_*", "expanded_conv_*")
    names = {name.split("/")[-2] for name in exchanged_variables(build(), True)}
    assert "block_10_expand" in names
    assert "logit" in names
    assert not {name for name in names if name.startswith(("block_9", "Conv1", "expanded"))}


@pytest.fixture(scope="module")
def films_of_32_px(tmp_path_factory):
    """Two hospitals with a few films: a bright disc is the finding, the rest is noise."""
    rng, arrays = np.random.default_rng(0), {}
    for split, n in (("train", 8), ("val", 4), ("test", 4)):
        labels = np.arange(n) // 2 % 2
        images = rng.integers(0, 128, (n, 28, 28), dtype=np.uint8)
        images[labels == 1, 4:12, 4:12] += 90
        arrays |= {f"{split}_images": images, f"{split}_labels": labels[:, None].astype("uint8")}
    folder = tmp_path_factory.mktemp("films")
    np.savez(folder / "pneumoniamnist.npz", **arrays)
    radiographs = read_radiographs(folder / "pneumoniamnist.npz")
    labels = label_films(radiographs.table, "pneumonia vs no finding")
    table = radiographs.table.assign(hospital=np.tile(["A", "B"], 8))
    return prepare_samples(radiographs, table, labels, size=32, folder=folder / "samples")


@pytest.mark.slow
def test_a_federation_from_weights_that_travel_with_the_algorithm(films_of_32_px):
    """Real tasks; ``tests/pages/test_own_films.py`` trains such a network at 224 pixels."""
    build = freeze_layers(start_from(SMALL, SMALL()), "backbone")
    algo = TFFedAvgAlgo(
        model=cloudpickle.loads(cloudpickle.dumps(build)),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(1e-3),
        index_generator=NpIndexGenerator(batch_size=4, num_updates=1, seed=0),
        dataset=ChestXrayDataset,
        seed=0,
    )
    strategy = FedAvg(algo=algo, metric_functions={"auc": auc})
    with Federation(films_of_32_px) as federation:
        _, scores = federation.execute(strategy, test_on=["A"], num_rounds=1)
    assert scores["round"].tolist() == [0, 1]
    assert scores["value"].between(0, 1).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch_norm", "kind"), [("averaged", "BatchNormalization"), ("group", "GroupNormalization")]
)
def test_frozen_stages_go_with_every_choice_for_batch_norm(
    tiny_samples, monkeypatch, batch_norm, kind
):
    cut_network(monkeypatch, "MobileNet", "conv_dw_1_relu")
    build = functools.partial(build_backbone, "MobileNet", 32, alpha=0.25)
    build = freeze_layers(build, "conv1*")
    algo = TFFedAvgAlgo(
        model=build,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(1e-3),
        index_generator=NpIndexGenerator(batch_size=4, num_updates=1, seed=0),
        dataset=_Magnified,
        batch_norm=batch_norm,
        seed=0,
    )
    algo.trace(ChestXrayOpener().get_data([tiny_samples["A"]["train"]]))
    with Federation(tiny_samples) as federation:
        _, scores = federation.simulate(FedAvg(algo, {"auc": auc}), test_on=["A"], num_rounds=1)
    assert np.isfinite(scores["value"]).all()
    backbone = algo.model.get_layer("backbone")
    normed = [backbone.get_layer(name) for name in ("conv1_bn", "conv_dw_1_bn")]
    assert [(type(norm).__name__, norm.trainable) for norm in normed] == [
        (kind, False),
        (kind, True),
    ]


class _Magnified(ChestXrayDataset):
    """Films of 8 px, four times as large."""

    def __getitem__(self, indices):
        batch = super().__getitem__(indices)
        x = (batch if self._is_inference else batch[0]).repeat(4, 1).repeat(4, 2)
        return x if self._is_inference else (x, batch[1])

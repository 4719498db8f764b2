import subprocess
import sys

import keras
import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from helpers.export.formats import FORMATS, import_extra, write_formats

pytestmark = [
    pytest.mark.slow,
    # Keras asks TensorFlow for arrays without NumPy 2's argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy"),
]

LOAD = """
import sys
from pathlib import Path
import numpy as np
from helpers.export.formats import FORMATS, load_format
folder, name = Path(sys.argv[1]), sys.argv[2]
films = np.load(folder / "films.npy")
np.savez(folder / f"{name}.npz", **{
    one.name: load_format(one / FORMATS[name], name)(films) for one in folder.glob("of-*")
})
print("tensorflow" in sys.modules)
"""
# What the network computes, and how TensorFlow calls functions and restores weights.
OPERATIONS = {
    *("Placeholder", "Const", "Identity", "NoOp", "Cast", "Mul", "AddV2", "Sub", "Rsqrt"),
    *("Conv2D", "BiasAdd", "Relu", "MaxPool", "Mean", "Max", "MatMul", "SquaredDifference"),
    *("Shape", "Reshape", "StridedSlice", "Pack", "ConcatV2", "Prod", "Square", "BroadcastTo"),
    *("ReadVariableOp", "VarHandleOp", "AssignVariableOp", "PartitionedCall"),
    *("StatefulPartitionedCall", "SaveV2", "RestoreV2", "MergeV2Checkpoints"),
    *("ShardedFilename", "StringJoin", "StaticRegexFullMatch", "Select"),
    *("Squeeze", "Neg", "StopGradient", "DisableCopyOnRead", "VarIsInitializedOp", "Fill"),
}


@pytest.fixture(scope="module")
def written(models, tmp_path_factory):
    """All networks in all formats, and films."""
    folder = tmp_path_factory.mktemp("formats")
    films = np.random.default_rng(1).integers(0, 256, (9, 16, 16, 1), dtype=np.uint8)
    films[0], films[1] = 0, 255
    np.save(folder / "films.npy", films)
    for name, model in models.items():
        (folder / f"of-{name}").mkdir()
        write_formats(model, folder / f"of-{name}")
    return folder, films


@pytest.mark.parametrize("name", FORMATS)
def test_a_new_process_computes_the_same_logits(written, models, name):
    folder, films = written
    command = [sys.executable, "-c", LOAD, str(folder), name]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert told.split() == [str(name in ("keras", "saved_model"))]
    with np.load(folder / f"{name}.npz") as answers:
        for kind, model in models.items():
            logits = model.predict(films.astype(np.float32) / 255, verbose=0)
            answer = answers[f"of-{kind}"]
            assert (answer.dtype, answer.shape) == (np.float32, (9, 1))
            assert np.ptp(logits) > 1e-3
            np.testing.assert_allclose(answer, logits, rtol=1e-5, atol=1e-5)


def test_a_call_of_the_keras_file_is_not_random(written, models):
    folder, films = written
    # A copy: called so, BatchNorm behind random layers trains its statistics as well.
    copy = keras.models.clone_model(models["augmented"])
    copy.set_weights(models["augmented"].get_weights())
    drawn = [copy(films.astype(np.float32) / 255).numpy() for _ in range(2)]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3  # the network itself is, when called so
    model = keras.models.load_model(folder / "of-augmented" / "model.keras")
    first = model(films).numpy()
    np.testing.assert_array_equal(model(films).numpy(), first)
    np.testing.assert_allclose(model.predict(films, verbose=0), first, rtol=1e-5, atol=1e-5)
    assert model.layers[-1].inputs[0].shape == (None, 16, 16, 1)
    assert getattr(model, "optimizer", None) is None


def test_a_saved_model_has_the_operations_of_the_network_only(written):
    for file in written[0].glob("of-*/saved_model/saved_model.pb"):
        graphs = saved_model_pb2.SavedModel.FromString(file.read_bytes()).meta_graphs
        nodes = [node for graph in graphs for node in graph.graph_def.node]
        for graph in graphs:
            nodes += [n for function in graph.graph_def.library.function for n in function.node_def]
        assert {node.op for node in nodes} - OPERATIONS == set()
        assert not list(file.parent.glob("assets/*"))


class Own(keras.layers.ReLU):
    """A layer that only this file has."""


def chain(*layers, side=8, channels=1, n_inputs=1, **options):
    inputs = [keras.Input((side, side, channels), **options) for _ in range(n_inputs)]
    x = keras.layers.Concatenate()(inputs) if n_inputs > 1 else inputs[0]
    for layer in (*layers, keras.layers.Flatten()):
        x = layer(x)
    return keras.Model(inputs if n_inputs > 1 else inputs[0], keras.layers.Dense(1)(x), name="m")


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: chain(keras.layers.Lambda(abs, name="trick")), r"'m' with trick \(Lambda\)"),
        (lambda: chain(keras.Sequential([Own(name="ours")])), r"'m' with ours \(Own\)"),
        (lambda: chain(n_inputs=2), r"one input .*Received 'm' with \[.*, .*, .*\]"),
        (lambda: chain(channels=3), r"\(None, side, side, 1\).*8, 8, 3"),
        (lambda: chain(dtype="float16"), r"both float32.*'float16'"),
        (lambda: chain(keras.layers.Conv2D(1, 1, activation=abs)), r"that model\.keras can hold"),
    ],
)
def test_what_cannot_be_exported_is_refused_by_name(build, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        write_formats(build(), tmp_path)


def test_diverged_weights_are_refused(tmp_path):
    model = chain()
    model.set_weights([np.full_like(weight, np.nan) for weight in model.get_weights()])
    with pytest.raises(ValueError, match="by up to nan: have its weights diverged"):
        write_formats(model, tmp_path)


def test_other_objects_are_refused(tmp_path):
    with pytest.raises(TypeError, match=r"or an algorithm with one\. Received dict"):
        write_formats({}, tmp_path)


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ImportError, match=r'tf2onnx: pip install "federated-chest-xrays\[export\]'):
        import_extra("tf2onnx")

"""Formats: one network as Keras, SavedModel, ONNX and LiteRT files, each with its preprocessing."""

import contextlib
import importlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from helpers.compatibility import flatten_layers

#: The name of each format, and its file or folder in a model folder.
FORMATS = {
    "keras": "model.keras",
    "saved_model": "saved_model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
}
_TOLERANCE = 1e-5  # of a logit; relative beyond 1


def write_formats(model: Any, folder: Path) -> None:
    """Write a network in each format, load it again, and compare its answers with the network's.

    ``training=False`` is part of the files: layers that change films at random, dropout and
    BatchNorm's update do not act, also if ``model.keras`` is called as a function.
    """
    for package in ("onnx", "tf2onnx"):
        import_extra(package)
    keras = import_extra("keras")
    _check_model(model)
    films = keras.Input(model.input_shape[1:], dtype="uint8", name="films")
    logit = model(keras.layers.Rescaling(1 / 255, name="scaled")(films), training=False)
    whole = keras.Model(films, logit, name="chest_xrays")
    named = keras.Model(films, {"logit": logit}, name="chest_xrays")
    drawn = np.random.default_rng(0).integers(0, 256, (8, *films.shape[1:]), dtype=np.uint8)
    with _quiet():
        expected = model.predict(drawn.astype(np.float32) / 255, verbose=0)
    for name, file in FORMATS.items():
        try:
            with _quiet():
                if name == "keras":
                    whole.save(folder / file)
                else:
                    named(drawn)  # Keras exports only what has been called
                    kind = "tf_saved_model" if name == "saved_model" else name
                    named.export(str(folder / file), format=kind, verbose=False)
                off = np.abs(load_format(folder / file, name)(drawn) - expected)
        except Exception as error:  # of any of six packages
            raise ValueError(
                f"Expected a model that {file} can hold. Received {model.name!r}: {error}"
            ) from error
        if not (off <= _TOLERANCE * np.maximum(1, np.abs(expected))).all():
            raise ValueError(
                f"Expected the logits of {model.name!r} from {file}. Received others, by up to "
                f"{off.max():.2g}: have its weights diverged?"
            )


def load_format(path: Path, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Load one format from its file, unchecked; see :func:`helpers.export.load_predictor`."""
    if name == "keras":
        model = import_extra("keras").models.load_model(path, compile=False, safe_mode=True)
        return lambda films: model.predict(films, verbose=0)
    if name == "saved_model":
        loaded = import_extra("tensorflow").saved_model.load(str(path))
        return lambda films: loaded.serve(films)["logit"].numpy()
    if name == "onnx":
        session = import_extra("onnxruntime").InferenceSession(path)
        return lambda films: session.run(["logit"], {"films": films})[0]
    litert = import_extra("ai_edge_litert.interpreter")
    plain = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # the others log their start
    interpreter = litert.Interpreter(str(path), experimental_op_resolver_type=plain)
    runner = interpreter.get_signature_runner()
    return lambda films: runner(films=films)["logit"]


def import_extra(name: str) -> Any:
    """Import a module whose package may not be installed, or say how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f'This needs {name.partition(".")[0]}: pip install "federated-chest-xrays[export]".'
        ) from error


def _check_model(model):
    """Refuse all but one film in and one logit out, computed by Keras' own layers."""
    keras = import_extra("keras")
    if not isinstance(model, keras.Model):
        raise TypeError(
            f"Expected a Keras model, or an algorithm with one. Received {type(model).__name__}."
        )
    foreign = [
        f"{layer.name} ({type(layer).__name__})"
        for layer in flatten_layers(model)
        if isinstance(layer, keras.layers.Lambda) or not type(layer).__module__.startswith("keras.")
    ]
    if foreign:
        raise ValueError(
            f"Expected a model of Keras' own layers, none of them Lambda. Received {model.name!r} "
            f"with {', '.join(foreign)}: to load these takes code that is not in the folder."
        )
    received = [(tensor.shape, tensor.dtype) for tensor in (*model.inputs, *model.outputs)]
    side = received[0][0][1] if len(received[0][0]) == 4 else None
    if received != [((None, side, side, 1), "float32"), ((None, 1), "float32")] or not side:
        raise ValueError(
            "Expected a model with one input (None, side, side, 1) and one output (None, 1), both "
            f"float32. Received {model.name!r} with {received}."
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Mute what converters log and warn of: a failure is raised, and answers are compared."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)

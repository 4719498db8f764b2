"""Formats: one network as Keras, SavedModel, ONNX and LiteRT files, each with its preprocessing."""

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

#: The name of each format, and its file or folder in a model folder.
FORMATS = {
    "keras": "model.keras",
    "saved_model": "saved_model",
    "onnx": "model.onnx",
    "litert": "model.tflite",
}
_TOLERANCE = 1e-5  # of a logit; relative for logits beyond 1


def write_formats(model: Any, folder: Path) -> None:
    """Write a network in the four formats, and compare what each answers with the network.

    Every format takes ``uint8`` films of shape (n, side, side, 1), named ``films``, scales them to
    [0, 1] and answers the ``logit``, ``float32`` of shape (n, 1). The network is called with
    ``training=False``: what changes films at random (:func:`helpers.models.augment`), dropout and
    BatchNorm's update are not in the files. In ``model.keras`` the network itself is the last
    layer.

    Parameters
    ----------
    model : keras.Model
        Input float32 (n, side, side, 1) in [0, 1], output the logit (n, 1); built from Keras' own
        layers, without ``Lambda``.
    folder : pathlib.Path
        An existing folder.

    Raises
    ------
    ImportError
        If a package of the extra is missing.
    ValueError
        If the model has another input or output, a layer that cannot be exported, or if a file
        answers otherwise than the network.
    """
    for package in ("onnx", "tf2onnx"):
        _import(package)
    import keras

    _check_model(model)
    films = keras.Input(model.input_shape[1:], dtype="uint8", name="films")
    scaled = keras.layers.Rescaling(1 / 255, name="scaled")(films)
    logit = model(scaled, training=False)
    drawn = np.random.default_rng(0).integers(0, 256, (8, *model.input_shape[1:]), dtype=np.uint8)
    with _quiet():
        keras.Model(films, logit, name="chest_xrays").save(folder / FORMATS["keras"])
        named = keras.Model(films, {"logit": logit}, name="chest_xrays")
        named(drawn)  # Keras exports only what has been called
        for kind in ("tf_saved_model", "onnx", "litert"):
            file = folder / FORMATS[kind.removeprefix("tf_")]
            named.export(str(file), format=kind, verbose=False)
        expected = model.predict(drawn.astype(np.float32) / 255, verbose=0)
        for name in FORMATS:
            answer = load_predictor(folder, name)(drawn)
            if not np.allclose(answer, expected, rtol=_TOLERANCE, atol=_TOLERANCE):
                raise ValueError(
                    f"Expected {FORMATS[name]} to answer as the network. Received a difference of "
                    f"{np.abs(answer - expected).max():.2g}: use layers without random behaviour."
                )


def load_predictor(folder: str | Path, name: str) -> Callable[[np.ndarray], np.ndarray]:
    """Load one format of a model folder. Call :func:`read_folder` first: it checks the files.

    Parameters
    ----------
    folder : str or pathlib.Path
        The model folder.
    name : {"keras", "saved_model", "onnx", "litert"}
        The format. Only ONNX and LiteRT do without TensorFlow; Keras is loaded in safe mode. A
        SavedModel is a program of TensorFlow: load none of unknown origin.

    Returns
    -------
    callable
        From ``uint8`` films (n, side, side, 1) to logits, ``float32`` (n, 1).

    Raises
    ------
    ImportError
        If a package of the extra is missing.
    ValueError
        If there is no such format.
    """
    if name not in FORMATS:
        raise ValueError(f"Expected a format among {list(FORMATS)}. Received {name!r}.")
    path = str(Path(folder) / FORMATS[name])
    if name == "keras":
        model = _import("keras").models.load_model(path, compile=False, safe_mode=True)
        return lambda films: model.predict(films, verbose=0)
    if name == "saved_model":
        signature = _import("tensorflow").saved_model.load(path).signatures["serving_default"]
        return lambda films: signature(films=films)["logit"].numpy()
    if name == "onnx":
        session = _import("onnxruntime").InferenceSession(path)
        return lambda films: session.run(["logit"], {"films": films})[0]
    runner = _import("ai_edge_litert.interpreter").Interpreter(path).get_signature_runner()
    return lambda films: runner(films=films)["logit"]


def _check_model(model):
    """Refuse what is not one film in and one logit out, or needs code of its own to be loaded."""
    import keras

    from helpers.compatibility import flatten_layers

    if not isinstance(model, keras.Model):
        raise TypeError(f"Expected a Keras model. Received {type(model).__name__}.")
    shapes = getattr(model, "input_shape", None), getattr(model, "output_shape", None)
    side = shapes[0][1] if isinstance(shapes[0], tuple) and len(shapes[0]) == 4 else None
    if shapes != ((None, side, side, 1), (None, 1)) or not isinstance(side, int):
        raise ValueError(
            "Expected a model with one input (None, side, side, 1) and one output (None, 1). "
            f"Received {model.name!r} with the input {shapes[0]} and the output {shapes[1]}."
        )
    foreign = [
        f"{layer.name} ({type(layer).__name__})"
        for layer in flatten_layers(model)
        if isinstance(layer, keras.layers.Lambda)
        or not type(layer).__module__.startswith("keras.")
    ]
    if foreign:
        raise ValueError(
            f"Expected Keras' own layers, without Lambda. Received {', '.join(foreign)} in "
            f"{model.name!r}: only code of yours could load them. Write them with Keras' layers."
        )


def _import(name):
    """Import a package of the extra, or say how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"This needs the package {name.partition('.')[0].replace('_', '-')}: "
            'pip install "federated-chest-xrays[export]".'
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Mute what converters print, log and warn of; errors are raised all the same."""
    loggers = {logging.getLogger(name): 0 for name in ("tensorflow", "tf2onnx", "absl")}
    loggers = {logger: logger.level for logger in loggers}
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in loggers.items():
            logger.setLevel(level)

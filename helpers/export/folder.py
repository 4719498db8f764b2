"""Folder: a trained network with its formats, signature, model card and checksums."""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.files import hash_file, hash_files
from helpers.export.card import fit_answer, make_card
from helpers.export.formats import FORMATS, load_format, write_formats
from helpers.model_folder import SUMS, check_folder


def export_model(
    model: Any, folder: str | Path, *, run: Mapping[str, Any], predictions: pd.DataFrame
) -> str:
    """Write the folder in which a network is handed over.

    It has the network in four formats, each of which takes ``uint8`` films (n, side, side, 1) named
    ``films``, scales them, and answers the ``logit``, float32 (n, 1); in ``model.keras`` the
    network is the last layer. Then ``signature.json``, the model card as ``card.json`` and
    ``card.md``, and ``SHA256SUMS``. Each format is loaded and compared with the network. The folder
    gets its name when it is complete: an interruption leaves the former one, or none. (A process
    that was killed also leaves a hidden folder ``.exporting-…`` next to it.)

    Parameters
    ----------
    model : keras.Model or algorithm
        The network, or an algorithm with it as ``.model``: float32 films in [0, 1], logits (n, 1).
    folder : str or pathlib.Path
        Where to write; a former model folder is replaced.
    run : mapping
        What is to be known of the training: the content of the run's ``run.json``.
    predictions : pandas.DataFrame
        Validation and test films of this network: ``hospital``, ``split``, ``patient``, ``label``,
        ``logit``, ``sex``, ``age``, ``view``.

    Returns
    -------
    str
        The folder's fingerprint, as :func:`check_folder` returns it.

    Raises
    ------
    ImportError
        If a package of the extra is missing.
    TypeError, ValueError
        If the model cannot be exported, the run or its predictions lack something, or the folder
        has other files.
    """
    folder, model = Path(folder).resolve(), getattr(model, "model", model)
    if folder.exists() and not (folder / SUMS).is_file():
        raise ValueError(
            f"Expected a former model folder, or nothing, at {str(folder)!r}. Received something "
            "else. Choose another folder, so that it is not replaced."
        )
    answer = fit_answer(run, predictions)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=folder.parent) as stage:
        new = Path(stage) / "new"
        new.mkdir()
        write_formats(model, new)
        signature = _describe(model, run["task"]) | answer
        card, text = make_card(run, predictions, signature)
        _write(new / "signature.json", json.dumps(signature, indent=1))
        _write(new / "card.json", json.dumps(card, indent=1, ensure_ascii=False))
        _write(new / "card.md", text)
        sums = hash_files(new, but=SUMS)
        _write(new / SUMS, "\n".join(f"{digest}  {name}" for name, digest in sums.items()))
        if folder.exists():
            os.replace(folder, Path(stage) / "former")
        os.replace(new, folder)
    return hash_file(folder / SUMS)


def load_predictor(
    folder: str | Path, name: str, *, fingerprint: str | None = None
) -> Callable[[np.ndarray], np.ndarray]:
    """Check a model folder, then load one format of the network.

    ONNX and LiteRT files hold nothing but arithmetic, and need no TensorFlow; Keras files are
    loaded in safe mode, which refuses code. A SavedModel may hold any operation of TensorFlow, such
    as one that writes a file: without a fingerprint, load none that a stranger could have changed.

    Parameters
    ----------
    folder, fingerprint
        As for :func:`check_folder`.
    name : {"keras", "saved_model", "onnx", "litert"}
        The format.

    Returns
    -------
    callable
        From ``uint8`` films (n, side, side, 1) to logits, float32 (n, 1).

    Raises
    ------
    ImportError
        If a package of the extra is missing.
    ValueError
        If there is no such format, and as :func:`check_folder` does.
    """
    if name not in FORMATS:
        raise ValueError(f"Expected a format among {list(FORMATS)}. Received {name!r}.")
    check_folder(folder, fingerprint=fingerprint)
    return load_format(Path(folder) / FORMATS[name], name)


def _describe(model, task):
    """Describe what the model takes and answers; its version is a digest of its weights."""
    weights = hashlib.sha256(b"".join(weight.tobytes() for weight in model.get_weights()))
    positive, _, negative = task.partition(" vs ")
    return {
        "name": "chest_xrays",
        "version": weights.hexdigest()[:12],
        "task": task,
        "classes": [negative, positive],
        "input": {"name": "films", "dtype": "uint8", "shape": [None, *model.input_shape[1:]]},
        "output": {"name": "logit", "dtype": "float32", "shape": [None, 1]},
    }


def _write(path, text):
    path.write_text(text + "\n", encoding="utf-8", newline="\n")

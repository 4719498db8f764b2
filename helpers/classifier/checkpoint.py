"""Checkpoint: a Keras model on the disk, with what is needed to use it."""

import json
import os
import zipfile
from pathlib import Path

import keras
import numpy as np

from helpers.classifier.messages import say

_DESCRIPTION = "chest_xray_classifier.json"  # a member of the .keras archive that Keras ignores
_KEYS = {"image_size", "full", "threshold", "classes", "films", "score"}


def save_checkpoint(model: keras.Model, path: Path, description: dict) -> None:
    """Write a model and its description as one ``.keras`` file.

    ``keras.models.load_model`` opens the file like any other. If writing is interrupted, the
    previous file remains.

    Parameters
    ----------
    model : keras.Model
        The model.
    path : pathlib.Path
        The file, ending in ``.keras``.
    description : dict
        JSON-serializable, with at least ``image_size`` (pixels), ``full`` (white level of 16-bit
        films, None if there are none), ``threshold`` (probability in [0, 1] above which a film is
        positive), ``classes`` (names of the negative and the positive class), ``films`` (hashes of
        the films of ``train`` and of ``valid``) and ``score`` (balanced accuracy on the validation
        films).

    Raises
    ------
    ValueError
        If a weight is not finite. Nothing is written then.
    """
    _check_weights(model, path)
    partial = path.with_name(f"partial-{path.name}")
    model.save(partial)
    with zipfile.ZipFile(partial, "a") as archive:
        archive.writestr(_DESCRIPTION, json.dumps(description, indent=1))
    os.replace(partial, path)


def read_description(path: str | Path) -> dict:
    """Read the description in a checkpoint.

    Parameters
    ----------
    path : path-like
        A file that :func:`save_checkpoint` wrote.

    Returns
    -------
    dict
        The description.

    Raises
    ------
    ValueError
        If the file does not exist or is no such checkpoint.
    """
    advice = say("Give the path that train_classifier returned.")
    if not Path(path).is_file():
        text = say("Expected a checkpoint. Received {path!r}, which is none.", path=str(path))
        raise ValueError(f"{text} {advice}")
    try:
        with zipfile.ZipFile(path) as archive:
            description = json.loads(archive.read(_DESCRIPTION))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        text = say(
            "Expected a checkpoint with image size, threshold and class names. Received {path!r} "
            "({error}).",
            path=str(path),
            error=error,
        )
        raise ValueError(f"{text} {advice}") from error
    missing = sorted(_KEYS - set(description))
    if missing:
        text = say(
            "Expected {keys} in the checkpoint {path!r}. Received no {missing}.",
            keys=sorted(_KEYS),
            path=str(path),
            missing=missing,
        )
        raise ValueError(f"{text} {advice}")
    return description


def load_checkpoint(path: str | Path) -> tuple[keras.Model, dict]:
    """Load a model and its description.

    Parameters
    ----------
    path : path-like
        A file that :func:`save_checkpoint` wrote.

    Returns
    -------
    model : keras.Model
        The model, whose output is a logit.
    description : dict
        As :func:`save_checkpoint` received it.

    Raises
    ------
    ValueError
        If the file does not exist, is no such checkpoint, or a weight is not finite.
    """
    description = read_description(path)
    model = keras.models.load_model(path)
    _check_weights(model, path)
    return model, description


def _check_weights(model, path):
    """Refuse a model with NaN or infinity: ReLU may hide them, and all films get one class."""
    wrong = [weight.path for weight in model.weights if not np.isfinite(weight.numpy()).all()]
    if wrong:
        raise ValueError(
            say(
                "Expected finite weights in the model {path!r}. Received NaN or infinity in {n} of "
                "{of} tensors, first {name}: the training diverged. Train again with a smaller "
                "learning rate.",
                path=str(path),
                n=len(wrong),
                of=len(model.weights),
                name=wrong[0],
            )
        )

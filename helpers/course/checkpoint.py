"""Checkpoint: a Keras model on the disk, with what is needed to use it."""

import json
import os
import zipfile
from pathlib import Path

import keras

_DESCRIPTION = "chest_xray_classifier.json"  # a member of the .keras archive that Keras ignores
_KEYS = {"image_size", "threshold", "classes", "score"}


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
        JSON-serializable, with at least ``image_size`` (pixels), ``threshold`` (probability in
        [0, 1] above which a film is positive), ``classes`` (names of the negative and the positive
        class) and ``score`` (balanced accuracy on the validation films).
    """
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
    advice = "Give the path that train_classifieur returned."
    if not Path(path).is_file():
        raise ValueError(f"Expected a checkpoint. Received {str(path)!r}, which is none. {advice}")
    try:
        with zipfile.ZipFile(path) as archive:
            description = json.loads(archive.read(_DESCRIPTION))
    except (zipfile.BadZipFile, KeyError, ValueError) as error:
        raise ValueError(
            f"Expected a checkpoint with image size, threshold and class names. Received "
            f"{str(path)!r} ({error}). {advice}"
        ) from error
    missing = sorted(_KEYS - set(description))
    if missing:
        raise ValueError(
            f"Expected {sorted(_KEYS)} in the checkpoint {str(path)!r}. Received no {missing}. "
            f"{advice}"
        )
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
        If the file does not exist or is no such checkpoint.
    """
    description = read_description(path)
    return keras.models.load_model(path), description

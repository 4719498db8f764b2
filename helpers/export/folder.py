"""Folder: a trained network with its formats, signature, model card and checksums."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.data.files import hash_file
from helpers.export.card import fit_signature, make_card, render_card
from helpers.export.formats import write_formats

SUMS = "SHA256SUMS"


def export_model(
    model: Any, folder: str | Path, *, run: Mapping[str, Any], predictions: pd.DataFrame
) -> Path:
    """Write the folder in which a network is handed over.

    It has the four formats, ``signature.json``, the model card as ``card.json`` and ``card.md``,
    and ``SHA256SUMS``. It gets its name in one step when it is complete: an interrupted export
    leaves the former folder, or none.

    Parameters
    ----------
    model : keras.Model or algorithm
        The network, or an algorithm with it as ``.model``: float32 films (n, side, side, 1) in
        [0, 1], logits (n, 1).
    folder : str or pathlib.Path
        Where to write; a former model folder is replaced.
    run : mapping
        The content of the run's ``run.json``.
    predictions : pandas.DataFrame
        Of this network, on validation and test films, see :func:`fit_signature`.

    Returns
    -------
    pathlib.Path
        The folder, absolute.

    Raises
    ------
    ImportError
        If a package of the extra is missing.
    ValueError
        If the model or the predictions do not fit, or the folder has other files.
    """
    folder, model = Path(folder).resolve(), getattr(model, "model", model)
    if folder.exists() and not (folder / SUMS).is_file() and any(folder.iterdir()):
        raise ValueError(
            f"Expected a model folder or nothing at {str(folder)!r}. Received other files. Choose "
            "another folder, so that they are not replaced."
        )
    signature = _describe(model, run) | fit_signature(predictions, seed=run["seed"])
    card = make_card(run, predictions, signature)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".exporting-", dir=folder.parent) as stage:
        new = Path(stage) / "new"
        new.mkdir()
        write_formats(model, new)
        _write(new / "signature.json", json.dumps(signature, indent=1))
        _write(new / "card.json", json.dumps(card, indent=1, ensure_ascii=False))
        _write(new / "card.md", render_card(card, f"Model card: {run['name']}"))
        sums = "".join(f"{hash_file(new / name)}  {name}\n" for name in _list_files(new))
        _write(new / SUMS, sums)
        if folder.exists():
            os.replace(folder, Path(stage) / "old")
        os.replace(new, folder)
    return folder


def check_folder(folder: str | Path) -> None:
    """Check that a model folder has exactly the files of its ``SHA256SUMS``, unchanged.

    Parameters
    ----------
    folder : str or pathlib.Path
        The model folder. Nothing in it is opened but as bytes.

    Raises
    ------
    ValueError
        If a file was changed, is missing, or was added; the message names all of them.
    """
    folder = Path(folder)
    if not (folder / SUMS).is_file():
        raise ValueError(f"Expected a model folder with {SUMS}. Received {str(folder)!r}.")
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {name: hash_file(folder / name) for name in _list_files(folder) if name != SUMS}
    faults = {
        "changed": sorted(n for n in found if n in expected and found[n] != expected[n]),
        "missing": sorted(set(expected) - set(found)),
        "additional": sorted(set(found) - set(expected)),
    }
    if any(faults.values()):
        said = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in faults.items() if names)
        raise ValueError(
            f"Expected the files of {SUMS} in {str(folder)!r}, unchanged. Received {said}. "
            "Do not load it; copy the folder again from where it was exported."
        )


def read_folder(folder: str | Path) -> tuple[dict, dict]:
    """Check a model folder, then read what describes the model.

    Parameters
    ----------
    folder : str or pathlib.Path
        The model folder.

    Returns
    -------
    signature, card : dict
        The content of ``signature.json`` and ``card.json``.

    Raises
    ------
    ValueError
        As :func:`check_folder` does.
    """
    check_folder(folder)
    names = "signature.json", "card.json"
    return tuple(json.loads((Path(folder) / n).read_text(encoding="utf-8")) for n in names)


def _describe(model, run):
    """Describe input and output; the version is a digest of the weights."""
    digest = hashlib.sha256()
    for weight in model.get_weights():
        digest.update(weight.tobytes())
    side = model.input_shape[1]
    positive, negative = run["task"].split(" vs ")
    return {
        "name": "chest_xrays",
        "version": digest.hexdigest()[:12],
        "task": run["task"],
        "classes": [negative, positive],
        "input": {"name": "films", "dtype": "uint8", "shape": [None, side, side, 1]},
        "output": {"name": "logit", "dtype": "float32", "shape": [None, 1]},
    }


def _list_files(folder):
    """List the files of a folder and the folders in it, with forward slashes, in order."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def _write(path, text):
    path.write_text(text + "\n" * (not text.endswith("\n")), encoding="utf-8", newline="\n")

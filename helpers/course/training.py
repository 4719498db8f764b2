"""Training: from a folder of classes and a CSV file to the best model of a run."""

import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from helpers.algorithms.randomness import with_seed
from helpers.course.callbacks import FilmBatches, KeepBest, SeedEpochs
from helpers.course.checkpoint import read_description
from helpers.course.rows import match_rows
from helpers.data import (
    ChestXrayDataset,
    Report,
    WeightedChestXrayDataset,
    label_films,
    prepare_samples,
    read_radiographs,
    split_patients,
)
from helpers.data.arguments import check_integer
from helpers.data.layouts import CLASSES, class_folders, split_folders
from helpers.data.metadata import NO_FINDING, read_metadata
from helpers.data.patients import check_labels
from helpers.models import build_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener

_HERE = "here"  # there is only one hospital, and it needs a name


def train_classifieur(
    logdir: str | Path,
    datadir: str | Path,
    csv: str | Path,
    weights_col: str | None = None,
    *,
    epochs: int = 25,
    batch_size: int = 32,
    image_size: int = 64,
    learning_rate: float = 2e-3,
    seed: int = 0,
    task: str = "any finding vs none",
) -> tuple[Path, float]:
    """Train a classifier on the films that a CSV file names, and keep the best epoch's model.

    The films of ``train/`` are for training, those of ``valid/`` for choosing the best epoch.
    Validation films of training patients are omitted and counted. Without ``valid/``, a fifth of
    the patients of ``train/`` is used for validation. ``test/`` is not used. The network is
    :func:`helpers.models.build_cnn`, trained with Adam on the binary cross-entropy by Keras'
    ``fit``; a film's weight multiplies its term of the loss, as ``sample_weight`` does in Keras.

    The folder of a run below ``logdir`` is named after its settings and films. It contains the best
    model, ``best.keras``, and logs for TensorBoard in ``logs``. A run that was interrupted
    continues from its last complete epoch when it is called again, and ends with the same weights
    as without the pause. All generators of this process are seeded.

    Parameters
    ----------
    logdir : path-like
        Folder of the runs; it is created if it does not exist.
    datadir : path-like
        Class folders, see :func:`helpers.data.read_radiographs`.
    csv : path-like
        The rows of the films for training and validation, usually the ``metadata.csv`` of
        ``datadir``. Films without a row are omitted and counted.
    weights_col : str, optional
        Column of the file with a weight for each film, 0 or more. Weights with mean 1 do not change
        the size of an update. By default all films have the same weight.
    epochs : int, default=25
        Number of passes through the training films.
    batch_size : int, default=32
        Films of an update.
    image_size : int, default=64
        Height and width to which films are scaled, in pixels.
    learning_rate : float, default=2e-3
        Of Adam.
    seed : int, default=0
        Seed of initial weights, dropout, the order of the films, and the split if there is none.
    task : str, default="any finding vs none"
        A name among :data:`~helpers.data.tasks.TASKS`.

    Returns
    -------
    ckpt_path : pathlib.Path
        The best model's file. It contains all that :func:`pred_classifieur` needs.
    ckpt_score : float
        Its balanced accuracy on the validation films, in [0, 1]. As the best of many epochs it is
        optimistic: evaluate the model on other films.

    Raises
    ------
    TypeError
        If a number of films, epochs or pixels, or the seed, is not whole.
    ValueError
        If one of them is out of range, a path is wrong, ``datadir`` has no class folders, rows
        have no film or weight, a class is missing from training or validation, or films cannot be
        read.
    """
    epochs = check_integer("epochs", epochs, 1)
    batch_size = check_integer("batch_size", batch_size, 1)
    image_size = check_integer("image_size", image_size, 1)
    seed = check_integer("seed", seed, 0)
    rows, images = match_rows(csv, datadir)
    radiographs = read_radiographs(datadir, check_images=False)
    if radiographs.layout != "class folders":
        raise ValueError(
            f"Expected class folders in {str(datadir)!r}, such as train/sain and train/malade. "
            f"Received the layout {radiographs.layout!r}."
        )
    described = _describe_rows(Path(csv), rows, images, weights_col)
    table, labels = _choose_films(radiographs.table, described, task, seed)
    samples = prepare_samples(radiographs, table, labels, size=image_size, task=task)[_HERE]
    train, valid = (ChestXrayOpener().get_data([samples[split]]) for split in ("train", "valid"))

    settings = {
        "films": [
            json.loads((samples[split] / "sample.json").read_text("utf-8"))["fingerprint"]
            for split in ("train", "valid")
        ],
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "seed": seed,
    }
    digest = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
    name = re.sub(r"\W+", "_", weights_col) if weights_col else "unweighted"
    run = Path(logdir) / f"{name}-{digest}"
    goes_on = (run / "backup").exists()
    if not goes_on and (run / "logs").exists():
        shutil.rmtree(run / "logs")  # curves of the same run, finished earlier
    run.mkdir(parents=True, exist_ok=True)

    model = with_seed(seed, lambda: build_cnn(image_size))
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    dataset = WeightedChestXrayDataset if weights_col else ChestXrayDataset
    batches = FilmBatches(dataset(train, is_inference=False), batch_size=batch_size, seed=seed)
    path = run / "best.keras"
    description = {
        "image_size": image_size,
        "threshold": 0.5,
        "classes": _name_classes(Path(datadir)),
        "task": task,
        "weights_col": weights_col,
    }
    model.fit(
        batches,
        epochs=epochs,
        shuffle=False,  # the batches are shuffled film by film
        verbose=1 if sys.stdout.isatty() else 0,
        callbacks=[
            SeedEpochs(batches, seed),
            KeepBest(
                ChestXrayDataset(valid, is_inference=False),
                path,
                description,
                batch_size=batch_size,
                goes_on=goes_on,
            ),
            keras.callbacks.TensorBoard(run / "logs", write_graph=False),
            keras.callbacks.BackupAndRestore(run / "backup", double_checkpoint=True),
        ],
    )
    return path, read_description(path)["score"]


train_classifier = train_classifieur


def _describe_rows(csv, rows, images, weights_col):
    """Return patient and weight of each film that the file names; refuse faulty rows."""
    lines = [f"line {n}" for n in rows.index]
    report = Report()
    twice = images.duplicated(keep=False).to_numpy()
    report.fault(
        "two rows about one film", [line for line, t in zip(lines, twice, strict=True) if t]
    )
    described = pd.DataFrame({"image": images.to_numpy()})
    if weights_col is not None:
        if weights_col not in rows:
            raise ValueError(
                f"Expected the column {weights_col!r} in {csv.name!r}. Received {list(rows)}."
            )
        weights = pd.to_numeric(rows[weights_col], errors="coerce").to_numpy(dtype=float)
        good = np.isfinite(weights) & (weights >= 0)
        wrong = [line for line, is_good in zip(lines, good, strict=True) if not is_good]
        report.fault(f"{weights_col} that is not a number of 0 or more", wrong)
        described["weight"] = weights
        if not wrong and not weights.any():
            report.fault(f"{weights_col} that is 0 in every row", lines)
    if report.is_faulty:
        raise ValueError(
            f"Expected one row with its weight for each film in {csv.name!r}. Received:\n"
            + "\n".join(report.fault_lines())
        )
    described["patient"] = read_metadata(csv, Report())["patient"].to_numpy()
    return described


def _choose_films(table, described, task, seed):
    """Choose the films for training and validation, and label them."""
    n_films = len(table)
    table = table.drop(columns="weight", errors="ignore")
    table = table.merge(described, on="image", how="inner", suffixes=("", "_of_csv"))
    table["patient"] = table["patient"].fillna(table.pop("patient_of_csv"))
    if n_films > len(table):
        print(f"Films without a row in the csv, left out: {n_films - len(table):,}.")
    table = table[table["split"] != "test"].assign(hospital=_HERE)
    labels = check_labels(table, label_films(table, task))
    trained = set(table["patient"][table["split"] == "train"].dropna())
    both = (table["split"] == "valid") & table["patient"].isin(trained)
    if both.any():
        print(f"Validation films of patients who are trained on, left out: {both.sum():,}.")
        table, labels = table[~both], labels[~both]
    if table["patient"].isna().any():
        print("Films without a patient number count as a patient each.")
    if not (table["split"] == "valid").any():
        table = split_patients(table, labels=labels, seed=seed, keep_split=True)
    counts = pd.crosstab(table["split"], labels).reindex(
        index=["train", "valid"], columns=[0, 1], fill_value=0
    )
    if (counts == 0).any(axis=None):
        raise ValueError(
            "Expected films of both classes to train on and to validate with. Received "
            + "; ".join(
                f"{split}: {a} negative, {b} positive" for split, a, b in counts.itertuples()
            )
            + f" among the films that the csv names (task {task!r})."
        )
    return table, labels


def _name_classes(datadir):
    """Return the folders' names of the negative and of the positive class."""
    names = {
        CLASSES[name.lower()] != NO_FINDING: name
        for folder, _ in split_folders(datadir)
        for name in class_folders(datadir / folder)
    }
    return [names[False], names[True]]

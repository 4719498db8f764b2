"""Training: from a folder of classes and a CSV file to the best model of a run."""

import contextlib
import hashlib
import json
import re
import shutil
import sys
from pathlib import Path

import keras
import pandas as pd
from filelock import FileLock, Timeout

from helpers.algorithms.randomness import with_seed
from helpers.classifier.callbacks import FilmBatches, KeepBest, PrintEpochs, SeedEpochs
from helpers.classifier.checkpoint import read_description
from helpers.classifier.messages import say
from helpers.classifier.rows import check_paths, hash_film
from helpers.data import (
    ChestXrayDataset,
    Radiographs,
    Report,
    WeightedChestXrayDataset,
    label_films,
    prepare_samples,
    split_patients,
)
from helpers.data.arguments import check_integer
from helpers.data.class_folders import read_class_folders
from helpers.data.image_checks import check_images
from helpers.data.images import FilmFolder
from helpers.data.layouts import class_folders, finish_table, split_folders
from helpers.data.metadata import FINDING_SPELLINGS, NO_FINDING, fold_name
from helpers.data.patients import check_labels
from helpers.models import build_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener

_HERE = "here"  # there is only one hospital, and it needs a name


def train_classifier(
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

    The folder of a run below ``logdir`` is named after its settings, the number of epochs among
    them, and its films. It contains the best model, ``best.keras``, which only a better one
    replaces, and logs for TensorBoard in ``logs``. A run that was interrupted continues from its
    last complete epoch when it is called again, and ends with the same weights as without the
    pause. All generators of this process are seeded. Without a terminal, each epoch is one line.

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
        The best model's file. It contains all that :func:`predict_classifier` needs, also hashes
        of the films for training and validation.
    ckpt_score : float
        Its balanced accuracy on the validation films, in [0, 1]. As the best of many epochs it is
        optimistic: evaluate the model on other films.

    Raises
    ------
    TypeError
        If a number of films, epochs or pixels, or the seed, is not whole.
    ValueError
        If one of them is out of range, a path is wrong, ``datadir`` has no class folders, rows
        have no film or weight, a class is missing from training or validation, films cannot be
        read, another process trains the same run, or a weight becomes NaN.
    """
    epochs = check_integer("epochs", epochs, 1)
    batch_size = check_integer("batch_size", batch_size, 1)
    image_size = check_integer("image_size", image_size, 1)
    seed = check_integer("seed", seed, 0)
    radiographs = _read_films(Path(datadir), Path(csv), weights_col)
    table, labels = _choose_films(radiographs.table, task, seed)
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
    run = Path(logdir) / f"{name}-{image_size}px-{epochs}epochs-{digest}"
    path = run / "best.keras"
    description = {
        "image_size": image_size,
        "full": radiographs.white_levels.get(""),
        "threshold": 0.5,
        "classes": _name_classes(Path(datadir)),
        "task": task,
        "weights_col": weights_col,
        "films": {
            split: sorted(hash_film(radiographs.source / image) for image in images)
            for split, images in table["image"][labels.notna()].groupby(table["split"])
        },
    }
    with _lock(run):
        if not (run / "backup").exists() and (run / "logs").exists():
            shutil.rmtree(run / "logs")  # curves of the same run, finished earlier
        model = with_seed(seed, lambda: build_cnn(image_size))
        model.compile(
            optimizer=keras.optimizers.Adam(learning_rate),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
        )
        dataset = WeightedChestXrayDataset if weights_col else ChestXrayDataset
        batches = FilmBatches(dataset(train, is_inference=False), batch_size=batch_size, seed=seed)
        films = ChestXrayDataset(valid, is_inference=False)
        model.fit(
            batches,
            epochs=epochs,
            shuffle=False,  # the batches are shuffled film by film
            verbose=1 if sys.stdout.isatty() else 0,
            callbacks=[
                SeedEpochs(batches, seed),
                KeepBest(films, path, description, batch_size=batch_size),
                *([] if sys.stdout.isatty() else [PrintEpochs()]),
                keras.callbacks.TensorBoard(run / "logs", write_graph=False),
                keras.callbacks.BackupAndRestore(run / "backup", double_checkpoint=True),
            ],
        )
        return path, read_description(path)["score"]


train_classifieur = train_classifier


@contextlib.contextmanager
def _lock(run):
    """Keep every other process out of the folder of a run."""
    run.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(run / "training.lock").acquire(timeout=0)
    except Timeout as error:
        raise ValueError(
            say(
                "Expected one training of a run at a time. Received a second one: another process "
                "trains in {folder!r}. Wait for it, or change a setting.",
                folder=str(run),
            )
        ) from error
    with lock:
        yield


def _read_films(datadir, csv, weights_col):
    """Read the films that the csv names; refuse faulty rows and missing weights."""
    check_paths(csv, datadir)
    if not any(class_folders(datadir / folder) for folder, _ in split_folders(datadir)):
        raise ValueError(
            say(
                "Expected class folders in {folder!r}, such as train/sain and train/malade. "
                "Received none.",
                folder=str(datadir),
            )
        )
    report = Report()
    columns = {"weight": weights_col} if weights_col else None
    table = read_class_folders(datadir, report, csv, columns)
    check = check_images(FilmFolder(datadir), table["image"].dropna(), report)
    if weights_col:
        wrong = table["weight"].isna()
        report.fault(f"{weights_col} that is not a number of 0 or more", table["image"][wrong])
        if not wrong.any() and not table["weight"].any():
            report.fault(f"{weights_col} that is 0 in every row", table["image"])
    if report.is_faulty:
        text = say(
            "Expected one row without faults for each film in {csv!r}. Received:", csv=csv.name
        )
        raise ValueError("\n".join([text, *report.fault_lines()]))
    table = finish_table(table)
    if not weights_col:
        table = table.drop(columns="weight", errors="ignore")
    print(say("{n:,} films in {folder!r}.", n=len(table), folder=datadir.name), report)
    source = datadir.expanduser().resolve()
    return Radiographs(table, source, "class folders", report, white_levels=check.white_levels)


def _choose_films(table, task, seed):
    """Choose the films for training and validation, and label them."""
    table = table[table["split"] != "test"].assign(hospital=_HERE)
    labels = check_labels(table, label_films(table, task))
    trained = set(table["patient"][table["split"] == "train"].dropna())
    both = (table["split"] == "valid") & table["patient"].isin(trained)
    if both.any():
        text = "Validation films of patients who are trained on, left out: {n:,}."
        print(say(text, n=both.sum()))
        table, labels = table[~both], labels[~both]
    if table["patient"].isna().any():
        print(say("Films without a patient number count as a patient each."))
    if not (table["split"] == "valid").any():
        table = split_patients(table, labels=labels, seed=seed, keep_split=True)
        table["split"] = table["split"].replace("test", "train")
    counts = pd.crosstab(table["split"], labels).reindex(
        index=["train", "valid"], columns=[0, 1], fill_value=0
    )
    if (counts == 0).any(axis=None):
        raise ValueError(
            say(
                "Expected films of both classes to train on and to validate with. Received among "
                "the films that the csv names (task {task!r}): {counts}.",
                task=task,
                counts="; ".join(f"{split}: {a} / {b}" for split, a, b in counts.itertuples()),
            )
        )
    return table, labels


def _name_classes(datadir):
    """Return the folders' names of the negative and of the positive class."""
    names = {
        FINDING_SPELLINGS[fold_name(name)] != NO_FINDING: name
        for folder, _ in split_folders(datadir)
        for name in class_folders(datadir / folder)
    }
    return [names[False], names[True]]

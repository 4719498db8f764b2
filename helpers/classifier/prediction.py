"""Prediction: a CSV file of films, and the same file with three more columns."""

import csv
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from helpers.classifier.checkpoint import load_checkpoint
from helpers.classifier.messages import say
from helpers.classifier.rows import hash_film, match_rows
from helpers.data import ChestXrayDataset, Report, read_image, resize_image
from helpers.evaluation import balanced_accuracy
from helpers.evaluation.metrics import check_finite

_BATCH = 64  # films
_COLUMNS = ["split", "probability", "prediction"]
_SPLITS = ["train", "valid", ""]


def predict_classifier(
    datadir: str | Path, csv_in: str | Path, csv_out: str | Path, ckpt_path: str | Path
) -> pd.DataFrame:
    """Predict every film that a CSV file names, and write the file with the predictions.

    Films of 16 bits are scaled by the white level of the films that the model was trained on. If
    none of those had 16 bits, each film's own maximum decides, as in
    :func:`helpers.data.read_image`.

    Parameters
    ----------
    datadir : path-like
        Folder of the films; class folders are not needed.
    csv_in : path-like
        The csv; its column ``Image Index`` (or ``image``) names films by their path below
        ``datadir`` or by their file name.
    csv_out : path-like
        Where to write: all rows and columns of ``csv_in`` in their order, then

        - ``split``: ``train`` if the model was trained on this film, ``valid`` if the film served
          to choose the epoch, otherwise empty. Films are recognized by the content of their files.
        - ``probability`` of the positive class, in [0, 1],
        - ``prediction``: name of a class.

        Columns of these names in ``csv_in`` are replaced. UTF-8, separated by commas. An existing
        file is replaced only if it has these columns, see
        :func:`helpers.classifier.prediction.check_target`.
    ckpt_path : path-like
        The model that :func:`train_classifier` returned.

    Returns
    -------
    pandas.DataFrame
        One row for each split, index ``train``, ``valid`` and empty. ``n_films`` (int) counts the
        films whose folder is one of the two classes, and ``balanced_accuracy`` (float in [0, 1]) is
        their score; NaN without films of both classes. Only films with an empty split say
        something about other patients.

    Raises
    ------
    ValueError
        If a path is wrong, the checkpoint is of another kind or has weights that are not finite,
        rows have no readable film (one message lists all of them), or a logit is not finite.
        Nothing is written then.
    """
    check_target(csv_out)
    rows, images = match_rows(csv_in, datadir)
    model, description = load_checkpoint(ckpt_path)
    logits = _predict(model, Path(datadir), images, description)
    probabilities = np.exp(-np.logaddexp(0, -logits))
    negative, positive = description["classes"]
    of_film = {film: split for split, films in description["films"].items() for film in films}
    split = images.map(lambda image: of_film.get(hash_film(Path(datadir, image)), ""))
    rows = rows.drop(columns=_COLUMNS, errors="ignore").assign(
        split=split,
        probability=probabilities,
        prediction=np.where(probabilities > description["threshold"], positive, negative),
    )
    csv_out = Path(csv_out)
    csv_out.parent.mkdir(parents=True, exist_ok=True)
    partial = csv_out.with_name(f".{csv_out.name}.{os.getpid()}")
    try:
        rows.to_csv(partial, index=False, float_format="%.9g", mode="x")
        os.replace(partial, csv_out)
    finally:
        partial.unlink(missing_ok=True)
    classes = description["classes"]
    folders = images.map(lambda image: next(filter(classes.__contains__, image.split("/")), ""))
    scores = {}
    for name in _SPLITS:
        chosen = ((split == name) & ~images.duplicated() & folders.isin(classes)).to_numpy()
        score = balanced_accuracy(folders[chosen] == positive, logits[chosen])
        scores[name] = {"n_films": int(chosen.sum()), "balanced_accuracy": score}
    return pd.DataFrame.from_dict(scores, orient="index")


pred_classifieur = predict_classifier


def check_target(csv_out: str | Path) -> None:
    """Refuse to write predictions over anything but earlier predictions.

    Parameters
    ----------
    csv_out : path-like
        Where predictions shall go. Its name ends in ``.csv``, and what is there, if anything, is a
        regular file with the columns ``split``, ``probability`` and ``prediction``.

    Raises
    ------
    ValueError
        If it is something else: a film, a checkpoint, a csv of films, a link, a device, a folder.
    """
    path = Path(csv_out)
    fits = path.suffix.lower() == ".csv"
    if fits and os.path.lexists(path):
        fits = path.is_file() and not path.is_symlink()
        if fits:
            with path.open(encoding="utf-8", errors="replace", newline="") as file:
                fits = set(_COLUMNS) <= set(next(csv.reader(file), []))
    if not fits:
        raise ValueError(
            say(
                "Expected csv_out to end in .csv and to be new, or a file of earlier predictions. "
                "Received {path!r}, which is not replaced. Choose another name.",
                path=str(csv_out),
            )
        )


def _predict(model, datadir, images, description):
    """Return the logit of each film, float64 of shape (n,); refuse unreadable films."""
    unreadable = []

    def read(image):
        try:
            film = read_image(datadir, image, full=description["full"])
            return resize_image(film, description["image_size"])
        except ValueError:
            return None

    logits = []
    with (
        ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool,
        tqdm(
            total=len(images), desc="Predicting", unit="film", disable=not sys.stderr.isatty()
        ) as bar,
    ):
        for place in range(0, len(images), _BATCH):
            part = images.iloc[place : place + _BATCH]
            films = list(pool.map(read, part))
            pairs = zip(part.items(), films, strict=True)
            unreadable += [f"line {n} ({image})" for (n, image), film in pairs if film is None]
            if not unreadable:  # otherwise the rest is read only to find all faults
                data = {"images": np.stack(films)[..., None], "labels": None}
                batch = ChestXrayDataset(data, is_inference=True)[np.arange(len(films))]
                logits.append(model.predict_on_batch(batch))
            bar.update(len(films))
    if unreadable:
        report = Report()
        report.fault("unreadable film", unreadable)
        text = say(
            "Expected a readable film for every row. Copy these files again, or take their rows "
            "out of the csv. Nothing was written. Received:"
        )
        raise ValueError("\n".join([text, *report.fault_lines()]))
    return check_finite(np.concatenate(logits).ravel(), "logits")

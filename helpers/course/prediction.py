"""Prediction: a CSV file of films, and the same file with two more columns."""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from helpers.course.checkpoint import load_checkpoint
from helpers.course.rows import match_rows
from helpers.data import ChestXrayDataset, Report, read_image, resize_image
from helpers.evaluation.metrics import check_finite

_BATCH = 64  # films


def pred_classifieur(
    datadir: str | Path, csv_in: str | Path, csv_out: str | Path, ckpt_path: str | Path
) -> None:
    """Predict every film that a CSV file names, and write the file with the predictions.

    Parameters
    ----------
    datadir : path-like
        Folder of the films; class folders are not needed.
    csv_in : path-like
        The csv; its column ``Image Index`` (or ``image``) names films by their path below
        ``datadir`` or by their file name.
    csv_out : path-like
        Where to write: all rows and columns of ``csv_in`` in their order, then ``probability`` (of
        the positive class, in [0, 1]) and ``prediction`` (name of a class). Columns of these
        names in ``csv_in`` are replaced. UTF-8, separated by commas.
    ckpt_path : path-like
        The model that :func:`train_classifieur` returned.

    Raises
    ------
    ValueError
        If a path is wrong, the checkpoint is of another kind, rows have no readable film (one
        message lists all of them), or a logit is not finite. Nothing is written then.
    """
    rows, images = match_rows(csv_in, datadir)
    model, description = load_checkpoint(ckpt_path)
    probabilities = _predict(model, Path(datadir), images, description["image_size"])
    negative, positive = description["classes"]
    rows = rows.drop(columns=["probability", "prediction"], errors="ignore").assign(
        probability=probabilities,
        prediction=np.where(probabilities > description["threshold"], positive, negative),
    )
    csv_out = Path(csv_out)
    csv_out.parent.mkdir(parents=True, exist_ok=True)
    partial = csv_out.with_name(f"partial-{csv_out.name}")
    rows.to_csv(partial, index=False, float_format="%.9g")
    os.replace(partial, csv_out)


predict_classifier = pred_classifieur


def _predict(model, datadir, images, size):
    """Return the probability of each film, float64 of shape (n,); refuse unreadable films."""
    unreadable = []

    def read(image):
        try:
            return resize_image(read_image(datadir, image), size)
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
        raise ValueError(
            "Expected a readable film for every row. Received:\n"
            + "\n".join(report.fault_lines())
            + "\nCopy these files again, or take their rows out of the csv. Nothing was written."
        )
    logits = check_finite(np.concatenate(logits).ravel(), "logits")
    return np.exp(-np.logaddexp(0, -logits))

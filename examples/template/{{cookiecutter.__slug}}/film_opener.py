"""The opener: how a task reads the films of its hospital. Substra stores this file alone.

A sample is a folder with image files and ``films.csv``: columns ``image``, ``label`` (0 or 1) and
``patient``. If your files look different, change ``get_data``.
"""

import csv
from pathlib import Path

import numpy as np
import substratools
from PIL import Image

IMAGE_SIZE = {{ cookiecutter.image_size }}  # pixels; the network takes it from here


class FilmOpener(substratools.Opener):
    """Read the image files that ``films.csv`` lists."""

    def get_data(self, folders):
        """Return the films of all folders: ``images`` (uint8), ``labels`` and ``patients``."""
        films = [(Path(folder), row) for folder in folders for row in read_rows(Path(folder))]
        return {
            "images": np.stack([read_film(folder / row["image"]) for folder, row in films]),
            "labels": np.array([int(row["label"]) for _, row in films], dtype=np.int64),
            "patients": np.array([row["patient"] for _, row in films]),
        }

    def fake_data(self, n_samples):
        """Return noise in the same form, for tests without films."""
        shape = (n_samples, IMAGE_SIZE, IMAGE_SIZE, 1)
        return {
            "images": np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8),
            "labels": np.arange(n_samples, dtype=np.int64) % 2,
            "patients": np.array([f"{number:05d}" for number in range(n_samples)]),
        }


def read_rows(folder):
    """Return the rows of ``films.csv``; refuse labels that are not 0 or 1."""
    with (folder / "films.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    strange = sorted({row["label"] for row in rows} - {"0", "1"})
    if strange or not rows:
        received = f"the labels {strange}" if strange else "no film"
        raise ValueError(f"Expected films with labels 0 and 1. Received {received} in {folder}.")
    return rows


def read_film(path):
    """Return one film as a square of grey levels, shape (IMAGE_SIZE, IMAGE_SIZE, 1)."""
    with Image.open(path, formats=("PNG",)) as image:
        square = image.convert("L").resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BILINEAR)
    return np.asarray(square)[:, :, None]

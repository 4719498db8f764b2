"""Everything that a page needs of the hospitals, in one call."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from helpers.data.hospitals import make_hospitals
from helpers.data.radiographs import Radiographs, read_radiographs
from helpers.data.samples import prepare_samples
from helpers.data.tasks import label_films


class PreparedHospitals(NamedTuple):
    """Radiographs that have become hospitals, split by patient and written as samples."""

    radiographs: Radiographs
    labels: pd.Series  # 0, 1, or missing; one for each film of the radiographs
    films: pd.DataFrame  # with hospital and split
    samples: dict[str, dict[str, Path]]  # hospital and split -> folder


def prepare_hospitals(
    task: str, *, size: int, seed: int = 0, radiographs: Radiographs | None = None
) -> PreparedHospitals:
    """Read the radiographs, label them, make hospitals of them, and write the samples.

    These are :func:`~helpers.data.read_radiographs`, :func:`~helpers.data.label_films`,
    :func:`~helpers.data.make_hospitals` and :func:`~helpers.data.prepare_samples`, one after the
    other.

    Parameters
    ----------
    task : str
        One of :data:`helpers.data.TASKS`.
    size : int
        Side of the films in pixels.
    seed : int, default=0
        Seed of the hospitals and splits.
    radiographs : Radiographs, optional
        By default those that ``CHEST_XRAYS`` names, or synthetic ones.

    Returns
    -------
    PreparedHospitals
        ``radiographs``, ``labels``, ``films`` and ``samples``.
    """
    radiographs = read_radiographs() if radiographs is None else radiographs
    labels = label_films(radiographs.table, task)
    films = make_hospitals(radiographs.table, labels, seed=seed)
    samples = prepare_samples(radiographs, films, labels, size=size, task=task)
    return PreparedHospitals(radiographs, labels, films, samples)

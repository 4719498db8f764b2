"""Radiographs: one validated table of films and the way to their images."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data import image_checks
from helpers.data.class_folders import read_class_folders
from helpers.data.dicom import fill_from_tags
from helpers.data.fetch import fetch_pneumoniamnist
from helpers.data.images import ArrayFilms, FilmFolder, read_image
from helpers.data.layouts import find_layout, finish_table
from helpers.data.medmnist import read_medmnist
from helpers.data.nih import read_nih
from helpers.data.report import Report
from helpers.data.synthetic import PARAMETERS, make_radiographs

FETCHED = "pneumoniamnist"  # what CHEST_XRAYS may say instead of a path
_TITLES = {
    "nih": "NIH ChestX-ray14 layout",
    "class folders": "Class folders",
    "medmnist": "MedMNIST arrays",
}


@dataclass(frozen=True, eq=False, repr=False)
class Radiographs:
    """Films with their metadata, and the way to their images.

    Parameters
    ----------
    table : pandas.DataFrame
        One row per film with the columns ``image``, ``patient``, ``age`` (years), ``sex``
        (``F``/``M``), ``view`` (``PA``/``AP``), ``findings`` (NIH names joined by ``|``,
        ``No Finding`` alone, ``Unspecified`` for an unnamed one), ``follow_up``, ``hospital``,
        ``split`` (``train``/``valid``/``test``), and ``weight`` when the source has weights.
        What the source does not record is missing.
    source : pathlib.Path
        The folder or ``.npz`` file they were read from.
    layout : {"nih", "class folders", "medmnist"}
        How it is stored on the disk.
    report : Report
        What was repaired, noted and omitted.
    full : int or None, default=None
        White level of the collection's 16-bit films; None if there are none, or if the images were
        not checked: then each film's own maximum decides.
    """

    table: pd.DataFrame
    source: Path
    layout: str
    report: Report
    full: int | None = None
    _arrays: ArrayFilms | None = field(init=False)

    def __post_init__(self) -> None:
        """Prepare the lazily loaded arrays of a MedMNIST file."""
        arrays = ArrayFilms(self.source) if self.layout == "medmnist" else None
        object.__setattr__(self, "_arrays", arrays)

    def __len__(self) -> int:
        """Return the number of films."""
        return len(self.table)

    def image(self, film: int | str) -> np.ndarray:
        """Read the image of one film; safe to call from many threads.

        Parameters
        ----------
        film : int or str
            Position of the film in ``table``, or its ``image`` name.

        Returns
        -------
        numpy.ndarray
            Grey levels, ``uint8`` of shape ``(H, W)``.

        Raises
        ------
        IndexError
            If there is no film at this position.
        ValueError
            If the image cannot be read.
        """
        name = film if isinstance(film, str) else self.table["image"].iloc[film]
        if self._arrays is not None:
            return self._arrays.read(name)
        return read_image(self.source, name, full=self.full)

    @property
    def is_synthetic(self) -> bool:
        """Whether the films are the synthetic ones."""
        return (self.source / PARAMETERS).is_file()

    def __str__(self) -> str:
        """Describe layout, numbers and repairs in one short paragraph, without any full path."""
        patients = self.table["patient"].nunique()
        of = f" of {patients:,} patients" if patients else ", patients unknown,"
        summary = self.report.summary()
        about = f" ({summary})" if summary else ""
        return f"{_TITLES[self.layout]}: {len(self):,} films{of} in {self.source.name!r}{about}."

    def __repr__(self) -> str:
        """Return the same short description, so that a page may end a block with it."""
        return f"<Radiographs. {self}>"


def read_radiographs(
    source: str | Path | None = None, *, strict: bool = True, check_images: bool = True
) -> Radiographs:
    """Read, repair and validate a collection of chest X-rays, and report what was found.

    Parameters
    ----------
    source : str or pathlib.Path, default=None
        A folder in NIH's layout or with class folders, or a MedMNIST ``.npz``. None means the
        environment variable ``CHEST_XRAYS``, where the word ``pneumoniamnist`` downloads
        PneumoniaMNIST (4 MB) once; if that is unset or empty, too, the synthetic radiographs, which
        are generated once and then cached.
    strict : bool, default=True
        Whether to refuse the whole collection if a fault cannot be repaired. If False, the films
        concerned are omitted and reported.
    check_images : bool, default=True
        Whether to decode every image once, which finds damaged files and counts unusual formats.
        Takes about a second per 1,000 films of 256 px. What a film showed is cached until its file
        changes.

    Returns
    -------
    Radiographs
        The films.

    Raises
    ------
    ValueError
        If the path is not there, holds no known layout, or, when ``strict``, has faults (all of
        them are in the message); also when no film is left.
    """
    source = _find_source(source)
    layout = find_layout(source)
    report = Report()
    if layout == "nih":
        table = read_nih(source, report)
    elif layout == "class folders":
        table = read_class_folders(source, report)
    else:
        table = read_medmnist(source, report, check_images=check_images)
    table = table.reset_index(drop=True)
    check = image_checks.ImageCheck()
    if layout != "medmnist":
        locate = FilmFolder(source)
        table = fill_from_tags(table, locate, report)
        if check_images:
            # A film with another fault is decoded, too, so that one report lists everything.
            rows = zip(table["image"], table["faulty"], strict=True)
            names = [
                name
                for name, faulty in rows
                if not faulty or (isinstance(name, str) and (source / name).is_file())
            ]
            check = image_checks.check_images(locate, names, report)
            table["faulty"] |= table["image"].isin(check.faulty)
    if strict:
        report.raise_if_faulty()
    report.dropped = int(table["faulty"].sum())
    table = finish_table(table[~table["faulty"]])
    table = image_checks.mark_equal_films(table, check.digests, report)
    if table.empty:
        raise ValueError(
            f"Expected at least one film in {source.name!r}. Received none that can be used.\n"
            f"{report}\nFix the files named above."
        )
    radiographs = Radiographs(table, source, layout, report, check.full)
    print(radiographs)
    for line in report.fault_lines():
        print(line)
    return radiographs


def _find_source(source: str | Path | None) -> Path:
    named_by = "CHEST_XRAYS"
    if source is not None:
        named_by = "source"
    elif os.environ.get("CHEST_XRAYS", "").strip():
        source = os.environ["CHEST_XRAYS"].strip()
        if source == FETCHED and not Path(source).exists():
            source = fetch_pneumoniamnist()
    else:
        source = make_radiographs()
    path = Path(source).expanduser()
    if not path.exists():
        raise ValueError(
            f"Expected {named_by} to name an existing folder or .npz file. Received "
            f"{str(source)!r}, which is not there (looked for in {str(Path.cwd())!r} if it is "
            "relative). Set CHEST_XRAYS to your radiographs, or unset it to use the synthetic ones."
        )
    return path.resolve()

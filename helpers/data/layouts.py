"""Layouts: the ways in which collections of chest X-rays are stored on a disk.

The module ``detection`` finds which one a path holds; the modules ``nih``, ``class_folders`` and
``medmnist`` read one each, with the file lists and the matching of csv rows to files from here.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from helpers.data.metadata import COLUMNS, NO_FINDING, SPLIT_SPELLINGS, UNSPECIFIED
from helpers.data.report import Report

# Class folders -> the finding of their films; "malade" (ill) names none.
CLASSES = {
    "sain": NO_FINDING,
    "malade": UNSPECIFIED,
    "normal": NO_FINDING,
    "pneumonia": "Pneumonia",
}
IMAGE_ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm"),
    *(".dcm", ".dicom"),
)
_DUST = {"__macosx", "thumbs.db", "desktop.ini"}


@dataclass(frozen=True)
class Layout:
    """One way to store a collection.

    Parameters
    ----------
    name : str
        Short name, as in ``Radiographs.layout``.
    title : str
        How a collection is announced.
    contents : str
        What a path holds in this layout, for the message about one that has none.
    detect : callable
        Takes an existing path; returns something true if it has this layout.
    read : callable
        ``read(source, report, *, check_images)`` returns the table of films, with ``image`` below
        ``source``, and ``faulty`` (bool).
    """

    name: str
    title: str
    contents: str
    detect: Callable[[Path], object]
    read: Callable[..., pd.DataFrame]


def list_folder(folder: Path) -> tuple[list[str], list[str]]:
    """List a folder without the files that operating systems add.

    Parameters
    ----------
    folder : pathlib.Path
        An existing folder.

    Returns
    -------
    folders, files : list of str
        Sorted names; hidden ones, ``__MACOSX``, ``Thumbs.db`` and ``desktop.ini`` are left out.
    """
    folders, files = [], []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(".") and entry.name.lower() not in _DUST:
                (folders if entry.is_dir() else files).append(entry.name)
    return sorted(folders), sorted(files)


def list_images(folder: Path) -> list[str]:
    """Return the sorted names of a folder's image files."""
    return [name for name in list_folder(folder)[1] if name.lower().endswith(IMAGE_ENDINGS)]


def walk_images(source: Path) -> list[str]:
    """Return the paths of all image files below a folder, with forward slashes."""
    found, folders, seen = [], [""], set()
    for folder in folders:  # grows while it is read
        place = (source / folder).resolve()
        if place not in seen:  # a link may lead back
            seen.add(place)
            inner, files = list_folder(place)
            found += [folder + name for name in files if name.lower().endswith(IMAGE_ENDINGS)]
            folders += [f"{folder}{name}/" for name in inner]
    return found


def entry_csvs(source: Path) -> list[str]:
    """Return the names of NIH's csv files, the corrected (v2020) one first."""
    names = [
        name
        for name in list_folder(source)[1]
        if re.fullmatch(r"data_entry_2017(_v2020)?\.csv", name, flags=re.IGNORECASE)
    ]
    return sorted(names, key=len, reverse=True)


def split_folders(source: Path) -> list[tuple[str, str]]:
    """Return each split folder's name with the split that it means (``val`` means valid)."""
    return [
        (name, SPLIT_SPELLINGS[name.lower()])
        for name in list_folder(source)[0]
        if name.lower() in SPLIT_SPELLINGS
    ]


def class_folders(folder: Path) -> list[str]:
    """Return the names of the class folders in a split folder."""
    return [name for name in list_folder(folder)[0] if name.lower() in CLASSES]


def match_images(
    table: pd.DataFrame, paths: dict[str, list[str]], report: Report, csv_name: str
) -> pd.DataFrame:
    """Replace the image names of a csv by the paths of their files.

    Parameters
    ----------
    table : pandas.DataFrame
        Films as :func:`helpers.data.metadata.read_metadata` gives them.
    paths : dict of str to list of str
        Every name that a csv may use, with the paths it may mean.
    report : Report
        Where missing and ambiguous images are reported.
    csv_name : str
        Name of the csv, for the report.

    Returns
    -------
    pandas.DataFrame
        The table with paths in ``image`` where there is exactly one, else marked ``faulty``.
    """
    names = table["image"]
    places = [paths.get(name, []) for name in names]
    missing = pd.Series([not place for place in places], dtype=bool) & names.notna()
    many = pd.Series([len(place) > 1 for place in places], dtype=bool)
    report.fault(f"image named in {csv_name} but missing", names[missing].unique())
    report.fault(
        "same file name in two folders",
        dict.fromkeys(", ".join(place) for place in places if len(place) > 1),
    )
    image = [
        place[0] if len(place) == 1 else name for place, name in zip(places, names, strict=True)
    ]
    return table.assign(
        image=pd.Series(image, dtype="str"), faulty=table["faulty"] | missing | many
    )


def finish_table(table: pd.DataFrame) -> pd.DataFrame:
    """Give a table all columns in their fixed order and types, and a plain index.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with at least ``image``.

    Returns
    -------
    pandas.DataFrame
        The columns of :data:`helpers.data.metadata.COLUMNS`, then ``uncertain`` and ``weight`` when
        there are any.
    """
    columns = [*COLUMNS, *(name for name in ("uncertain", "weight") if name in table.columns)]
    types = dict.fromkeys(columns, "str") | {"age": "float64", "follow_up": "Int64"}
    types |= {"weight": "float64"} if "weight" in columns else {}
    return table.reindex(columns=columns).astype(types).reset_index(drop=True)

"""Layouts: the ways in which collections of chest X-rays are stored on a disk.

:func:`find_layout` finds which one a path holds; the modules ``nih``, ``class_folders`` and
``medmnist`` read one each, with the file lists and the matching of csv rows to files from here.
"""

import os
import re
from pathlib import Path

import pandas as pd

from helpers.data.dicom import is_dicom, may_be_dicom
from helpers.data.metadata import COLUMNS, NO_FINDING, SPLIT_SPELLINGS, UNSPECIFIED
from helpers.data.report import Report

SUPPORTED = """\
- NIH ChestX-ray14: Data_Entry_2017.csv (or Data_Entry_2017_v2020.csv) beside images/*.png or
  images_001/images/*.png … images_012/images/*.png, with train_val_list.txt and test_list.txt
  when they are there;
- class folders: train, valid (or val) and test, each with sain and malade, or NORMAL and
  PNEUMONIA, with or without a metadata.csv beside them;
- a MedMNIST file: pneumoniamnist.npz or chestmnist.npz, of any size (name the file itself)."""

# Class folders -> the finding of their films; "malade" (ill) names none.
CLASSES = {
    "sain": NO_FINDING,
    "malade": UNSPECIFIED,
    "normal": NO_FINDING,
    "pneumonia": "Pneumonia",
}
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
_DUST = {"__macosx", "thumbs.db", "desktop.ini"}


def find_layout(source: Path) -> str:
    """Return which layout a path holds.

    Parameters
    ----------
    source : pathlib.Path
        An existing folder or file.

    Returns
    -------
    {"nih", "class folders", "medmnist"}
        The layout.

    Raises
    ------
    ValueError
        If the path has none of them; the message lists the layouts and what was found.
    """
    if source.is_file():
        if source.suffix.lower() == ".npz":
            return "medmnist"
        seen = f"the file {source.name!r}."
    else:
        if entry_csvs(source):
            return "nih"
        if any(class_folders(source / folder) for folder, _ in split_folders(source)):
            return "class folders"
        folders, files = list_folder(source)
        shown = [f"{name}/" for name in folders[:4]] + files[:4]
        more = ", …" if len(folders) + len(files) > len(shown) else ""
        seen = (
            f"{source.name!r} with {len(folders):,} folders and {len(files):,} files: "
            f"{', '.join(shown) or 'it is empty'}{more}."
        )
    raise ValueError(
        f"Expected radiographs in one of these layouts:\n{SUPPORTED}\nReceived {seen}\n"
        "Name the folder that holds the csv or the split folders itself, not one above or below."
    )


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
    return [
        name
        for name in list_folder(folder)[1]
        if name.lower().endswith(_IMAGE_ENDINGS) or (may_be_dicom(name) and is_dicom(folder / name))
    ]


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
        The columns of :data:`helpers.data.metadata.COLUMNS`, then ``weight`` and ``same_film`` if
        they are there.
    """
    columns = [*COLUMNS, *(name for name in ("weight", "same_film") if name in table.columns)]
    types = dict.fromkeys(COLUMNS, "str") | {"age": "float64", "follow_up": "Int64"}
    return table.reindex(columns=columns).astype(types).reset_index(drop=True)

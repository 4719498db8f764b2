"""Layouts: the ways in which collections of chest X-rays are stored on a disk.

The module ``detection`` finds which one a path holds; the modules ``nih``, ``class_folders`` and
``medmnist`` read one each, with the file lists and the matching of csv rows to files from here.
"""

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pandas as pd

from helpers.data.dicom import is_dicom, may_be_dicom
from helpers.data.metadata import (
    COLUMNS,
    FINDING_SPELLINGS,
    SPLIT_SPELLINGS,
    fold_name,
    suggest,
)
from helpers.data.report import Report

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
# JPEG and DICOM
_RARE_ENDINGS = (".jfif", ".jpe", ".dcm", ".dicom")
# The first bytes of PNG, JPEG, GIF, TIFF and BMP, for files without an ending.
_FIRST_BYTES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")
_NOT_FILMS = {"mask", "masks", "segmentation", "segmentations", "annotation", "annotations"}
_DUST = {"__macosx", "thumbs.db", "desktop.ini"}
_SUGGESTED = 3  # near names are searched for the first few missing ones


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


def is_film(path: Path) -> bool:
    """Return whether a file has a film's ending or, without an ending, a film's first bytes."""
    if has_ending(path.name) or (may_be_dicom(path.name) and is_dicom(path)):
        return True
    if re.search(r"\.[^\d.][^.]*$", path.name) or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(_FIRST_BYTES)
    except OSError:
        return False


def has_ending(name: str) -> bool:
    """Return whether a name has a film's ending."""
    return name.lower().endswith(IMAGE_ENDINGS + _RARE_ENDINGS)


def list_images(folder: Path) -> list[str]:
    """Return the sorted names of a folder's image files."""
    return [name for name in list_folder(folder)[1] if is_film(folder / name)]


def list_films(folder: Path) -> tuple[list[str], list[str]]:
    """List the films below a folder, and what is not read.

    Parameters
    ----------
    folder : pathlib.Path
        An existing folder.

    Returns
    -------
    films, others : list of str
        Paths below the folder, with forward slashes. Others are files that are no films, and
        folders, with a slash at the end: links, and those named masks, annotations and the like.
    """
    films, others = [], []
    folders, files = list_folder(folder)
    for name in files:
        (films if has_ending(name) or is_film(folder / name) else others).append(name)
    for name in folders:
        if (folder / name).is_symlink() or fold_name(name) in _NOT_FILMS:
            others.append(f"{name}/")
        else:
            for found, below in zip((films, others), list_films(folder / name), strict=True):
                found += [f"{name}/{path}" for path in below]
    return films, others


def note_rare(source: Path, films: Iterable[str], report: Report) -> None:
    """Name the films without one of the usual endings; DICOM files often have none."""
    rare = [
        name
        for name in films
        if not name.lower().endswith(IMAGE_ENDINGS)
        and not (may_be_dicom(name) and is_dicom(source / name))
    ]
    report.note("film without a usual ending (.png, .jpg …) read", rare)


def note_unread(source: Path, names: Iterable[str], report: Report) -> None:
    """Name the files and folders that are not read, with what to do.

    Parameters
    ----------
    source : pathlib.Path
        The collection.
    names : iterable of str
        Paths below it, folders with a slash at the end. Hints for readers (README, LICENSE) are
        left out.
    report : Report
        Where they are named.
    """
    names = [name for name in names if not re.match(r"(?i)(readme|licen[cs]e)\b", Path(name).name)]
    folders = {name: len(list_films(source / name)[0]) for name in names if name.endswith("/")}
    report.note(
        "folder not read",
        [f"{name} (images: {count:,})" if count else name for name, count in folders.items()],
        "Move films into the folders of the layout.",
    )
    report.note(
        "file not read",
        [name for name in names if name not in folders],
        f"Films end with {', '.join(IMAGE_ENDINGS)}. Class folders may have a metadata.csv.",
    )


def entry_csvs(source: Path) -> list[str]:
    """Return the names of NIH's csv files, the corrected (v2020) one first."""
    names = [
        name
        for name in list_folder(source)[1]
        if re.fullmatch(r"data_entry_2017(_v2020)?\.csv", name, flags=re.IGNORECASE)
    ]
    return sorted(names, key=len, reverse=True)


def split_folders(source: Path) -> list[tuple[str, str | None]]:
    """Find the folders that hold class folders.

    Parameters
    ----------
    source : pathlib.Path
        A collection, or a folder that holds nothing but one (as ``chest_xray/chest_xray``).

    Returns
    -------
    list of (str, str or None)
        Path of each below ``source`` with the split that its name means (``val`` means valid);
        None for a folder that holds the classes without splits.
    """
    base = PurePosixPath()
    for _ in range(3):
        folders = list_folder(source / base)[0]
        splits = {name: SPLIT_SPELLINGS.get(fold_name(name)) for name in folders}
        found = [((base / name).as_posix(), split) for name, split in splits.items() if split]
        if class_folders(source / base) and not any(class_folders(source / f) for f, _ in found):
            return [(base.as_posix(), None)]
        if found:
            return found
        if len(folders) != 1 or suggest(folders[0], SPLIT_SPELLINGS) != folders[0]:
            break
        base /= folders[0]
    return []


def class_folders(folder: Path) -> list[str]:
    """Return the names of the class folders in a folder."""
    return [name for name in list_folder(folder)[0] if fold_name(name) in FINDING_SPELLINGS]


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
    places = {name: paths.get(name, []) for name in names.dropna().unique()}
    lost = [name for name, place in places.items() if not place]
    meant, missing = _find_loosely(lost, paths, {path for p in places.values() for path in p})
    places |= {name: [path] for name, path in meant.items()}
    report.repair("image found under another spelling", [f"{n} is {p}" for n, p in meant.items()])
    report.fault(f"image named in {csv_name} but missing", missing)
    report.fault(
        "same file name in two folders",
        dict.fromkeys(", ".join(place) for place in places.values() if len(place) > 1),
    )
    single = {name: place[0] for name, place in places.items() if len(place) == 1}
    wrong = names.notna() & ~names.isin(single.keys())
    image = pd.Series([single.get(name, name) for name in names], index=table.index, dtype="str")
    return table.assign(image=image, faulty=table["faulty"] | wrong)


def loose_name(name: str) -> str:
    """Return a file's name without its film's ending, in one case and one form of its accents."""
    name = unicodedata.normalize("NFC", name).casefold()
    stem, _, ending = name.rpartition(".")
    return stem if f".{ending}" in (*IMAGE_ENDINGS, *_RARE_ENDINGS, ".dcm") else name


def _find_loosely(
    lost: list[str], paths: dict[str, list[str]], taken: set[str]
) -> tuple[dict[str, str], list[str]]:
    """Find the one file that a missing name can mean; describe the other missing names."""
    loose: dict[str, set[str]] = {}
    for name, place in paths.items() if lost else ():
        loose.setdefault(loose_name(name), set()).update(place)
    near = {name: sorted(loose.get(loose_name(name), ())) for name in lost}
    claims = Counter(path for found in near.values() for path in found)
    meant = {
        name: found[0]
        for name, found in near.items()
        if len(found) == 1 and claims[found[0]] == 1 and found[0] not in taken
    }
    missing = [name for name in lost if name not in meant]
    for place, name in enumerate(missing[:_SUGGESTED]):
        digits = re.findall(r"\d", name)  # films of other numbers resemble each other, too
        known = {loose_name(path): path for path in paths if re.findall(r"\d", path) == digits}
        close = difflib.get_close_matches(loose_name(name), known, n=1, cutoff=0.75)
        similar = near[name] or [paths[known[key]][0] for key in close]
        missing[place] = f"{name} (did you mean {similar[0]}?)" if similar else name
    return meant, missing


def finish_table(table: pd.DataFrame) -> pd.DataFrame:
    """Give a table all columns in their fixed order and types, and a plain index.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with at least ``image``.

    Returns
    -------
    pandas.DataFrame
        The columns of :data:`helpers.data.metadata.COLUMNS`, then ``uncertain``, ``weight`` and
        ``same_film`` if they are there.
    """
    optional = ("uncertain", "weight", "same_film")
    columns = [*COLUMNS, *(name for name in optional if name in table.columns)]
    types = dict.fromkeys(columns, "str") | {"age": "float64", "follow_up": "Int64"}
    types |= {"weight": "float64"} if "weight" in columns else {}
    return table.reindex(columns=columns).astype(types).reset_index(drop=True)

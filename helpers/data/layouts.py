"""Layouts: the ways in which collections of chest X-rays are stored on a disk.

:func:`find_layout` finds which one a path holds; the modules ``nih``, ``class_folders`` and
``medmnist`` read one each, with the file lists and the matching of csv rows to files from here.
"""

import difflib
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import pandas as pd

from helpers.data.metadata import (
    COLUMNS,
    FINDING_SPELLINGS,
    SPLIT_SPELLINGS,
    fold_name,
    suggest,
)
from helpers.data.report import Report

SUPPORTED = """\
- NIH ChestX-ray14: Data_Entry_2017.csv (or Data_Entry_2017_v2020.csv) beside images/*.png or
  images_001/images/*.png … images_012/images/*.png, with train_val_list.txt and test_list.txt
  when they are there;
- class folders: train, valid (or val, validation) and test, each with sain and malade, or NORMAL
  and PNEUMONIA, or classes of other usual names, with or without a metadata.csv beside them; or
  the classes alone, without splits;
- a MedMNIST file: pneumoniamnist.npz or chestmnist.npz, of any size (name the file itself)."""

_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
_RARE_ENDINGS = (".jfif", ".jpe")  # JPEG, too
# The first bytes of PNG, JPEG, GIF, TIFF and BMP, for files without an ending.
_FIRST_BYTES = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"BM")
_NOT_FILMS = {"mask", "masks", "segmentation", "segmentations", "annotation", "annotations"}
_DUST = {"__macosx", "thumbs.db", "desktop.ini"}
_SUGGESTED = 3  # near names are searched for the first few missing ones


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
        parts = [folder for folder, _ in split_folders(source)]
        known = FINDING_SPELLINGS if parts else SPLIT_SPELLINGS | FINDING_SPELLINGS
        names = [name for part in parts or [""] for name in list_folder(source / part)[0]]
        near = [text for text in (suggest(name, known) for name in names) if text.endswith("?)")]
        seen += f" Look at {', '.join(near)}." if near else ""
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


def is_film(path: Path) -> bool:
    """Return whether a file has a film's ending or, without an ending, a film's first bytes."""
    if _has_ending(path.name):
        return True
    if re.search(r"\.[^\d.][^.]*$", path.name) or not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            return file.read(8).startswith(_FIRST_BYTES)
    except OSError:
        return False


def _has_ending(name: str) -> bool:
    return name.lower().endswith(_IMAGE_ENDINGS + _RARE_ENDINGS)


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
        (films if _has_ending(name) or is_film(folder / name) else others).append(name)
    for name in folders:
        if (folder / name).is_symlink() or fold_name(name) in _NOT_FILMS:
            others.append(f"{name}/")
        else:
            for found, below in zip((films, others), list_films(folder / name), strict=True):
                found += [f"{name}/{path}" for path in below]
    return films, others


def note_rare(films: Iterable[str], report: Report) -> None:
    """Name the films without one of the usual endings."""
    rare = [name for name in films if not name.lower().endswith(_IMAGE_ENDINGS)]
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
        f"Films end with {', '.join(_IMAGE_ENDINGS)}. Class folders may have a metadata.csv.",
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
    return stem if f".{ending}" in (*_IMAGE_ENDINGS, *_RARE_ENDINGS, ".dcm") else name


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
        The columns of :data:`helpers.data.metadata.COLUMNS`, then ``weight`` when there is one.
    """
    columns = [*COLUMNS, "weight"] if "weight" in table.columns else list(COLUMNS)
    types = dict.fromkeys(COLUMNS, "str") | {"age": "float64", "follow_up": "Int64"}
    return table.reindex(columns=columns).astype(types).reset_index(drop=True)

"""NIH: the layout of ChestX-ray14 as downloaded (Wang et al., CVPR 2017)."""

import re
from pathlib import Path

import pandas as pd

from helpers.data.layouts import (
    entry_csvs,
    list_films,
    list_folder,
    loose_name,
    match_images,
    note_rare,
    note_unread,
)
from helpers.data.metadata import FINDINGS, drop_duplicates, read_metadata
from helpers.data.report import Report
from helpers.data.text_files import read_rows, read_text

BOXES = "BBox_List_2017.csv"
BOXED_SIZE = 1024  # height and width, in pixels, of the images that the boxes were drawn on
_BOX = ("image", "finding", "x", "y", "width", "height")
_BOX_SPELLINGS = {"Infiltrate": "Infiltration"}
_IMAGES = re.compile(r"images(_\d+)?", re.IGNORECASE)
# What NIH puts beside the films, and what the synthetic radiographs are made with.
_KNOWN = re.compile(
    r"(train_val|test)_list\.txt|BBox_List_2017\.csv|\w+_CHESTXRAY\.pdf|synthetic\.json"
)
_LISTS = {"train_val_list.txt": "train", "test_list.txt": "test"}


def read_nih(source: Path, report: Report) -> pd.DataFrame:
    """Read a folder in NIH's layout.

    Images are in ``images`` or in ``images_001/images`` … ``images_012/images``. The official
    lists give the splits ``train`` (from which ``valid`` is taken later) and ``test``; without
    lists the split is missing. An additional column ``Hospital`` fills ``hospital``.

    Parameters
    ----------
    source : pathlib.Path
        Folder with ``Data_Entry_2017.csv`` or ``Data_Entry_2017_v2020.csv``; the second one,
        which NIH corrected, is preferred when both are there.
    report : Report
        Where repairs and faults go.

    Returns
    -------
    pandas.DataFrame
        The table of films and ``faulty`` (bool).
    """
    entries = entry_csvs(source)
    report.note(f"older csv not read because {entries[0]} is there", entries[1:])
    table = drop_duplicates(read_metadata(source / entries[0], report), report)
    unnamed = table["findings"].isna() & table["image"].notna()
    report.fault("film without a finding or No Finding", table["image"][unnamed])
    table["faulty"] |= unnamed
    table = _add_listed_splits(source, table, report)

    paths: dict[str, list[str]] = {}
    folders, files = list_folder(source)
    others = [name for name in files if name not in entries and not _KNOWN.fullmatch(name)]
    for folder in folders:
        if not _IMAGES.fullmatch(folder):
            others.append(f"{folder}/")
            continue
        films, rest = list_films(source / folder)
        others += [f"{folder}/{name}" for name in rest]
        note_rare(source, [f"{folder}/{name}" for name in films], report)
        for name in films:
            paths.setdefault(name.rsplit("/", 1)[-1], []).append(f"{folder}/{name}")
    note_unread(source, others, report)
    table = match_images(table, paths, report, entries[0])
    named = set(table["image"].dropna())
    surplus = [
        path
        for name, place in paths.items()
        for path in place
        if name not in named and path not in named
    ]
    report.note(f"image not named in {entries[0]} left out", surplus)
    return table


def read_boxes(source: Path) -> pd.DataFrame:
    """Read the boxes that radiologists drew around findings, if the file is in the folder.

    Parameters
    ----------
    source : pathlib.Path
        Folder in NIH's layout; ``BBox_List_2017.csv`` is searched in it.

    Returns
    -------
    pandas.DataFrame
        One row per box: ``image`` (file name), ``finding``, and ``x``, ``y`` (the left upper
        corner), ``width`` and ``height`` in pixels of NIH's images, which have 1024 × 1024. No row
        without the file.

    Raises
    ------
    ValueError
        If a line has no numbers where the box should be, or an unknown finding.
    """
    path = source / BOXES
    rows = read_rows(path, Report())[1] if path.is_file() else []
    boxes = []
    for line, (image, finding, *numbers) in rows:
        finding = _BOX_SPELLINGS.get(finding, finding)
        try:
            x, y, width, height = map(float, numbers[:4])
        except ValueError:
            width = height = 0.0
        if not (width > 0 and height > 0) or finding not in FINDINGS:
            raise ValueError(
                f"Expected a film, a finding of NIH, and x, y, width and height in line {line} of "
                f"{BOXES}. Received {[image, finding, *numbers]}. Download the file again."
            )
        boxes.append((image, finding, x, y, width, height))
    return pd.DataFrame(boxes, columns=list(_BOX))


def _add_listed_splits(source: Path, table: pd.DataFrame, report: Report) -> pd.DataFrame:
    lists = {
        split: read_text(source / name, report).split()
        for name, split in _LISTS.items()
        if (source / name).is_file()
    }
    if not lists:
        return table
    image = table["image"]
    # Other spellings count only if some film is in no list under its own.
    key = str if set(image.dropna()) <= set().union(*lists.values()) else loose_name
    keys = image.dropna().map(key).reindex(image.index)
    names = {split: {key(name): name for name in listed} for split, listed in lists.items()}
    both = keys.isin(names.get("train", {}).keys() & names.get("test", {}).keys())
    report.fault("film in both train_val_list.txt and test_list.txt", image[both])
    split = pd.Series(pd.NA, index=table.index, dtype="str")
    for name, films in names.items():
        split[keys.isin(films.keys())] = name
    report.note("film in none of the split lists", image[split.isna()].dropna())
    known = set(keys.dropna())
    surplus = [name for films in names.values() for key, name in films.items() if key not in known]
    report.note("name in a split list without a film", surplus)
    return table.assign(split=split, faulty=table["faulty"] | both)

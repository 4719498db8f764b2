"""Class folders: one folder per split, with one folder per class in each."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from helpers.data.layouts import (
    CLASSES,
    class_folders,
    list_folder,
    list_images,
    match_images,
    split_folders,
)
from helpers.data.metadata import NO_FINDING, UNSPECIFIED, drop_duplicates, read_metadata
from helpers.data.report import Report

_COUNTERPARTS = {"sain": "malade", "malade": "sain", "normal": "PNEUMONIA", "pneumonia": "NORMAL"}


def read_class_folders(
    source: Path,
    report: Report,
    csv: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read split folders with one folder per class.

    The folder gives the split and the finding (``malade`` is ``Unspecified``, since it names none).
    A ``metadata.csv`` next to the split folders adds the other columns. It may name the findings of
    a ``malade`` or ``PNEUMONIA`` film, but must not contradict the folder. It names a film by its
    path below ``source`` or, if only one film has it, by its file name. A film without a row is
    kept, with missing metadata.

    Parameters
    ----------
    source : pathlib.Path
        Folder with the split folders.
    report : Report
        Where repairs and faults go.
    csv : pathlib.Path, optional
        A csv that chooses the films: those without a row are left out. By default the
        ``metadata.csv``, if there is one.
    columns : dict of str to str, optional
        Columns of the csv, see :func:`helpers.data.metadata.read_metadata`.

    Returns
    -------
    pandas.DataFrame
        The table of films and ``faulty`` (bool).
    """
    films = _list_films(source, report)
    names = [name for name in list_folder(source)[1] if name.lower() == "metadata.csv"]
    file = csv or (source / names[0] if names else None)
    if file is None:
        return films.assign(faulty=False)
    paths: dict[str, list[str]] = {path: [path] for path in films["image"]}
    for path in films["image"]:
        paths.setdefault(path.rsplit("/", 1)[1], []).append(path)
    table = match_images(read_metadata(file, report, columns), paths, report, file.name)
    table = drop_duplicates(table, report)  # after matching: by path and by name is one film
    if csv:
        named = films["image"].isin(table["image"])
        report.note(f"film without a row in {csv.name} left out", (~named).sum())
        films = films[named]
    return _join(table, films.set_index("image"), file.name, report)


def _list_films(source: Path, report: Report) -> pd.DataFrame:
    """List the films with the labels of their folders, and report unexpected folders."""
    rows = []
    for folder, split in split_folders(source):
        classes = class_folders(source / folder)
        known = {name.lower() for name in classes}
        others = [name for name in list_folder(source / folder)[0] if name not in classes]
        absent = {_COUNTERPARTS[name] for name in known}
        absent = sorted(name for name in absent if name.lower() not in known)
        report.fault("unknown class folder", [f"{folder}/{name}" for name in others])
        report.fault("class folder missing", [f"{folder}/{name}" for name in absent])
        report.fault("split folder without class folders", [] if classes else [folder])
        report.note("image outside the class folders left out", len(list_images(source / folder)))
        for name in classes:
            images = list_images(source / folder / name)
            report.fault("class folder without an image", [] if images else [f"{folder}/{name}"])
            finding = CLASSES[name.lower()]
            rows += [(f"{folder}/{name}/{image}", split, finding) for image in images]
    return pd.DataFrame(rows, columns=["image", "split", "findings"], dtype="str")


def _join(table: pd.DataFrame, films: pd.DataFrame, csv_name: str, report: Report) -> pd.DataFrame:
    """Join the rows of the CSV file with the labels of the folders."""
    folder = films.reindex(table["image"]).reset_index(drop=True)
    given = table["findings"].where(table["findings"] != UNSPECIFIED)
    names = given.fillna("").str.split("|")
    both = given.notna() & folder["findings"].notna()
    agree = (
        ((folder["findings"] == NO_FINDING) & (given == NO_FINDING))
        | ((folder["findings"] == UNSPECIFIED) & (given != NO_FINDING))
        | ((folder["findings"] == "Pneumonia") & names.map(lambda found: "Pneumonia" in found))
    )
    # An unspecified finding agrees with every folder except that of healthy films.
    unnamed = (table["findings"] == UNSPECIFIED) & (folder["findings"] == NO_FINDING)
    against = (both & ~agree) | unnamed
    elsewhere = table["split"].notna() & folder["split"].notna()
    elsewhere &= table["split"] != folder["split"]
    report.fault(f"findings in {csv_name} contradict the class folder", table["image"][against])
    report.fault(f"split in {csv_name} contradicts the split folder", table["image"][elsewhere])
    table = table.assign(
        findings=given.fillna(folder["findings"]),
        split=folder["split"],
        faulty=table["faulty"] | against | elsewhere,
    )
    rest = films[~films.index.isin(table["image"])].reset_index().assign(faulty=False)
    report.note(f"film without a row in {csv_name}", len(rest))
    return pd.concat([table, rest], ignore_index=True)

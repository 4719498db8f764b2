"""Class folders: one folder per split, with one folder per class in each; or classes alone."""

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import pandas as pd

from helpers.data.layouts import (
    class_folders,
    is_film,
    list_films,
    list_folder,
    match_images,
    note_rare,
    note_unread,
    split_folders,
)
from helpers.data.metadata import (
    FINDING_SPELLINGS,
    NO_FINDING,
    SPLIT_SPELLINGS,
    UNSPECIFIED,
    drop_duplicates,
    fold_name,
    read_metadata,
    suggest,
)
from helpers.data.report import Report

# Files of Kermany et al., as Kaggle and Mendeley name them -> the patient's part of the name.
_PATIENT = re.compile(
    r"(person\d+_(?:bacteria|virus)|(?:NORMAL2-)?IM-\d+|(?:BACTERIA|VIRUS|NORMAL)-\d+)[-_]\d"
)


def read_class_folders(
    source: Path,
    report: Report,
    csv: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read split folders with one folder per class.

    The folder gives the split and the finding (``malade`` is ``Unspecified``, since it names none),
    both in usual English or French words. Films in sub-folders of a class are read. Patients are
    read from the file names of Kaggle's ``chest_xray``. Everything that is not read is reported. A
    ``metadata.csv`` next to the split folders adds the other columns. It may name the findings of
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
    splits = split_folders(source)
    films = pd.DataFrame(
        [row for folder, split in splits for row in _list_split(source, folder, split, report)],
        columns=["image", "split", "findings"],
        dtype="str",
    )
    _report_classes(source, splits, report)
    csvs = _report_rest(source, splits, report)
    file = csv or (source / csvs[0] if csvs else None)
    if file is None:
        return _read_patients(films.assign(faulty=False), report)
    name = csv.name if csv else csvs[0]
    paths: dict[str, list[str]] = {path: [path] for path in films["image"]}
    for path in films["image"]:
        paths.setdefault(path.rsplit("/", 1)[1], []).append(path)
    if file.is_relative_to(source):
        base = f"{file.parent.relative_to(source).as_posix()}/"
        paths |= {path.removeprefix(base): [path] for path in films["image"]}
    table = match_images(read_metadata(file, report, columns), paths, report, name)
    table = drop_duplicates(table, report)  # after matching: by path and by name is one film
    if csv:
        named = films["image"].isin(table["image"])
        report.note(f"film without a row in {name} left out", films["image"][~named])
        films = films[named]
    return _read_patients(_join(table, films.set_index("image"), name, report), report)


def _list_split(source: Path, folder: str, split: str | None, report: Report) -> list[tuple]:
    """List the films of one split folder with their labels, and report what is none."""
    rows = []
    classes = class_folders(source / folder)
    folders, files = list_folder(source / folder)
    for name in [name for name in folders if name not in classes]:
        if list_films(source / folder / name)[0]:
            place = PurePosixPath(folder) / suggest(name, FINDING_SPELLINGS)
            advice = (
                "Name it as a class (NORMAL, PNEUMONIA, sain, malade, a finding), or move it away."
            )
            report.fault("unknown class folder", [place], advice)
        else:
            note_unread(source, [f"{PurePosixPath(folder) / name}/"], report)
    _report_files(source, [f"{folder}/{name}" for name in files if split], report)
    for name in classes:
        finding = FINDING_SPELLINGS[fold_name(name)]
        below = (PurePosixPath(folder) / name).as_posix()
        films, others = list_films(source / below)
        report.fault("class folder without an image", [] if films else [below])
        note_rare(source, [f"{below}/{film}" for film in films], report)
        note_unread(source, [f"{below}/{other}" for other in others], report)
        wrong = [film for film in films if _is_elsewhere(film, split, finding)]
        report.fault(
            "film below two classes or splits",
            [f"{below}/{film}" for film in wrong],
            "Put the folders as split/class.",
        )
        read = [f"{below}/{film}" for film in sorted(set(films) - set(wrong))]
        inner = [film for film in read if film.count("/") > below.count("/") + 1]
        report.note("film in a sub-folder of its class read", inner)
        rows += [(film, split, finding) for film in read]
    return rows


def _is_elsewhere(film: str, split: str | None, finding: str) -> bool:
    """Return whether a sub-folder names another class or split than those it lies in."""
    names = [fold_name(part) for part in film.split("/")[:-1]]
    return any(
        FINDING_SPELLINGS.get(name, finding) != finding or SPLIT_SPELLINGS.get(name, split) != split
        for name in names
    )


def _report_classes(source: Path, splits: list, report: Report) -> None:
    """Report split folders that lack a class, and those that mean the same split."""
    classes = {folder: class_folders(source / folder) for folder, _ in splits}
    own = {True: "NORMAL or sain", False: "PNEUMONIA or malade"}  # unless the collection has names
    own |= {_is_healthy(name): name for names in classes.values() for name in names}
    same: dict[str | None, list[str]] = {}
    for folder, split in splits:
        same.setdefault(split, []).append(folder)
        present = {_is_healthy(name) for name in classes[folder]}
        absent = [own[kind] for kind in (True, False) if present == {not kind}]
        report.fault("class folder missing", [PurePosixPath(folder) / name for name in absent])
        report.fault("split folder without class folders", [] if present else [folder])
    several = [f"{' and '.join(names)} ({split})" for split, names in same.items() if names[1:]]
    report.note("folders read as one split", several)


def _is_healthy(name: str) -> bool:
    return FINDING_SPELLINGS[fold_name(name)] == NO_FINDING


def _report_rest(source: Path, splits: list, report: Report) -> list[str]:
    """Report what lies beside the split folders, and return the paths of the metadata.csv."""
    folder, split = splits[0]
    base = PurePosixPath(folder).parent if split else PurePosixPath(folder)
    places = [base, *base.parents]  # the folders around a doubled one, too
    files = [
        (place / name).as_posix() for place in places for name in list_folder(source / place)[1]
    ]
    csvs = [path for path in files if PurePosixPath(path).name.lower() == "metadata.csv"]
    _report_files(source, [path for path in files if path not in csvs[:1]], report)
    rest = set(list_folder(source / base)[0]) if split else set()
    for name in sorted(rest - {PurePosixPath(folder).name for folder, _ in splits}):
        place = (base / name).as_posix()
        films = list_films(source / place)[0]
        named = (base / suggest(name, SPLIT_SPELLINGS)).as_posix()
        likely = named != place or split_folders(source / place)
        if films and all(_is_copy(source / base / film, source / place / film) for film in films):
            report.note("copy of the films not read", [f"{place}/"])
        elif films and (likely or fold_name(name) in FINDING_SPELLINGS):
            advice = "Name it train, valid or test, or move it away."
            report.fault("folder of films that is no split folder", [named], advice)
        else:
            note_unread(source, [f"{place}/"], report)
    return csvs


def _is_copy(film: Path, other: Path) -> bool:
    return film.is_file() and film.stat().st_size == other.stat().st_size


def _report_files(source: Path, paths: list[str], report: Report) -> None:
    """Report the files outside the class folders."""
    films = [path for path in paths if is_film(source / path)]
    report.note(
        "image outside the class folders left out", films, "Move it to the folder of its class."
    )
    note_unread(source, sorted(set(paths) - set(films)), report)


def _read_patients(table: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Read patients from the file names, if no film has one and most names show it."""
    if "patient" in table and table["patient"].notna().any():
        return table
    names = table["image"].str.rsplit("/", n=1).str[-1]
    patients = names.str.extract(_PATIENT, expand=False)
    if not patients.notna().mean() > 0.5:
        return table
    report.note(
        "patient read from the file name",
        patients.dropna().tolist(),
        "Persons are numbered for each kind: person1_virus and person1_bacteria count as two.",
    )
    report.note(
        "film whose name does not show its patient",
        table["image"][patients.isna()].dropna(),
        "It counts as a patient of its own.",
    )
    return table.assign(patient=patients)


def _join(table: pd.DataFrame, films: pd.DataFrame, csv_name: str, report: Report) -> pd.DataFrame:
    """Join the rows of the CSV file with the labels of the folders."""
    folder = films.reindex(table["image"]).reset_index(drop=True)
    given = table["findings"].where(table["findings"] != UNSPECIFIED)
    both = given.notna() & folder["findings"].notna()
    pairs = zip(folder["findings"].fillna(""), given.fillna("").str.split("|"), strict=True)
    named = pd.Series([finding in names for finding, names in pairs], dtype=bool)
    agree = named | ((folder["findings"] == UNSPECIFIED) & (given != NO_FINDING))
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
    report.note(f"film without a row in {csv_name}", rest["image"])
    return pd.concat([table, rest], ignore_index=True)

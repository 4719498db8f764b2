"""Rows: the lines of a user's CSV file, each with the film that it names."""

import os
import re
from pathlib import Path

import pandas as pd

from helpers.classifier.messages import say
from helpers.data import Report
from helpers.data.files import hash_file
from helpers.data.layouts import list_images
from helpers.data.text_files import read_rows

_IMAGE_HEADERS = ("imageindex", "image", "filename", "file")


def match_rows(csv: str | Path, datadir: str | Path) -> tuple[pd.DataFrame, pd.Series]:
    """Read a CSV file and find the film of each row below a folder.

    Parameters
    ----------
    csv : path-like
        The csv; one column, ``Image Index`` or ``image``, names films by their path below
        ``datadir`` or, if only one film has it, by their file name.
    datadir : path-like
        Folder with films, at any depth.

    Returns
    -------
    rows : pandas.DataFrame
        The cells as text, shape (n, n_columns), in the order of the file; the index has the line
        numbers. Lines without any value are omitted.
    images : pandas.Series of str
        Path of each row's film below ``datadir``, with forward slashes and the same index.

    Raises
    ------
    ValueError
        If file or folder do not exist, the file is empty, or rows have no film; one message counts
        all such rows and names the first few.
    """
    csv, datadir = Path(csv), Path(datadir)
    check_paths(csv, datadir)
    header, lines = read_rows(csv, Report())
    keys = [re.sub(r"[^a-z]", "", cell.lower()) for cell in header]
    places = [place for place, key in enumerate(keys) if key in _IMAGE_HEADERS]
    if not places or not lines:
        raise ValueError(
            say(
                "Expected rows with a column 'Image Index' (or 'image') in {csv!r}. Received the "
                "columns {header} and {n:,} row(s).",
                csv=csv.name,
                header=header,
                n=len(lines),
            )
        )
    width = len(header)
    whole = {n: row for n, row in lines if len(row) >= width and not any(row[width:])}
    rows = pd.DataFrame(
        [row[:width] for row in whole.values()], index=list(whole), columns=header, dtype="str"
    )
    report = Report()
    report.fault(
        "more or fewer values than the header", [f"line {n}" for n, _ in lines if n not in whole]
    )
    images = _find_images(rows.iloc[:, places[0]], _list_paths(datadir), report)
    if report.is_faulty:
        text = say(
            "Expected every row of {csv!r} to name one film below {folder!r}. Fix these rows, or "
            "give the folder of the films that they name. Received:",
            csv=csv.name,
            folder=str(datadir),
        )
        raise ValueError("\n".join([text, *report.fault_lines()]))
    return rows, images


def check_paths(csv: Path, datadir: Path) -> None:
    """Refuse a csv that is no file and a folder that is none.

    Parameters
    ----------
    csv, datadir : pathlib.Path
        What the user gave.

    Raises
    ------
    ValueError
        Naming which one.
    """
    if not csv.is_file():
        text = "Expected csv to name a file. Received {path!r}, which is none."
        raise ValueError(say(text, path=str(csv)))
    if not datadir.is_dir():
        text = "Expected datadir to name a folder. Received {path!r}, which is none."
        raise ValueError(say(text, path=str(datadir)))


def hash_film(path: Path) -> str:
    """Hash the content of a film's file: 16 hexadecimal digits, the same under any name."""
    return hash_file(path)[:16]


def _list_paths(datadir):
    """Map every name that a csv may use to the paths below the folder that it may mean."""
    below = [
        Path(folder).relative_to(datadir).joinpath(name).as_posix()
        for folder, _, _ in os.walk(datadir)
        for name in list_images(Path(folder))
    ]
    paths = {path: [path] for path in below}
    for path in below:
        if "/" in path:
            paths.setdefault(path.rsplit("/", 1)[1], []).append(path)
    return paths


def _find_images(names, paths, report):
    """Return the path that each name means; report those that mean none or several."""
    names = names.str.replace("\\", "/").str.removeprefix("./")
    found = names.map(lambda name: paths.get(name, []))
    counts = found.map(len)
    described = pd.Series([f"line {n} ({name})" for n, name in names.items()], names.index, "str")
    report.fault("row without an image name", described[names == ""])
    report.fault("film not there", described[(counts == 0) & (names != "")])
    report.fault("several films of this name", described[counts > 1])
    return found.map(lambda paths: paths[0] if paths else "").astype("str")

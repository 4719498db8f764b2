"""Text files: lists and CSV files from any program, decoded and split into cells."""

import csv
import gzip
import io
import zlib
from pathlib import Path

from helpers.data.report import Report

_LARGEST = 2**30  # bytes that a compressed file may hold


def read_text(path: Path, report: Report, *, limit: int | None = None) -> str:
    r"""Decode a text file, also a ``.gz``, and normalize its line ends.

    Byte order marks, UTF-16, Western European encodings (Windows-1252, else Latin-1) and the
    line ends of Windows and old Macs are repaired and counted once a file.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    report : Report
        Where repairs are counted.
    limit : int, optional
        Read the whole lines in the first ``limit`` bytes only.

    Returns
    -------
    str
        The text, with ``\n`` as line end.
    """
    data = _read_bytes(path, limit)
    if b"\x00" in data[:2]:  # UTF-16 without a mark: the first character is a plain letter
        text = data.decode("utf-16-be" if data[0] == 0 else "utf-16-le", errors="replace")
        report.repair("text file in UTF-16 decoded")
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = data.decode("utf-16", errors="replace")
        report.repair("text file in UTF-16 decoded")
    elif data.startswith(b"\xef\xbb\xbf"):
        text = data.decode("utf-8-sig", errors="replace")
        report.repair("byte order mark removed from a text file")
    else:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            try:
                text = data.decode("cp1252")
            except UnicodeDecodeError:
                text = data.decode("latin-1")  # gives a character to every byte
            report.repair("text file in a Western European encoding decoded")
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        report.repair("foreign line ends replaced in a text file")
    return text


def _read_bytes(path: Path, limit: int | None) -> bytes:
    is_packed = path.suffix.lower() == ".gz"
    most = limit or (_LARGEST + 1 if is_packed else -1)
    try:
        with gzip.open(path) if is_packed else path.open("rb") as file:
            data = file.read(most)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(
            f"Expected a gzip file. Received {path.name!r}: {error}. Download it again."
        ) from error
    if len(data) == most and not limit:
        raise ValueError(
            f"Expected a table of at most {_LARGEST:,} bytes. Received more in {path.name!r}. "
            "Check where the file comes from."
        )
    return data[: data.rfind(b"\n") + 1] if len(data) == limit else data


def read_rows(
    path: Path, report: Report, *, limit: int | None = None
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Split a csv into cells.

    Commas, semicolons and tabs separate. NIH's headers ``OriginalImage[Width,Height]`` and
    ``OriginalImagePixelSpacing[x,y]`` span two columns each: a quoted one is split as the rows
    are. Lines without any value are left out.

    Parameters
    ----------
    path : pathlib.Path
        The csv.
    report : Report
        Where repairs are counted.
    limit : int, optional
        Read the whole lines in the first ``limit`` bytes only.

    Returns
    -------
    header : list of str
        The first line's cells.
    rows : list of (int, list of str)
        Line number and cells of each other line.

    Raises
    ------
    ValueError
        If quotation marks do not match.
    """
    text = read_text(path, report, limit=limit)
    first = text.lstrip("\n").split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    if separator != ",":
        report.repair("csv with other separators than commas read")
    reader = csv.reader(io.StringIO(text), delimiter=separator)
    known: dict[str, str] = {}  # equal cells are kept once: most are
    try:
        rows = [
            (reader.line_num, [known.setdefault(cell, cell) for cell in map(str.strip, row)])
            for row in reader
        ]
    except csv.Error as error:
        raise ValueError(
            f"Expected a csv in {path.name!r}. Received {error} in line {reader.line_num}. "
            "Look for a quotation mark that is not closed."
        ) from error
    rows = [(line, row) for line, row in rows if any(row)]
    if not rows:
        return [], []
    header = rows[0][1]
    longest = max((len(row) for _, row in rows[1:]), default=0)
    if longest > len(header) and any("[" in cell and "," in cell for cell in header):
        header = ",".join(header).split(",")
    while header and not header[-1]:  # some copies of NIH's csv end their header with a comma
        header = header[:-1]
    return header, rows[1:]

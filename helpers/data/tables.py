"""Tables: any csv of films, whatever its headers, and labels in columns of 1, 0 and -1.

What others do, and what was chosen. TorchXRayVision (Cohen et al., MIDL 2022) has a class for each
public data set, renames findings to NIH's where they mean the same, and marks CheXpert's -1 as
missing; the former is done here, too, and -1 stays recognizable in the column ``uncertain``, since
the field trains with several policies. It resolves names of columns by hand in every class. Here,
a data set is a few declarations on one reader of tables, and the reader is public. FLamby (du
Terrail et al., NeurIPS 2022) keeps the natural centers of its data; so do we, when folders or a
column name hospitals. Flower's partitioners, like :func:`helpers.data.assign_hospitals`, are for
collections without centers.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.layouts import (
    has_ending,
    list_films,
    list_folder,
    match_images,
    note_rare,
    note_unread,
)
from helpers.data.metadata import (
    COLUMNS,
    MISSING,
    NO_FINDING,
    UNSPECIFIED,
    drop_duplicates,
    find_column,
    read_cells,
    recognize_columns,
    spell_finding,
    tidy_columns,
)
from helpers.data.report import Report
from helpers.data.text_files import read_rows

_HEADER_BYTES = 2**16
_BLANK = 2  # beside 1, 0 and -1
_LABELS = {"1": 1, "1.0": 1, "0": 0, "0.0": 0, "-1": -1, "-1.0": -1}
_LABELS |= {"true": 1, "false": 0, "yes": 1, "no": 0} | dict.fromkeys(MISSING, _BLANK)
# Headers that hold the names of findings, or 0 and 1.
_FINDING_HEADERS = {"label", "labels", "class", "diagnosis", "diagnoses", "pathology", "category"}
_ASIDE = {"l", "ll", "rl", "lat", "lateral", "left lateral", "right lateral", "profil", "profile"}


def find_csvs(source: Path, pattern: str, headers: Collection[str] = ()) -> list[str]:
    """Return the csv files of a folder whose name matches and that have certain headers.

    Parameters
    ----------
    source : pathlib.Path
        Any path; a file has none.
    pattern : str
        Regular expression for the whole name, in any case.
    headers : collection of str
        Headers that the first line must have.

    Returns
    -------
    list of str
        Sorted names.
    """
    return [
        name
        for name in (list_folder(source)[1] if source.is_dir() else [])
        if re.fullmatch(pattern, name, flags=re.IGNORECASE)
        and (source / name).is_file()  # no device, and no pipe
        and set(headers) <= set(read_header(source / name))
    ]


def read_header(csv: Path) -> list[str]:
    """Return the headers of a csv, none if it cannot be read."""
    try:
        return read_rows(csv, Report(), limit=_HEADER_BYTES)[0]
    except (ValueError, OSError):
        return []


def plain_csvs(source: Path) -> list[str]:
    """Return the csv files of a folder with a column of file names."""
    return [
        name
        for name in find_csvs(source, r".*\.csv(\.gz)?")
        if "image" in map(find_column, read_header(source / name))
    ]


def parse_labels(cells: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Turn columns of 1, 0, -1 and blanks into numbers.

    Parameters
    ----------
    cells : pandas.DataFrame
        One column of texts for each finding.
    report : Report
        Where other texts are reported.

    Returns
    -------
    pandas.DataFrame
        ``int8``: 1, 0, -1, or 2 for a blank. Other texts are faults, and count as blank.
    """
    parsed = {}
    for name, column in cells.items():
        places, texts = pd.factorize(column)
        kinds = pd.Series([_LABELS.get(text.casefold(), np.nan) for text in texts], dtype=float)
        codes = pd.Series(kinds.to_numpy()[places], index=column.index)
        strange = column[codes.isna()]
        report.fault(
            f"label of {name!r} that is neither 1, 0, -1 nor blank",
            [f"row {row + 1} ({text})" for row, text in strange.items()],
        )
        parsed[name] = codes.fillna(_BLANK).astype("int8")
    return pd.DataFrame(parsed, index=cells.index)


def name_findings(codes: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Turn label columns into names.

    A blank counts as absent, as in the baselines of CheXpert and MIMIC-CXR, unless all labels of a
    film are blank: then it has none. A film with no finding, none uncertain and no 0 for
    ``No Finding`` is ``No Finding``; with that 0 it is ``Unspecified``.

    Parameters
    ----------
    codes : pandas.DataFrame
        As :func:`parse_labels` returns them.
    report : Report
        Where blanks are counted.

    Returns
    -------
    pandas.DataFrame
        ``findings`` and ``uncertain``, names joined by ``|``, with the index of ``codes``.
    """
    names = [spell_finding(name) for name in codes.columns]
    values = codes.to_numpy()
    blank = values == _BLANK
    report.note("blank label counted as absent", blank[~blank.all(axis=1)].sum())

    def name(row: np.ndarray) -> tuple[str, str]:
        found = [finding for finding, value in zip(names, row, strict=True) if value == 1]
        unsure = [finding for finding, value in zip(names, row, strict=True) if value == -1]
        if not found and not unsure and not (row == _BLANK).all():
            healthy = dict(zip(names, row, strict=True)).get(NO_FINDING) != 0
            found = [NO_FINDING if healthy else UNSPECIFIED]
        return "|".join(found), "|".join(unsure)

    # Films have few combinations: each is named once.
    plain = pd.DataFrame(values)
    places = plain.groupby(list(plain), sort=False).ngroup()
    kinds = plain.drop_duplicates().to_numpy()
    named = pd.DataFrame([name(row) for row in kinds], columns=["findings", "uncertain"])
    named = named.astype("str").iloc[places].set_axis(codes.index)
    return named if (values == -1).any() else named[["findings"]]


def finish_films(
    texts: pd.DataFrame,
    source: Path,
    csvs: Sequence[str],
    report: Report,
    *,
    vocabulary: Collection[str] | None = None,
) -> pd.DataFrame:
    """Tidy the texts of a table, set lateral films aside, and find the files of the others.

    Parameters
    ----------
    texts : pandas.DataFrame
        Texts of our columns, one row per film.
    source : pathlib.Path
        Folder of the films, at any depth. Names in ``texts`` are paths below it, or file names if
        none has a folder, with or without their endings. A first folder that all names share and
        ``source`` lacks, such as that of CheXpert's own root, is left out.
    csvs : sequence of str
        Names of the csv files that were read; the first one names the films.
    report : Report
        Where repairs, notes and faults go, and what is not read.
    vocabulary : collection of str, optional
        The findings that may occur, by default all.

    Returns
    -------
    pandas.DataFrame
        The table of films and ``faulty`` (bool).
    """
    csv, texts = csvs[0], texts.reset_index(drop=True)
    named = _shorten(texts["image"], source)
    texts = texts.assign(image=named)
    if "view" in texts:
        aside = texts["view"].str.casefold().isin(_ASIDE)
        report.note("lateral film set aside", aside.sum())
        texts = texts[~aside].reset_index(drop=True)
    table = tidy_columns(texts, len(texts), csv, report, vocabulary=vocabulary)
    table = drop_duplicates(table, report)
    unlabelled = table[table.columns.intersection(["findings", "uncertain"])].isna().all(axis=1)
    report.note("film without a finding or No Finding", unlabelled.sum())
    has_folders = named.str.contains("/").any()
    has_endings = named.map(has_ending).any()
    paths: dict[str, list[str]] = {}
    films, others = list_films(source)
    note_rare(source, films, report)
    note_unread(
        source, [name for name in others if not any(c.startswith(name) for c in csvs)], report
    )
    for path in films:
        key = path if has_folders else path.rsplit("/", 1)[-1]
        paths.setdefault(key if has_endings else key.rsplit(".", 1)[0], []).append(path)
    surplus = [path for key in sorted(paths.keys() - set(named)) for path in paths[key]]
    report.note(f"image not named in {csv} left out", surplus)
    return match_images(table, paths, report, csv)


def read_films(
    csv: Path,
    folder: Path,
    report: Report,
    *,
    columns: Mapping[str, str | None] | None = None,
    findings: str | Mapping[str, str] | None = None,
    separator: str = "|",
    vocabulary: Collection[str] | None = None,
) -> pd.DataFrame:
    """Read a table of any headers; the parameters are those of :func:`helpers.data.read_table`.

    Parameters
    ----------
    csv, folder, columns, findings, separator
        As there.
    report : Report
        Where repairs, notes and faults go.
    vocabulary : collection of str, optional
        The findings that may occur, by default all.

    Returns
    -------
    pandas.DataFrame
        The table of films and ``faulty`` (bool).

    Raises
    ------
    ValueError
        If a column is not there, or no column of file names or findings is recognized.
    """
    cells = read_cells(csv, report)
    cells = cells.loc[:, ~cells.columns.duplicated()]
    columns = dict(columns or {})
    findings = findings or columns.get("findings")
    places = recognize_columns(cells)
    texts = {name: cells.columns[place] for name, place in places.items()} | columns
    texts = {name: header for name, header in texts.items() if header is not None}
    labelled = [findings] if isinstance(findings, str) else list(findings or ())
    absent = [header for header in (*texts.values(), *labelled) if header not in cells.columns]
    strange = sorted(set(texts) - {*COLUMNS, "weight"})
    if absent or strange:
        raise ValueError(
            f"Expected columns that map {', '.join(COLUMNS)} or weight to headers of {csv.name!r}, "
            f"which has {list(cells.columns)}. Received {absent or strange}. Correct their names."
        )
    labels = findings
    if findings is None:
        labels = _find_findings(cells, texts)
    elif isinstance(findings, str) and _is_label(cells[findings]):
        labels = {findings: findings}
    if "image" not in texts or not labels:
        raise ValueError(_explain(csv, cells, texts))
    used = {*texts.values(), *([labels] if isinstance(labels, str) else labels)}
    report.note("column not used", [header for header in cells.columns if header not in used])
    texts.pop("findings", None)
    films = pd.DataFrame({name: cells[header] for name, header in texts.items()})
    if isinstance(labels, str):
        films["findings"] = cells[labels].str.replace(separator, "|", regex=False)
    else:
        codes = parse_labels(cells[list(labels)], report)
        named = name_findings(codes.set_axis(list(labels.values()), axis="columns"), report)
        films = films.join(named)
    return finish_films(films, folder, [csv.name], report, vocabulary=vocabulary)


def read_plain(source: Path, report: Report) -> pd.DataFrame:
    """Read the csv of a folder that names its films, see :func:`read_films`."""
    csvs = plain_csvs(source)
    if len(csvs) > 1:
        raise ValueError(
            f"Expected one table of films in {source.name!r}. Received {', '.join(csvs)}. Move the "
            f"others elsewhere, or choose: read_table({str(source / csvs[0])!r})."
        )
    return read_films(source / csvs[0], source, report)


def _shorten(names: pd.Series, source: Path) -> pd.Series:
    """Leave out first folders that all names share and the source lacks."""
    names = names.str.replace("\\", "/").str.removeprefix("./")
    while len(first := names.str.extract(r"^([^/]+)/", expand=False).unique()) == 1:
        if pd.isna(first[0]) or (source / first[0]).exists():
            break
        names = names.str.removeprefix(f"{first[0]}/")
    return names


def _is_label(column: pd.Series) -> bool:
    """Return whether a column has only 1, 0, -1 and blanks, and at least two of the numbers."""
    codes = pd.Series(column.unique()).str.casefold().map(_LABELS)
    return bool(codes.notna().all() and (set(codes) - {_BLANK}) >= {0, 1})


def _find_findings(cells: pd.DataFrame, texts: Mapping[str, str]) -> str | dict[str, str]:
    """Find the one column of findings, or the one of 0 and 1; nothing if that is not clear."""
    for named in (
        [header for header in cells if find_column(header) == "findings"],
        [header for header in cells if header.casefold() in _FINDING_HEADERS],
    ):
        named = [header for header in named if not _is_label(cells[header])]
        if named:
            return named[0] if len(named) == 1 else {}
    used = {header for name, header in texts.items() if name != "findings"}
    labels = [header for header in cells if header not in used and _is_label(cells[header])]
    return {labels[0]: labels[0]} if len(labels) == 1 else {}


def _explain(csv: Path, cells: pd.DataFrame, texts: Mapping[str, str]) -> str:
    """Say what was not recognized, and the call that settles it."""
    labels = [header for header in cells if _is_label(cells[header])]
    image = texts.get("image", "the column of file names")
    findings = {header: spell_finding(header) for header in labels} or "the column of findings"
    return (
        f"Expected a column of file names, and one column of findings or exactly one of 0 and 1, "
        f"in {csv.name!r}. Received the columns {list(cells.columns)}, of which {labels or 'none'} "
        "hold 0 and 1. Say what they mean: "
        f"read_table({str(csv)!r}, columns={{'image': {image!r}}}, findings={findings!r})"
    )

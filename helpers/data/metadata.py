"""Metadata: one CSV file of films, from any program, read and tidied column by column.

Columns are recognized by their name. Every text in them is either understood, or repaired and
counted, or reported. Unknown values become missing; nothing is guessed.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.report import Report
from helpers.data.text_files import read_rows

COLUMNS = (
    "image",
    "patient",
    "age",
    "sex",
    "view",
    "findings",
    "follow_up",
    "hospital",
    "split",
)

NO_FINDING = "No Finding"
UNSPECIFIED = "Unspecified"
# In the order of ChestMNIST's label columns.
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)

OLDEST = 120  # years; NIH ChestX-ray14 has ages such as 412

# Headers without case, spaces and punctuation -> our columns.
_HEADERS = {
    "imageindex": "image",
    "image": "image",
    "filename": "image",
    "file": "image",
    "findinglabels": "findings",
    "findings": "findings",
    "finding": "findings",
    "followup": "follow_up",
    "patientid": "patient",
    "patient": "patient",
    "patientage": "age",
    "age": "age",
    "patientgender": "sex",
    "patientsex": "sex",
    "gender": "sex",
    "sex": "sex",
    "viewposition": "view",
    "view": "view",
    "hospital": "hospital",
    "split": "split",
    "weights": "weight",
    "weight": "weight",
}
_MISSING = {"", "na", "nan", "n/a", "none", "null", "<na>"}
_SEXES = {"f": "F", "female": "F", "m": "M", "male": "M"}
_VIEWS = {"pa": "PA", "ap": "AP"}
SPLITS = ("train", "valid", "test")
SPLIT_SPELLINGS = {name: name for name in SPLITS} | {"val": "valid"}
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def read_metadata(
    path: Path, report: Report, columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Read a csv of films and tidy its columns.

    Columns are recognized by NIH's names or ours, in any case; others are left out.

    Parameters
    ----------
    path : pathlib.Path
        The csv.
    report : Report
        Where repairs and faults go.
    columns : dict of str to str, optional
        Our column, then the header of the csv that it has there, such as
        ``{"weight": "WEIGHTS"}``; what is recognized otherwise is replaced.

    Returns
    -------
    pandas.DataFrame
        One row per film with all of :data:`COLUMNS`, ``weight`` when the csv has weights, and
        ``faulty`` (bool), true for a film whose row could not be repaired.

    Raises
    ------
    ValueError
        If the csv has no column with the images' names, or none of a name in ``columns``.
    """
    header, rows = read_rows(path, report)
    names = [_HEADERS.get(re.sub(r"[^a-z0-9]", "", cell.lower())) for cell in header]
    if "image" not in names:
        raise ValueError(
            f"Expected a column 'Image Index' (or 'image') in {path.name!r}. "
            f"Received the columns {[cell for cell in header if cell]}. "
            "Write the header of NIH ChestX-ray14 as the first line."
        )
    absent = [cell for cell in (columns or {}).values() if cell not in header]
    if absent:
        raise ValueError(
            f"Expected the columns {absent} in {path.name!r}. Received {header}. Name them as the "
            "csv does."
        )
    # Two headers may mean the same column: the first one counts.
    places = {name: names.index(name) for name in names if name}
    places |= {name: header.index(cell) for name, cell in (columns or {}).items()}
    width = len(header)
    ragged = [
        f"line {line}" for line, row in rows if len(row) < width or any(c for c in row[width:])
    ]
    report.fault(f"{path.name} line with more or fewer values than its header", ragged)
    rows = [row for _, row in rows if len(row) >= width and not any(c for c in row[width:])]
    texts = {
        name: pd.Series([row[place] for row in rows], dtype="str") for name, place in places.items()
    }
    return _tidy_columns(texts, len(rows), path.name, report)


def drop_duplicates(table: pd.DataFrame, report: Report) -> pd.DataFrame:
    """Keep one row per image.

    Identical rows are dropped and counted; rows that contradict each other are a fault.

    Parameters
    ----------
    table : pandas.DataFrame
        Films as :func:`read_metadata` gives them.
    report : Report
        Where repairs and faults go.

    Returns
    -------
    pandas.DataFrame
        The table without repeated rows, with a plain index.
    """
    kept = table.drop_duplicates()
    report.repair("repeated row dropped", len(table) - len(kept))
    contradictory = kept["image"].duplicated(keep=False) & kept["image"].notna()
    report.fault(
        "rows about one image that contradict each other", kept["image"][contradictory].unique()
    )
    return kept.assign(faulty=kept["faulty"] | contradictory).reset_index(drop=True)


def _tidy_columns(
    texts: dict[str, pd.Series], n_rows: int, file: str, report: Report
) -> pd.DataFrame:
    blank = pd.Series([""] * n_rows, dtype="str")

    def tidy(name: str, parse: Callable, dtype: str) -> pd.Series:
        return _tidy(texts.get(name, blank), parse, report).astype(dtype)

    image = tidy("image", _parse_image, "str")
    faulty = image.isna()
    report.fault(
        f"{file} row without an image name", [f"row {row + 1}" for row in np.flatnonzero(faulty)]
    )
    findings = texts.get("findings", blank)
    faulty |= _report_findings(findings, image, report)
    table = pd.DataFrame(
        {
            "image": image,
            "patient": tidy("patient", _parse_patient, "str"),
            "age": tidy("age", _parse_age, "float64"),
            "sex": tidy("sex", _choose("sex", _SEXES), "str"),
            "view": tidy("view", _choose("view", _VIEWS), "str"),
            "findings": tidy("findings", _parse_findings, "str"),
            "follow_up": tidy("follow_up", _parse_follow_up, "float64").astype("Int64"),
            "hospital": tidy("hospital", _parse_name, "str"),
            "split": tidy("split", _choose("split", SPLIT_SPELLINGS), "str"),
        }
    )
    if "weight" in texts:
        table["weight"] = tidy("weight", _parse_weight, "float64")
    table["faulty"] = faulty
    return table


def _tidy(column: pd.Series, parse: Callable, report: Report) -> pd.Series:
    """Parse each distinct text once and count its repair for every film that has it."""
    values = {}
    for text, count in column.value_counts().items():
        values[text], repair = parse(text)
        if repair:
            report.repair(repair, count)
    return column.map(values)


def _parse_image(text: str):
    if text.lower() in _MISSING:
        return None, None
    return text.replace("\\", "/").removeprefix("./"), None


def _parse_name(text: str):
    return (None if text.lower() in _MISSING else text), None


def _parse_patient(text: str):
    if text.lower() in _MISSING:
        return None, None
    if re.fullmatch(r"\d+\.0+", text):  # a spreadsheet treated the number as a quantity
        return text.split(".")[0], "patient number written as a decimal"
    return text, None


def _parse_age(text: str):
    if text.lower() in _MISSING:
        return math.nan, None
    match = re.fullmatch(r"(\d+)([YMWD])", text.upper())
    try:
        years = int(match[1]) * _YEARS_PER_UNIT[match[2]] if match else float(text)
    except ValueError:
        return math.nan, "unreadable age set to missing"
    if not 0 <= years <= OLDEST:
        return math.nan, f"age outside 0-{OLDEST} years set to missing"
    return years, "age such as 058Y or 011M converted to years" if match else None


def _choose(column: str, names: dict[str, str]) -> Callable:
    def parse(text: str):
        if text.lower() in _MISSING:
            return None, None
        value = names.get(text.lower())
        if value is None:
            return None, f"unknown {column} set to missing"
        return value, None if value == text else f"{column} spelled otherwise"

    return parse


def _parse_follow_up(text: str):
    if text.lower() in _MISSING:
        return math.nan, None
    number = float(text) if re.fullmatch(r"\d+(\.0*)?", text) else math.nan
    return number, "unreadable follow-up number set to missing" if math.isnan(number) else None


def _parse_weight(text: str):
    if text.lower() in _MISSING:
        return math.nan, None
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 <= weight < math.inf:
        return math.nan, "unreadable or negative weight set to missing"
    return weight, None


def _key(text: str) -> str:
    return re.sub(r"[^a-z]", "", text.lower())


_KNOWN = {_key(name): name for name in (*FINDINGS, NO_FINDING, UNSPECIFIED)}


def _parse_findings(text: str):
    if text.lower() in _MISSING:
        return None, None
    names = [_KNOWN.get(_key(name), name.strip()) for name in text.split("|") if name.strip()]
    value = "|".join(dict.fromkeys(names))
    return value or None, None if value == text else "findings spelled otherwise"


def _report_findings(findings: pd.Series, image: pd.Series, report: Report) -> pd.Series:
    """Report unknown findings and contradictions; return which films have them."""
    unknown, both = {}, set()
    for text in findings.unique():
        names = (_parse_findings(text)[0] or "").split("|")
        strange = [name for name in names if name and name not in _KNOWN.values()]
        if strange:
            unknown[text] = ", ".join(strange)
        if NO_FINDING in names and len(names) > 1:
            both.add(text)
    report.fault(
        "unknown finding",
        [
            f"{image[row]} ({unknown[text]})"
            for row, text in findings[findings.isin(unknown.keys())].items()
        ],
    )
    report.fault("No Finding together with another finding", image[findings.isin(both)])
    return findings.isin({*unknown, *both})

"""Metadata: one CSV file of films, from any program, read and tidied column by column.

Columns are recognized by their name, in English or French. Every text in them is either
understood, or repaired and counted, or reported. Unknown values become missing and are shown;
nothing is guessed.
"""

import difflib
import math
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
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

_DROPPED = "Correct these values if they are known."

# Headers as fold_name gives them -> our columns; NIH's and our own count before others.
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
_OTHER_HEADERS = {
    "imagename": "image",
    "imageid": "image",
    "imagefile": "image",
    "imagefilename": "image",
    "imagepath": "image",
    "filepath": "image",
    "path": "image",
    "fichier": "image",
    "nomdufichier": "image",
    "nomfichier": "image",
    "diagnosis": "findings",
    "diagnostic": "findings",
    "pathologie": "findings",
    "suivi": "follow_up",
    "idpatient": "patient",
    "numeropatient": "patient",
    "agepatient": "age",
    "sexe": "sex",
    "sexepatient": "sex",
    "incidence": "view",
    "projection": "view",
    "site": "hospital",
    "institution": "hospital",
    "center": "hospital",
    "centre": "hospital",
    "hopital": "hospital",
    "poids": "weight",
}
MISSING = {"", "na", "nan", "n/a", "none", "null", "<na>"}
_SEXES = {
    "f": "F",
    "female": "F",
    "femme": "F",
    "feminin": "F",
    "m": "M",
    "male": "M",
    "h": "M",
    "homme": "M",
    "masculin": "M",
}
_VIEWS = {
    "pa": "PA",
    "posteroanterior": "PA",
    "posteroanterieur": "PA",
    "posteroanterieure": "PA",
    "ap": "AP",
    "anteroposterior": "AP",
    "anteroposterieur": "AP",
    "anteroposterieure": "AP",
}
SPLITS = ("train", "valid", "test")
SPLIT_SPELLINGS = {
    "train": "train",
    "training": "train",
    "entrainement": "train",
    "apprentissage": "train",
    "valid": "valid",
    "val": "valid",
    "validation": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}
_YEARS_PER_UNIT = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
# In FINDINGS' order.
_FRENCH = (
    "atélectasie",
    "cardiomégalie",
    "épanchement",
    "infiltrat",
    "masse",
    "nodules",
    "pneumonie",
    "pneumothorax",
    "condensation",
    "œdème",
    "emphysème",
    "fibrose",
    "épaississement pleural",
    "hernie",
)
_WORDS = {
    NO_FINDING: "normal normaux sain sains healthy negative négatif",
    UNSPECIFIED: "malade malades sick abnormal anormal "  # codespell:ignore anormal
    "pathological pathologique positive positif",
    "Effusion": "épanchement-pleural pleural-effusion",
    "Infiltration": "infiltrate infiltrates",
    "Edema": "pulmonary-edema",
    "Fibrosis": "pulmonary-fibrosis",
    "Mass": "pulmonary-mass",
    "Hernia": "hiatal-hernia",
    "Pneumonia": "bacterial-pneumonia viral-pneumonia",
}


def fold_name(text: str) -> str:
    """Return a name without case, accents, spaces and punctuation.

    Examples
    --------
    >>> fold_name("Hôpital_2 (Œdème)")
    'hopital2oedeme'
    """
    text = unicodedata.normalize("NFKD", text.casefold().replace("œ", "oe"))
    return re.sub(r"[^a-z0-9]", "", text)


NIH_NAMES = (*FINDINGS, NO_FINDING, UNSPECIFIED)
#: Findings by their names as :func:`fold_name` gives them: NIH's, French ones, those of classes.
FINDING_SPELLINGS = {
    **{fold_name(name): name for name in NIH_NAMES},
    **{fold_name(name): finding for name, finding in zip(_FRENCH, FINDINGS, strict=True)},
    **{fold_name(word): name for name, words in _WORDS.items() for word in words.split()},
}


def suggest(name: str, known: Iterable[str]) -> str:
    """Return a name and, as a question, the known one that it resembles, if there is any.

    Examples
    --------
    >>> suggest("trainn", ["train", "test"])
    'trainn (did you mean train?)'
    """
    keys = {fold_name(other): other for other in known}
    near = difflib.get_close_matches(fold_name(name), keys, n=1, cutoff=0.75)
    return f"{name} (did you mean {keys[near[0]]}?)" if near else name


def read_metadata(
    path: Path, report: Report, columns: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Read a csv of films and tidy its columns.

    Columns are recognized by NIH's names, ours and usual English and French ones, without case,
    accents and punctuation. Others are left out and named in the report. If two headers mean the
    same column, NIH's or our own counts, else the first one.

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
    cells = read_cells(path, report)
    headers = list(cells.columns)
    absent = [header for header in (columns or {}).values() if header not in headers]
    if absent:
        raise ValueError(
            f"Expected the columns {absent} in {path.name!r}. Received {headers}. Name them as the "
            "csv does."
        )
    places = recognize_columns(cells)
    places |= {name: headers.index(header) for name, header in (columns or {}).items()}
    if "image" not in places:
        raise ValueError(
            f"Expected a column 'Image Index' (or 'image') in {path.name!r}. "
            f"Received the columns {headers}. "
            "Write the header of NIH ChestX-ray14 as the first line."
        )
    _note_unused(headers, places, report)
    texts = {name: cells.iloc[:, place] for name, place in places.items()}
    return tidy_columns(texts, len(cells), path.name, report, vocabulary=NIH_NAMES)


def find_column(header: str) -> str | None:
    """Return which of our columns a header means, or None."""
    return (_HEADERS | _OTHER_HEADERS).get(fold_name(header))


def recognize_columns(cells: pd.DataFrame) -> dict[str, int]:
    """Return our columns that a csv has, with their places; NIH's and our headers count first."""
    places: dict[str, int] = {}
    headers = list(cells.columns)
    for place in sorted(
        range(len(headers)), key=lambda place: fold_name(headers[place]) not in _HEADERS
    ):
        if name := find_column(headers[place]):
            places.setdefault(name, place)
    return places


def spell_finding(name: str) -> str:
    """Spell a finding as NIH does if it is one of NIH's, else as it is."""
    return FINDING_SPELLINGS.get(fold_name(name), name.strip())


def read_cells(path: Path, report: Report) -> pd.DataFrame:
    """Read all cells of a csv as texts.

    Parameters
    ----------
    path : pathlib.Path
        The csv.
    report : Report
        Where repairs go, and lines with more or fewer values than the header, which are left out.

    Returns
    -------
    pandas.DataFrame
        One column of texts for each header that is not empty.
    """
    header, rows = read_rows(path, report)
    width = len(header)
    ragged = [
        f"line {line}" for line, row in rows if len(row) < width or any(c for c in row[width:])
    ]
    report.fault(f"{path.name} line with more or fewer values than its header", ragged)
    rows = [row for _, row in rows if len(row) >= width and not any(c for c in row[width:])]
    places = [place for place, name in enumerate(header) if name]
    cells = {place: pd.Series([row[place] for row in rows], dtype="str") for place in places}
    return pd.DataFrame(cells).set_axis([header[place] for place in places], axis="columns")


def _note_unused(header: list[str], places: dict[str, int], report: Report) -> None:
    """Name the columns that are not read; NIH's two pairs of image sizes are known."""
    pairs = re.findall(r"OriginalImage\w*\[.*?\]", ",".join(header))
    known = set(",".join(pairs).split(","))
    unused, second = [], []
    for place, (cell, name) in enumerate(zip(header, map(find_column, header), strict=True)):
        if name and places[name] != place:
            second.append(f"{cell} ({header[places[name]]} counts)")
        elif not name and not set(cell.split(",")) <= known:
            unused.append(cell)
    report.note("column not used", unused)
    report.note("column not used, since another one means the same", second)


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


def tidy_columns(
    texts: Mapping[str, pd.Series],
    n_rows: int,
    file: str,
    report: Report,
    *,
    vocabulary: Collection[str] | None = None,
) -> pd.DataFrame:
    """Turn columns of texts into the columns of the table.

    Parameters
    ----------
    texts : mapping of str to pandas.Series
        Texts of our columns, those that the source has.
    n_rows : int
        Number of films.
    file : str
        Name of the csv, for the report.
    report : Report
        Where repairs and faults go.
    vocabulary : collection of str, optional
        The findings that may occur; any other is a fault. By default all names may.

    Returns
    -------
    pandas.DataFrame
        One row per film with all of :data:`COLUMNS`, ``uncertain`` and ``weight`` when the source
        has them, and ``faulty`` (bool).
    """
    blank = pd.Series([""] * n_rows, dtype="str")

    def tidy(name: str, parse: Callable, dtype: str) -> pd.Series:
        return _tidy(texts.get(name, blank), parse, report).astype(dtype)

    image = tidy("image", _parse_image, "str")
    faulty = image.isna()
    report.fault(
        f"{file} row without an image name", [f"row {row + 1}" for row in np.flatnonzero(faulty)]
    )
    findings = texts.get("findings", blank)
    faulty |= _report_findings(findings, image, report, vocabulary)
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
    if "uncertain" in texts:
        table["uncertain"] = tidy("uncertain", _parse_findings, "str")
    if "weight" in texts:
        table["weight"] = tidy("weight", _parse_weight, "float64")
    table["faulty"] = faulty
    return table


def _tidy(column: pd.Series, parse: Callable, report: Report) -> pd.Series:
    """Parse each distinct text once; count what was done for every film that has it."""
    values = {}
    for text, count in column.value_counts().items():
        values[text], said = parse(text)
        if said and pd.isna(values[text]):
            report.note(said, [repr(text)] * count, _DROPPED)
        elif said:
            report.repair(said, [repr(text)] * count)
    return column.map(values)


def _parse_image(text: str):
    if text.lower() in MISSING:
        return None, None
    return text.replace("\\", "/").removeprefix("./"), None


def _parse_name(text: str):
    return (None if text.lower() in MISSING else text), None


def _parse_patient(text: str):
    if text.lower() in MISSING:
        return None, None
    if re.fullmatch(r"\d+[.,]0+", text):  # a spreadsheet treated the number as a quantity
        return re.split("[.,]", text)[0], "patient number written as a decimal"
    return text, None


def _parse_number(text: str) -> tuple[float, str | None]:
    """Return a number, and the repair of a decimal comma; NaN if it is none."""
    try:
        return float(text.replace(",", ".")), "decimal comma read" if "," in text else None
    except ValueError:
        return math.nan, None


def _parse_age(text: str):
    if text.lower() in MISSING:
        return math.nan, None
    match = re.fullmatch(r"(\d+)([YMWD])", text.upper())
    if match:
        years = float(match[1]) * _YEARS_PER_UNIT[match[2]]
        repair = "age such as 058Y or 011M converted to years"
    else:
        years, repair = _parse_number(text)
    if math.isnan(years):
        return math.nan, "unreadable age set to missing"
    if not 0 <= years <= OLDEST:
        return math.nan, f"age outside 0-{OLDEST} years set to missing"
    return years, repair


def _choose(column: str, names: dict[str, str]) -> Callable:
    def parse(text: str):
        if text.lower() in MISSING:
            return None, None
        value = names.get(fold_name(text))
        if value is None:
            return None, f"unknown {column} set to missing"
        return value, None if value == text else f"{column} spelled otherwise"

    return parse


def _parse_follow_up(text: str):
    if text.lower() in MISSING:
        return math.nan, None
    number = _parse_number(text)[0] if re.fullmatch(r"\d{1,15}([.,]0*)?", text) else math.nan
    return number, "unreadable follow-up number set to missing" if math.isnan(number) else None


def _parse_weight(text: str):
    if text.lower() in MISSING:
        return math.nan, None
    weight, repair = _parse_number(text)
    if not 0 <= weight < math.inf:
        return math.nan, "unreadable or negative weight set to missing"
    return weight, repair


def _parse_findings(text: str):
    if text.lower() in MISSING:
        return None, None
    names = [spell_finding(name) for name in text.split("|") if name.strip()]
    value = "|".join(dict.fromkeys(names))
    return value or None, None if value == text else "findings spelled otherwise"


def _report_findings(
    findings: pd.Series, image: pd.Series, report: Report, vocabulary: Collection[str] | None
) -> pd.Series:
    """Report unknown findings and contradictions; return which films have them."""
    unknown, both = {}, set()
    for text in findings.unique():
        names = (_parse_findings(text)[0] or "").split("|")
        strange = [name for name in names if vocabulary and name and name not in vocabulary]
        if strange:
            unknown[text] = ", ".join(suggest(name, FINDING_SPELLINGS.values()) for name in strange)
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

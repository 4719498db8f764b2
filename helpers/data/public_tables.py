"""Public tables: CheXpert, MIMIC-CXR-JPG, PadChest, RSNA, VinDr-CXR and Kaggle's sample of NIH.

Each is a function of a few lines on :mod:`helpers.data.tables`: headers, labels, and where the
films are. Findings that NIH names, too, get NIH's names; all others keep the name that their source
gives them.
"""

import re
from pathlib import Path

import pandas as pd

from helpers.data.layouts import Layout
from helpers.data.metadata import NIH_NAMES, NO_FINDING, read_cells, spell_finding
from helpers.data.report import Report
from helpers.data.tables import (
    find_csvs,
    finish_films,
    name_findings,
    parse_labels,
    plain_csvs,
    read_films,
    read_plain,
)

# "Support Devices" is left out: a device is no finding, and stands beside "No Finding".
CHEXPERT = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
)
_DEVICES = "Support Devices, which are no finding: column not used"
_MIMIC = r"mimic-cxr-2\.\d\.\d-{}\.csv(\.gz)?"
_MIMIC_PARTS = ("metadata", "chexpert", "split")
_PADCHEST = r"PADCHEST_chest_x_ray_images_labels_160K_.*\.csv(\.gz)?"
_RSNA = r"stage_2_{}\.csv"
_NIH_SAMPLE = r"sample_labels\.csv"
_VINDR = r"(image_labels_)?(train|test)\.csv"
# What PadChest writes among its findings and is none.
_PADCHEST_REMARKS = {"unchanged", "suboptimal study", "exclude", ""}
_PADCHEST_ASIDE = {"l", "costal", "exclude"}


def read_chexpert(source: Path, report: Report) -> pd.DataFrame:
    """Read CheXpert [1]_: ``train.csv`` and, as the official ``valid``, ``valid.csv``.

    -1 is kept in ``uncertain``, blanks are absent, lateral films are set aside.

    Parameters
    ----------
    source : pathlib.Path
        Folder with the csv files and ``train/patient00001/study1/view1_frontal.jpg`` ….
    report : Report
        Where repairs, notes and faults go.

    Returns
    -------
    pandas.DataFrame
        The table of films and ``faulty`` (bool).

    References
    ----------
    .. [1] J. Irvin et al., "CheXpert: a large chest radiograph dataset with uncertainty labels and
       expert comparison", AAAI 2019.
    """
    csvs = _chexpert_csvs(source)
    parts = [read_cells(source / csv, report).assign(split=csv.split(".")[0]) for csv in csvs]
    cells = pd.concat(parts, ignore_index=True)
    frontal = cells["Frontal/Lateral"].str.casefold() == "frontal"
    films = pd.DataFrame(
        {
            "image": cells["Path"],
            "patient": cells["Path"].str.extract(r"(patient\d+)/", expand=False).fillna(""),
            "age": cells["Age"],
            "sex": cells["Sex"].where(cells["Sex"] != "Unknown", ""),
            "view": cells["AP/PA"].where(frontal, "lateral"),
            "split": cells["split"].str.casefold(),
        }
    )
    return _finish_labelled(films, cells, source, csvs, report)


def read_mimic(source: Path, report: Report) -> pd.DataFrame:
    """Read MIMIC-CXR-JPG [1]_: labels of studies, films of the metadata, and the official split.

    -1 is kept in ``uncertain``, blanks are absent, lateral films are set aside.

    Parameters
    ----------
    source : pathlib.Path
        Folder with ``mimic-cxr-2.0.0-chexpert.csv``, ``…-metadata.csv`` and, if it is there,
        ``…-split.csv``, plain or ``.gz``, and ``files/p10/p10000032/s50414267/*.jpg``.
    report : Report
        Where repairs, notes and faults go.

    Returns
    -------
    pandas.DataFrame
        The table of films and ``faulty`` (bool).

    Raises
    ------
    ValueError
        If the metadata are not there.

    References
    ----------
    .. [1] A. Johnson et al., "MIMIC-CXR-JPG, a large publicly available database of labeled chest
       radiographs", arXiv:1901.07042, 2019.
    """
    csvs = [find_csvs(source, _MIMIC.format(part))[:1] for part in _MIMIC_PARTS]
    metadata, labels, split = (read_cells(source / csv[0], report) if csv else None for csv in csvs)
    if metadata is None:
        raise ValueError(
            f"Expected mimic-cxr-2.0.0-metadata.csv in {source.name!r}. Received none; only it "
            "names the films. Download it beside the labels."
        )
    films = pd.DataFrame(
        {
            "image": metadata["dicom_id"],
            "patient": metadata["subject_id"],
            "view": metadata["ViewPosition"],
        }
    )
    if split is not None:
        official = split.set_index("dicom_id")["split"].replace("validate", "valid")
        films["split"] = metadata["dicom_id"].map(official).fillna("")
    cells = labels.drop_duplicates("study_id").set_index("study_id")
    cells = cells.reindex(metadata["study_id"], fill_value="").reset_index()
    return _finish_labelled(films, cells, source, [csv for part in csvs for csv in part], report)


def read_padchest(source: Path, report: Report) -> pd.DataFrame:
    """Read PadChest [1]_: its one csv, and the films in any folders beside it.

    The age is that in the year of the study. Lateral films and those of ribs are set aside.

    Parameters
    ----------
    source : pathlib.Path
        Folder with ``PADCHEST_chest_x_ray_images_labels_160K_….csv``, plain or ``.gz``.
    report : Report
        Where repairs, notes and faults go.

    Returns
    -------
    pandas.DataFrame
        The table of films and ``faulty`` (bool).

    References
    ----------
    .. [1] A. Bustos et al., "PadChest: a large chest x-ray image dataset with multi-label annotated
       reports", Medical Image Analysis 66, 2020.
    """
    csv = find_csvs(source, _PADCHEST)[0]
    cells = read_cells(source / csv, report)
    view = cells["Projection"].where(cells["Projection"] != "", cells["ViewPosition_DICOM"])
    year = pd.to_numeric(cells["StudyDate_DICOM"].str[:4], errors="coerce")
    age = year - pd.to_numeric(cells["PatientBirth"], errors="coerce")
    labels = {text: _padchest_findings(text) for text in cells["Labels"].unique()}
    films = pd.DataFrame(
        {
            "image": cells["ImageID"],
            "patient": cells["PatientID"],
            "age": age.astype("str").fillna(""),
            "sex": cells["PatientSex_DICOM"],
            "view": view.where(~view.str.casefold().isin(_PADCHEST_ASIDE), "lateral").str[:7],
            "findings": cells["Labels"].map(labels),
        }
    )
    films["view"] = films["view"].where(~films["view"].str.startswith("AP"), "AP")
    return finish_films(films, source, [csv], report)


def read_rsna(source: Path, report: Report) -> pd.DataFrame:
    """Read RSNA's pneumonia challenge [1]_; a film with several boxes has one row.

    Target 1 is ``Pneumonia``. With ``stage_2_detailed_class_info.csv``, a film that is neither
    normal nor shows an opacity keeps the name of its class, ``No Lung Opacity / Not Normal``.
    Without it, every other film is ``No Finding``, which is noted.

    Parameters
    ----------
    source : pathlib.Path
        Folder with ``stage_2_train_labels.csv`` and ``stage_2_train_images/*.dcm`` or copies in
        another format.
    report : Report
        Where repairs, notes and faults go.

    Returns
    -------
    pandas.DataFrame
        The table of films and ``faulty`` (bool). Films without a row belong to the challenge's
        test, which has no labels.

    References
    ----------
    .. [1] G. Shih et al., "Augmenting the National Institutes of Health chest radiograph dataset
       with expert annotations of possible pneumonia", Radiology: Artificial Intelligence 1, 2019.
    """
    csv = find_csvs(source, _RSNA.format("train_labels"))[0]
    cells = read_cells(source / csv, report)
    targets = parse_labels(cells[["Target"]], report)["Target"].groupby(cells["patientId"]).max()
    findings = targets.map({1: "Pneumonia", 0: NO_FINDING}).fillna("")
    info = find_csvs(source, _RSNA.format("detailed_class_info"))
    if info:
        classes = read_cells(source / info[0], report).drop_duplicates("patientId")
        classes = classes.set_index("patientId")["class"].reindex(findings.index)
        other = (targets == 0) & ~classes.isin({"Normal"}) & classes.notna()
        findings = findings.where(~other, classes)
    else:
        report.note("No Finding means no pneumonia: stage_2_detailed_class_info.csv is not there")
    films = pd.DataFrame({"image": findings.index, "patient": findings.index})
    return finish_films(films.assign(findings=findings.array), source, [csv, *info], report)


def read_vindr(source: Path, report: Report) -> pd.DataFrame:
    """Read VinDr-CXR [1]_, from PhysioNet or from Kaggle.

    A finding counts if more than half of a film's radiologists name it. If no finding does, and
    neither does ``No finding``, the film is ``Unspecified``. What a minority names is counted in
    the report.

    Parameters
    ----------
    source : pathlib.Path
        Folder with ``image_labels_train.csv`` and ``image_labels_test.csv`` (also in
        ``annotations``), or Kaggle's ``train.csv``, and the films in ``train`` and ``test``.
    report : Report
        Where repairs, notes and faults go.

    Returns
    -------
    pandas.DataFrame
        The table of films and ``faulty`` (bool). It names no patients.

    References
    ----------
    .. [1] H. Q. Nguyen et al., "VinDr-CXR: an open dataset of chest X-rays with radiologist's
       annotations", Scientific Data 9, 2022.
    """
    csvs, parts = _vindr_csvs(source), []
    for csv in csvs:
        cells = read_cells(source / csv, report)
        if "class_name" in cells:  # a row for each box
            readers = [cells["image_id"], cells["rad_id"]]
            named = pd.get_dummies(cells["class_name"]).groupby(readers).max()
            named = named.groupby(level="image_id")
        else:  # a row for each radiologist
            labels = [name for name in cells if name.casefold() not in {"image_id", "rad_id"}]
            named = parse_labels(cells[labels], report).eq(1).groupby(cells["image_id"])
        shares = named.mean()
        findings = shares.drop(columns=["No finding"], errors="ignore").to_numpy()
        minority = (findings > 0) & (findings <= 0.5)
        report.note("finding named by a minority left out", minority.sum())
        split = "test" if "test" in csv else "train"
        parts.append(name_findings((shares > 0.5).astype("int8"), report).assign(split=split))
    films = pd.concat(parts).rename_axis("image").reset_index()
    if len(csvs) == 1:
        films = films.drop(columns="split")
    return finish_films(films, source, csvs, report)


def _finish_labelled(
    films: pd.DataFrame, cells: pd.DataFrame, source: Path, csvs: list[str], report: Report
) -> pd.DataFrame:
    """Name the findings of CheXpert's labeler."""
    report.note(_DEVICES, "Support Devices" in cells)
    labels = [name for name in CHEXPERT if name in cells]
    named = name_findings(parse_labels(cells[labels], report), report)
    return finish_films(films.join(named), source, csvs, report)


def _padchest_findings(text: str) -> str:
    """Read a list such as ``['pneumonia', 'pleural effusion']``."""
    names = ["".join(pair).strip() for pair in re.findall(r"'([^']*)'|\"([^\"]*)\"", text)]
    return "|".join(spell_finding(name) for name in names if name not in _PADCHEST_REMARKS)


def _chexpert_csvs(source: Path) -> list[str]:
    return find_csvs(source, r"(train|valid)\.csv(\.gz)?", ("Path", "Frontal/Lateral"))


def _vindr_csvs(source: Path) -> list[str]:
    return [
        f"{folder}{csv}"
        for folder in ("", "annotations/")
        for csv in find_csvs(source / folder, _VINDR, ("image_id",))
    ]


TABLES = (
    Layout(
        "chexpert",
        "CheXpert",
        "CheXpert: train.csv and valid.csv beside train/patient00001/study1/view1_frontal.jpg …",
        _chexpert_csvs,
        lambda source, report, check_images: read_chexpert(source, report),
    ),
    Layout(
        "mimic",
        "MIMIC-CXR-JPG",
        "MIMIC-CXR-JPG: mimic-cxr-2.0.0-chexpert.csv, …-metadata.csv and …-split.csv (or .csv.gz) "
        "beside files/p10/p10000032/s50414267/*.jpg …",
        lambda source: find_csvs(source, _MIMIC.format("chexpert")),
        lambda source, report, check_images: read_mimic(source, report),
    ),
    Layout(
        "padchest",
        "PadChest",
        "PadChest: PADCHEST_chest_x_ray_images_labels_160K_….csv (or .csv.gz) beside the films",
        lambda source: find_csvs(source, _PADCHEST),
        lambda source, report, check_images: read_padchest(source, report),
    ),
    Layout(
        "rsna",
        "RSNA pneumonia challenge",
        "RSNA pneumonia challenge: stage_2_train_labels.csv beside stage_2_train_images/*.dcm",
        lambda source: find_csvs(source, _RSNA.format("train_labels"), ("patientId", "Target")),
        lambda source, report, check_images: read_rsna(source, report),
    ),
    Layout(
        "vindr",
        "VinDr-CXR",
        "VinDr-CXR: image_labels_train.csv and image_labels_test.csv (also in annotations/), or "
        "Kaggle's train.csv, beside train/*.dicom and test/*.dicom",
        _vindr_csvs,
        lambda source, report, check_images: read_vindr(source, report),
    ),
    Layout(
        "nih sample",
        "Kaggle's sample of NIH ChestX-ray14",
        "Kaggle's sample of NIH ChestX-ray14: sample_labels.csv beside sample/images/*.png",
        lambda source: find_csvs(source, _NIH_SAMPLE, ("Image Index",)),
        lambda source, report, check_images: read_films(
            source / find_csvs(source, _NIH_SAMPLE)[0], source, report, vocabulary=NIH_NAMES
        ),
    ),
    Layout(
        "table",
        "Table",
        "any csv beside its films, with a column of file names (such as image, filename or path) "
        "and one column of findings, or exactly one of 0 and 1",
        plain_csvs,
        lambda source, report, check_images: read_plain(source, report),
    ),
)

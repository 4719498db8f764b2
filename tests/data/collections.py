"""Collections: small ones in every layout, with films on which a finding can be seen.

Each function writes a collection into a folder and returns what ``CHEST_XRAYS`` is set to.
:func:`draw_films` decides about patients and findings, so that a test knows what was written: the
same ``seed`` gives the same films in every layout.
"""

import gzip
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

PATIENTS, PER_PATIENT = 120, 2
NAMES = ("Effusion", "Pneumonia", "Cardiomegaly")  # upper, middle and lower disc


def draw_films(
    patients: int = PATIENTS,
    size: int = 16,
    seed: int = 0,
    names: Iterable[str] = NAMES,
    each: float | None = None,
) -> pd.DataFrame:
    """Draw films: ``patient`` (from 1), ``number``, ``age``, ``sex``, ``view``, ``found``, pixels.

    ``found`` is a tuple of names. Half of the patients are healthy; each other one has one finding,
    and sometimes the next one, too. With ``each``, every patient has every finding with this
    probability. A finding is a bright disc, at a place of its own.
    """
    rng = np.random.default_rng(seed)
    names = tuple(names)
    y, x = np.mgrid[:size, :size] / size
    rows = []
    for patient in range(1, patients + 1):
        found: tuple[str, ...] = ()
        if each is not None:
            found = tuple(name for name in names if rng.random() < each)
        elif rng.random() < 0.5:
            first = patient % len(names)
            both = {first, (first + 1) % len(names)} if rng.random() < 0.25 else {first}
            found = tuple(names[place] for place in sorted(both))
        age, sex = int(rng.integers(20, 90)), "FM"[patient % 2]
        for number in range(PER_PATIENT):
            film = rng.normal(90, 12, (size, size)) + 40 * x
            for name in found:
                angle = 2 * np.pi * names.index(name) / len(names)
                middle = 0.5 + 0.3 * np.sin(angle), 0.5 + 0.3 * np.cos(angle)
                film[np.hypot(y - middle[0], x - middle[1]) < 0.16] += 90
            pixels = film.clip(0, 255).astype(np.uint8)
            view = "AP" if rng.random() < 0.3 else "PA"
            rows.append((patient, number, age, sex, view, found, pixels))
    columns = ["patient", "number", "age", "sex", "view", "found", "pixels"]
    return pd.DataFrame(rows, columns=columns)


def _save(films: pd.DataFrame, folder: Path, images: Iterable[str]) -> None:
    for image, pixels in zip(images, films["pixels"], strict=True):
        path = folder / image
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def _write(path: Path, rows: list[dict], *, separator: str = ",") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = pd.DataFrame(rows).to_csv(index=False, sep=separator, lineterminator="\n").encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)


def _nih_rows(films: pd.DataFrame, age: str = "{}") -> list[dict]:
    return [
        {
            "Image Index": f"{film.patient:08d}_{film.number:03d}.png",
            "Finding Labels": "|".join(film.found) or "No Finding",
            "Follow-up #": film.number,
            "Patient ID": film.patient,
            "Patient Age": age.format(film.age),
            "Patient Gender": film.sex,
            "View Position": film.view,
        }
        for film in films.itertuples()
    ]


def _add_nih(folder: Path, films: pd.DataFrame, **columns: Iterable) -> str:
    rows = _nih_rows(films)
    _save(films, folder / "images", [row["Image Index"] for row in rows])
    table = pd.DataFrame(rows).assign(**columns)
    table.to_csv(folder / "Data_Entry_2017.csv", index=False)
    return str(folder)


def write_nih_14(folder: Path, **drawn: object) -> str:
    """Write NIH's layout with each of its 14 findings."""
    from helpers.data.metadata import FINDINGS

    return _add_nih(folder, draw_films(**{"patients": 180} | drawn, names=FINDINGS, each=0.35))


def write_sites(folder: Path, **drawn: object) -> str:
    """Write NIH's layout with a column that names three hospitals."""
    films = draw_films(**drawn)
    return _add_nih(folder, films, Hospital=[f"Site {p % 3}" for p in films["patient"]])


CHEXPERT_LABELS = (
    *("No Finding", "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion"),
    *("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion"),
    *("Pleural Other", "Fracture", "Support Devices"),
)


def _chexpert_labels(film: tuple, absent: str = "") -> dict[str, str]:
    """Label a film as CheXpert's labeler does; every fifth healthy patient is unsure of Edema."""
    cells = dict.fromkeys(CHEXPERT_LABELS, absent)
    cells |= {{"Effusion": "Pleural Effusion"}.get(name, name): "1.0" for name in film.found}
    if not film.found:
        cells["Edema" if film.patient % 5 == 0 else "No Finding"] = (
            "-1.0" if film.patient % 5 == 0 else "1.0"
        )
        cells["Support Devices"] = "1.0"
    return cells


def write_chexpert(folder: Path, **drawn: object) -> str:
    """Write CheXpert: the last 30 patients are its valid set; each patient has a lateral film."""
    films = draw_films(**drawn)
    root, last = folder / "CheXpert-v1.0-small", films["patient"].max() - 30
    parts: dict[str, list[dict]] = {"train": [], "valid": []}
    images = []
    for film in films.itertuples():
        split = "train" if film.patient <= last else "valid"
        place = f"{split}/patient{film.patient:05d}/study{film.number + 1}/view1_frontal.jpg"
        images.append(place)
        row = {
            "Path": f"CheXpert-v1.0-small/{place}",
            "Sex": {"F": "Female", "M": "Male"}[film.sex],
            "Age": film.age,
            "Frontal/Lateral": "Frontal",
            "AP/PA": film.view,
        } | _chexpert_labels(film)
        parts[split].append(row)
        if film.number == 0:
            lateral = {"Frontal/Lateral": "Lateral", "AP/PA": ""}
            name = row["Path"].replace("view1_frontal", "view2_lateral")
            parts[split].append(row | lateral | {"Path": name})
    _save(films, root, images)
    laterals = films[films["number"] == 0]
    shown = [image.replace("view1_frontal", "view2_lateral") for image in images[::PER_PATIENT]]
    _save(laterals, root, shown)
    for split, rows in parts.items():
        _write(root / f"{split}.csv", rows)
    return str(root)


def write_mimic(folder: Path, **drawn: object) -> str:
    """Write MIMIC-CXR-JPG, with packed tables, its split and a lateral film in each study."""
    films = draw_films(**drawn)
    labels, metadata, splits, images = [], [], [], []
    for film in films.itertuples():
        subject, study = 10000000 + film.patient, 50000000 + 10 * film.patient + film.number
        split = ("train", "train", "train", "validate", "test", "test")[film.patient % 6]
        ids = {"subject_id": subject, "study_id": study}
        labels.append(ids | _chexpert_labels(film))
        for view, kind in ((film.view, "a"), ("LATERAL", "b")):
            dicom = {"dicom_id": f"{kind}{film.Index:07x}-00000000"}
            metadata.append(dicom | ids | {"ViewPosition": view, "Rows": 16})
            splits.append(dicom | ids | {"split": split})
            images.append(f"files/p10/p{subject}/s{study}/{dicom['dicom_id']}.jpg")
    _save(films.loc[films.index.repeat(2)], folder, images)
    for part, rows in (("chexpert", labels), ("metadata", metadata), ("split", splits)):
        _write(folder / f"mimic-cxr-2.0.0-{part}.csv.gz", rows)
    return str(folder)


def write_padchest(folder: Path, **drawn: object) -> str:
    """Write PadChest; films are in numbered folders, and each patient has a lateral one."""
    films = draw_films(**drawn)
    spelled = {"Effusion": "pleural effusion ", "Cardiomegaly": "cardiomegaly"}
    rows, images = [], []
    for film in films.itertuples():
        names = [spelled.get(name, name.lower()) for name in film.found] or ["normal"]
        row = {
            "ImageID": f"2168401113_{film.patient}_{film.number}.png",
            "ImageDir": film.patient % 3,
            "StudyDate_DICOM": 20140915,
            "PatientID": f"8398604{film.patient}",
            "PatientBirth": f"{2014 - film.age}.0",
            "PatientSex_DICOM": film.sex,
            "ViewPosition_DICOM": "POSTEROANTERIOR",
            "Projection": "AP_horizontal" if film.view == "AP" else "PA",
            "Labels": str([*names, "unchanged"] if film.number else names),
        }
        images.append(f"{row['ImageDir']}/{row['ImageID']}")
        rows.append(row)
        if film.number == 0:
            rows.append(row | {"ImageID": row["ImageID"].replace("_0.", "_L."), "Projection": "L"})
    _save(films, folder, images)
    _write(folder / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv", rows)
    return str(folder)


def write_rsna(folder: Path, **drawn: object) -> str:
    """Write RSNA's challenge as PNG copies: two boxes on a film, and the classes of the others."""
    films = draw_films(**drawn)
    boxes, classes, images = [], [], []
    for film in films.itertuples():
        own = {"patientId": f"{film.Index:08d}-0000-4000"}
        images.append(f"stage_2_train_images/{own['patientId']}.png")
        target = "Pneumonia" in film.found
        kind = "Normal" if not film.found else "No Lung Opacity / Not Normal"
        for _ in range(2 if target else 1):
            box = dict.fromkeys(("x", "y", "width", "height"), 5.0 if target else "")
            boxes.append(own | box | {"Target": int(target)})
            classes.append(own | {"class": "Lung Opacity" if target else kind})
    _save(films, folder, images)
    _write(folder / "stage_2_train_labels.csv", boxes)
    _write(folder / "stage_2_detailed_class_info.csv", classes)
    return str(folder)


def write_vindr(folder: Path, **drawn: object) -> str:
    """Write VinDr-CXR: three radiologists for each training film, of whom the third sees less."""
    films = draw_films(**drawn)
    parts: dict[str, list[dict]] = {"train": [], "test": []}
    images = []
    for film in films.itertuples():
        split = "test" if film.patient % 4 == 0 else "train"
        image = f"{film.Index:032x}"
        images.append(f"{split}/{image}.png")
        for reader in range(3 if split == "train" else 1):
            seen = film.found if reader < 2 else ("Nodule/Mass",)
            row = {"image_id": image} | ({"rad_id": f"R{reader}"} if split == "train" else {})
            names = {"Pleural effusion": "Effusion", "Nodule/Mass": "Nodule/Mass"}
            names |= {"Cardiomegaly": "Cardiomegaly", "Pneumonia": "Pneumonia"}
            row |= {name: int(ours in seen) for name, ours in names.items()}
            parts[split].append(row | {"No finding": int(not seen)})
    _save(films, folder, images)
    for split, rows in parts.items():
        _write(folder / "annotations" / f"image_labels_{split}.csv", rows)
    return str(folder)


def write_nih_sample(folder: Path, **drawn: object) -> str:
    """Write Kaggle's sample of NIH: ages such as 060Y, sizes in columns of their own."""
    films = draw_films(**drawn)
    rows = [row | {"OriginalImageWidth": 2500} for row in _nih_rows(films, "{:03d}Y")]
    _save(films, folder / "sample/images", [row["Image Index"] for row in rows])
    _write(folder / "sample_labels.csv", rows)
    return str(folder)


def write_plain_label(folder: Path, **drawn: object) -> str:
    """Write a csv with a column of 0 and 1 beside its films."""
    films = draw_films(**drawn)
    images = [f"films/{film.patient}-{film.number}.png" for film in films.itertuples()]
    table = films[["patient", "age", "sex"]].assign(
        filename=images, Opacity=films["found"].map(len).clip(0, 1), scanner="A"
    )
    _save(films, folder, images)
    table.to_csv(folder / "films.csv", index=False)
    return str(folder)


def write_plain_findings(folder: Path, **drawn: object) -> str:
    """Write a csv with semicolons and a column of findings that only this hospital names so."""
    films = draw_films(**drawn, names=("Effusion", "Rib fracture", "Tuberculosis"))
    rows = [
        {
            "Path": f"{film.patient}-{film.number}.png",
            "Patient": film.patient,
            "Gender": film.sex,
            "Diagnosis": "|".join(film.found) or "normal",
        }
        for film in films.itertuples()
    ]
    _save(films, folder, [row["Path"] for row in rows])
    _write(folder / "liste.csv", rows, separator=";")
    return str(folder)


def _write_hospitals(folder: Path, **drawn: object) -> list[Path]:
    """Write three hospitals in three layouts, each of which numbers its patients from 1."""
    size, seed = drawn.get("size", 16), drawn.get("seed", 0)
    write_nih_sample(folder / "north", patients=60, size=size, seed=seed)
    write_plain_label(folder / "south", patients=60, size=size, seed=seed + 1)
    films = draw_films(60, size, seed + 2)
    images = [
        f"{('train', 'train', 'train', 'valid', 'test')[film.patient % 5]}/"
        f"{'malade' if film.found else 'sain'}/{film.patient}-{film.number}.png"
        for film in films.itertuples()
    ]
    _save(films, folder / "west", images)
    rows = [{"image": i, "patient": p} for i, p in zip(images, films["patient"], strict=True)]
    _write(folder / "west" / "metadata.csv", rows)
    return [folder / name for name in ("north", "south", "west")]


def write_hospital_folders(folder: Path, **drawn: object) -> str:
    """Write a folder with one folder for each hospital, in three layouts."""
    _write_hospitals(folder, **drawn)
    return str(folder)


def write_hospital_list(folder: Path, **drawn: object) -> str:
    """Write three hospitals at three places; return their paths in one text."""
    places = _write_hospitals(folder, **drawn)
    return os.pathsep.join(map(str, places))


#: Name of a collection -> the function that writes it, and the task to ask of it (None: default).
COLLECTIONS: dict[str, tuple[Callable[..., str], str | None]] = {
    "CheXpert": (write_chexpert, "Effusion"),
    "MIMIC-CXR-JPG": (write_mimic, None),
    "PadChest": (write_padchest, None),
    "RSNA": (write_rsna, "Pneumonia"),
    "VinDr-CXR": (write_vindr, None),
    "Kaggle's NIH sample": (write_nih_sample, None),
    "csv with a label": (write_plain_label, None),
    "csv with findings": (write_plain_findings, None),
    "folder per hospital": (write_hospital_folders, None),
    "several paths": (write_hospital_list, None),
    "site column": (write_sites, None),
    "14 findings": (write_nih_14, "all findings"),
}

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data.hospital_films import set_up_hospitals
from helpers.data.hospitals import make_hospitals
from helpers.data.radiographs import read_radiographs
from helpers.data.tasks import label_films
from tests.data.collections import (
    COLLECTIONS,
    draw_films,
    write_chexpert,
    write_mimic,
    write_nih_sample,
    write_padchest,
    write_rsna,
    write_vindr,
)
from tests.data.dicom_collection import write_film

N_PATIENTS = 12
#: Layout -> its writer, and the columns that it records as they were drawn.
WRITTEN = {
    "chexpert": (write_chexpert, ["age", "sex", "view"]),
    "mimic": (write_mimic, ["view"]),
    "padchest": (write_padchest, ["age", "sex", "view"]),
    "rsna": (write_rsna, []),
    "vindr": (write_vindr, []),
    "nih sample": (write_nih_sample, ["age", "sex", "view"]),
}


@pytest.fixture
def read(tmp_path):
    """Return a function that writes a collection, changes it, and reads it."""

    def read(write, change=None, **options):
        source = write(tmp_path / "films", patients=N_PATIENTS)
        if change is not None:
            change(tmp_path / "films")
        return read_radiographs(source, **options)

    return read


def rewrite(path, **columns):
    """Replace columns of a csv by functions of the old ones."""
    table = pd.read_csv(path, dtype="str", keep_default_na=False)
    path.unlink()
    table = table.assign(**columns)
    table.to_csv(path, index=False)


def found(table):
    """Return each film's findings as a sorted tuple, empty for No Finding and for none."""
    names = table["findings"].fillna("").str.replace("No Finding", "")
    return [tuple(sorted(filter(None, text.split("|")))) for text in names]


@pytest.mark.parametrize("layout", WRITTEN)
def test_table_and_pixels_are_what_was_written(read, layout):
    write, columns = WRITTEN[layout]
    films, drawn = read(write), draw_films(patients=N_PATIENTS)
    assert films.layout == layout
    table = films.table
    if layout == "vindr":  # sorted by split
        table = table.sort_values("image", key=lambda names: names.str[-36:], ignore_index=True)
    expected = [tuple(sorted(names)) for names in drawn["found"]]
    if layout == "rsna":
        other = "No Lung Opacity / Not Normal"
        expected = [("Pneumonia",) if "Pneumonia" in f else (other,) * bool(f) for f in expected]
    assert found(table) == expected
    for column in columns:
        assert table[column].tolist() == drawn[column].tolist()
    if layout not in ("rsna", "vindr"):
        drawn_patients = drawn["patient"].to_numpy()
        np.testing.assert_array_equal(pd.factorize(table["patient"])[0] + 1, drawn_patients)
    near = 40 if layout in ("chexpert", "mimic") else 0  # these are JPEG
    for image, pixels in zip(table["image"], drawn["pixels"], strict=True):
        assert films.locate(image).is_file()
        np.testing.assert_allclose(films.image(image).astype(int), pixels, atol=near)


@pytest.mark.parametrize("name", COLLECTIONS)
def test_every_collection_becomes_samples_of_three_hospitals(tmp_path, monkeypatch, name):
    write, task = COLLECTIONS[name]
    monkeypatch.setenv("CHEST_XRAYS", write(tmp_path / "films"))
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("CHEST_XRAYS_TASK", task or "")
    study = set_up_hospitals()
    table = study.radiographs.table
    assert len(table) >= 96
    assert table["patient"].nunique() >= 60 or table["patient"].isna().all()
    samples = study.prepare(8)
    assert [set(own) for own in samples.values()] == [{"train", "valid", "test"}] * 3


def test_rsna_as_dicom_gives_ages_sexes_and_views(tmp_path, read, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))

    def to_dicom(folder):
        for path in (folder / "stage_2_train_images").iterdir():
            pixels = np.asarray(Image.open(path)).astype(np.uint16)
            tags = {"PatientAge": "058Y", "PatientSex": "F", "ViewPosition": "AP"}
            write_film(path.with_suffix(".dcm"), pixels * 16, **tags)
            path.unlink()

    films = read(write_rsna, to_dicom)
    assert set(films.table["image"].str[-4:]) == {".dcm"}
    assert set(films.table["age"]) == {58.0}
    assert set(films.table["sex"]) == {"F"}
    assert set(films.table["view"]) == {"AP"}
    assert films.table["patient"].nunique() == len(films)
    drawn = draw_films(patients=N_PATIENTS)["pixels"]
    film = films.image(0).astype(int)
    assert np.corrcoef(film.ravel(), drawn[0].ravel())[0, 1] > 0.99


def test_chexpert_keeps_what_is_uncertain_and_its_valid_set(read):
    films = read(write_chexpert)
    notes, table = films.report.notes, films.table
    assert notes["lateral film set aside"] == N_PATIENTS
    assert notes["Support Devices, which are no finding: column not used"] == 1
    assert notes["blank label counted as absent"] > 0
    unsure = table[table["uncertain"].notna()]
    assert set(unsure["uncertain"]) == {"Edema"}
    assert unsure["findings"].isna().all()
    assert set(table["split"]) == {"valid"}  # the last 30 patients are


def test_chexpert_without_a_test_set_gets_one_from_its_train_patients(tmp_path):
    table = read_radiographs(write_chexpert(tmp_path)).table
    films = make_hospitals(table, label_films(table, "any finding vs none"), n_hospitals=2)
    official = table["split"][films.index]
    assert set(films["split"][official == "valid"]) == {"valid"}
    assert set(films["split"][official == "train"]) == {"train", "test"}


def test_a_film_that_is_said_to_have_something_unnamed_is_unspecified(read):
    def deny(folder):
        rewrite(
            folder / "CheXpert-v1.0-small/valid.csv",
            **{"No Finding": "0.0", "Edema": "", "Support Devices": ""},
        )

    assert "Unspecified" in set(read(write_chexpert, deny).table["findings"])


def test_mimic_names_patients_and_splits(read):
    films = read(write_mimic)
    assert films.table["patient"][0] == "10000001"
    by_patient = films.table.drop_duplicates("patient")["split"].tolist()
    assert by_patient[:6] == ["train", "train", "valid", "test", "test", "train"]
    assert films.report.notes["lateral film set aside"] == len(films)


def test_mimic_without_a_split_or_a_study_without_labels(read):
    def shorten(folder):
        (folder / "mimic-cxr-2.0.0-split.csv.gz").unlink()
        path = folder / "mimic-cxr-2.0.0-chexpert.csv.gz"
        pd.read_csv(path, dtype="str").iloc[2:].to_csv(path, index=False)

    films = read(write_mimic, shorten)
    assert films.table["split"].isna().all()
    assert films.table["findings"].isna().tolist()[:2] == [True, True]
    assert films.report.notes["film without a finding or No Finding"] == 2


def test_mimic_without_metadata_is_refused(read):
    with pytest.raises(ValueError, match=r"Expected mimic-cxr-2\.0\.0-metadata\.csv in 'films'"):
        read(write_mimic, lambda folder: (folder / "mimic-cxr-2.0.0-metadata.csv.gz").unlink())


def test_padchest_labels_are_read_as_text_and_never_run(read):
    lists = [
        """["Chilaiditi's sign", 'nodule']""",
        "['']",
        "[__import__('os').abort()]",
        "[" * 9999,
    ]
    csv = "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"

    def change(folder):
        table = pd.read_csv(folder / csv, dtype="str")
        table.loc[table.index[table["Projection"] != "L"][:4], "Labels"] = lists
        table.to_csv(folder / csv, index=False)

    films = read(write_padchest, change)
    named = films.table["findings"]
    assert named[:3].fillna("").tolist() == ["Chilaiditi's sign|Nodule", "", "os"]
    assert named.isna().sum() == 2


def test_rsna_has_one_row_for_all_boxes_of_a_film(read):
    films = read(write_rsna)
    drawn = draw_films(patients=N_PATIENTS)
    assert len(films) == len(drawn)
    pneumonia = [int("Pneumonia" in names) for names in drawn["found"]]
    assert label_films(films.table, "any finding vs none").tolist() == [
        int(len(names) > 0) for names in drawn["found"]
    ]
    assert films.table["findings"].eq("Pneumonia").astype(int).tolist() == pneumonia


def test_rsna_without_the_classes_says_what_no_finding_means(read):
    films = read(write_rsna, lambda f: (f / "stage_2_detailed_class_info.csv").unlink())
    assert set(films.table["findings"]) == {"Pneumonia", "No Finding"}
    assert "No Finding means no pneumonia" in str(films)


def test_vindr_counts_what_most_radiologists_name(read):
    csv = "annotations/image_labels_train.csv"
    names = ["Pleural effusion", "Nodule/Mass", "Cardiomegaly", "Pneumonia", "No finding"]

    def disagree(folder):
        table = pd.read_csv(folder / csv)
        table.loc[:2, names] = np.eye(5, dtype=int)[[0, 1, 2]]  # three findings by one reader each
        table.loc[3:5, names] = np.eye(5, dtype=int)[[4, 1, 4]]
        table.to_csv(folder / csv, index=False)

    films = read(write_vindr, disagree)
    named = films.table["findings"][films.table["split"] == "train"]
    assert named.tolist()[:2] == ["Unspecified", "No Finding"]
    assert films.report.notes["finding named by a minority left out"] >= 4
    assert films.table["patient"].isna().all()
    assert films.table["split"].value_counts()["test"] == 2 * N_PATIENTS // 4


def test_vindr_of_kaggle_has_a_row_for_each_box(read):
    def to_boxes(folder):
        rows = [
            (image, name, reader)
            for image, per_reader in (
                (1, ["Cardiomegaly", "Cardiomegaly", "No finding"]),
                (2, ["No finding", "No finding", "ILD"]),
            )
            for reader, name in enumerate(per_reader)
        ]
        table = pd.DataFrame(rows, columns=["image_id", "class_name", "rad_id"])
        table["image_id"] = table["image_id"].map("{:032x}".format)
        pd.concat([table, table[:1]]).to_csv(folder / "train.csv", index=False)
        for csv in (folder / "annotations").iterdir():
            csv.unlink()

    films = read(write_vindr, to_boxes)
    assert films.table["findings"].tolist() == ["Cardiomegaly", "No Finding"]
    assert films.table["split"].isna().all()
    assert films.report.notes["image not named in train.csv left out"] == 2 * N_PATIENTS - 2


def test_an_unknown_finding_in_nih_s_sample_is_a_fault(read):
    def change(folder):
        rewrite(folder / "sample_labels.csv", **{"Finding Labels": "Covid"})

    with pytest.raises(ValueError, match=r"unknown finding \(24\): 00000001_000.png \(Covid"):
        read(write_nih_sample, change)


def test_a_label_of_another_text_is_a_fault(read):
    def change(folder):
        rewrite(folder / "stage_2_train_labels.csv", Target="maybe")

    with pytest.raises(ValueError, match=r"label of 'Target' that is neither.*row 1 \(maybe\)"):
        read(write_rsna, change)

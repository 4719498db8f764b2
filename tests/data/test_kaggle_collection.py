import shutil

import pytest

from helpers.data import (
    HospitalFilms,
    label_films,
    make_hospitals,
    prepare_samples,
    read_radiographs,
    set_up_hospitals,
)
from tests.data.kaggle_collection import write_kaggle_pneumonia

TASK = "pneumonia vs no finding"


@pytest.mark.parametrize("nested", [False, True])
def test_kaggle_is_read_as_downloaded(tmp_path, nested):
    radiographs = read_radiographs(write_kaggle_pneumonia(tmp_path, size=10, nested=nested))
    table = radiographs.table
    assert table["split"].value_counts().to_dict() == {"train": 209, "test": 75, "valid": 16}
    assert table["findings"].value_counts().to_dict() == {"No Finding": 151, "Pneumonia": 149}
    assert table["patient"].notna().all()
    assert all((radiographs.source / image).is_file() for image in table["image"])
    assert table["image"].str.startswith("chest_xray/train/").sum() == 209 * nested
    assert list(radiographs.report.notes) == ["patient read from the file name"]
    assert "person1_virus and person1_bacteria count as two" in str(radiographs.report)


def test_persons_are_numbered_for_each_kind(tmp_path):
    table = read_radiographs(write_kaggle_pneumonia(tmp_path, size=10)).table
    splits = table.groupby("patient")["split"].agg(set)
    assert splits["person1_bacteria"] == {"train"}
    assert splits["person1_virus"] == {"test"}
    assert splits["IM-0001"] == splits["NORMAL2-IM-0001"] == {"train"}
    assert (splits.map(len) == 1).all()
    assert len(splits) < len(table)


def test_a_validation_split_that_is_too_small_is_carved_and_said(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS", str(write_kaggle_pneumonia(tmp_path, size=10)))
    radiographs = read_radiographs()
    labels = label_films(radiographs.table, TASK)
    capsys.readouterr()
    films = make_hospitals(radiographs.table, labels, seed=0)
    said = capsys.readouterr().out
    assert "too small, chosen anew among train and valid: hospital_1 (" in said
    official = radiographs.table["split"]
    assert (films["split"][official == "test"] == "test").all()
    assert films["split"][official != "test"].isin(["train", "valid"]).all()
    sizes = films.groupby(["hospital", "split"]).size().unstack()
    assert sizes["valid"].min() >= 10
    assert (films.groupby("patient")["split"].nunique() == 1).all()
    assert isinstance(set_up_hospitals(TASK), HospitalFilms)


def test_kaggle_gives_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))
    radiographs = read_radiographs(write_kaggle_pneumonia(tmp_path, size=10))
    labels = label_films(radiographs.table, TASK)
    films = make_hospitals(radiographs.table, labels)
    samples = prepare_samples(radiographs, films, labels, size=8, task=TASK)
    assert sorted(samples) == ["hospital_1", "hospital_2", "hospital_3"]


def test_the_second_copy_in_kaggles_archive_is_noted(tmp_path):
    source = write_kaggle_pneumonia(tmp_path, 96, size=10)
    shutil.copytree(source, tmp_path / "copy")
    shutil.move(tmp_path / "copy", source / "chest_xray")
    radiographs = read_radiographs(source)
    assert len(radiographs) == 96
    assert radiographs.report.notes["copy of the films not read"] == 1
    another = source / "chest_xray" / "train" / "NORMAL" / "another.jpeg"
    shutil.copy(next((source / "train" / "NORMAL").iterdir()), another)
    with pytest.raises(ValueError, match=r"films that is no split folder \(1\): chest_xray"):
        read_radiographs(source)


def test_names_of_few_films_are_no_patients(make_class_folders):
    images = ["train/NORMAL/IM-0001-0001.jpeg"]
    images += [f"train/PNEUMONIA/{number}.jpeg" for number in range(2)]
    assert read_radiographs(make_class_folders(images)).table["patient"].isna().all()


def test_most_names_are_patients_and_the_others_are_named(make_class_folders):
    images = ["train/NORMAL/IM-0001-0001.jpeg", "train/NORMAL/film.jpeg"]
    images += [f"train/PNEUMONIA/person7_virus_{number}.jpeg" for number in range(2)]
    radiographs = read_radiographs(make_class_folders(images))
    patients = dict(zip(radiographs.table["image"], radiographs.table["patient"], strict=True))
    assert patients["train/NORMAL/IM-0001-0001.jpeg"] == "IM-0001"
    assert patients["train/PNEUMONIA/person7_virus_1.jpeg"] == "person7_virus"
    assert "does not show its patient (1): train/NORMAL/film.jpeg" in str(radiographs.report)


def test_patients_of_a_table_count_before_names(make_class_folders):
    images = ["train/NORMAL/IM-0001-0001.jpeg", "train/PNEUMONIA/person7_virus_1.jpeg"]
    metadata = "image,patient\nIM-0001-0001.jpeg,p1\n"
    radiographs = read_radiographs(make_class_folders(images, metadata=metadata))
    assert radiographs.table["patient"].dropna().tolist() == ["p1"]

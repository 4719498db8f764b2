import shutil

import pytest

from helpers.data.nih import read_nih
from helpers.data.report import Report

FILMS = ["images/00000001_000.png", "images/00000001_001.png", "images/00000002_000.png"]


def read(folder):
    report = Report()
    return read_nih(folder, report), report


def test_flat_images(make_nih):
    table, report = read(make_nih())
    assert table["image"].tolist() == FILMS
    assert table["patient"].tolist() == ["1", "1", "2"]
    assert table["findings"].tolist() == ["No Finding", "Edema|Pneumonia", "Cardiomegaly"]
    assert table["split"].isna().all()
    assert not table["faulty"].any()
    assert str(report) == "Nothing to repair and nothing wrong."


@pytest.mark.parametrize("inner", ["images/", ""])
def test_numbered_image_folders(make_nih, inner):
    images = [
        f"images_{n:03}/{inner}{film.split('/')[1]}"
        for n, film in zip((1, 2, 12), FILMS, strict=True)
    ]
    table, report = read(make_nih(images=images))
    assert table["image"].tolist() == images
    assert not report.is_faulty


def test_v2020_is_read_and_preferred(make_nih):
    folder = make_nih(csv="Data_Entry_2017_v2020.csv")
    assert read(folder)[0]["image"].tolist() == FILMS
    (folder / "Data_Entry_2017.csv").write_text("nonsense")
    table, report = read(folder)
    assert table["image"].tolist() == FILMS
    assert list(report.notes.values()) == [1]


def test_hospital_column(make_nih):
    header = "Image Index,Finding Labels,OriginalImage[Width,Height],Hospital"
    table, _ = read(make_nih(["a.png,Mass,6,8,North", "b.png,Mass,6,8,"], header=header))
    assert table["hospital"].tolist()[0] == "North"
    assert table["hospital"].isna().tolist() == [False, True]


def test_official_lists_give_the_splits(make_nih):
    folder = make_nih()
    (folder / "train_val_list.txt").write_bytes(b"00000001_000.png\r\n00000001_001.png")
    (folder / "test_list.txt").write_bytes(b"00000002_000.png\n00000099_000.png\n")
    table, report = read(folder)
    assert table["split"].tolist() == ["train", "train", "test"]
    assert report.notes == {"name in a split list without a film": 1}
    assert report.repairs == {"foreign line ends replaced in a text file": 1}


def test_film_in_no_list_has_no_split(make_nih):
    folder = make_nih()
    (folder / "test_list.txt").write_text("00000002_000.png\n")
    table, report = read(folder)
    assert table["split"].isna().tolist() == [True, True, False]
    assert report.notes == {"film in none of the split lists": 2}


def test_film_in_both_lists_is_a_fault(make_nih):
    folder = make_nih()
    (folder / "train_val_list.txt").write_text("00000001_000.png\n00000002_000.png\n")
    (folder / "test_list.txt").write_text("00000002_000.png\n")
    table, report = read(folder)
    assert list(report.faults.values()) == [["00000002_000.png"]]
    assert table["faulty"].tolist() == [False, False, True]


def test_missing_images_are_a_fault(make_nih):
    table, report = read(make_nih(images=FILMS[:1]))
    assert report.faults == {
        "image named in Data_Entry_2017.csv but missing": ["00000001_001.png", "00000002_000.png"]
    }
    assert table["faulty"].tolist() == [False, True, True]


def test_no_image_folder_at_all(make_nih):
    folder = make_nih()
    shutil.rmtree(folder / "images")
    table, report = read(folder)
    assert table["faulty"].all()
    assert len(report.faults["image named in Data_Entry_2017.csv but missing"]) == 3


def test_surplus_images_are_left_out_and_noted(make_nih, write_film):
    folder = make_nih()
    write_film(folder / "images" / "other.png")
    (folder / "images" / "._00000001_000.png").touch()
    (folder / "images" / "Thumbs.db").touch()
    table, report = read(folder)
    assert table["image"].tolist() == FILMS
    assert report.notes == {"image not named in Data_Entry_2017.csv left out": 1}
    assert not report.is_faulty


def test_same_name_in_two_image_folders_is_a_fault(make_nih):
    twice = [*FILMS, "images_001/images/00000001_001.png"]
    table, report = read(make_nih(images=twice))
    assert report.faults == {
        "same file name in two folders": [
            "images/00000001_001.png, images_001/images/00000001_001.png"
        ]
    }
    assert table["faulty"].tolist() == [False, True, False]


def test_film_without_a_finding_is_a_fault(make_nih):
    rows = ["a.png,,0,1,5,F,PA,6,8,1,1", "b.png,Mass,0,1,5,F,PA,6,8,1,1"]
    table, report = read(make_nih(rows))
    assert report.faults == {"film without a finding or No Finding": ["a.png"]}
    assert table["faulty"].tolist() == [True, False]


def test_what_is_not_read_is_named(make_nih, write_film):
    folder = make_nih()
    write_film(folder / "images" / "other.png")
    write_film(folder / "more" / "a.png")
    for name in ("images/a.zip", "notes.txt", "BBox_List_2017.csv", "README_CHESTXRAY.pdf"):
        (folder / name).touch()
    table, report = read(folder)
    assert table["image"].tolist() == FILMS
    assert "folder not read (1): more/ (images: 1). Move films" in str(report)
    assert "file not read (2): notes.txt, images/a.zip. Films end with" in str(report)
    assert "left out (1): images/other.png" in str(report)


def test_films_in_sub_folders_and_with_other_endings_are_found(make_nih):
    images = ["images/2020/00000001_000.PNG", "images/00000001_001.jfif", FILMS[2]]
    table, report = read(make_nih(images=images))
    assert table["image"].tolist() == images
    assert report.repairs == {"image found under another spelling": 2}
    assert report.notes == {"film without a usual ending (.png, .jpg …) read": 1}
    assert not report.is_faulty


def test_split_lists_name_films_in_other_spellings(make_nih):
    folder = make_nih()
    (folder / "train_val_list.txt").write_text("00000001_000.PNG\n00000001_001\n")
    (folder / "test_list.txt").write_text("00000002_000.png\n")
    assert read(folder)[0]["split"].tolist() == ["train", "train", "test"]


def test_names_of_lists_and_films_without_each_other_are_shown(make_nih):
    folder = make_nih()
    (folder / "test_list.txt").write_text("00000002_000.png\n00000099_000.png\n")
    _, report = read(folder)
    assert "none of the split lists (2): 00000001_000.png, 00000001_001.png" in str(report)
    assert "split list without a film (1): 00000099_000.png" in str(report)

import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from helpers.data.class_folders import read_class_folders
from helpers.data.report import Report

SAIN_MALADE = [
    "train/malade/a.png",
    "train/sain/b.png",
    "val/malade/c.png",
    "val/sain/d.png",
    "test/malade/e.png",
    "test/sain/f.png",
]
HEADER = "Image Index,Finding Labels,Patient ID,Patient Age,WEIGHTS\n"


def read(folder):
    report = Report()
    table = read_class_folders(folder, report)
    return table.set_index("image").sort_index(), report


def test_sain_and_malade(make_class_folders):
    table, report = read(make_class_folders(SAIN_MALADE))
    assert table.index.tolist() == sorted(SAIN_MALADE)
    said = {name: (row["split"], row["findings"]) for name, row in table.iterrows()}
    assert said["train/malade/a.png"] == ("train", "Unspecified")
    assert said["train/sain/b.png"] == ("train", "No Finding")
    assert said["val/malade/c.png"] == ("valid", "Unspecified")
    assert said["test/sain/f.png"] == ("test", "No Finding")
    assert str(report) == "Nothing to repair and nothing wrong."


def test_normal_and_pneumonia(make_class_folders):
    table, report = read(make_class_folders(["train/NORMAL/a.jpeg", "train/PNEUMONIA/b.jpeg"]))
    assert table["findings"].tolist() == ["No Finding", "Pneumonia"]
    assert not report.is_faulty


def test_val_and_valid_are_the_same_split(make_class_folders):
    images = [f"{s}/{c}/{s}{c}.png" for s in ("val", "valid") for c in ("sain", "malade")]
    table, _ = read(make_class_folders(images))
    assert table["split"].tolist() == ["valid"] * 4


def test_one_file_name_in_two_folders_is_fine_without_a_csv(make_class_folders):
    images = [f"{s}/{c}/1.png" for s in ("train", "test") for c in ("sain", "malade")]
    table, report = read(make_class_folders(images))
    assert len(table) == 4
    assert not report.is_faulty


def test_metadata_beside_the_folders(make_class_folders):
    metadata = HEADER + "a.png,Edema|Mass,1,58,0.5\ntest/sain/f.png,No Finding,2,7,2\n"
    table, report = read(make_class_folders(SAIN_MALADE, metadata=metadata))
    assert len(table) == 6
    assert table.loc[
        "train/malade/a.png", ["findings", "patient", "split", "age", "weight"]
    ].tolist() == [
        "Edema|Mass",
        "1",
        "train",
        58.0,
        0.5,
    ]
    assert table.loc["test/sain/f.png", "weight"] == 2.0
    assert table["patient"].notna().sum() == 2  # the other films stay, their metadata missing
    assert table.loc["val/malade/c.png", "findings"] == "Unspecified"
    assert report.notes == {"film without a row in metadata.csv": 4}
    assert not report.is_faulty


def test_metadata_without_findings_keeps_the_folders(make_class_folders):
    table, report = read(make_class_folders(SAIN_MALADE, metadata="image,sex\na.png,F\nb.png,M\n"))
    assert table["findings"].tolist() == ["Unspecified", "No Finding"] * 3
    assert table.loc["train/sain/b.png", "sex"] == "M"
    assert "weight" not in table.columns
    assert not report.is_faulty


@pytest.mark.parametrize(
    ("image", "findings", "agrees"),
    [
        ("sain/x.png", "No Finding", True),
        ("sain/x.png", "Pneumonia", False),
        ("sain/x.png", "Unspecified", False),
        ("malade/x.png", "Mass", True),
        ("malade/x.png", "Unspecified", True),
        ("malade/x.png", "No Finding", False),
        ("NORMAL/x.png", "Edema", False),
        ("PNEUMONIA/x.png", "Edema|Pneumonia", True),
        ("PNEUMONIA/x.png", "Unspecified", True),
        ("PNEUMONIA/x.png", "Edema", False),
        ("PNEUMONIA/x.png", "No Finding", False),
    ],
)
def test_findings_may_refine_but_not_contradict_the_folder(
    make_class_folders, image, findings, agrees
):
    other = {"sain": "malade", "malade": "sain", "NORMAL": "PNEUMONIA", "PNEUMONIA": "NORMAL"}
    images = [f"train/{image}", f"train/{other[image.split('/')[0]]}/y.png"]
    folder = make_class_folders(images, metadata=f"image,findings\nx.png,{findings}\n")
    table, report = read(folder)
    kind = "findings in metadata.csv contradict the class folder"
    assert report.faults == ({} if agrees else {kind: [f"train/{image}"]})
    assert table["faulty"].sum() == (not agrees)


def test_unspecified_in_the_csv_keeps_the_folders_pneumonia(make_class_folders):
    images = ["train/NORMAL/a.png", "train/PNEUMONIA/b.png"]
    table, _ = read(make_class_folders(images, metadata="image,findings\nb.png,Unspecified\n"))
    assert table.loc["train/PNEUMONIA/b.png", "findings"] == "Pneumonia"


def test_split_in_the_csv_may_not_contradict_the_folder(make_class_folders):
    metadata = "image,split\na.png,train\nc.png,val\ne.png,train\n"
    _, report = read(make_class_folders(SAIN_MALADE, metadata=metadata))
    kind = "split in metadata.csv contradicts the split folder"
    assert report.faults == {kind: ["test/malade/e.png"]}


def test_csv_name_that_means_two_films_is_a_fault(make_class_folders):
    images = ["train/sain/1.png", "train/malade/1.png"]
    _, report = read(make_class_folders(images, metadata="image,age\n1.png,5\n"))
    names = ["train/malade/1.png, train/sain/1.png"]
    assert report.faults == {"same file name in two folders": names}


def test_csv_that_names_a_film_by_path_and_by_name(make_class_folders):
    same = "image,age\na.png,5\ntrain/malade/a.png,5\n"
    table, report = read(make_class_folders(SAIN_MALADE, metadata=same))
    assert len(table) == 6
    assert report.repairs == {"repeated row dropped": 1}
    other = "image,age\na.png,5\ntrain/malade/a.png,6\n"
    _, report = read(make_class_folders(SAIN_MALADE, metadata=other))
    kind = "rows about one image that contradict each other"
    assert report.faults == {kind: ["train/malade/a.png"]}


def test_missing_image_is_a_fault(make_class_folders):
    table, report = read(make_class_folders(SAIN_MALADE, metadata="image,age\nz.png,5\n"))
    assert report.faults == {"image named in metadata.csv but missing": ["z.png"]}
    assert table["faulty"].sum() == 1


def test_empty_class_is_a_fault(make_class_folders):
    folder = make_class_folders(SAIN_MALADE)
    (folder / "test" / "sain" / "f.png").unlink()
    (folder / "test" / "sain" / ".DS_Store").touch()
    _, report = read(folder)
    assert report.faults == {"class folder without an image": ["test/sain"]}


def test_folders_that_lack_or_are_unknown_are_faults(make_class_folders):
    folder = make_class_folders(
        [*SAIN_MALADE, "train/malad/g.png", "valid/sain/h.png", "test/i.png"]
    )
    (folder / "__MACOSX").mkdir()
    _, report = read(folder)
    assert report.faults == {
        "unknown class folder": ["train/malad (did you mean malade?)"],
        "class folder missing": ["valid/malade"],
    }
    assert report.notes == {
        "image outside the class folders left out": 1,
        "folders read as one split": 1,
    }


def test_split_folder_without_classes_is_a_fault(make_class_folders):
    folder = make_class_folders(["train/NORMAL/a.png", "train/PNEUMONIA/b.png"])
    (folder / "test").mkdir()
    _, report = read(folder)
    assert report.faults == {"split folder without class folders": ["test"]}


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("Training", "train"),
        ("entraînement", "train"),
        ("validation", "valid"),
        ("dev", "valid"),
        ("TESTING", "test"),
    ],
)
@pytest.mark.parametrize(
    ("healthy", "ill", "finding"),
    [
        ("Normal", "Abnormal", "Unspecified"),
        ("sains", "malades", "Unspecified"),
        ("négative", "Positive", "Unspecified"),
        ("healthy", "pathological", "Unspecified"),
        ("No Finding", "Épanchement pleural", "Effusion"),
        ("normal", "Pneumonie", "Pneumonia"),
        ("Normal", "Viral Pneumonia", "Pneumonia"),
    ],
)
def test_usual_words_for_splits_and_classes(
    make_class_folders, folder, split, healthy, ill, finding
):
    images = [f"{folder}/{healthy}/a.png", f"{folder}/{ill}/b.png"]
    table, report = read(make_class_folders(images))
    assert table["split"].tolist() == [split] * 2
    assert set(table["findings"]) == {"No Finding", finding}
    assert str(report) == "Nothing to repair and nothing wrong."


def test_folders_of_one_split_are_read_as_one_and_named(make_class_folders):
    images = [f"{s}/{c}/{s}{c}.png" for s in ("train", "training") for c in ("sain", "malade")]
    table, report = read(make_class_folders(images))
    assert table["split"].tolist() == ["train"] * 4
    assert str(report) == "- noted: folders read as one split (1): train and training (train)"


def test_classes_without_splits(make_class_folders, write_film):
    folder = make_class_folders(["NORMAL/a.png", "PNEUMONIA/b.png"])
    table, report = read(folder)
    assert table["findings"].tolist() == ["No Finding", "Pneumonia"]
    assert table["split"].isna().all()
    assert str(report) == "Nothing to repair and nothing wrong."
    write_film(folder / "c.png")
    write_film(folder / "NORMAL2" / "d.png")
    (folder / "docs").mkdir()
    _, report = read(folder)
    assert report.faults == {"unknown class folder": ["NORMAL2 (did you mean normal?)"]}
    assert report.notes == {"folder not read": 1, "image outside the class folders left out": 1}


def test_collection_in_another_folder_is_found(make_class_folders):
    images = [f"films/export/{image}" for image in SAIN_MALADE]
    folder = make_class_folders(images)
    (folder / "films" / "__MACOSX").mkdir()
    (folder / "films" / "metadata.csv").write_text("image,age\na.png,5\n")
    table, report = read(folder)
    assert table.index.tolist() == sorted(images)
    assert table.loc["films/export/train/malade/a.png", "age"] == 5
    assert report.notes == {"film without a row in films/metadata.csv": 5}


def test_films_with_rare_or_no_endings_are_read_and_named(make_class_folders):
    folder = make_class_folders(SAIN_MALADE)
    film = Image.fromarray(np.zeros((4, 4), np.uint8))
    for name, kind in [("g.jfif", "JPEG"), ("h", "PNG"), ("1.2.840.113", "TIFF"), ("j", "BMP")]:
        film.save(folder / "train" / "sain" / name, format=kind)
    table, report = read(folder)
    assert len(table) == 10
    assert report.notes == {"film without a usual ending (.png, .jpg …) read": 4}
    assert "train/sain/1.2.840.113, train/sain/g.jfif, train/sain/h, …" in str(report)


def test_files_that_are_no_films_are_named_with_what_to_do(make_class_folders):
    folder = make_class_folders(SAIN_MALADE)
    for name in ("train/sain/g.zip", "train/sain/h", "train/list.txt", "films.csv"):
        (folder / name).write_text("no film")
    for name in ("README.md", "LICENSE", ".hidden"):
        (folder / name).touch()
    table, report = read(folder)
    assert len(table) == 6
    assert report.notes == {"file not read": 4}
    assert "not read (4): train/list.txt, train/sain/g.zip, train/sain/h, …" in str(report)
    assert "Films end with .png, .jpg" in str(report)


def test_films_in_sub_folders_of_a_class_are_read_and_named(make_class_folders):
    more = ["train/malade/virus/g.png", "train/malade/virus/2020/h.png"]
    table, report = read(make_class_folders([*SAIN_MALADE, *more]))
    assert table.loc[more, "findings"].tolist() == ["Unspecified"] * 2
    assert report.notes == {"film in a sub-folder of its class read": 2}
    assert more[0] in str(report)


@pytest.mark.parametrize("inner", ["malade", "test", "Pneumonie"])
def test_films_below_two_classes_or_splits_are_a_fault(make_class_folders, inner):
    film = f"train/sain/{inner}/g.png"
    table, report = read(make_class_folders([*SAIN_MALADE, film]))
    assert film not in table.index
    assert report.faults == {"film below two classes or splits": [film]}


def test_masks_and_links_below_a_class_are_named(make_class_folders, tmp_path, write_film):
    folder = make_class_folders([*SAIN_MALADE, "train/sain/masks/b.png"])
    write_film(tmp_path / "elsewhere" / "x.png")
    (folder / "train" / "sain" / "more").symlink_to(tmp_path / "elsewhere")
    table, report = read(folder)
    assert len(table) == 6
    assert report.notes == {"folder not read": 2}
    assert "train/sain/masks/ (images: 1), train/sain/more/ (images: 1). Move films" in str(report)


def test_split_folders_spelled_wrong_are_a_fault_with_a_suggestion(make_class_folders):
    _, report = read(make_class_folders([*SAIN_MALADE, "trainn/sain/g.png", "extra/sain/h.png"]))
    assert report.faults == {
        "folder of films that is no split folder": ["extra", "trainn (did you mean train?)"]
    }


def test_class_folders_beside_the_splits_are_a_fault(make_class_folders):
    _, report = read(make_class_folders([*SAIN_MALADE, "malade/g.png"]))
    assert report.faults == {"folder of films that is no split folder": ["malade"]}


def test_other_folders_are_named_with_their_images(make_class_folders):
    folder = make_class_folders([*SAIN_MALADE, "thumbnails/g.png", "thumbnails/h.png"])
    (folder / "docs").mkdir()
    (folder / "train" / "docs").mkdir()
    _, report = read(folder)
    assert report.notes == {"folder not read": 3}
    assert "train/docs/, docs/, thumbnails/ (images: 2)." in str(report)


def test_a_copy_of_the_films_is_noted(make_class_folders):
    folder = make_class_folders(SAIN_MALADE)
    shutil.copytree(folder, folder.parent / "again")
    shutil.move(folder.parent / "again", folder / "classes")
    _, report = read(folder)
    assert str(report) == "- noted: copy of the films not read (1): classes/"


@pytest.mark.parametrize("name", ["a.PNG", "a", "A.jpg", "train/malade/A.Png", "a.dcm"])
def test_names_that_can_only_mean_one_file_are_found(make_class_folders, name):
    table, report = read(make_class_folders(SAIN_MALADE, metadata=f"image,age\n{name},5\n"))
    assert table.loc["train/malade/a.png", "age"] == 5
    assert report.repairs == {"image found under another spelling": 1}
    assert f"{name} is train/malade/a.png" in str(report)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_with_accents_are_found_in_both_forms(make_class_folders, form):
    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    image = unicodedata.normalize(form, "train/sain/élève.png")
    name = unicodedata.normalize(other, "élève.png")
    folder = make_class_folders([*SAIN_MALADE, image], metadata=f"image,age\n{name},5\n")
    table, report = read(folder)
    assert table.loc[image, "age"] == 5
    assert not report.is_faulty


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        (["g.bmp"], "g.bmp (did you mean train/sain/g.jpg?)"),  # g.jpg and g.png
        (["a.png", "A.png"], "A.png (did you mean train/malade/a.png?)"),  # a.png is taken
        (["film_12.png"], "film_12.png (did you mean test/sain/fillm_12.png?)"),
        (["film_13.png"], "film_13.png"),  # another number is another film
    ],
)
def test_near_names_are_suggested_where_several_are_possible(make_class_folders, rows, named):
    images = [*SAIN_MALADE, "train/sain/g.jpg", "train/sain/g.png", "test/sain/fillm_12.png"]
    _, report = read(make_class_folders(images, metadata="\n".join(["image", *rows])))
    assert report.faults == {"image named in metadata.csv but missing": [named]}


def test_films_without_a_row_are_named(make_class_folders):
    _, report = read(make_class_folders(SAIN_MALADE, metadata="image,age\na.png,5\n"))
    assert "film without a row in metadata.csv (5): " in str(report)
    assert "train/sain/b.png" in str(report)

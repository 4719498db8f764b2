import pytest

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

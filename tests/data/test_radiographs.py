import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data.images import resize_image
from helpers.data.metadata import COLUMNS
from helpers.data.radiographs import read_radiographs
from helpers.data.tasks import label_films

ROW = "{name},{findings},0,{patient},{age},F,PA,2500,2048,0.171,0.171"


def row(name, findings="Mass", patient=1, age=50):
    return ROW.format(name=name, findings=findings, patient=patient, age=age)


def soil_image(path, kind):
    """Write the same grey film in an unusual format; return how a reader should repair it."""
    grey = np.tile(np.arange(0, 240, 20, dtype=np.uint8), (12, 1))
    image = Image.fromarray(grey)
    options = {}
    if kind == "EXIF rotation applied":
        exif = Image.Exif()
        exif[0x0112] = 3
        image, options = image.rotate(180), {"exif": exif}
    elif kind == "16-bit image scaled to 8 bits":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    elif kind == "CMYK image turned to greyscale":
        image = image.convert("CMYK")
    elif kind == "palette image turned to greyscale":
        image = image.convert("P")
    elif kind == "image with transparency turned to greyscale":
        image = image.convert("RGBA")
    elif kind == "color image turned to greyscale":
        image = image.convert("RGB")
    image.save(path, format="TIFF" if image.mode == "CMYK" else None, **options)
    return grey


REPAIRED_IMAGES = [
    "EXIF rotation applied",
    "16-bit image scaled to 8 bits",
    "CMYK image turned to greyscale",
    "palette image turned to greyscale",
    "image with transparency turned to greyscale",
    "color image turned to greyscale",
]


def test_nih_is_detected_announced_and_complete(make_nih, capsys):
    radiographs = read_radiographs(make_nih())
    assert radiographs.layout == "nih"
    assert len(radiographs) == 3
    assert tuple(radiographs.table.columns) == COLUMNS
    assert isinstance(radiographs.table.index, pd.RangeIndex)
    said = capsys.readouterr().out
    assert said == "NIH ChestX-ray14 layout: 3 films of 2 patients in 'nih'.\n"
    assert str(radiographs) == said.strip()


def test_descriptions_name_no_full_path(make_nih, tmp_path):
    radiographs = read_radiographs(make_nih())
    assert str(tmp_path) not in str(radiographs) + repr(radiographs)


def test_class_folders_are_detected(make_class_folders, capsys):
    folder = make_class_folders(["train/sain/a.png", "train/malade/b.png"])
    radiographs = read_radiographs(folder)
    assert radiographs.layout == "class folders"
    assert "Class folders: 2 films, patients unknown, in 'classes'" in capsys.readouterr().out
    assert radiographs.image("train/sain/a.png").shape == (6, 8)


def test_medmnist_is_detected_and_loads_arrays_once(tmp_path, rng, capsys):
    films = rng.integers(0, 256, (3, 4, 4), dtype=np.uint8)
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, train_images=films, train_labels=np.array([[0], [1], [1]]))
    radiographs = read_radiographs(path)
    assert radiographs.layout == "medmnist"
    assert "MedMNIST arrays: 3 films" in capsys.readouterr().out
    np.testing.assert_array_equal(radiographs.image(2), films[2])
    path.unlink()  # the array is in memory by now
    np.testing.assert_array_equal(radiographs.image("train/0"), films[0])


def test_image_by_position_name_and_from_threads(make_nih):
    radiographs = read_radiographs(make_nih())
    film = radiographs.image(0)
    assert film.dtype == np.uint8
    np.testing.assert_array_equal(film[1:], np.arange(8, 48).reshape(5, 8))
    np.testing.assert_array_equal(radiographs.image("images/00000001_000.png"), film)
    with ThreadPoolExecutor(4) as pool:
        films = list(pool.map(radiographs.image, [0] * 8))
    assert all(np.array_equal(other, film) for other in films)
    with pytest.raises(IndexError):
        radiographs.image(3)


def test_radiographs_are_frozen_and_can_be_copied(make_nih):
    radiographs = read_radiographs(make_nih())
    with pytest.raises(AttributeError):
        radiographs.layout = "other"
    for other in (copy.deepcopy(radiographs), pickle.loads(pickle.dumps(radiographs))):
        pd.testing.assert_frame_equal(other.table, radiographs.table)
        np.testing.assert_array_equal(other.image(1), radiographs.image(1))


def test_environment_variable_selects_the_source(make_nih, monkeypatch):
    folder = make_nih()
    monkeypatch.setenv("CHEST_XRAYS", str(folder))
    assert read_radiographs().source == folder.resolve()
    monkeypatch.chdir(folder.parent)
    monkeypatch.setenv("CHEST_XRAYS", "nih")
    assert read_radiographs().source == folder.resolve()


def test_a_word_downloads_pneumoniamnist(make_nih, monkeypatch, tmp_path):
    folder = make_nih()
    monkeypatch.setattr("helpers.data.radiographs.fetch_pneumoniamnist", lambda: folder)
    monkeypatch.setenv("CHEST_XRAYS", "pneumoniamnist")
    monkeypatch.chdir(tmp_path)
    assert read_radiographs().source == folder.resolve()
    assert not read_radiographs().is_synthetic
    # A folder of that name is the user's own.
    make_nih().rename(tmp_path / "pneumoniamnist")
    assert read_radiographs().source == (tmp_path / "pneumoniamnist").resolve()


@pytest.mark.parametrize("value", [None, ""])
def test_without_a_source_the_synthetic_radiographs_are_read(make_nih, monkeypatch, value):
    folder = make_nih()
    monkeypatch.setattr("helpers.data.radiographs.make_radiographs", lambda: folder)
    monkeypatch.delenv("CHEST_XRAYS", raising=False)
    if value is not None:
        monkeypatch.setenv("CHEST_XRAYS", value)
    assert read_radiographs().source == folder.resolve()


def test_source_that_is_not_there(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"Expected source to name an existing.*CHEST_XRAYS"):
        read_radiographs(tmp_path / "nowhere")
    monkeypatch.setenv("CHEST_XRAYS", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="Expected CHEST_XRAYS to name an existing"):
        read_radiographs()


def test_folder_without_a_layout(tmp_path):
    with pytest.raises(ValueError, match="one of these layouts"):
        read_radiographs(tmp_path)


@pytest.mark.parametrize("kind", REPAIRED_IMAGES)
def test_unusual_images_are_repaired_and_counted(make_nih, kind):
    folder = make_nih([row("a.png"), row("b.png")])
    grey = soil_image(folder / "images" / "a.png", kind)
    soil_image(folder / "images" / "b.png", "")
    radiographs = read_radiographs(folder)
    assert radiographs.report.repairs == {kind: 1}
    np.testing.assert_allclose(radiographs.image(0).astype(int), grey, atol=2)
    assert f"repaired: {kind} (1)" in str(radiographs)


def test_other_sizes_are_noted_and_resized(make_nih):
    folder = make_nih([row("a.png"), row("b.png")])
    Image.fromarray(np.full((90, 70), 9, np.uint8)).save(folder / "images" / "a.png")
    radiographs = read_radiographs(folder)
    assert radiographs.report.notes == {"different image sizes": 2}
    films = [resize_image(radiographs.image(i), 32) for i in range(2)]
    assert [film.shape for film in films] == [(32, 32)] * 2


@pytest.mark.parametrize(
    ("encoding", "line_end"),
    [("utf-8-sig", "\n"), ("utf-8", "\r\n"), ("utf-16", "\r\n"), ("cp1252", "\n")],
)
def test_csv_of_other_encodings_and_line_ends(make_nih, encoding, line_end):
    folder = make_nih()
    clean = read_radiographs(folder)
    csv = folder / "Data_Entry_2017.csv"
    text = csv.read_text().replace("PixelSpacing[x,y]", "PixelSpacing[x,y],Hospital")
    lines = text.strip().split("\n")
    lines = lines[:1] + [f"{line},Saint-Éloi" for line in lines[1:]]
    csv.write_bytes(line_end.join(lines).encode(encoding))
    radiographs = read_radiographs(folder)
    assert radiographs.table["hospital"].tolist() == ["Saint-Éloi"] * 3
    pd.testing.assert_frame_equal(
        radiographs.table.drop(columns="hospital"), clean.table.drop(columns="hospital")
    )
    assert radiographs.report.repairs


def test_ages_such_as_412_become_missing_and_the_film_stays(make_nih):
    radiographs = read_radiographs(make_nih([row("a.png", age=412), row("b.png", age="058Y")]))
    assert len(radiographs) == 2
    assert radiographs.table["age"].isna().tolist() == [True, False]
    assert radiographs.table["age"][1] == 58
    assert sum(radiographs.report.repairs.values()) == 1
    assert radiographs.report.notes == {"age outside 0-120 years set to missing": 1}


@pytest.fixture
def dirty_nih(make_nih):
    """Return a collection with one clean film, one that can be repaired and six faulty ones."""
    folder = make_nih(
        [
            row("clean.png"),
            row("old.png", age=412),
            row("truncated.png"),
            row("text.png"),
            row("missing.png"),
            row("unknown.png", findings="Covid"),
            row("both.png", findings="No Finding|Mass"),
            row("twice.png", age=5),
            row("twice.png", age=6),
        ]
    )
    images = folder / "images"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(images / "truncated.png")
    data = (images / "truncated.png").read_bytes()
    (images / "truncated.png").write_bytes(data[:1000])
    (images / "text.png").write_text("not an image")
    (images / "missing.png").unlink()
    (images / "surplus.png").write_bytes(data)
    return folder


def test_one_report_tells_everything_that_is_wrong(dirty_nih):
    with pytest.raises(ValueError, match="Expected radiographs without faults") as caught:
        read_radiographs(dirty_nih)
    text = str(caught.value)
    for kind, name in [
        ("unreadable image (2)", "images/truncated.png"),
        ("unreadable image (2)", "images/text.png"),
        ("image named in Data_Entry_2017.csv but missing (1)", "missing.png"),
        ("unknown finding (1)", "unknown.png (Covid)"),
        ("No Finding together with another finding (1)", "both.png"),
        ("rows about one image that contradict each other (1)", "twice.png"),
    ]:
        line = next(line for line in text.split("\n") if kind in line)
        assert name in line
    assert "old.png" not in text
    assert "surplus" not in text
    assert "Fix the files named above, or read with strict=False" in text


def test_not_strict_drops_and_reports(dirty_nih, capsys):
    radiographs = read_radiographs(dirty_nih, strict=False)
    assert radiographs.table["image"].tolist() == ["images/clean.png", "images/old.png"]
    assert isinstance(radiographs.table.index, pd.RangeIndex)
    assert radiographs.report.dropped == 7
    said = capsys.readouterr().out
    assert "films left out: 7" in said
    assert "wrong: unknown finding (1): unknown.png (Covid)" in said
    assert "noted: image not named in Data_Entry_2017.csv left out (1)" in said
    assert "noted: age outside 0-120 years set to missing (1): '412'" in said


def test_a_film_with_two_faults_is_named_for_both(make_nih):
    folder = make_nih([row("a.png", findings="Covid"), row("b.png")])
    (folder / "images" / "a.png").write_text("not an image")
    with pytest.raises(
        ValueError, match=r"unknown finding \(1\): a.png(?s:.)*unreadable image \(1\)"
    ):
        read_radiographs(folder)
    assert read_radiographs(folder, strict=False).report.dropped == 1


def test_patients_of_each_hospital(make_nih):
    header = "Image Index,Finding Labels,Patient ID,Site"
    folder = make_nih(["a.png,Mass,1,North", "b.png,No Finding,1,South"], header=header)
    assert read_radiographs(folder).table["patient"].tolist() == ["1", "1"]
    table = read_radiographs(folder, patients="per hospital").table
    assert table["patient"].tolist() == ["North/1", "South/1"]
    assert table["patient"].dtype == "str"
    with pytest.raises(ValueError, match=r"'everywhere' or 'per hospital'\. Received 'no'"):
        read_radiographs(folder, patients="no")


def test_notes_with_names_are_printed(make_class_folders, capsys):
    folder = make_class_folders(["train/sain/a.png", "train/malade/b.png", "train/c.png"])
    read_radiographs(folder)
    assert "- noted: image outside the class folders left out (1): train/c.png. Move it" in (
        capsys.readouterr().out
    )


def test_unchecked_images_are_not_decoded(make_nih):
    folder = make_nih()
    (folder / "images" / "00000001_000.png").write_text("not an image")
    assert len(read_radiographs(folder, check_images=False)) == 3


def test_empty_class_refuses_or_is_reported(make_class_folders, capsys):
    folder = make_class_folders(["train/sain/a.png", "train/malade/b.png", "test/sain/c.png"])
    (folder / "test" / "malade").mkdir()
    with pytest.raises(ValueError, match=r"class folder without an image \(1\): test/malade"):
        read_radiographs(folder)
    assert len(read_radiographs(folder, strict=False)) == 3
    assert "class folder without an image (1): test/malade" in capsys.readouterr().out


def test_truncated_film_in_class_folders(make_class_folders):
    folder = make_class_folders(["train/sain/a.png", "train/malade/b.png"])
    (folder / "train" / "sain" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"unreadable image \(1\): train/sain/a.png"):
        read_radiographs(folder)


def test_nothing_left_is_refused_even_when_not_strict(make_nih):
    with pytest.raises(ValueError, match="at least one film"):
        read_radiographs(make_nih([row("a.png", findings="Covid")]), strict=False)


def test_csv_without_a_row_is_refused(make_nih):
    with pytest.raises(ValueError, match="at least one film"):
        read_radiographs(make_nih([]))


def test_reading_twice_gives_the_same_table(make_nih):
    folder = make_nih()
    pd.testing.assert_frame_equal(read_radiographs(folder).table, read_radiographs(folder).table)


def test_real_nih_sample(nih_sample):
    radiographs = read_radiographs(nih_sample)
    table = radiographs.table
    assert (len(table), table["patient"].nunique()) == (631, 474)
    (note,) = radiographs.report.notes  # of one patient, and so the table has no more columns
    assert note == "equal films (images/00002658_001.png = images/00002658_002.png)"
    assert table[["age", "sex", "view", "findings", "follow_up"]].notna().all(axis=None)
    assert table[["hospital", "split"]].isna().all(axis=None)
    assert radiographs.image(0).shape == (256, 256)
    labels = label_films(table, "pneumonia vs no finding")
    assert (labels.sum(), (labels == 0).sum()) == (246, 293)


def test_real_pneumoniamnist(pneumoniamnist):
    radiographs = read_radiographs(pneumoniamnist)
    table = radiographs.table
    assert table["split"].value_counts().to_dict() == {"train": 4184, "valid": 524, "test": 524}
    assert table[["patient", "age", "sex", "view", "hospital"]].isna().all(axis=None)
    with np.load(pneumoniamnist) as arrays:
        np.testing.assert_array_equal(radiographs.image("test/523"), arrays["test_images"][523])
        labels = label_films(table[table["split"] == "valid"], "pneumonia vs no finding")
        np.testing.assert_array_equal(labels, arrays["val_labels"][:, 0])

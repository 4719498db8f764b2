"""Hospitals as given: several folders, each in a layout of its own."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from helpers.data.hospitals import make_hospitals
from helpers.data.images import resize_image
from helpers.data.radiographs import read_radiographs
from helpers.data.samples import prepare_samples
from helpers.data.tasks import label_films
from tests.data.collections import write_hospital_folders, write_hospital_list, write_plain_label


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("given") / "all"
    write_hospital_folders(folder, size=8)
    return folder


@pytest.fixture(scope="module")
def films(folder):
    return read_radiographs(folder)


@pytest.fixture
def make_hospital(tmp_path, write_film):
    """Return a function that writes a hospital of two patients with class folders."""

    def make(place):
        for image in ("train/sain/1.png", "train/malade/2.png"):
            write_film(tmp_path / place / image)
        (tmp_path / place / "metadata.csv").write_text(
            "image,patient\ntrain/sain/1.png,1\ntrain/malade/2.png,2\n"
        )
        return tmp_path / place

    return make


def test_a_folder_of_hospitals_in_three_layouts(films):
    table = films.table
    assert films.layout == "hospitals"
    assert table["hospital"].value_counts().to_dict() == {"north": 120, "south": 120, "west": 120}
    assert table["patient"].nunique() == 180  # each hospital numbers its own from 1
    assert (table["patient"].str.split("/").str[0] == table["hospital"]).all()
    assert (table["image"].str.split("/").str[0] == table["hospital"]).all()
    assert str(films).startswith(
        "Hospitals as given: 360 films of 180 patients in 'north', 'south'"
    )


def test_paths_in_one_text_a_list_and_a_folder_are_the_same(films, folder, tmp_path, monkeypatch):
    places = [folder / name for name in ("north", "south", "west")]
    assert read_radiographs(places).table.equals(films.table)
    monkeypatch.setenv("CHEST_XRAYS", os.pathsep.join(f"{place}/" for place in places))
    assert read_radiographs().table.equals(films.table)
    assert write_hospital_list(tmp_path, size=8).count(os.pathsep) == 2


def test_images_are_located_and_read(films, folder):
    for name in ("north/sample/images/00000001_000.png", "west/train/malade/60-0.png"):
        if (folder / name).exists():
            assert films.locate(name) == (folder / name).resolve()
            np.testing.assert_array_equal(films.image(name).shape, (8, 8))
    with pytest.raises(ValueError, match=r"Expected a film of north, south, west"):
        films.locate("east/1.png")


def test_lines_of_the_report_name_the_hospital(films):
    assert "noted: north: column not used (1): OriginalImageWidth\n" in str(films.report)
    assert "noted: south: column not used (1): scanner" in str(films.report)
    assert films.report.repairs == {"north: age such as 058Y or 011M converted to years": 120}


def test_official_splits_of_one_hospital_are_kept_and_others_are_made(films):
    labels = label_films(films.table, "any finding vs none")
    made = make_hospitals(films.table, labels)
    west = made[made["hospital"] == "west"]
    assert west["split"].equals(films.table["split"][west.index])
    assert set(made["split"][made["hospital"] == "north"]) == {"train", "valid", "test"}


def test_samples_of_given_hospitals(films, tmp_path):
    labels = label_films(films.table, "any finding vs none")
    made = make_hospitals(films.table, labels)
    samples = prepare_samples(films, made, labels[made.index], size=8, folder=tmp_path / "samples")
    assert set(samples) == {"north", "south", "west"}
    image = made["image"][(made["hospital"] == "west") & (made["split"] == "test")].iloc[0]
    stored = np.load(samples["west"]["test"] / "images.npy")[0, :, :, 0]
    np.testing.assert_array_equal(stored, films.image(image))


def test_an_array_file_is_a_hospital_too(make_hospital, tmp_path, rng):
    arrays = rng.integers(0, 256, (3, 4, 4), dtype=np.uint8)
    path = tmp_path / "pneumoniamnist.npz"
    np.savez(path, train_images=arrays, train_labels=np.array([[0], [1], [1]]))
    films = read_radiographs([make_hospital("north"), path])
    assert films.locate("pneumoniamnist/train/2") == path.resolve()
    np.testing.assert_array_equal(films.image("pneumoniamnist/train/2"), arrays[2])
    assert films.table["patient"].fillna("").tolist() == ["north/1", "north/2", "", "", ""]
    labels = label_films(films.table, "any finding vs none")
    table = films.table.assign(split="train")
    samples = prepare_samples(films, table, labels, size=4, folder=tmp_path / "samples")
    stored = np.load(samples["pneumoniamnist"]["train"] / "images.npy")
    np.testing.assert_array_equal(stored[..., 0], arrays)


def test_each_hospital_has_its_own_white_level(make_hospital, tmp_path):
    """The scanner of one hospital must not darken the films of another."""
    levels = {"east": 3000, "north": 65000, "south": None}
    for hospital, highest in levels.items():
        folder = make_hospital(f"all/{hospital}")
        for number, name in enumerate(("train/sain/1.png", "train/malade/2.png") * bool(highest)):
            film = np.linspace(0, highest, 48).astype(np.uint16).reshape(6, 8)
            Image.fromarray(film[:: 1 - 2 * number].copy()).save(folder / name)
    films = read_radiographs(tmp_path / "all")
    assert films.white_levels == {"east": 4095, "north": 65535}
    for hospital, brightest in (("east", 3000 * 255 / 4095), ("north", 65000 / 257)):
        name = f"{hospital}/train/sain/1.png"
        assert films.image(name).max() == round(brightest)
        alone = read_radiographs(tmp_path / "all" / hospital)
        np.testing.assert_array_equal(films.image(name), alone.image("train/sain/1.png"))
    notes = {"east: 16-bit image with grey levels from 0 to 4,095": 2}
    notes |= {"north: 16-bit image with grey levels from 0 to 65,535": 2}
    assert films.report.notes == notes
    table = films.table.assign(split="train")
    labels = label_films(table, "any finding vs none")
    samples = prepare_samples(films, table, labels, size=8, folder=tmp_path / "samples")
    stored = np.load(samples["east"]["train"] / "images.npy")[0, :, :, 0]
    first = films.image(table["image"][table["hospital"] == "east"].iloc[0])
    np.testing.assert_array_equal(stored, resize_image(first, 8))


def test_equal_films_of_an_array_file_and_a_folder(make_hospital, tmp_path, rng):
    arrays = rng.integers(0, 256, (3, 6, 8), dtype=np.uint8)
    arrays[2] = arrays[0]
    np.savez(tmp_path / "films.npz", train_images=arrays, train_labels=np.array([[0], [1], [1]]))
    Image.fromarray(arrays[1]).save(make_hospital("north") / "train/sain/1.png")
    films = read_radiographs([tmp_path / "north", tmp_path / "films.npz"])
    table = films.table.set_index("image")["same_film"].dropna()
    again = {"films/train/1": "north/train/sain/1.png", "films/train/2": "films/train/0"}
    assert table.to_dict() == again | {first: first for first in again.values()}
    (leak,) = [kind for kind in films.report.notes if kind.startswith("LEAK")]
    assert "different hospitals (north/train/sain/1.png = films/train/1)" in leak


def test_equal_films_hinder_no_split(tmp_path):
    """Given hospitals and official splits stay; equal films share every split that is made."""
    folder = Path(write_hospital_folders(tmp_path, size=8))
    films = sorted((folder / "south" / "films").iterdir())
    for number in range(9):  # patients of one hospital
        shutil.copy(films[2 * number], films[-2 * number - 1])
    shutil.copy(films[0], folder / "north" / "sample" / "images" / "00000001_000.png")
    for kind in ("sain", "malade"):
        shutil.copy(films[1], next((folder / "west" / "train" / kind).iterdir()))
        shutil.copy(films[1], next((folder / "west" / "test" / kind).iterdir()))
    table = read_radiographs(folder).table
    assert table["same_film"].nunique() == 10
    for official in (table["split"], table["split"].replace("valid", "train"), None):
        given = table.assign(split=official)
        made = make_hospitals(given, label_films(given, "any finding vs none"))
        assert made["hospital"].equals(table["hospital"])
        south = made[made["hospital"] == "south"]
        assert (south.groupby("same_film")["split"].nunique() == 1).all()
        if official is not None:
            test = official == "test"
            assert (made["split"][test] == "test").all()


def test_equal_films_of_16_bits_are_found_across_hospitals(make_hospital):
    film = np.linspace(0, 3000, 48).astype(np.uint16).reshape(6, 8)
    places = [make_hospital("north"), make_hospital("east")]
    for place in places:
        Image.fromarray(film).save(place / "train/sain/1.png")
    Image.fromarray(film[::-1] * 20).save(places[0] / "train/malade/2.png")
    films = read_radiographs(places)
    assert films.white_levels == {"north": 65535, "east": 4095}
    assert any("LEAK: equal films in different hospitals" in kind for kind in films.report.notes)


def test_a_folder_without_a_layout_beside_hospitals_is_named(make_hospital, tmp_path):
    make_hospital("all/north"), make_hospital("all/south")
    (tmp_path / "all" / "east").mkdir()
    (tmp_path / "all" / "notes.txt").touch()
    with pytest.raises(ValueError, match=r"folder without a layout beside hospitals \(1\): east"):
        read_radiographs(tmp_path / "all")
    films = read_radiographs(tmp_path / "all", strict=False)
    assert set(films.table["hospital"]) == {"north", "south"}
    assert films.report.notes == {"file beside the hospitals not read": 1}


def test_a_hospital_that_cannot_be_read_is_named(make_hospital, tmp_path):
    (tmp_path / "east").mkdir()
    places = [make_hospital("north"), tmp_path / "east"]
    with pytest.raises(ValueError, match=r"hospital that cannot be read \(1\): east \(Expected"):
        read_radiographs(places)
    assert len(read_radiographs(places, strict=False)) == 2


def test_faults_of_all_hospitals_are_in_one_report(make_hospital):
    places = [make_hospital("north"), make_hospital("south")]
    for place in places:
        (place / "train/sain/1.png").write_text("no image")
        (place / "train" / "sain" / "1.png").chmod(0o600)
    with pytest.raises(ValueError, match=r"\(2\): north/train/sain/1.png .*south/train/sain/1.png"):
        read_radiographs(places)


def test_hospitals_of_one_name_and_of_odd_names(make_hospital):
    places = [make_hospital(p) for p in ("1/films", "2/films", "3/Hôpital n°1 (CHU)", "4/FILMS")]
    films = read_radiographs(places)
    names = ["films", "films-2", "Hôpital n_1 _CHU", "FILMS-3"]
    assert list(films.hospitals) == names
    table = films.table.assign(split="train")
    labels = label_films(table, "any finding vs none")
    assert set(prepare_samples(films, table, labels, size=4)) == set(names)


def test_the_same_place_twice_and_no_place_are_refused(make_hospital):
    place = make_hospital("north")
    with pytest.raises(ValueError, match=r"or different ones\. Received \['north', 'north'\]"):
        read_radiographs([place, f"{place}/"])
    with pytest.raises(ValueError, match=r"Received \[\]"):
        read_radiographs([])


def test_a_place_that_is_not_there_is_named(make_hospital, tmp_path, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS", f"{make_hospital('north')}{os.pathsep}{tmp_path}/nowhere")
    with pytest.raises(ValueError, match=r"Expected CHEST_XRAYS to name .*nowhere', which is not"):
        read_radiographs()


def test_a_column_hospital_inside_a_given_hospital_is_noted(make_hospital):
    places = [make_hospital("north"), make_hospital("south")]
    (places[0] / "metadata.csv").write_text("image,hospital\ntrain/sain/1.png,Ward\n")
    films = read_radiographs(places)
    assert films.table["hospital"].tolist() == ["north", "north", "south", "south"]
    assert films.report.notes["north: column hospital not used, since folders name them"] == 1


def test_a_single_hospital_in_a_folder_is_pointed_at(tmp_path):
    write_plain_label(tmp_path / "all" / "north", patients=2, size=8)
    with pytest.raises(ValueError, match=r"Its folder 'north' holds Table; name that one"):
        read_radiographs(tmp_path / "all")

"""The synthetic collection on disk."""

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.data import synthetic
from helpers.data.synthetic import make_radiographs, render_film, write_films
from helpers.phantom.population import HOSPITALS, draw_films

COLUMNS = [
    "image", "findings", "follow_up", "patient", "age", "sex", "view",
    "width", "height", "dx", "dy", "hospital",
]  # fmt: skip


def read(folder):
    return pd.read_csv(folder / "Data_Entry_2017.csv", skiprows=1, names=COLUMNS)


def checksum(folder):
    total = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            total.update(path.relative_to(folder).as_posix().encode())
            total.update(path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def collection(tmp_path_factory):
    return make_radiographs(tmp_path_factory.mktemp("made") / "films", n_films=600, size=64)


def test_layout_is_nihs_with_one_more_column(collection):
    with (collection / "Data_Entry_2017.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert header == [
        "Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age",
        "Patient Gender", "View Position", "OriginalImage[Width", "Height]",
        "OriginalImagePixelSpacing[x", "y]", "Hospital",
    ]  # fmt: skip
    table = read(collection)
    assert len(table) == 600
    assert sorted(table.image) == sorted(p.name for p in (collection / "images").iterdir())
    names = [f"{p:08d}_{f:03d}.png" for p, f in zip(table.patient, table.follow_up, strict=True)]
    assert table.image.tolist() == names
    assert set(table.sex) == {"F", "M"}
    assert set(table["view"]) == {"AP", "PA"}
    assert table.age.between(18, 94).all()
    assert set(table.hospital) == {hospital.name for hospital in HOSPITALS}
    assert (table.groupby("patient").hospital.nunique() == 1).all()
    with Image.open(collection / "images" / table.image[0]) as film:
        assert (film.mode, film.size, film.format) == ("L", (64, 64), "PNG")


def test_films_are_neither_black_nor_white(collection):
    for name in read(collection).image[:40]:
        film = np.asarray(Image.open(collection / "images" / name))
        assert 50 < film.mean() < 200
        assert film.std() > 30
        assert (film == 255).mean() < 0.3


def test_no_shortcut_through_brightness_and_metadata(collection):
    table = read(collection)
    films = np.stack([np.asarray(Image.open(collection / "images" / i)) for i in table.image])
    pixels = films.reshape(len(films), -1)
    features = np.column_stack(
        [pixels.mean(1), pixels.std(1), table.age, table.sex == "M", table["view"] == "AP"]
    ).astype(float)
    ill = (table.findings != "No Finding").to_numpy()
    scores = []
    for seed in range(5):
        chance = np.random.default_rng(seed).random(table.patient.max() + 1)
        test = chance[table.patient] > 0.6
        model = make_pipeline(StandardScaler(), LogisticRegression())
        model.fit(features[~test], ill[~test])
        scores.append(roc_auc_score(ill[test], model.predict_proba(features[test])[:, 1]))
    assert np.mean(scores) < 0.70


def test_same_bytes_whatever_the_folder_and_the_number_of_processes(tmp_path, monkeypatch):
    made = make_radiographs(tmp_path / "a" / "films", n_films=24, size=32, seed=5)
    again = make_radiographs(tmp_path / "b", n_films=24, size=32, seed=5)
    assert checksum(made) == checksum(again)
    assert checksum(make_radiographs(tmp_path / "c", n_films=24, size=32, seed=6)) != checksum(made)
    monkeypatch.setattr(synthetic, "WORTH_A_PROCESS", 10)
    sums = []
    for workers in (1, 2):
        folder = tmp_path / f"by{workers}"
        folder.mkdir()
        write_films(folder, draw_films(30, 5), size=32, seed=5, workers=workers)
        sums.append(checksum(folder))
    assert sums[0] == sums[1]


def test_process_that_fails_is_reported_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "_CHILD", "raise SystemExit(3)")
    monkeypatch.setattr(synthetic, "WORTH_A_PROCESS", 10)
    monkeypatch.setattr(synthetic.os, "cpu_count", lambda: 2)
    with pytest.raises(RuntimeError, match="exit code 3"):
        make_radiographs(tmp_path / "films", n_films=30, size=32)
    assert list(tmp_path.iterdir()) == []


def test_second_call_writes_nothing(tmp_path):
    folder = make_radiographs(tmp_path / "films", n_films=4, size=32)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert make_radiographs(tmp_path / "films", n_films=4, size=32) == folder
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*")} == before


def test_default_folder_is_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path))
    folder = make_radiographs(n_films=3, size=32, seed=2)
    assert folder.parent == tmp_path
    assert folder.name.startswith("synthetic-")
    assert make_radiographs(n_films=3, size=32, seed=3) != folder


@pytest.mark.parametrize("workers", [1, 2])
def test_a_cache_that_cannot_be_written_to_is_refused(broken_cache, monkeypatch, workers):
    monkeypatch.setattr(synthetic, "WORTH_A_PROCESS", 10)
    monkeypatch.setattr(synthetic.os, "cpu_count", lambda: workers)
    with broken_cache() as cache:
        make_radiographs(n_films=30, size=64)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


def test_parameters_are_written_beside_the_films(tmp_path):
    folder = make_radiographs(tmp_path / "films", n_films=3, size=32, seed=2)
    written = json.loads((folder / "synthetic.json").read_text())
    assert (written["n_films"], written["size"], written["seed"]) == (3, 32, 2)
    assert set(written["hospitals"]) == {hospital.name for hospital in HOSPITALS}


def test_folder_with_other_films_is_refused(tmp_path):
    make_radiographs(tmp_path / "films", n_films=3, size=32)
    with pytest.raises(ValueError, match=r"made with .*'n_films': 3.*Choose another folder"):
        make_radiographs(tmp_path / "films", n_films=4, size=32)


def test_folder_with_something_else_is_refused(tmp_path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(ValueError, match="something else"):
        make_radiographs(tmp_path, n_films=3, size=32)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_empty_folder_is_used(tmp_path):
    (tmp_path / "films").mkdir()
    assert (make_radiographs(tmp_path / "films", n_films=2, size=32) / "images").is_dir()


@pytest.mark.parametrize(
    ("error", "raised"), [(KeyboardInterrupt, KeyboardInterrupt), (OSError, ValueError)]
)
def test_interrupted_writing_leaves_nothing(tmp_path, monkeypatch, error, raised):
    done = []

    def fail_later(film, size, seed):
        done.append(film)
        if len(done) > 5:
            raise error("enough")
        return render_film(film, size, seed)

    monkeypatch.setattr(synthetic, "render_film", fail_later)
    with pytest.raises(raised):
        make_radiographs(tmp_path / "films", n_films=30, size=32)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_films": 0}, "Expected n_films to be at least 1. Received 0."),
        ({"n_films": -4}, "n_films"),
        ({"size": 16}, "Expected size to be between 32 and 1024. Received 16."),
        ({"size": 5000}, "size"),
        ({"seed": -1}, "Expected seed to be at least 0"),
    ],
)
def test_parameters_out_of_range_are_refused(tmp_path, parameters, message):
    with pytest.raises(ValueError, match=message):
        make_radiographs(tmp_path / "films", **parameters)


@pytest.mark.parametrize("parameters", [{"n_films": 2.5}, {"size": "64"}, {"seed": None}])
def test_parameters_that_are_no_integers_are_refused(tmp_path, parameters):
    with pytest.raises(TypeError, match="to be an integer"):
        make_radiographs(tmp_path / "films", **parameters)


def test_anatomy_persists_over_follow_ups_and_noise_does_not():
    film = next(f for f in draw_films(60, 0) if not f.findings and f.view == "PA")
    first, again = render_film(film, 64, 0), render_film(film, 64, 0)
    later = render_film(film._replace(follow_up=film.follow_up + 1), 64, 0)
    other = render_film(film._replace(patient=film.patient + 1), 64, 0)
    np.testing.assert_array_equal(first, again)
    assert (first != later).mean() > 0.5
    assert np.corrcoef(first.ravel(), later.ravel())[0, 1] > 0.9
    assert (first != other).any()


def test_real_size_film():
    film = draw_films(1, 0)[0]
    assert render_film(film, 256, 0).shape == (256, 256)

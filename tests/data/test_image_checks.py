"""The check of images: one white level, equal films, hostile files, and nothing decoded twice."""

import os
import shutil
import socket
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data import check_no_leak, label_films, make_hospitals, read_radiographs
from helpers.data import image_checks as module
from helpers.data.image_checks import check_images, digest_pixels, find_white_level
from helpers.data.images import FilmFolder, read_image
from helpers.data.patients import number_patients
from helpers.data.report import Report


@pytest.fixture
def films(tmp_path, rng):
    """Return a function that writes films of random pixels, or of given ones, in class folders."""

    def write(count=12, *, splits=("train", "val", "test"), folder=tmp_path / "films", **given):
        for split in splits:
            for label in ("NORMAL", "PNEUMONIA"):
                (folder / split / label).mkdir(parents=True, exist_ok=True)
                for number in range(count):
                    film = rng.integers(0, 255, (10, 10), dtype=np.uint8)
                    Image.fromarray(film).save(folder / split / label / f"{split}{number}.png")
        for name, film in given.items():
            Image.fromarray(film).save(folder / "train" / "NORMAL" / f"{name}.png")
        return folder

    return write


@pytest.fixture
def settled(monkeypatch):
    """Trust files that were written a moment ago, as if they were older."""
    monkeypatch.setattr("helpers.data.file_cache._SETTLED", -(10**12))


@pytest.fixture
def decoded(monkeypatch):
    """Return the list of files that are decoded from now on."""
    paths, decode = [], module.decode_pixels
    monkeypatch.setattr(module, "decode_pixels", lambda path: (paths.append(path), decode(path))[1])
    return paths


def deep(highest, lowest=0):
    film = np.linspace(lowest, highest, 100).astype(np.uint16).reshape(10, 10)
    film[-1, -1] = highest
    return film


def test_the_brightest_film_decides_the_white_level_of_all(films):
    folder = films(2, bright=deep(65535), dark=deep(3800))
    radiographs = read_radiographs(folder)
    assert radiographs.white_level("train/NORMAL/dark.png") == 65535
    dark = radiographs.image("train/NORMAL/dark.png")
    np.testing.assert_array_equal(dark, np.round(deep(3800) / 257))
    # Alone, it counts as a film of 12 bits and is 16 times as bright.
    assert read_image(folder, "train/NORMAL/dark.png").max() > 200
    notes = radiographs.report.notes
    assert notes["16-bit image with grey levels from 0 to 65,535"] == 2
    assert notes["16-bit image that alone would count as one of fewer bits"] == 1


@pytest.mark.parametrize(
    ("highest", "full"),
    [(200, 255), (256, 1023), (1023, 1023), (4000, 4095), (15000, 16383), (16384, 65535)],
)
def test_the_white_level_is_one_of_a_detector(films, highest, full):
    radiographs = read_radiographs(films(1, a=deep(highest), b=deep(highest // 2)))
    assert radiographs.white_level("train/NORMAL/a.png") == full == find_white_level(highest)
    brightest = radiographs.image("train/NORMAL/a.png").max()
    assert brightest == round(highest * 255 / full)


def test_unchecked_films_and_those_of_8_bits_have_no_white_level(films):
    folder = films(1, a=deep(15000))
    assert not read_radiographs(folder, check_images=False).white_levels
    (folder / "train" / "NORMAL" / "a.png").unlink()
    assert read_radiographs(folder).white_level("train/NORMAL/train0.png") is None


def test_equal_films_are_named_with_their_splits_and_labels(films):
    folder = films()
    for number in range(6):
        label = "NORMAL" if number < 2 else "PNEUMONIA"
        original = folder / "train/PNEUMONIA" / f"train{number}.png"
        shutil.copy(original, folder / "test" / label / f"again{number}.png")
    radiographs = read_radiographs(folder)
    notes = radiographs.report.notes
    (leak,) = [kind for kind in notes if kind.startswith("LEAK: equal films in different splits")]
    assert "test/NORMAL/again0.png = train/PNEUMONIA/train0.png" in leak
    assert notes[leak] == 6
    assert [n for kind, n in notes.items() if kind.startswith("equal films with different f")] == [
        2
    ]
    assert leak in str(radiographs)  # which reading prints
    labels = label_films(radiographs.table, "any finding vs none")
    kept = make_hospitals(radiographs.table, labels, n_hospitals=1)
    assert kept["split"].tolist() == radiographs.table["split"].tolist()  # official splits stay


def test_equal_films_of_other_formats_and_depths_are_found(tmp_path, rng):
    film = rng.integers(0, 256, (10, 10), dtype=np.uint8)
    Image.fromarray(film).save(tmp_path / "a.png")
    Image.fromarray(film).save(tmp_path / "b.bmp")
    Image.fromarray(np.stack([film] * 3, -1)).save(tmp_path / "c.tif")
    Image.fromarray(film.astype(np.uint16) * 257).save(tmp_path / "d.png")
    Image.fromarray(film.reshape(5, 20)).save(tmp_path / "e.png")
    Image.fromarray(np.array([[0, 65535]], np.uint16)).save(tmp_path / "f.png")
    names = ["a.png", "b.bmp", "c.tif", "d.png", "e.png", "f.png"]
    check = check_images(FilmFolder(tmp_path), names, Report())
    assert len({check.digests[name] for name in names[:4]}) == 1
    assert len(set(check.digests.values())) == 3
    assert check.digests["a.png"] == digest_pixels(film)


@pytest.mark.parametrize("patients", [None, "each its own"])
def test_equal_films_stay_together_wherever_patients_are_dealt(films, patients):
    folder = films(90, splits=("train",))
    for number in range(20):
        name = f"train/{'NORMAL' if number % 2 else 'PNEUMONIA'}"
        shutil.copy(folder / name / f"train{number}.png", folder / name / f"copy{number}.png")
    table = read_radiographs(folder).table.assign(split=pd.NA)
    if patients:
        table["patient"] = [str(number) for number in range(len(table))]
    assert number_patients(table)[0].max() + 1 == 180
    labels = label_films(table, "any finding vs none")
    for seed in range(3):
        dealt = make_hospitals(table, labels, n_hospitals=2, seed=seed)
        check_no_leak(dealt)
        for column in ("hospital", "split"):
            assert (dealt.groupby("same_film")[column].nunique() == 1).all()
    assert dealt["split"].nunique() == 3


def test_equal_films_of_one_patient_change_no_table(make_nih):
    rows = [f"{n}.png,Mass,{n},1,5,F,PA,1,1,1,1" for n in range(2)]
    folder = make_nih(rows)
    shutil.copy(folder / "images" / "0.png", folder / "images" / "1.png")
    radiographs = read_radiographs(folder)
    assert radiographs.report.notes == {"equal films (images/0.png = images/1.png)": 1}
    assert "same_film" not in radiographs.table


def test_equal_films_of_an_npz(tmp_path, rng):
    films = rng.integers(0, 256, (6, 5, 5), dtype=np.uint8)
    labels = np.array([0, 1, 0, 1, 0, 1])
    arrays = {"train_images": films, "train_labels": labels}
    arrays |= {"test_images": np.stack([films[::-1]] * 3, -1)[:2], "test_labels": labels[:2]}
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    radiographs = read_radiographs(tmp_path / "pneumoniamnist.npz")
    (leak,) = [kind for kind in radiographs.report.notes if kind.startswith("LEAK")]
    assert "train/5 = test/0, train/4 = test/1" in leak
    assert radiographs.table["same_film"].notna().sum() == 4


def test_films_are_decoded_once(films, settled, decoded):
    folder = films(2, a=deep(15000))
    first = read_radiographs(folder)
    assert len(decoded) == 13
    again = read_radiographs(folder)
    assert len(decoded) == 13
    assert (str(again.report), again.white_levels) == (str(first.report), first.white_levels)
    pd.testing.assert_frame_equal(again.table, first.table)


def test_a_film_that_changed_is_decoded_again(films, settled, decoded):
    folder = films(2)
    path = folder / "train/NORMAL/train0.png"
    read_radiographs(folder)
    state, data = path.stat(), path.read_bytes()
    decoded.clear()
    path.write_bytes(data[:-20] + bytes(20))  # as large as before, and as old
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    with pytest.raises(ValueError, match=r"unreadable image \(1\): train/NORMAL/train0.png"):
        read_radiographs(folder)
    assert decoded == [path]
    with pytest.raises(ValueError, match="unreadable image"):  # a fault is looked at again
        read_radiographs(folder)
    assert decoded == [path] * 2


def test_a_film_written_a_moment_ago_is_not_cached(films, decoded):
    folder = films(1)
    read_radiographs(folder)
    read_radiographs(folder)
    assert len(decoded) == 12


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"abc\ndef 1", "cut", "flipped"])
def test_a_damaged_cache_is_computed_anew(films, settled, decoded, damage, tmp_path, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))
    folder = films(2)
    first = read_radiographs(folder)
    (store,) = (tmp_path / "cache" / "files").iterdir()
    assert store.stat().st_mode & 0o077 == 0
    data = store.read_bytes()
    assert b"train0" not in data  # no name of a film
    damaged = {"cut": data[:-5], "flipped": data.replace(b"10, 10", b"10, 11", 1)}
    store.write_bytes(damaged.get(damage, damage))
    assert str(read_radiographs(folder).report) == str(first.report)
    assert len(decoded) == 24
    assert read_radiographs(folder).report.is_faulty is False
    assert len(decoded) == 24


def test_a_cache_that_cannot_be_written_to_is_no_fault(films, settled, tmp_path, monkeypatch):
    (tmp_path / "cache").touch()
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))
    assert len(read_radiographs(films(1))) == 6


def soil(path, kind, tmp_path):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.chdir(path.parent)  # a socket's path must be short
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
        os.chdir("/")
    elif kind == "link out":
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "outside.png")
        path.symlink_to(tmp_path / "outside.png")
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "eps":
        path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    elif kind == "avif":
        path.write_bytes(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(99))
    elif kind == "blp":
        path.write_bytes(b"BLP2" + bytes(2000))
    elif kind == "many pixels":
        Image.new("1", (13_300, 13_300)).save(path, compress_level=1)


HOSTILE = ["pipe", "socket", "link out", "device", "eps", "avif", "blp", "many pixels"]


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_a_line_and_the_rest_is_read(films, tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # a program that were started would be this one
    (tmp_path / "gs").write_text("#!/bin/sh\ntouch started\n")
    (tmp_path / "gs").chmod(0o700)
    folder = films(1)
    soil(folder / "train" / "NORMAL" / "hostile.png", kind, tmp_path)
    start = time.monotonic()
    radiographs = read_radiographs(folder, strict=False)
    assert time.monotonic() - start < 60
    assert len(radiographs) == 6
    (fault,) = radiographs.report.fault_lines()
    assert fault.startswith("- wrong: unreadable image (1): train/NORMAL/hostile.png (")
    assert not (tmp_path / "started").exists()


def test_names_and_links_that_lead_out_of_the_folder_are_lines(tmp_path, rng):
    folder = tmp_path / "films"
    (folder / "inner").mkdir(parents=True)
    for path in (tmp_path / "out.png", folder / "a.png", folder / "inner" / "b.png"):
        Image.fromarray(rng.integers(0, 9, (4, 4), dtype=np.uint8)).save(path)
    (folder / "link.png").symlink_to("inner/b.png")  # stays inside
    (folder / "linked").symlink_to(tmp_path)
    names = ["a.png", "inner/b.png", "link.png"]
    outside = [str(tmp_path / "out.png"), "../out.png", "inner/../../out.png", "linked/out.png"]
    report = Report()
    check = check_images(FilmFolder(folder), [*names, *outside], report)
    assert set(check.digests) == set(names)
    assert check.faulty == set(outside)
    assert len(report.faults["unreadable image"]) == 4
    for name in outside:
        with pytest.raises(ValueError, match="which leads out of it"):
            read_image(folder, name)

"""Hostile files: whatever a file holds, a reader answers with a line or one ValueError."""

import contextlib
import io
import json
import resource
import struct
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from helpers.data import prepare_samples, read_radiographs, verify_sample
from helpers.data.images import FORMATS, decode_image, read_image
from helpers.data.metadata import read_metadata
from helpers.data.report import Report
from helpers.data.tasks import label_films
from helpers.openers.chest_xray_opener import ChestXrayOpener
from tests.data.conftest import NIH_HEADER, NIH_ROWS
from tests.data.dicom_collection import write_film


def mutate(data, rng):
    """Change, cut, repeat or insert some bytes."""
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        place = int(rng.integers(0, max(1, len(data))))
        kind = rng.integers(0, 5)
        if kind == 0:
            data[place : place + 1] = bytes([rng.integers(0, 256)])
        elif kind == 1:
            value = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**31]))
            data[place : place + 4] = struct.pack(str(rng.choice(["<I", ">I"])), value)
        elif kind == 2:
            del data[place : place + int(rng.integers(1, 40))]
        elif kind == 3:
            data[place:place] = data[place : place + int(rng.integers(1, 40))]
        else:
            data[place:place] = rng.bytes(int(rng.integers(1, 9)))
    return bytes(data)


def image_files(tmp_path, rng):
    """Return one file of each format, and some of unusual modes."""
    noise = rng.integers(0, 256, (24, 20), dtype=np.uint8)
    films = [(Image.fromarray(noise), kind, {}) for kind in FORMATS]
    films += [
        (Image.fromarray(noise.astype(np.uint16) * 200), "PNG", {}),
        (Image.fromarray(noise.astype(np.uint16) * 200), "TIFF", {"compression": "tiff_lzw"}),
        (Image.fromarray(noise).convert("RGBA"), "PNG", {}),
        (Image.fromarray(noise).convert("P"), "PNG", {"transparency": 3}),
        (Image.fromarray(noise).convert("CMYK"), "TIFF", {"compression": "jpeg"}),
        (Image.fromarray(noise).convert("CMYK"), "JPEG", {}),
    ]
    files = []
    for image, kind, options in films:
        stream = io.BytesIO()
        image.save(stream, format=kind, **options)
        files.append(stream.getvalue())
    write_film(tmp_path / "film.dcm", noise.astype(np.uint16) * 16, PatientID="1")
    return [*files, (tmp_path / "film.dcm").read_bytes()]


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@pytest.mark.stress
def test_500_mutated_images_are_films_or_lines(tmp_path, rng):
    files, before, refused = image_files(tmp_path, rng), peak(), 0
    for number in range(500):
        path = tmp_path / "film.png"
        path.write_bytes(mutate(files[number % len(files)], rng))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Pillow and pydicom, about odd files
                film = decode_image(path)[0]
            assert film.dtype == np.uint8
            assert film.ndim == 2
        except ValueError:
            refused += 1
    assert 50 < refused < 500
    assert peak() - before < 1.5e9


@pytest.mark.stress
def test_500_mutated_tables_are_films_or_lines(make_nih, rng, capsys):
    folder = make_nih(NIH_ROWS)
    csv, read = folder / "Data_Entry_2017.csv", 0
    data = ("\n".join([NIH_HEADER, *NIH_ROWS]) + "\n").encode()
    for _ in range(500):
        csv.write_bytes(mutate(data, rng))
        with contextlib.suppress(ValueError):
            read += len(read_radiographs(folder, strict=False, check_images=False))
    assert read > 500


@pytest.mark.stress
def test_500_mutated_archives_are_films_or_one_error(tmp_path, rng, capsys):
    films = rng.integers(0, 256, (3, 6, 6), dtype=np.uint8)
    labels = np.array([[0], [1], [0]], np.uint8)
    arrays = {
        f"{s}_{k}": v for s in ("train", "val") for k, v in (("images", films), ("labels", labels))
    }
    files = []
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "pneumoniamnist.npz", **arrays)
        files.append((tmp_path / "pneumoniamnist.npz").read_bytes())
    before, read = peak(), 0
    for number in range(500):
        (tmp_path / "pneumoniamnist.npz").write_bytes(mutate(files[number % 2], rng))
        with contextlib.suppress(ValueError):
            radiographs = read_radiographs(tmp_path / "pneumoniamnist.npz", strict=False)
            read += sum(radiographs.image(place).size for place in range(len(radiographs)))
    assert read > 0
    assert peak() - before < 1e9


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path):
    Image.new("L", (300, 200)).save(tmp_path / "film.png")
    assert decode_image(tmp_path / "film.png", most_pixels=60_000)[0].shape == (200, 300)
    with pytest.raises(ValueError, match="300 × 200 pixels are more than 59,999"):
        decode_image(tmp_path / "film.png", most_pixels=59_999)
    Image.new("1", (13_300, 13_300)).save(tmp_path / "film.png", compress_level=1)
    before = peak()
    with pytest.raises(ValueError, match=r"Received 'film.png'"):
        read_image(tmp_path, "film.png")
    assert peak() - before < 1e8


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), struct.error("short"), OverflowError("x")]
)
def test_whatever_a_decoder_raises_becomes_one_error(tmp_path, monkeypatch, error):
    Image.new("L", (4, 4)).save(tmp_path / "film.png")

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(ValueError, match=rf"Received 'film.png': {type(error).__name__}"):
        read_image(tmp_path, "film.png")


def save_npz(path, *, compression=zipfile.ZIP_DEFLATED, **arrays):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, array in arrays.items():
            stream = io.BytesIO()
            np.save(stream, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", stream.getvalue())
    return path


FILMS = np.arange(75, dtype=np.uint8).reshape(3, 5, 5)


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros(3, [("a", "u1"), ("b", "f4")]),
        np.array([{}, [], 1], object),
        np.zeros(30_000_000, np.uint8),  # as zeros, 30 kB in the file
        np.array(["0", "1", "0"]),
        np.zeros((3, 1, 1), np.uint8),
        np.array([0, 1, np.nan]),
        np.array([0, 1, 2**63], np.uint64),
    ],
)
def test_strange_labels_are_refused_before_they_are_read(tmp_path, labels):
    path = save_npz(tmp_path / "pneumoniamnist.npz", train_images=FILMS, train_labels=labels)
    before = peak()
    with pytest.raises(ValueError, match=r"^Expected"):
        read_radiographs(path)
    assert peak() - before < 1e8


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_odd_compressions_are_read_or_refused(tmp_path, compression, capsys):
    arrays = {"train_images": FILMS, "train_labels": np.array([0, 1, 0])}
    path = save_npz(tmp_path / "pneumoniamnist.npz", compression=compression, **arrays)
    assert len(read_radiographs(path)) == 3
    data = path.read_bytes().replace(struct.pack("<H", compression), struct.pack("<H", 97))
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"Expected a MedMNIST file.*NotImplementedError"):
        read_radiographs(path)


def test_an_encrypted_archive_is_refused(tmp_path):
    arrays = {"train_images": FILMS, "train_labels": np.array([0, 1, 0])}
    path = save_npz(tmp_path / "pneumoniamnist.npz", **arrays)
    data = bytearray(path.read_bytes())
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := data.find(mark, place + 1)) >= 0:
            data[place + flags] |= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"Expected a MedMNIST file.*password"):
        read_radiographs(path)
    with pytest.raises(ValueError, match=r"Expected an array train_images.*password"):
        read_image(path, "train/0")


def test_an_array_shorter_than_its_header_says_is_refused(tmp_path):
    arrays = {"train_images": FILMS, "train_labels": np.array([0, 1, 0])}
    path = save_npz(tmp_path / "pneumoniamnist.npz", compression=zipfile.ZIP_STORED, **arrays)
    path.write_bytes(path.read_bytes().replace(b"(3, 5, 5), }", b"(9, 5, 5), }"))
    with pytest.raises(ValueError, match=r"not as long as its header says|CRC"):
        read_radiographs(path)


def test_numbers_of_any_length_become_missing(tmp_path):
    rows = [
        f"a.png,Mass,{2**63},1,{'9' * 400},F,PA",
        f"b.png,Mass,{'9' * 400},1,{'9' * 400}Y,F,PA",
        f"c.png,Mass,1e400,1,{'9' * 5000}Y,F,PA",
        "d.png,Mass,12,1,058Y,F,PA",
    ]
    path = tmp_path / "films.csv"
    path.write_text("\n".join(["image,findings,follow-up,patient,age,sex,view", *rows]))
    report = Report()
    table = read_metadata(path, report)
    assert table["age"].isna().tolist() == [True, True, True, False]
    assert table["follow_up"].isna().tolist() == [True, True, True, False]
    assert (sum(report.notes.values()), sum(report.repairs.values())) == (6, 1)


def test_a_deep_description_of_a_sample_is_refused(make_nih, tmp_path, capsys):
    radiographs = read_radiographs(make_nih())
    table = radiographs.table.assign(hospital="A", split="train")
    labels = label_films(table, "any finding vs none")
    samples = prepare_samples(radiographs, table, labels, size=8, folder=tmp_path / "samples")
    folder = samples["A"]["train"]
    (folder / "sample.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match=r"Expected JSON in sample.json"):
        verify_sample(folder)
    with pytest.raises(ValueError, match=r"Expected JSON in sample.json"):
        ChestXrayOpener().get_data([folder])
    about = json.dumps({"format": "chest X-ray sample", "version": 1, "checksums": [[]]})
    (folder / "sample.json").write_text(about)
    for check in (verify_sample, lambda folder: ChestXrayOpener().get_data([folder])):
        with pytest.raises(ValueError, match="Expected"):
            check(folder)

"""DICOM: pixels as a workstation shows them, tags in the table, and no person in any file."""

import shutil
import sys
from pathlib import Path

import gdcm
import numpy as np
import pandas as pd
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from helpers.data import label_films, make_hospitals, prepare_samples, read_radiographs
from helpers.data.dicom import fill_from_tags, is_dicom, read_tags
from helpers.data.image_checks import check_images
from helpers.data.images import FilmFolder, decode_image, read_image
from helpers.data.report import Report
from tests.data.dicom_collection import PLANTED, write_dicom, write_film

STORED = np.array([[0, 1000, 2000], [3000, 4000, 4095]], np.uint16)
EIGHT_BITS = np.round(STORED * (255 / 4095))


@pytest.fixture
def film(tmp_path):
    """Return a function that writes one film and decodes it."""

    def read(pixels=STORED, **tags):
        write_film(tmp_path / "film.dcm", pixels, **tags)
        return decode_image(tmp_path / "film.dcm")[0]

    return read


def test_stored_bits_and_not_allocated_ones_give_the_range(film):
    np.testing.assert_array_equal(film(), EIGHT_BITS)
    np.testing.assert_array_equal(film(STORED >> 2, bits=10), np.round((STORED >> 2) / 1023 * 255))
    np.testing.assert_array_equal(film(STORED | 0xF000), EIGHT_BITS)  # other bits may be anything
    np.testing.assert_array_equal(film((STORED >> 4).astype(np.uint8), bits=8), STORED >> 4)


def test_monochrome1_is_inverted(film):
    inverted = film(4095 - STORED, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_allclose(inverted, EIGHT_BITS, atol=1)
    assert decode_image(get_testdata_file("CT_small.dcm"))[0].shape == (128, 128)


def test_signed_pixels(film):
    np.testing.assert_array_equal(film(STORED.astype(np.int16) - 2048), EIGHT_BITS)


def test_rescale_slope_and_intercept_come_before_the_window(film):
    window = {"WindowCenter": 1000, "WindowWidth": 2001, "VOILUTFunction": "LINEAR_EXACT"}
    seen = film(RescaleSlope=2, RescaleIntercept=-1000, **window)
    shares = (2.0 * STORED - 1000 - 1000) / 2001 + 0.5
    np.testing.assert_array_equal(seen, np.round(255 * np.clip(shares, 0, 1)))
    turned = film(RescaleSlope=-1, RescaleIntercept=4095)
    np.testing.assert_array_equal(turned, np.round((4095.0 - STORED) / 4095 * 255))


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_the_first_window_is_applied_as_the_standard_says(film, function):
    stored = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)
    seen = film(
        stored, WindowCenter=[2000, 90], WindowWidth=[1000, 80], VOILUTFunction=function
    ).astype(float)
    level = stored.astype(float)
    expected = {
        "LINEAR": ((level - 1999.5) / 999 + 0.5) * 255,
        "LINEAR_EXACT": ((level - 2000) / 1000 + 0.5) * 255,
        "SIGMOID": 255 / (1 + np.exp(-4 * (level - 2000) / 1000)),
    }[function]
    np.testing.assert_allclose(seen, np.clip(expected, 0, 255), atol=0.51)


def test_a_voi_table_counts_where_there_is_no_window(film):
    table = Dataset()
    table.LUTDescriptor = [4096, 0, 8]
    table.LUTData = [int(value) for value in np.arange(4096) // 2048 * 255]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    np.testing.assert_array_equal(film(VOILUTSequence=[table]), STORED // 2048 * 255)


@pytest.mark.parametrize(
    ("ways", "turn"),
    [
        (["L", "F"], lambda film: film),
        (["R", "F"], lambda film: film[:, ::-1]),
        (["L", "H"], lambda film: film[::-1]),
        (["F", "L"], lambda film: film.T),
        (["H", "R"], lambda film: film[::-1, ::-1].T),
        (["A", "F"], lambda film: film),
    ],
)
def test_the_patient_stands_upright_and_faces_the_reader(film, ways, turn):
    np.testing.assert_array_equal(film(PatientOrientation=ways), turn(EIGHT_BITS))


def compress(path, syntax):
    """Compress a film's pixels in place, by the decoders' own encoder."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, syntax)))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(path))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
@pytest.mark.parametrize(
    "syntax", ["JPEGLosslessProcess14_1", "JPEG2000Lossless", "JPEGLSLossless", "RLELossless"]
)
def test_films_compressed_without_loss_are_the_same(tmp_path, film, syntax, dtype):
    stored = np.linspace(0, 4095, 24 * 32).reshape(24, 32).astype(dtype)
    plain = film(stored - dtype(2048 * (dtype == np.int16)))
    compress(tmp_path / "film.dcm", syntax)
    np.testing.assert_array_equal(decode_image(tmp_path / "film.dcm")[0], plain)


def test_jpeg_films_are_almost_the_same(tmp_path, film):
    y, x = np.mgrid[:24, :32]
    plain = film((120 + 3 * x + y).astype(np.uint8), bits=8)
    compress(tmp_path / "film.dcm", "JPEGBaselineProcess1")
    seen = decode_image(tmp_path / "film.dcm")[0]
    np.testing.assert_allclose(seen.astype(int), plain, atol=4)


def test_a_film_that_crashes_its_decoder_is_a_line(tmp_path, film, monkeypatch):
    film()
    compress(tmp_path / "film.dcm", "JPEGLosslessProcess14_1")
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    (tmp_path / "gdcm.py").write_text(crash)  # in place of the decoder
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    report = Report()
    check_images(FilmFolder(tmp_path), ["film.dcm"], report)
    assert report.faults == {"unreadable image": ["film.dcm (GDCM cannot decode it)"]}


def test_color_becomes_grey():
    film, repairs = decode_image(get_testdata_file("SC_rgb_rle.dcm"))
    assert film.shape == (100, 100)
    assert film[5, 50] == 76  # a bar of pure red
    assert "color image turned to greyscale" in repairs


def test_several_frames_are_refused(tmp_path):
    path = get_testdata_file("SC_rgb_rle_2frame.dcm")
    shutil.copy(path, tmp_path / "film.dcm")
    with pytest.raises(ValueError, match=r"Received 'film.dcm': 2 frames in one file"):
        read_image(tmp_path, "film.dcm")


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "neither MONOCHROME1"),
        ({"HighBit": 14}, "high bit"),
        ({"Rows": 30_000, "Columns": 30_000}, "are more than 100,000,000"),
        ({"RescaleSlope": "1e308"}, "not finite"),
        ({"Rows": None}, r"pydicom cannot decode it \(AttributeError\)"),
        ({"Rows": 900}, r"pydicom cannot decode it \(ValueError\)"),
    ],
)
def test_films_that_cannot_be_shown_are_refused(film, tags, message):
    with pytest.raises(ValueError, match=message):
        film(**tags)


def test_a_deflated_file_of_any_size_is_not_inflated(tmp_path):
    write_film(tmp_path / "a.dcm", STORED)
    import pydicom

    film = pydicom.dcmread(tmp_path / "a.dcm")
    film.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    film.save_as(tmp_path / "b.dcm")
    with pytest.raises(ValueError, match="deflated transfer syntax"):
        decode_image(tmp_path / "b.dcm")


def test_files_are_recognized_by_ending_or_mark(tmp_path):
    write_film(tmp_path / "1.2.840.5", STORED)
    write_film(tmp_path / "film.dcm", STORED)
    (tmp_path / "other").write_bytes(b"text")
    assert [is_dicom(tmp_path / name) for name in ("1.2.840.5", "film.dcm", "other", "none")] == [
        True,
        True,
        False,
        False,
    ]
    np.testing.assert_array_equal(read_image(tmp_path, "1.2.840.5"), EIGHT_BITS)


def test_tags_of_a_film(tmp_path):
    path = tmp_path / "film.dcm"
    write_film(path, STORED, PatientID="17", PatientAge="058Y", PatientSex="F", ViewPosition="AP")
    tags = read_tags(path)
    assert (tags["age"], tags["sex"], tags["view"]) == (58, "F", "AP")
    assert len(tags["patient"]) == 16
    assert read_tags(path) == tags  # the same key, so that patients stay the same
    write_film(path, STORED, PatientAge="006M", PatientSex="O")
    assert read_tags(path) | {"date": ""} == {
        "patient": None,
        "age": 0.5,
        "sex": None,
        "view": None,
        "date": "",
    }


def test_class_folders_of_dicom_become_a_whole_table(tmp_path, capsys):
    radiographs = read_radiographs(write_dicom(tmp_path / "hospital", n=96))
    table = radiographs.table
    assert (len(table), table["patient"].nunique()) == (96, 48)
    assert table[["age", "sex", "view", "findings", "split"]].notna().all(axis=None)
    assert table.groupby("patient")["follow_up"].apply(sorted).tolist() == [[0, 1]] * 48
    assert radiographs.report.notes == {"film described by its DICOM tags": 96}
    repairs = radiographs.report.repairs
    assert repairs["DICOM film stored with black and white exchanged inverted"] == 32
    ill = table["findings"] == "Unspecified"
    brightest = [np.percentile(radiographs.image(name), 98) for name in table["image"]]
    assert min(np.array(brightest)[ill]) > max(np.array(brightest)[~ill]) - 40


def test_lateral_films_are_set_aside_and_counted(tmp_path):
    for number, view in enumerate(["PA", "LATERAL", "LL", "RL", "AP", "RLD", ""]):
        film = STORED + np.uint16(number)
        path = tmp_path / "train" / ("sain" if number % 2 else "malade") / f"{number}.dcm"
        write_film(path, np.minimum(film, 4095), ViewPosition=view)
    radiographs = read_radiographs(tmp_path)
    assert radiographs.table["view"].fillna("unknown").tolist() == ["PA", "AP", "unknown"]
    (line,) = [kind for kind in radiographs.report.notes if "lateral" in kind]
    assert radiographs.report.notes[line] == 4
    assert "train/malade/2.dcm" in line


def test_a_csv_counts_before_the_tags(tmp_path):
    for name in ("a.dcm", "b.dcm"):
        tags = {"PatientID": "17", "PatientAge": "058Y", "PatientSex": "F", "ViewPosition": "PA"}
        write_film(tmp_path / name, STORED, **tags)
    table = pd.DataFrame(
        {"image": ["a.dcm", "b.dcm"], "age": [41.0, None], "patient": ["P1", None]}
    )
    filled = fill_from_tags(table, FilmFolder(tmp_path), Report())
    assert filled["age"].tolist() == [41, 58]
    assert filled["sex"].tolist() == ["F", "F"]
    # A number and a pseudonym of one patient would count as two patients.
    assert filled["patient"].isna().tolist() == [False, True]


def test_nih_csv_may_name_dicom(tmp_path, make_nih):
    folder = make_nih(["a.dcm,Mass,,,,,,1,1,1,1", "b.dcm,No Finding,,,,,,1,1,1,1"], images=[])
    for name in ("a.dcm", "b.dcm"):
        tags = {"PatientID": name, "PatientAge": "058Y", "PatientSex": "F", "ViewPosition": "PA"}
        write_film(folder / "images" / name, STORED + np.uint16(name == "a.dcm"), bits=13, **tags)
    table = read_radiographs(folder).table
    assert table["findings"].tolist() == ["Mass", "No Finding"]
    assert table["age"].tolist() == [58, 58]
    assert table["patient"].nunique() == 2


def test_without_pydicom_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    write_dicom(tmp_path, n=8)
    for module in [name for name in sys.modules if name.split(".")[0] == "pydicom"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match=r'pip install "federated-chest-xrays\[dicom\]"'):
        read_radiographs(tmp_path)


def test_nothing_that_identifies_a_patient_is_written(tmp_path, monkeypatch, capsys):
    cache = tmp_path / "cache"
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(cache))
    monkeypatch.setattr("helpers.data.file_cache._SETTLED", -(10**12))
    folder = write_dicom(tmp_path / "hospital", n=96)
    (folder / "train" / "sain" / "broken.dcm").write_bytes(
        (folder / "train" / "sain" / "film0000.dcm").read_bytes()[:-100]
    )
    radiographs = read_radiographs(folder, strict=False)
    labels = label_films(radiographs.table, "any finding vs none")
    films = make_hospitals(radiographs.table, labels, n_hospitals=1)
    prepare_samples(radiographs, films, labels, size=8)
    prepare_samples(radiographs, films, labels, size=8, folder=tmp_path / "samples")
    radiographs.table.to_csv(tmp_path / "samples" / "table.csv")
    written = [path for place in (cache, tmp_path / "samples") for path in place.rglob("*")]
    files = [path for path in written if path.is_file()]
    assert {"images.npy", "metadata.csv", "pseudonyms.key"} <= {path.name for path in files}
    assert any(path.parent.name == "files" for path in files)
    planted = [*PLANTED.values(), "PLANTEDID", "planted", "Planted"]
    said = capsys.readouterr()
    for data in [*(path.read_bytes() for path in files), (said.out + said.err).encode()]:
        for text in planted:
            assert text.encode() not in data
    assert (cache / "pseudonyms.key").stat().st_mode & 0o077 == 0


def test_the_writer_of_the_collection_meets_its_contract(tmp_path):
    write_dicom(tmp_path)
    names = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(names) == 128
    assert all(is_dicom(path) for path in names)
    assert isinstance(names[0], Path)

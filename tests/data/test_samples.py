import json
import os
import shutil
import signal
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data.hospitals import assign_hospitals, split_patients
from helpers.data.radiographs import Radiographs, read_radiographs
from helpers.data.report import Report
from helpers.data.samples import FORMAT, VERSION, prepare_samples, verify_sample
from helpers.data.tasks import label_films
from helpers.openers import chest_xray_opener
from helpers.openers.chest_xray_opener import ChestXrayOpener


def grey(film):
    """Return the grey level that fills one film."""
    return film % 200 + 20


@pytest.fixture
def radiographs(tmp_path):
    """Return 36 films of 18 patients, each filled with its own grey level."""
    source = tmp_path / "source"
    (source / "images").mkdir(parents=True)
    n = 36
    for film in range(n):
        image = np.full((12, 10), grey(film), dtype=np.uint8)
        Image.fromarray(image).save(source / "images" / f"{film:03d}.png")
    patients = np.arange(n) // 2
    table = pd.DataFrame(
        {
            "image": [f"images/{film:03d}.png" for film in range(n)],
            "patient": [f"{patient:04d}" for patient in patients],
            "age": 20.1 + patients,
            "sex": np.where(patients % 2 == 0, "F", "M"),
            "view": pd.Series(["PA", None] * 18, dtype="str"),
            "findings": np.where(patients % 3 == 0, "Edema|Pneumonia", "No Finding"),
            "follow_up": pd.Series([0, pd.NA] * 18, dtype="Int64"),
            "hospital": np.where(patients < 9, "North", "South"),
            "split": np.array(["train", "valid", "test"])[patients % 9 // 3],
        }
    )
    return Radiographs(table, source, "nih", Report())


@pytest.fixture
def labels(radiographs):
    return label_films(radiographs.table, "pneumonia vs no finding")


def files_below(folder):
    """Return every file below a folder, hidden ones too."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


WHOLE = [
    f"{hospital}/{split}/{name}"
    for hospital in ("North", "South")
    for split in ("test", "train", "valid")
    for name in ("images.npy", "metadata.csv", "sample.json")
]


def test_samples_hold_the_films_in_the_order_of_the_table(radiographs, labels, tmp_path):
    samples = prepare_samples(
        radiographs, radiographs.table, labels, size=8, task="a task", folder=tmp_path / "out"
    )
    assert list(samples) == ["North", "South"]
    assert list(samples["North"]) == ["train", "valid", "test"]
    valid = samples["South"]["valid"]
    assert valid == tmp_path / "out" / "South" / "valid"
    images = np.load(valid / "images.npy")
    expected = np.broadcast_to(
        np.array([grey(f) for f in range(24, 30)], np.uint8)[:, None, None, None], (6, 8, 8, 1)
    )
    np.testing.assert_array_equal(images, expected)
    about = json.loads((valid / "sample.json").read_text(encoding="utf-8"))
    assert about | {"fingerprint": "", "checksums": {}} == {
        "format": FORMAT,
        "version": VERSION,
        "shape": [6, 8, 8, 1],
        "dtype": "uint8",
        "task": "a task",
        "source": "source",
        "layout": "nih",
        "hospital": "South",
        "split": "valid",
        "n_films": 6,
        "n_positive": 2,
        "fingerprint": "",
        "checksums": {},
    }
    assert str(tmp_path) not in (valid / "sample.json").read_text(encoding="utf-8")
    assert verify_sample(valid) == about


def test_the_opener_reads_what_was_prepared(radiographs, labels, tmp_path):
    samples = prepare_samples(radiographs, radiographs.table, labels, size=8, folder=tmp_path / "o")
    data = ChestXrayOpener().get_data([samples["North"]["train"], samples["South"]["test"]])
    rows = pd.concat([radiographs.table[:6], radiographs.table[30:]], ignore_index=True)
    expected = rows.assign(label=pd.concat([labels[:6], labels[30:]]).to_numpy(np.int64))
    pd.testing.assert_frame_equal(data["metadata"], expected)
    assert data["labels"].tolist() == expected["label"].tolist()
    assert data["images"][6][0, 0, 0] == grey(30)


def test_opener_and_samples_agree_on_the_format():
    assert (FORMAT, VERSION) == (chest_xray_opener.FORMAT, chest_xray_opener.VERSION)


def test_films_without_label_are_left_out(radiographs, labels, tmp_path):
    labels[0:3] = pd.NA
    samples = prepare_samples(radiographs, radiographs.table, labels, size=8, folder=tmp_path / "o")
    rows = pd.read_csv(samples["North"]["train"] / "metadata.csv")
    assert rows["image"].tolist() == [f"images/00{f}.png" for f in (3, 4, 5)]


def test_a_part_of_the_table_is_enough(radiographs, labels, tmp_path):
    part = radiographs.table["hospital"] == "South"
    samples = prepare_samples(
        radiographs, radiographs.table[part], labels[part], size=8, folder=tmp_path / "out"
    )
    assert list(samples) == ["South"]
    assert np.load(samples["South"]["train"] / "images.npy")[0, 0, 0, 0] == grey(18)


def test_identical_samples_are_reused(radiographs, labels, tmp_path):
    def prepare(**changes):
        options = {"size": 8, "task": "a", "folder": tmp_path / "out"} | changes
        sample = prepare_samples(radiographs, radiographs.table, labels, **options)
        return (sample["North"]["train"] / "images.npy").stat()

    first = prepare()
    assert prepare().st_ino == first.st_ino
    assert prepare(task="b").st_ino != first.st_ino
    assert prepare(size=9).st_size > first.st_size


@pytest.mark.parametrize("change", ["label", "metadata", "source file", "damage", "order"])
def test_changed_samples_are_prepared_again(radiographs, labels, tmp_path, change):
    folder = tmp_path / "out"
    table = radiographs.table
    path = prepare_samples(radiographs, table, labels, size=8, folder=folder)["North"]["train"]
    before = (path / "sample.json").stat().st_ino
    if change == "label":
        labels[0] = 1 - labels[0]
    elif change == "metadata":
        table = table.assign(age=table["age"] + 1)
    elif change == "source file":
        Image.fromarray(np.full((9, 9), 255, np.uint8)).save(radiographs.source / "images/000.png")
    elif change == "order":
        table, labels = table[::-1], labels[::-1]
    else:
        with (path / "images.npy").open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"\x00")
    again = prepare_samples(radiographs, table, labels, size=8, folder=folder)["North"]["train"]
    assert again == path
    assert (path / "sample.json").stat().st_ino != before
    assert verify_sample(path)["n_films"] == 6
    if change == "source file":
        assert np.load(path / "images.npy")[0].min() == 255
    assert files_below(folder) == WHOLE


def test_samples_are_for_their_owner_alone(radiographs, labels, tmp_path):
    prepare_samples(radiographs, radiographs.table, labels, size=8, folder=tmp_path / "out")
    for path in (tmp_path / "out", *(tmp_path / "out").rglob("*")):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


@pytest.mark.parametrize("chosen", [True, False])
def test_samples_that_an_earlier_version_left_open_are_closed(
    radiographs, labels, tmp_path, monkeypatch, chosen
):
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))
    options = {"size": 8, "folder": tmp_path / "out" if chosen else None}
    samples = prepare_samples(radiographs, radiographs.table, labels, **options)
    folder = samples["North"]["train"].parents[1]
    inodes = {path: path.stat().st_ino for path in (folder, *folder.rglob("*"))}
    for path in inodes:
        path.chmod(0o755 if path.is_dir() else 0o644)
    prepare_samples(radiographs, radiographs.table, labels, **options)
    assert {path: path.stat().st_ino for path in (folder, *folder.rglob("*"))} == inodes
    # A folder that somebody chose may hold other things; what of ours is in it is closed.
    for path in inodes if not chosen else inodes.keys() - {folder}:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_a_cache_that_cannot_be_written_to_is_refused(radiographs, labels, broken_cache):
    with broken_cache() as cache:
        prepare_samples(radiographs, radiographs.table, labels, size=64)
    assert files_below(cache) == []


def test_the_default_folder_is_in_the_cache(radiographs, labels, tmp_path, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))
    small = prepare_samples(radiographs, radiographs.table, labels, size=8)["North"]["train"]
    large = prepare_samples(radiographs, radiographs.table, labels, size=16)["North"]["train"]
    assert small != large  # both are kept
    assert small.is_relative_to((tmp_path / "cache" / "samples").resolve())
    again = prepare_samples(radiographs, radiographs.table, labels, size=8)
    assert again["North"]["train"] == small


def test_all_faulty_films_are_named_and_nothing_is_left(radiographs, labels, tmp_path):
    (radiographs.source / "images/002.png").write_bytes(b"no image")
    whole = (radiographs.source / "images/020.png").read_bytes()
    (radiographs.source / "images/020.png").write_bytes(whole[: len(whole) // 2])
    (radiographs.source / "images/035.png").unlink()
    with pytest.raises(ValueError, match=r"36 readable films\. Received 3 that are") as error:
        prepare_samples(radiographs, radiographs.table, labels, size=8, folder=tmp_path / "out")
    for name in ("images/002.png", "images/020.png", "images/035.png"):
        assert name in str(error.value)
    assert "strict=False" in str(error.value)
    assert not (tmp_path / "out").exists()


class Interrupted:
    """Radiographs whose reader presses Ctrl-C at a certain film."""

    def __init__(self, radiographs, film):
        self.source, self.layout, self._image, self._film = (
            radiographs.source,
            radiographs.layout,
            radiographs.image,
            film,
        )

        self.locate, self.white_level = radiographs.locate, radiographs.white_level

    def image(self, name):
        if name == self._film:
            raise KeyboardInterrupt
        return self._image(name)


def test_an_interruption_leaves_only_whole_samples(radiographs, labels, tmp_path):
    folder = tmp_path / "out"
    broken = Interrupted(radiographs, "images/014.png")  # in North's test, the third sample
    with pytest.raises(KeyboardInterrupt):
        prepare_samples(broken, radiographs.table, labels, size=8, folder=folder)
    assert [path.name for path in folder.iterdir()] == ["North"]
    assert sorted(path.name for path in (folder / "North").iterdir()) == ["train", "valid"]
    kept = verify_sample(folder / "North" / "train")
    samples = prepare_samples(radiographs, radiographs.table, labels, size=8, folder=folder)
    assert verify_sample(samples["North"]["train"]) == kept
    assert verify_sample(samples["North"]["test"])["n_films"] == 6


def test_an_interruption_of_the_first_sample_leaves_nothing(radiographs, labels, tmp_path):
    broken = Interrupted(radiographs, "images/003.png")
    with pytest.raises(KeyboardInterrupt):
        prepare_samples(broken, radiographs.table, labels, size=8, folder=tmp_path / "out")
    assert not (tmp_path / "out").exists()


SLOW = """
import signal, sys, threading
from pathlib import Path
import pandas as pd
from helpers.data.radiographs import Radiographs
from helpers.data.report import Report
from helpers.data.samples import prepare_samples

class Slow(Radiographs):
    def image(self, name):
        print(name, flush=True)
        if name >= "images/008.png":
            interrupted.wait()
        return super().image(name)

def interrupt(*_):
    interrupted.set()
    raise KeyboardInterrupt

interrupted = threading.Event()
signal.signal(signal.SIGINT, interrupt)
table = pd.read_pickle(sys.argv[1] + "/table.pickle")
radiographs = Slow(table.drop(columns="label"), Path(sys.argv[1]), "nih", Report())
prepare_samples(radiographs, radiographs.table, table["label"], size=8, folder=sys.argv[2])
"""


@pytest.mark.parametrize("how", ["interrupt", "kill"])
def test_a_stopped_process_leaves_only_whole_samples(
    radiographs, labels, tmp_path, start_script, how
):
    folder = tmp_path / "out"
    radiographs.table.assign(label=labels).to_pickle(radiographs.source / "table.pickle")
    process = start_script(SLOW, radiographs.source, folder)
    for line in process.stdout:
        if line.strip() >= "images/008.png":  # in North's valid, the second sample
            break
    process.send_signal(signal.SIGKILL if how == "kill" else signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode != 0
    whole = [path for path in folder.glob("*/*") if not path.parent.name.startswith(".")]
    if how == "interrupt":
        assert "KeyboardInterrupt" in errors
        assert [path.name for path in whole] == ["train"]
        assert [path.name for path in folder.iterdir()] == ["North"]
        verify_sample(whole[0])
    else:
        assert whole == []
    samples = prepare_samples(radiographs, radiographs.table, labels, size=8, folder=folder)
    assert all(verify_sample(f) for splits in samples.values() for f in splits.values())


def test_leftovers_of_a_killed_process_go_after_a_day(radiographs, labels, tmp_path):
    old, young = tmp_path / "out" / ".preparing-old", tmp_path / "out" / ".preparing-young"
    old.mkdir(parents=True)
    young.mkdir()
    os.utime(old, (time.time() - 2 * 24 * 3600,) * 2)
    prepare_samples(radiographs, radiographs.table, labels, size=8, folder=tmp_path / "out")
    assert young.exists()  # another process may be at work there
    assert not old.exists()


def test_equal_names_sizes_and_dates_are_not_taken_for_equal_films(radiographs, labels, tmp_path):
    """Two folders of one name, whose files have the same sizes and dates, in the same cache."""
    first = radiographs.source
    other = tmp_path / "elsewhere" / first.name
    shutil.copytree(first, other)
    for file in (other / "images").iterdir():
        when = file.stat().st_mtime_ns
        image = np.asarray(Image.open(file))
        Image.fromarray(255 - image).save(file)
        os.utime(file, ns=(when, when))
        os.utime(first / "images" / file.name, ns=(when, when))
    sizes = [
        [file.stat().st_size for file in sorted((place / "images").iterdir())]
        for place in (first, other)
    ]
    assert sizes[0] == sizes[1]
    pixels = []
    for source in (first, other, first):
        films = Radiographs(radiographs.table, source, "nih", Report())
        samples = prepare_samples(films, films.table, labels, size=8)
        pixels.append(np.load(samples["North"]["train"] / "images.npy"))
    np.testing.assert_array_equal(pixels[1], 255 - pixels[0])
    np.testing.assert_array_equal(pixels[2], pixels[0])


def test_other_files_are_never_replaced(radiographs, labels, tmp_path):
    diary = tmp_path / "out" / "North" / "train" / "diary.txt"
    diary.parent.mkdir(parents=True)
    diary.write_text("dear diary")
    with pytest.raises(ValueError, match=r"a sample or nothing at .*Received other files"):
        prepare_samples(radiographs, radiographs.table, labels, size=8, folder=tmp_path / "out")
    assert diary.read_text() == "dear diary"


def test_tables_that_are_not_ready_are_refused(radiographs, labels, tmp_path):
    table = radiographs.table

    def prepare(table=table, labels=labels, **options):
        prepare_samples(radiographs, table, labels, folder=tmp_path / "out", **options)

    with pytest.raises(ValueError, match=r"a hospital for each of 36 films.*assign_hospitals"):
        prepare(table.assign(hospital=pd.Series([None] * 36, dtype="str")))
    with pytest.raises(ValueError, match=r"a split for each of 36 films.*split_patients"):
        prepare(table.assign(split=pd.Series([None] * 36, dtype="str")))
    with pytest.raises(ValueError, match=r"the splits train, valid, test\. Received val"):
        prepare(table.assign(split="val"))
    with pytest.raises(ValueError, match=r"every patient in one split.*0000 \(train and test\)"):
        prepare(table.assign(split=["train", "test"] * 18))
    with pytest.raises(ValueError, match="names of folders"):
        prepare(table.assign(hospital="../up"))
    with pytest.raises(ValueError, match="at least one film with a label"):
        prepare(labels=labels.where(labels.isna()))
    with pytest.raises(ValueError, match="labels with another index"):
        prepare(labels=labels[:5])
    for size, error in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match=rf"Expected size to be .* Received {size}\."):
            prepare(size=size)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def sample(radiographs, labels, tmp_path):
    samples = prepare_samples(radiographs, radiographs.table, labels, size=8, folder=tmp_path / "o")
    return samples["North"]["train"]


def change_about(sample, **changes):
    about = json.loads((sample / "sample.json").read_text(encoding="utf-8"))
    (sample / "sample.json").write_text(json.dumps(about | changes), encoding="utf-8")


@pytest.mark.parametrize("name", ["images.npy", "metadata.csv"])
def test_verify_notices_a_changed_byte(sample, name):
    data = bytearray((sample / name).read_bytes())
    data[-2] ^= 1
    (sample / name).write_bytes(data)
    with pytest.raises(ValueError, match=f"Expected {name} with the sha256"):
        verify_sample(sample)


@pytest.mark.parametrize("name", ["images.npy", "metadata.csv", "sample.json"])
def test_verify_notices_a_missing_file(sample, name):
    (sample / name).unlink()
    with pytest.raises(ValueError, match=f"Received no {name}"):
        verify_sample(sample)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"version": 2}, "version 1"),
        ({"format": "cats"}, "the format"),
        ({"shape": [5, 8, 8, 1]}, "shape, dtype and number"),
        ({"n_films": 5}, "shape, dtype and number"),
        ({"checksums": None}, "checksums, shape, dtype and n_films"),
    ],
)
def test_verify_notices_a_wrong_description(sample, changes, match):
    change_about(sample, **changes)
    with pytest.raises(ValueError, match=match):
        verify_sample(sample)


@pytest.mark.parametrize("text", ["{", "[]"])
def test_verify_notices_a_broken_description(sample, text):
    (sample / "sample.json").write_text(text)
    with pytest.raises(ValueError, match=r"in sample\.json|the format"):
        verify_sample(sample)


def test_a_sample_may_be_moved(sample, tmp_path):
    shutil.copytree(sample, tmp_path / "elsewhere")
    verify_sample(tmp_path / "elsewhere")


def test_real_films_become_samples(nih_sample, tmp_path):
    radiographs = read_radiographs(nih_sample, check_images=False)
    labels = label_films(radiographs.table, "pneumonia vs no finding")
    table = radiographs.table[labels.notna()].reset_index(drop=True)[:60]
    labels = label_films(table, "pneumonia vs no finding")
    table = split_patients(assign_hospitals(table, "iid", n_hospitals=2), labels=labels)
    samples = prepare_samples(radiographs, table, labels, size=32, folder=tmp_path / "out")
    data = ChestXrayOpener().get_data([f for splits in samples.values() for f in splits.values()])
    assert data["images"].shape == (60, 32, 32, 1)
    assert data["labels"].sum() == labels.sum()


def test_medmnist_arrays_become_samples(pneumoniamnist, tmp_path):
    radiographs = read_radiographs(pneumoniamnist)
    labels = label_films(radiographs.table, "pneumonia vs no finding")
    table = split_patients(
        assign_hospitals(radiographs.table, "iid"), labels=labels, keep_split=True
    )
    samples = prepare_samples(radiographs, table, labels, size=28, folder=tmp_path / "out")
    with np.load(pneumoniamnist) as arrays:
        expected = arrays["test_images"]
    data = ChestXrayOpener().get_data([splits["test"] for splits in samples.values()])
    places = data["metadata"]["image"].str.removeprefix("test/").astype(int).to_numpy()
    np.testing.assert_array_equal(np.asarray(data["images"])[..., 0], expected[places])
    assert sorted(places) == list(range(len(expected)))

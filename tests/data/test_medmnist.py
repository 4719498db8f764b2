import numpy as np
import pytest

from helpers.data.medmnist import read_medmnist
from helpers.data.report import Report


@pytest.fixture
def write(tmp_path, rng):
    def write(name="pneumoniamnist.npz", save=np.savez_compressed, **arrays):
        films = rng.integers(0, 256, (4, 5, 5), dtype=np.uint8)
        labels = np.array([[0], [1], [1], [0]], dtype=np.uint8)
        defaults = {}
        for split in ("train", "val", "test"):
            defaults |= {f"{split}_images": films, f"{split}_labels": labels}
        arrays = {key: value for key, value in (defaults | arrays).items() if value is not None}
        save(tmp_path / name, **arrays)
        return tmp_path / name

    return write


def test_pneumoniamnist(write):
    report = Report()
    table = read_medmnist(write(), report)
    assert len(table) == 12
    assert table["image"].tolist()[3:6] == ["train/3", "val/0", "val/1"]
    assert table["findings"].tolist()[:4] == ["No Finding", "Pneumonia", "Pneumonia", "No Finding"]
    assert table["split"].tolist() == ["train"] * 4 + ["valid"] * 4 + ["test"] * 4
    assert not table["faulty"].any()
    assert not report.is_faulty


def test_labels_of_one_dimension_and_stored_without_compression(write):
    labels = np.array([0, 1, 0, 1])
    path = write("pneumoniamnist_224.npz", np.savez, train_labels=labels)
    table = read_medmnist(path, Report(), check_images=False)
    assert table["findings"].tolist()[:2] == ["No Finding", "Pneumonia"]


def test_chestmnist_labels_follow_its_own_order(write):
    labels = np.zeros((4, 14), dtype=np.uint8)
    labels[1, 12] = 1
    labels[2, [0, 6, 13]] = 1
    arrays = {f"{split}_labels": labels for split in ("train", "val", "test")}
    table = read_medmnist(write("chestmnist_64.npz", **arrays), Report())
    assert table["findings"].tolist()[:4] == [
        "No Finding",
        "Pleural_Thickening",
        "Atelectasis|Pneumonia|Hernia",
        "No Finding",
    ]


def test_a_split_that_is_not_there(write):
    table = read_medmnist(write(val_images=None, val_labels=None), Report())
    assert table["split"].unique().tolist() == ["train", "test"]


def test_an_empty_split_is_a_fault(write):
    report = Report()
    path = write(test_images=np.zeros((0, 5, 5), np.uint8), test_labels=np.zeros((0, 1), np.uint8))
    assert len(read_medmnist(path, report)) == 8
    assert report.faults == {"split without an image": ["test"]}


def test_other_collections_are_refused(write):
    with pytest.raises(ValueError, match=r"Received 'breastmnist.npz', another collection"):
        read_medmnist(write("breastmnist.npz"), Report())


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"train_images": np.zeros((4, 5, 5))}, "Expected train_images as uint8.*float64"),
        ({"val_images": np.zeros((4, 5, 5, 5, 3), np.uint8)}, "Expected val_images as uint8"),
        ({"train_labels": np.zeros((3, 1), np.uint8)}, "Expected train_labels of 0 and 1"),
        ({"train_labels": np.zeros((4, 7), np.uint8)}, "Expected train_labels of 0 and 1"),
        ({"train_labels": np.full((4, 1), 2)}, "Expected train_labels of 0 and 1"),
        ({"test_labels": None}, "Expected a MedMNIST file.*test_labels"),
        (
            {"train_images": None, "val_images": None, "test_images": None},
            "Expected a MedMNIST file.*it holds train_labels.npy",
        ),
    ],
)
def test_arrays_that_do_not_fit(write, arrays, message):
    with pytest.raises(ValueError, match=message):
        read_medmnist(write(**arrays), Report())


def test_truncated_file_is_refused(write):
    path = write()
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ValueError, match="Download it again if it is broken"):
        read_medmnist(path, Report())


def test_flipped_bytes_are_found_by_the_check(write):
    path = write(save=np.savez)
    data = bytearray(path.read_bytes())
    data[data.index(np.load(path)["train_images"].tobytes())] ^= 255  # the first pixel
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"Bad CRC-32 for file 'train_images.npy'"):
        read_medmnist(path, Report())

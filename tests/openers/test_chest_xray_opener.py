import copy
import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import substratools
from substratools.utils import load_interface_from_module

from helpers.openers import chest_xray_opener
from helpers.openers.chest_xray_opener import COLUMNS, ChestXrayOpener, FilmStack

SCRIPT = Path(chest_xray_opener.__file__)


def make_rows(n, **columns):
    """Return metadata with everything that is hard to write to a csv and read back."""
    rows = pd.DataFrame(
        {
            "image": [f"images/{i:05d}.png" for i in range(n)],
            "patient": [f"{i // 2:08d}" for i in range(n)],
            "age": [0.1 + i / 3 if i % 4 else np.nan for i in range(n)],
            "sex": pd.Series([("F", "M", None)[i % 3] for i in range(n)], dtype="str"),
            "view": pd.Series([None] * n, dtype="str"),
            "findings": ["Edema|Pneumonia" if i % 2 else "No Finding" for i in range(n)],
            "follow_up": pd.Series([i if i % 3 else pd.NA for i in range(n)], dtype="Int64"),
            "hospital": 'Saint "Anne", Zürich',
            "split": "train",
            "label": np.arange(n) % 2,
        }
    )
    return rows.assign(**columns)


def write_sample(folder, images, rows, **changes):
    """Write one sample by hand, as an independent reading of its format."""
    folder.mkdir(parents=True)
    np.save(folder / "images.npy", images)
    rows.to_csv(folder / "metadata.csv", index=False)
    about = {
        "format": "chest X-ray sample",
        "version": 1,
        "shape": list(images.shape),
        "dtype": "uint8",
        "n_films": len(images),
        "checksums": {
            name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
            for name in ("images.npy", "metadata.csv")
        },
    }
    (folder / "sample.json").write_text(json.dumps(about | changes), encoding="utf-8")
    return folder


def make_images(n, size=8, start=0):
    """Return films, each filled with its own number."""
    films = np.arange(start, start + n, dtype=np.uint8)[:, None, None, None]
    return np.ascontiguousarray(np.broadcast_to(films, (n, size, size, 1)))


@pytest.fixture
def folders(tmp_path):
    """Return three samples of 5, 1 and 4 films, numbered from 0 to 9 throughout."""
    parts = [(0, 5), (5, 1), (6, 4)]
    return [
        write_sample(tmp_path / f"sample-{start}", make_images(n, start=start), make_rows(n))
        for start, n in parts
    ]


def test_one_folder_is_memory_mapped(folders):
    data = ChestXrayOpener().get_data(folders[:1])
    assert set(data) == {"images", "labels", "metadata"}
    assert isinstance(data["images"], np.memmap)
    assert not data["images"].flags.writeable
    assert data["images"].shape == (5, 8, 8, 1)
    assert data["labels"].dtype == np.int64
    assert data["labels"].tolist() == [0, 1, 0, 1, 0]


def test_what_was_opened_can_be_changed_like_a_dictionary(folders):
    data = ChestXrayOpener().get_data(folders[:1])
    data["metadata"] = data["metadata"].head(1)
    data["labels"] = 1 - data["labels"]
    assert len(data["metadata"]) == 1
    assert len(dict(data)["labels"]) == 5
    del data["metadata"]
    assert list(data) == ["images", "labels"]


def test_metadata_come_back_as_they_were(folders):
    pd.testing.assert_frame_equal(
        ChestXrayOpener().get_data(folders[:1])["metadata"], make_rows(5), check_exact=True
    )


def test_names_that_look_like_missing_values_stay_names(tmp_path):
    rows = make_rows(2, patient=["NA", "null"])
    folder = write_sample(tmp_path / "sample", make_images(2), rows)
    metadata = ChestXrayOpener().get_data([folder])["metadata"]
    assert metadata["patient"].tolist() == ["NA", "null"]


def test_weights_are_optional_numbers(tmp_path, folders):
    heavy = write_sample(tmp_path / "heavy", make_images(2), make_rows(2, weight=[0.5, np.nan]))
    metadata = ChestXrayOpener().get_data([folders[1], heavy])["metadata"]
    np.testing.assert_array_equal(metadata["weight"], [np.nan, 0.5, np.nan])


def test_all_folders_are_read_in_their_order(folders):
    data = ChestXrayOpener().get_data([str(folders[2]), folders[0], folders[1]])
    assert data["images"].shape == (10, 8, 8, 1)
    assert [film[0, 0, 0] for film in data["images"]] == [6, 7, 8, 9, 0, 1, 2, 3, 4, 5]
    assert data["labels"].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0, 0]
    assert data["metadata"].index.equals(pd.RangeIndex(10))
    assert data["metadata"]["follow_up"].dtype == "Int64"
    assert data["metadata"]["patient"].tolist()[4:6] == ["00000000", "00000000"]


@pytest.fixture
def stack(folders):
    return ChestXrayOpener().get_data(folders)["images"]


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(5),
        np.uint8(9),
        slice(None),
        slice(3, 8),
        slice(None, None, -2),
        slice(20, 30),
        [],
        [9, 0, 5, 5, -10],
        np.array([7, 2], dtype=np.uint8),
        np.arange(10) % 3 == 0,
        [True] + [False] * 9,
    ],
)
def test_a_stack_is_indexed_like_one_array(stack, index):
    received = stack[index]
    expected = make_images(10)[index]
    assert type(received) is np.ndarray
    assert received.dtype == np.uint8
    np.testing.assert_array_equal(received, expected)


def test_a_stack_looks_like_an_array(stack):
    assert (len(stack), stack.shape, stack.dtype, stack.ndim) == (10, (10, 8, 8, 1), np.uint8, 4)
    np.testing.assert_array_equal(np.asarray(stack), make_images(10))
    assert np.asarray(stack, dtype=np.float32).dtype == np.float32
    assert repr(stack) == "FilmStack(shape=(10, 8, 8, 1), dtype=uint8, parts=3)"
    np.testing.assert_array_equal(copy.deepcopy(stack)[[1, 8]], make_images(10)[[1, 8]])


@pytest.mark.parametrize("index", [10, -11, [0, 10], np.array([-11])])
def test_a_stack_refuses_films_it_has_not(stack, index):
    with pytest.raises(IndexError, match=r"Expected an index below 10\. Received -?1[01]"):
        stack[index]


@pytest.mark.parametrize(
    ("index", "error", "match"),
    [
        (1.0, TypeError, "an integer, a slice"),
        ([[1]], TypeError, r"Received int64 of shape \(1, 1\)"),
        ((0, 1), TypeError, "one index"),
        (None, TypeError, "an integer, a slice"),
        (np.ones(9, dtype=bool), IndexError, r"boolean array of shape \(10,\)"),
        (True, IndexError, r"boolean array of shape \(10,\)"),
    ],
)
def test_a_stack_refuses_what_it_does_not_understand(stack, index, error, match):
    with pytest.raises(error, match=match):
        stack[index]


def test_a_stack_reads_only_the_films_asked_for():
    class Part:
        shape, dtype, read = (4, 2, 2, 1), np.dtype(np.uint8), 0

        def __len__(self):
            return 4

        def __getitem__(self, index):
            self.read += len(index)
            return np.zeros((len(index), 2, 2, 1), dtype=np.uint8)

    parts = [Part(), Part()]
    FilmStack(parts)[[5, 7]]
    assert [part.read for part in parts] == [0, 2]


def refused(folder, match):
    with pytest.raises(ValueError, match=match) as error:
        ChestXrayOpener().get_data([folder])
    assert repr(str(folder)) in str(error.value)


def test_no_folder_is_refused():
    with pytest.raises(ValueError, match=r"at least one folder of films\. Received none"):
        ChestXrayOpener().get_data([])


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "nowhere", "Expected an existing folder. Received none")


@pytest.mark.parametrize("name", ["images.npy", "metadata.csv", "sample.json"])
def test_a_missing_file_is_named(folders, name):
    (folders[0] / name).unlink()
    refused(folders[0], f"Received no {name}; found")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "cats"}, '"format": "chest X-ray sample".*Received \'cats\''),
        ({"version": 2}, '"version": 1 in sample.json. Received 2 .*Prepare the samples again, or'),
        ({"dtype": "float32"}, "dtype float32 in images.npy, as sample.json says. Received uint8"),
        ({"shape": [5, 9, 9, 1]}, r"shape \[5, 9, 9, 1\].*Received \[5, 8, 8, 1\]"),
        ({"n_films": 6}, "n_films 6 in images.npy.*Received 5"),
        ({"checksums": []}, r"metadata\.csv with the sha256 None"),
    ],
)
def test_a_description_that_does_not_agree_is_refused(tmp_path, changes, match):
    refused(write_sample(tmp_path / "sample", make_images(5), make_rows(5), **changes), match)


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_broken_description_is_refused(folders, text):
    (folders[0] / "sample.json").write_bytes(text.encode("latin-1"))
    refused(folders[0], r"in sample\.json")


@pytest.mark.parametrize(
    ("images", "match"),
    [
        (np.zeros((5, 8, 8, 1)), "dtype uint8. Received float64"),
        (np.zeros((5, 8, 8), np.uint8), r"shape \(n, H, W, 1\). Received \(5, 8, 8\)"),
        (np.zeros((5, 8, 8, 3), np.uint8), r"shape \(n, H, W, 1\). Received \(5, 8, 8, 3\)"),
        (np.zeros((4, 8, 8, 1), np.uint8), "as many rows .* 4. Received 5 rows"),
    ],
)
def test_other_arrays_are_refused(tmp_path, images, match):
    refused(write_sample(tmp_path / "sample", images, make_rows(5)), match)


@pytest.mark.parametrize("size", [0, 100, 200])
def test_a_truncated_array_is_refused(folders, size):
    os.truncate(folders[0] / "images.npy", size)
    refused(folders[0], r"a whole NumPy array in images\.npy")


def test_a_pickled_array_is_refused(folders):
    np.save(folders[0] / "images.npy", np.array([{}], dtype=object))
    refused(folders[0], r"a whole NumPy array in images\.npy")


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (make_rows(5).drop(columns=["age", "split"]), r"Received no \['age', 'split'\]"),
        (make_rows(5, label=[0, 1, 2, 1, 0]), r"labels 0 and 1 .* Received \['2'\]"),
        (make_rows(5, label=["0", "1", None, "1", "0"]), r"labels 0 and 1 .* Received \[nan\]"),
        (make_rows(5, age="old"), "numbers as age, follow_up and weight"),
        (make_rows(5, follow_up="often"), "numbers as age, follow_up and weight"),
    ],
)
def test_metadata_it_does_not_understand_are_refused(tmp_path, rows, match):
    refused(write_sample(tmp_path / "sample", make_images(5), rows), match)


def test_metadata_changed_afterwards_are_refused(folders):
    text = (folders[0] / "metadata.csv").read_text(encoding="utf-8")
    (folders[0] / "metadata.csv").write_text(text.replace("Edema", "Nodule"), encoding="utf-8")
    refused(folders[0], r"metadata\.csv with the sha256")


def test_films_of_two_sizes_are_refused(tmp_path, folders):
    large = write_sample(tmp_path / "large", make_images(2, size=9), make_rows(2))
    match = r"shape \(8, 8, 1\) as in 'sample-0'\. Received films of shape \(9, 9, 1\).*large"
    with pytest.raises(ValueError, match=match):
        ChestXrayOpener().get_data([folders[0], large])


def test_fake_data_have_the_form_of_real_data(folders):
    real = ChestXrayOpener().get_data(folders[:1])
    fake = ChestXrayOpener().fake_data(20)
    assert set(fake) == set(real)
    assert fake["images"].shape == (20, 64, 64, 1)
    assert fake["images"].dtype == real["images"].dtype
    assert fake["labels"].dtype == real["labels"].dtype
    assert fake["labels"].shape == (20,)
    assert list(fake["metadata"].columns) == list(real["metadata"].columns) == list(COLUMNS)
    assert fake["metadata"].dtypes.tolist() == real["metadata"].dtypes.tolist()
    assert sorted(set(fake["labels"])) == [0, 1]
    assert fake["metadata"]["patient"].nunique() == 10
    assert fake["metadata"]["label"].tolist() == fake["labels"].tolist()


def test_fake_data_are_always_the_same():
    one, other = ChestXrayOpener().fake_data(5), ChestXrayOpener().fake_data(5)
    np.testing.assert_array_equal(one["images"], other["images"])
    pd.testing.assert_frame_equal(one["metadata"], other["metadata"])
    assert len(ChestXrayOpener().fake_data(1)["labels"]) == 1


@pytest.mark.parametrize(
    ("number", "match"), [(0, "at least 1"), (None, "Received None"), (2.0, "as an integer")]
)
def test_fake_data_need_a_number_of_films(number, match):
    with pytest.raises(ValueError, match=match):
        ChestXrayOpener().fake_data(number)


def test_substratools_loads_the_script_from_another_folder(tmp_path, folders):
    shutil.copy(SCRIPT, tmp_path / "opener.py")
    opener = load_interface_from_module(
        "opener",
        interface_class=substratools.Opener,
        interface_signature=None,
        path=str(tmp_path / "opener.py"),
    )
    assert type(opener).__name__ == "ChestXrayOpener"
    assert opener.get_data(folders)["images"].shape == (10, 8, 8, 1)


def run(command, cwd):
    """Run Python somewhere else, without this repository on its path."""
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def function(tmp_path):
    """Return a function file as Substra runs them, and its folder with the opener alone."""
    folder = tmp_path / "task"
    folder.mkdir()
    shutil.copy(SCRIPT, folder / "opener.py")
    (folder / "function.py").write_text(
        textwrap.dedent(
            """
            import json
            import sys
            import substratools

            @substratools.register
            def describe(inputs, outputs, task_properties):
                data = inputs["datasamples"]
                films = data["images"][[0, len(data["images"]) - 1]]
                told = {
                    "shape": list(data["images"].shape),
                    "corner": films[:, 0, 0, 0].tolist(),
                    "labels": data["labels"].tolist(),
                    "columns": list(data["metadata"].columns),
                    "helpers": "helpers" in sys.modules,
                }
                with open(outputs["told"], "w") as file:
                    json.dump(told, file)

            if __name__ == "__main__":
                substratools.execute()
            """
        ),
        encoding="utf-8",
    )
    return folder / "function.py"


def resource(name, value, multiple):
    return {"id": name, "value": str(value), "multiple": multiple}


def execute(function, inputs, *options):
    """Run the function through substratools' command line and return what it wrote."""
    folder = function.parent
    inputs = [resource("opener", folder / "opener.py", False), *inputs]
    outputs = [resource("told", folder / "told.json", False)]
    # As Substra writes it, letters as they are: substratools turns every backslash into a slash.
    inputs, outputs = (json.dumps(files, ensure_ascii=False) for files in (inputs, outputs))
    done = run(
        [
            function,
            *("--function-name", "describe"),
            *("--inputs", inputs),
            *("--outputs", outputs),
            *options,
        ],
        folder,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return json.loads((folder / "told.json").read_text())


def test_the_command_line_of_substratools_reads_linked_samples(function, folders, tmp_path):
    linked = []
    for folder in folders:  # what Substra's local mode does before a task
        linked.append(tmp_path / "inputs" / folder.name)
        shutil.copytree(folder, linked[-1], copy_function=os.symlink)
    told = execute(function, [resource("datasamples", folder, True) for folder in linked])
    assert told == {
        "shape": [10, 8, 8, 1],
        "corner": [0, 9],
        "labels": [0, 1, 0, 1, 0, 0, 0, 1, 0, 1],
        "columns": list(COLUMNS),
        "helpers": False,
    }


def test_the_command_line_of_substratools_makes_fake_data(function):
    told = execute(function, [], "--fake-data", "--n-fake-samples", "8")
    assert told["shape"] == [8, 64, 64, 1]
    assert told["labels"] == [0, 1] * 4
    assert told["columns"] == list(COLUMNS)


def test_the_command_line_of_substratools_shows_the_refusal(function, folders):
    (folders[1] / "images.npy").unlink()
    with pytest.raises(RuntimeError, match=r"Received no images\.npy; found .* in the folder"):
        execute(function, [resource("datasamples", folder, True) for folder in folders])


# Two measures of what a process holds for itself: its resident anonymous memory, and the peak of
# what Python and NumPy allocate. Pages of a mapped file are in neither: the system reads ahead as
# it likes and takes them back when memory is short, so peak RSS would measure its mood.
MEASURE = """
import sys
import tracemalloc
import numpy as np
from opener import ChestXrayOpener

def resident():
    with open("/proc/self/status") as file:
        values = dict(line.split(":", 1) for line in file)
    return int(values["RssAnon"].split()[0]) * 1024

def open_and_read():
    data = ChestXrayOpener().get_data(folders)
    if how == "copied":
        data["images"] = np.array(data["images"])
    batch = data["images"][np.random.default_rng(0).integers(0, len(data["images"]), 32)]
    assert batch.shape == (32, 64, 64, 1)
    return data, batch

how, warm_up, *folders = sys.argv[1:]
ChestXrayOpener().get_data([warm_up])["images"][:1]  # imports and buffers of pandas
before = resident()
kept = open_and_read()
growth = resident() - before
del kept
tracemalloc.start()
open_and_read()
print(growth, tracemalloc.get_traced_memory()[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_flat_while_the_data_grow_tenfold(tmp_path, rng):
    shutil.copy(SCRIPT, tmp_path / "opener.py")
    (tmp_path / "measure.py").write_text(MEASURE)

    def write(name, n_films):
        images = rng.integers(0, 256, (n_films, 64, 64, 1), dtype=np.uint8)
        return write_sample(tmp_path / name, images, make_rows(n_films))

    def measure(how, *samples):
        done = run([tmp_path / "measure.py", how, warm_up, *samples], tmp_path)
        assert done.returncode == 0, done.stderr
        return np.array(done.stdout.split(), dtype=int) / 2**20

    warm_up = write("warm-up", 2)
    few = [write(f"few-{part}", 250) for part in range(2)]
    many = [write(f"many-{part}", 2500) for part in range(2)]
    data_growth = 4500 * 64 * 64 / 2**20
    little = measure("mapped", *few)
    growth = {
        "mapped": measure("mapped", *many) - little,
        "copied, for comparison": measure("copied", *many) - little,
    }
    for name, (anonymous, allocated) in growth.items():
        print(f"{name}: {anonymous=:.1f}, {allocated=:.1f} of {data_growth:.1f} MiB of films")
    # What grows are the labels, eight bytes a film; metadata stay on the disk.
    assert growth["mapped"].max() < 0.06 * data_growth
    assert growth["copied, for comparison"].min() > 0.9 * data_growth

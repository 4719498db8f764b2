"""Fingerprints: equal for equal meaning, whenever and wherever; different for any difference."""

import os
import pickle
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from helpers.local_mode.fingerprint import (
    folder_fingerprint,
    pickle_fingerprint,
    task_fingerprint,
)

ROOT = Path(__file__).parents[2]
SCRIPT = """
import cloudpickle, functools, sys
import numpy as np

LIMIT = {limit}
NAMES = {{"one", "two", "three", "four", "five"}}

class Base:
    size = 3

class Algo(Base):
    def __init__(self, rate):
        self.rate, self.start = rate, np.zeros(3)

    def train(self, x):
        def inner(y):
            return {formula} + LIMIT
        return [inner(v) for v in x if v not in NAMES]

    def again(self, n):
        return super().size if n == 0 else self.again(n - 1)

def factorial(n):
    return 1 if n == 0 else n * factorial(n - 1)

sys.stdout.buffer.write(
    cloudpickle.dumps([Algo({rate}), Algo, factorial, functools.partial(factorial, 3), NAMES])
)
"""


def pickle_of(folder, name="script.py", before="", **parts):
    """Pickle the algorithm of a script in a Python of its own, as every run does."""
    parts = {"limit": 7, "formula": "2 * y", "rate": 0.5} | parts
    script = folder / name
    script.write_text(before + SCRIPT.format(**parts))
    ended = subprocess.run([sys.executable, script], capture_output=True, check=True, cwd=folder)
    return ended.stdout


def test_a_script_that_is_run_again_or_commented_has_the_same_fingerprint(tmp_path):
    first = pickle_of(tmp_path)
    other = pickle_of(tmp_path, before="# a comment\n\n\n")
    assert first != other  # cloudpickle's bytes differ: that is why they are not hashed
    assert pickle_fingerprint(first) == pickle_fingerprint(other)
    renamed = pickle_of(tmp_path, name="renamed.py")  # its code can read __file__
    assert pickle_fingerprint(first) != pickle_fingerprint(renamed)


def test_what_code_can_see_counts():
    """A sum over a dictionary in order, or over all pickles of a file, is another result."""
    pairs = [
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({"date_saved": 1}, {"date_saved": 2}),
        ({"__file__": "a.py"}, {"__file__": "b.py"}),
        ({"random_state": {"tensorflow": (None, 1)}}, {"random_state": {"tensorflow": (None, 2)}}),
    ]
    for pair in pairs:
        one, other = (pickle_fingerprint(pickle.dumps(value)) for value in pair)
        assert one != other
    first, second, third = (pickle.dumps(value) for value in ("one", "two", "three"))
    whole = [first, first + second, first + third, first + b"text", first + second[:-1]]
    assert len({pickle_fingerprint(content) for content in whole}) == len(whole)
    assert pickle_fingerprint(pickle.dumps({3, 1, 2})) == pickle_fingerprint(
        pickle.dumps({2, 3, 1})
    )


@pytest.mark.parametrize(
    "change", [{"limit": 8}, {"formula": "3 * y"}, {"formula": "2 + y"}, {"rate": 0.25}]
)
def test_every_change_of_the_code_is_noticed(tmp_path, change):
    first, other = pickle_of(tmp_path), pickle_of(tmp_path, **change)
    assert pickle_fingerprint(first) != pickle_fingerprint(other)


def test_nothing_is_executed(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'executed'}",)

    assert len(pickle_fingerprint(pickle.dumps(Trap()))) == 64
    assert not (tmp_path / "executed").exists()


def test_values_count_and_identity_does_not():
    one = np.arange(4.0)
    assert pickle_fingerprint(pickle.dumps([one, one])) == pickle_fingerprint(
        pickle.dumps([one, one.copy()])
    )
    assert pickle_fingerprint(pickle.dumps([one])) != pickle_fingerprint(pickle.dumps([one + 1]))
    values = [1, 1.0, True, "1", b"1", None, (1,), [1], {1}, {1: 1}]
    assert len({pickle_fingerprint(pickle.dumps(value)) for value in values}) == len(values)


def test_plain_values_in_a_row_are_told_apart():
    rows = [(1, 0), (0, 1), (True, False), (1.0, 0.0), (-0.0, 0), (float("nan"), 0), (1, None)]
    rows += [("1", "0"), ("1, 0",), ("1', '0",), (1,), (10,), [1, 0], ((1,), 0)]
    assert len({pickle_fingerprint(pickle.dumps(row)) for row in rows}) == len(rows)


def test_a_keras_algorithm_is_recognised_at_another_time(tmp_path):
    source = textwrap.dedent("""
        import sys
        import cloudpickle, keras
        from substrafl.index_generator import NpIndexGenerator
        from helpers.algorithms import TFFedAvgAlgo
        from helpers.data import ChestXrayDataset

        def build():
            return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(),
                                     keras.layers.Dense(1)])

        settings = [(0.1, 4), (0.2, 4), (0.1, 8)]
        # Keras numbers what it makes: the other way round in the second run.
        for rate, units in settings if sys.argv[1] == "a" else reversed(settings):
            algo = TFFedAvgAlgo(
                model=build,
                loss=keras.losses.BinaryCrossentropy(from_logits=True),
                optimizer=keras.optimizers.Adam(rate),
                index_generator=NpIndexGenerator(batch_size=units, num_updates=1),
                dataset=ChestXrayDataset,
            )
            with open(f"{sys.argv[1]}-{rate}-{units}", "wb") as file:
                cloudpickle.dump(algo, file)
    """)
    (tmp_path / "script.py").write_text(source)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    for run in "ab":
        subprocess.run(
            [sys.executable, "script.py", run], check=True, cwd=tmp_path, env=environment
        )
    fingerprints = {
        path.name: pickle_fingerprint(path.read_bytes()) for path in tmp_path.glob("[ab]-*")
    }
    for name in ("0.1-4", "0.2-4", "0.1-8"):
        assert fingerprints[f"a-{name}"] == fingerprints[f"b-{name}"]
    assert len(set(fingerprints.values())) == 3


def test_files_and_folders(tmp_path):
    (tmp_path / "a").write_text("film")
    before = folder_fingerprint(tmp_path)
    assert folder_fingerprint(tmp_path) == before
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = folder_fingerprint(tmp_path)
    (tmp_path / "b").write_text("filn")
    assert len({before, renamed, folder_fingerprint(tmp_path)}) == 3


def test_random_names_do_not_count_and_everything_else_does(tmp_path):
    import io
    import json
    import tarfile

    def task(code="x = 1", shared="weights", film="film", rank=3, cores=1, name="one"):
        folder = tmp_path / f"{name}-{len(list(tmp_path.iterdir()))}"
        (folder / "inputs").mkdir(parents=True)
        (folder / "sample").mkdir()
        (folder / "inputs" / name).write_text(shared)
        (folder / "sample" / "images.npy").write_text(film)
        with tarfile.open(folder / "function.tar.gz", "w:gz") as archive:
            member = tarfile.TarInfo("function.py")
            member.size = len(code)
            archive.addfile(member, io.BytesIO(code.encode()))
        inputs = [
            {"id": "shared", "value": str(folder / "inputs" / name), "multiple": False},
            {"id": "datasamples", "value": str(folder / "inputs" / f"key-{name}")},
        ]
        return task_fingerprint(
            folder / "function.tar.gz",
            ["--task-properties", json.dumps({"rank": rank}), "--inputs", json.dumps(inputs)],
            folder / "inputs",
            {f"key-{name}": folder / "sample"},
            {"cores": cores},
        )

    first = task()
    assert task(name="two") == first
    changes = [
        {"code": "x = 2"},
        {"shared": "other weights"},
        {"film": "another film"},
        {"rank": 4},
        {"cores": 2},
    ]
    assert len({first, *(task(**change) for change in changes)}) == 6

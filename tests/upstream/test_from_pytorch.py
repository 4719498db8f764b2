"""The page "From PyTorch to TensorFlow": its numbers are right, and its lines work."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "from_pytorch.rst").read_text("utf-8")
BLOCK = re.compile(
    r"\.\. code-block:: python\n +:caption: (?P<caption>.+)\n"
    r"(?: +:emphasize-lines: (?P<changed>.+)\n)?\n"
    r"(?P<code>(?: {9}.*\n|\n)+)"
)


def _blocks(framework):
    """Return code and number of changed lines of one side's blocks."""
    found = []
    for block in BLOCK.finditer(PAGE):
        if block["caption"].startswith(framework):
            code = textwrap.dedent(block["code"])
            lines = [line for line in code.splitlines() if line and line.lstrip()[0] != "#"]
            marked = block["changed"]
            found.append((code, len(marked.split(",")) if marked else len(lines)))
    return found


def test_numbers_of_lines_are_those_of_the_page():
    table = re.findall(r"   \* - .+\n     - (\d+)\n     - (\d+)\n     - the ", PAGE)
    assert len(table) == 5
    out, into = (list(map(int, column)) for column in zip(*table, strict=True))
    assert [number for _, number in _blocks("PyTorch")] == out
    assert [number for _, number in _blocks("TensorFlow")] == into


def test_versions_are_those_of_the_requirements():
    pinned = (ROOT / "requirements.txt").read_text("utf-8")
    versions = re.findall(r"\"([\w-]+==[\d.]+)\"", _blocks("TensorFlow")[-1][0])
    assert len(versions) == 3
    assert [one for one in versions if not re.search(rf"^{one}\b", pinned, re.MULTILINE)] == []


@pytest.mark.slow
def test_the_lines_for_tensorflow_train_and_predict(rng):
    program = "\n".join(code for code, _ in _blocks("TensorFlow"))
    program = program.replace("substrafl.algorithms.tensorflow", "helpers.algorithms")
    names = {
        "seed": 42,
        "index_generator": NpIndexGenerator(batch_size=8, num_updates=2),
        "metrics": {},
        "FedAvg": FedAvg,
    }
    exec(program, names)
    algo = names["strategy"].algo
    digits = {
        "images": rng.integers(256, size=(20, 28, 28), dtype=np.uint8),
        "labels": rng.integers(10, size=20),
    }
    shared = algo.train(data_from_opener=digits, shared_state=None, _skip=True)
    assert all(np.any(update) for update in shared.parameters_update)
    assert algo.predict(data_from_opener=digits).shape == (20, 10)

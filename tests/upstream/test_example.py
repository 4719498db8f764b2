"""The folder for Substra's documentation: a small notebook, its assets, all its requirements."""

import hashlib
import io
import re
import runpy
import sys
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def assets(examples):
    return examples / "go_further" / "tensorflow_fedavg_assets"


@pytest.fixture(scope="module")
def notebook(examples):
    (path,) = examples.rglob("*.ipynb")
    return nbformat.read(path, as_version=4)


@pytest.fixture
def small_file(tmp_path, monkeypatch):
    """Seven films to train and three to test, in MedMNIST's layout."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, n_films in (("train", 7), ("test", 3)):
        arrays[f"{part}_images"] = rng.integers(256, size=(n_films, 28, 28), dtype=np.uint8)
        arrays[f"{part}_labels"] = rng.integers(2, size=(n_films, 1), dtype=np.uint8)
    np.savez(tmp_path / "small.npz", **arrays)
    monkeypatch.setenv("PNEUMONIAMNIST", str(tmp_path / "small.npz"))
    return arrays


def test_the_notebook_is_as_small_as_the_official_one(notebook):
    nbformat.validate(notebook)
    assert len(notebook.cells) <= 45
    titles = [
        line.lstrip("# ")
        for cell in notebook.cells
        if cell.cell_type == "markdown"
        for line in cell.source.splitlines()
        if line.startswith("#")
    ]
    wanted = ["Setup", "Data prep", "Dataset reg", "Metrics", "Model", "SubstraFL algo"]
    wanted += ["Federated Learning strategies", "Where to train", "Running", "List results"]
    positions = [next(i for i, t in enumerate(titles) if t.startswith(one)) for one in wanted]
    assert positions == sorted(positions)


def test_every_cell_of_code_is_a_program(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            compile(cell.source, cell.id, "exec")


def test_requirements_cover_every_import(tool, examples, interface, assets):
    listed = (assets / "requirements.txt").read_text("utf-8").splitlines()
    names = {re.split("==", line)[0] for line in listed}
    spelled = {"sklearn": "scikit-learn"}
    imports_of, imported = tool("requirements").imports_of, set()
    for file in [*examples.rglob("*.py"), *interface.glob("*.py")]:
        imported |= imports_of(file.read_text("utf-8"))
    assert {"keras", "numpy", "substratools", "tensorflow"} < imported
    missing = {spelled.get(name, name) for name in imported - set(sys.stdlib_module_names)} - names
    assert missing == set()
    pinned = (ROOT / "requirements.txt").read_text("utf-8")
    for line in listed:
        assert re.search(rf"^{re.escape(line.split(';')[0])}\b", pinned, re.MULTILINE), line


def test_an_import_without_a_pinned_package_is_refused(tool, tmp_path):
    (tmp_path / "page.py").write_text("import nothing_such\n", "utf-8")
    with pytest.raises(ValueError, match="brings 'nothing_such'"):
        tool("requirements").write_requirements(tmp_path / "requirements.txt", tmp_path)


def test_the_opener_reads_every_folder_and_fakes_what_it_reads(assets, small_file, tmp_path):
    prepare = runpy.run_path(str(assets / "dataset" / "pneumoniamnist_dataset.py"))
    prepare["setup_pneumoniamnist"](tmp_path / "data", 2)
    opener = runpy.run_path(str(assets / "dataset" / "pneumoniamnist_opener.py"))
    opener = opener["PneumoniaMnistOpener"]()
    folders = [tmp_path / "data" / f"org_{number}" / "train" for number in (1, 2)]
    parts = [opener.get_data([str(folder)]) for folder in folders]
    assert [len(part["labels"]) for part in parts] == [4, 3]
    data = opener.get_data([str(folder) for folder in folders])
    images, labels = small_file["train_images"], small_file["train_labels"]
    order = [0, 2, 4, 6, 1, 3, 5]
    np.testing.assert_array_equal(data["images"][..., 0], images[order])
    np.testing.assert_array_equal(data["labels"], labels[order, 0])
    fake = opener.fake_data(5)
    for key, value in data.items():
        assert (fake[key].dtype, fake[key].shape[1:]) == (value.dtype, value.shape[1:])
        assert len(fake[key]) == 5


def test_a_file_that_is_not_there_is_reported(assets, tmp_path, monkeypatch):
    monkeypatch.setenv("PNEUMONIAMNIST", "nowhere.npz")
    prepare = runpy.run_path(str(assets / "dataset" / "pneumoniamnist_dataset.py"))
    with pytest.raises(ValueError, match=r"Received 'nowhere\.npz'"):
        prepare["find_pneumoniamnist"](tmp_path)


def test_a_download_is_checked_and_kept(assets, tmp_path, monkeypatch):
    monkeypatch.delenv("PNEUMONIAMNIST", raising=False)
    monkeypatch.setattr(urllib.request, "urlopen", lambda url, timeout: io.BytesIO(b"films"))
    prepare = runpy.run_path(str(assets / "dataset" / "pneumoniamnist_dataset.py"))
    find = prepare["find_pneumoniamnist"]
    with pytest.raises(ValueError, match="Expected a file with the MD5"):
        find(tmp_path)
    assert list(tmp_path.iterdir()) == []
    find.__globals__["MD5"] = hashlib.md5(b"films").hexdigest()
    assert find(tmp_path).read_bytes() == b"films"

    def fail(url, timeout):
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", fail)
    assert find(tmp_path).read_bytes() == b"films"
    (tmp_path / "pneumoniamnist.npz").unlink()
    with pytest.raises(ConnectionError, match="no network"):
        find(tmp_path)

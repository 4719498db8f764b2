"""Fixtures for all tests: a generator, a tiny federation, real radiographs if they are there."""

import contextlib
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from helpers.data import prepare_samples, read_radiographs

# Beside busy processes an example may take any time.
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")


def pytest_collection_modifyitems(items):
    """Begin with tests that were given more time, so that no worker is left with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture(autouse=True, scope="session")
def cache_of_the_tests(tmp_path_factory):
    """Keep the user's cache out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHEST_XRAYS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def what_tests_define_travels_by_value():
    """Let algorithms defined in a test reach its tasks, as those of a page's ``__main__`` do."""
    tests = sys.modules[__name__.partition(".")[0]]
    cloudpickle.register_pickle_by_value(tests)
    yield
    cloudpickle.unregister_pickle_by_value(tests)


ROOT = Path(__file__).resolve().parents[1]
_REAL = ROOT.parent / "shared" / "data"


@pytest.fixture
def tool(request, monkeypatch):
    """Import a module of a tool by its name, as the tool does; its tests' folder has its name."""
    folder = ROOT / "docs" / request.path.parent.name
    monkeypatch.syspath_prepend(folder)
    yield importlib.import_module
    for path in folder.glob("*.py"):  # such general names are not left behind
        sys.modules.pop(path.stem, None)


@pytest.fixture
def start_script():
    """Start Python on a text, in a process group of its own that does not outlive the test."""
    # A shell has its jobs in the background ignore Ctrl-C, and Python would leave it at that.
    restore = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    processes = []

    def start(text, *arguments, env=None, **options):
        process = subprocess.Popen(
            [sys.executable, "-c", restore + text, *map(str, arguments)],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | (env or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **options,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a generator that starts from the same seed in every test."""
    return np.random.default_rng(0)


def _real(name: str) -> Path:
    path = _REAL / name
    if not path.exists():
        pytest.skip(f"no ../shared/data/{name} beside the repository")
    return path


@pytest.fixture
def nih_sample() -> Path:
    """Return 631 films of NIH ChestX-ray14 in its own layout, or skip the test."""
    return _real("nih-chest-xrays")


@pytest.fixture
def pneumoniamnist() -> Path:
    """Return PneumoniaMNIST at 28 px as MedMNIST's npz, or skip the test."""
    return _real("pneumoniamnist.npz")


SIZES = {"A": 24, "B": 12, "C": 18}


@pytest.fixture(scope="session")
def tiny_samples(tmp_path_factory):
    """Three hospitals of unequal size, films of 8 px: hospital -> split -> folder.

    A bright corner is the finding; the rest is noise. It goes through the real reader and the
    real preparation.
    """
    folder = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    arrays, hospitals = {}, []
    for split, share in (("train", 1), ("val", 0.5), ("test", 0.5)):
        of_films = [h for h, n in SIZES.items() for _ in range(int(n * share))]
        labels = np.arange(len(of_films)) % 2
        images = rng.integers(0, 128, (len(of_films), 8, 8), dtype=np.uint8)
        images[labels == 1, :3, :3] += 90
        arrays |= {f"{split}_images": images, f"{split}_labels": labels[:, None].astype("uint8")}
        hospitals += of_films
    np.savez(folder / "pneumoniamnist.npz", **arrays)
    radiographs = read_radiographs(folder / "pneumoniamnist.npz")
    table = radiographs.table.assign(hospital=hospitals)
    labels = (table["findings"] == "Pneumonia").astype("Int64")
    return prepare_samples(radiographs, table, labels, size=8, folder=folder / "samples")

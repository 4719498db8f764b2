"""What a task is given besides its archive, inputs and samples: all of it is in its fingerprint."""

import json
import logging
import sys
import tarfile

import keras
import pytest
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.local_mode import Federation, run_tasks_fast
from helpers.local_mode.environment import describe_environment, task_variables
from helpers.local_mode.fingerprint import module_fingerprint, task_fingerprint


def test_variables_are_listed_and_those_of_the_user_declared(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("SETTING", "2")
    monkeypatch.setenv("PYTHONPATH", "packages")
    monkeypatch.delenv("ABSENT", raising=False)
    given = task_variables()
    assert given["OMP_NUM_THREADS"] == "1"
    assert {"PATH", "HOME"} <= given.keys()
    assert not {"SETTING", "PYTHONPATH"} & given.keys()
    assert task_variables(["SETTING", "ABSENT"]) == given | {"SETTING": "2"}


@pytest.mark.parametrize("pass_env", ["SETTING", [1]])
def test_declared_variables_are_a_list_of_names(pass_env):
    with pytest.raises(TypeError, match="Expected pass_env as a list of names"):
        task_variables(pass_env)
    with pytest.raises(TypeError, match="Expected pass_env as a list of names"):
        run_tasks_fast({}, pass_env=pass_env)


def _install(folder, name, version, *, origin=None, **texts):
    """Write what an installer leaves of a package."""
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir(parents=True)
    if origin:
        texts["direct_url.json"] = json.dumps({"url": folder.as_uri()} | origin)
    for file, text in texts.items():
        (info / file).write_text(text)


def test_packages_count_with_version_and_local_ones_with_their_files(tmp_path, monkeypatch):
    def describe(name, version="1.0", **options):
        folder = tmp_path / name
        _install(folder, "some_package", version, **options)
        monkeypatch.setattr(sys, "path", [str(folder)])
        return describe_environment({})["packages"]

    first, newer = describe("first"), describe("newer", "1.1")
    assert first == ["some_package-1.0"]
    assert newer == ["some_package-1.1"]
    local = {"origin": {"dir_info": {}}}
    one, other = (describe(sha, RECORD=f"a.py,{sha},1", **local) for sha in ("sha-1", "sha-2"))
    assert one != other


def test_editable_packages_count_with_their_sources(tmp_path, monkeypatch):
    editable = {"origin": {"dir_info": {"editable": True}}}
    _install(tmp_path, "project_with_modules", "1", **editable, **{"top_level.txt": "mod\npack"})
    _install(tmp_path, "other_project", "1", **editable)  # not every builder lists modules
    (tmp_path / "pack").mkdir()
    for file in ("mod.py", "pack/__init__.py"):
        (tmp_path / file).write_text("x = 1")
    monkeypatch.syspath_prepend(tmp_path)
    modules = describe_environment({})["modules"]
    assert modules["mod"] == str(tmp_path / "mod.py")
    assert modules["pack"] == str(tmp_path / "pack")
    assert modules["other_project-1"] == str(tmp_path)

    (tmp_path / "pack" / ".hidden").write_text("x")
    (tmp_path / "pack" / "__pycache__").mkdir()
    (tmp_path / "pack" / "__pycache__" / "a.pyc").write_text("x")
    before = [module_fingerprint(modules[name]) for name in ("mod", "pack")]
    assert before[0] != before[1]
    (tmp_path / "pack" / "inner").mkdir()
    (tmp_path / "pack" / "inner" / "data.json").write_text("1")
    (tmp_path / "mod.py").write_text("x = 2")
    after = [module_fingerprint(modules[name]) for name in ("mod", "pack")]
    assert len({*before, *after}) == 4


@pytest.fixture
def make_archive(tmp_path):
    """Write a function archive."""

    def make(files):
        path = tmp_path / f"{len(files)}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for name, content in files.items():
                (tmp_path / "source.py").write_text(content)
                archive.add(tmp_path / "source.py", name)
        return path

    return make


def test_a_module_in_the_archive_is_not_that_which_is_installed(tmp_path, make_archive):
    (tmp_path / "mod.py").write_text("x = 1")

    def fingerprint(archive):
        environment = {"modules": {"mod": str(tmp_path / "mod.py")}}
        return task_fingerprint(archive, [], tmp_path, {}, environment)

    without = make_archive({"function.py": "import mod"})
    with_it = make_archive({"function.py": "import mod", "mod.py": "x = 1"})
    before = fingerprint(without), fingerprint(with_it)
    (tmp_path / "mod.py").write_text("x = 22")
    assert fingerprint(without) != before[0]
    assert fingerprint(with_it) == before[1]


def build():
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])


def read_setting(data_from_opener, predictions):
    import os

    return float(os.environ.get("SETTING", -1))


@pytest.fixture
def run(tiny_samples, tmp_path):
    """Evaluate a network once; return what the metric has found, and how many tasks were cached."""
    set_logging_level(logging.ERROR)

    def run(seed=0, **options):
        algo = TFFedAvgAlgo(
            model=build,
            loss="mse",
            optimizer="sgd",
            index_generator=NpIndexGenerator(4, 1),
            dataset=ChestXrayDataset,
            seed=seed,
        )
        with Federation(tiny_samples, store=tmp_path / "store", **options) as federation:
            _, scores = federation.execute(
                FedAvg(algo=algo, metric_functions={"setting": read_setting}),
                train_on=["A"],
                test_on=["A"],
                num_rounds=1,
            )
            cached = federation.tasks()["cached"]
        return set(scores["value"]), [int(cached.sum()), len(cached)]

    return run


@pytest.mark.slow
def test_a_task_sees_the_variables_that_are_in_its_key(run, monkeypatch):
    monkeypatch.setenv("SETTING", "1")
    assert run() == ({-1.0}, [0, 6])
    monkeypatch.setenv("SETTING", "2")
    assert run() == ({-1.0}, [6, 6])
    assert run(pass_env=["SETTING"]) == ({2.0}, [0, 6])
    monkeypatch.setenv("SETTING", "3")
    assert run(pass_env=["SETTING"]) == ({3.0}, [0, 6])
    assert run(pass_env=["SETTING"]) == ({3.0}, [6, 6])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # a setting of libraries: passed by itself
    assert run() == ({-1.0}, [0, 6])


@pytest.mark.slow
def test_an_algorithm_without_a_seed_is_never_recalled(run):
    for _ in range(2):
        assert run(seed=None)[1] == [0, 6]
    assert run()[1] == [0, 6]
    assert run()[1] == [6, 6]

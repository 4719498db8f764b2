"""Local code: a module that is not installed travels, or is named before the first task."""

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.local_mode.environment import task_variables
from helpers.local_mode.local_code import check_local_code

ROOT = Path(__file__).parents[2]
NETWORK = """
import keras
def build():
    constant = keras.initializers.Constant({value})
    layers = [keras.layers.Flatten(), keras.layers.Dense(1, bias_initializer=constant)]
    return keras.Sequential([keras.Input((8, 8, 1)), *layers])
"""
SCRIPT = """
import logging, sys
from pathlib import Path
import numpy as np
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg
from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.local_mode import Federation
import my_networks.small

set_logging_level(logging.ERROR)

def mean(data_from_opener, predictions):
    return float(np.mean(predictions))

algo = TFFedAvgAlgo(model=my_networks.small.build, loss="mse", optimizer="sgd", seed=0,
                    dataset=ChestXrayDataset, index_generator=NpIndexGenerator(4, 1))
folder = Path(sys.argv[1])
samples = {{"A": {{"train": folder, "test": folder}}}}
with Federation(samples, store="store") as federation:
    _, scores = federation.execute(
        FedAvg(algo=algo, metric_functions={{"mean": mean}}), num_rounds=1, {local_code}
    )
    print(scores["value"][0], int(federation.tasks()["cached"].sum()))
"""


@pytest.fixture
def run(tmp_path, tiny_samples):
    """Run a script beside which its network is; return how it ended."""
    package = tmp_path / "my_networks"
    package.mkdir()
    (package / "__init__.py").touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    sample = next(iter(tiny_samples.values()))["train"]

    def run_script(value, local_code):
        (package / "small.py").write_text(NETWORK.format(value=value))
        (tmp_path / "script.py").write_text(SCRIPT.format(local_code=local_code))
        command = [sys.executable, "script.py", str(sample)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True
        )

    return run_script


@pytest.mark.slow
def test_a_network_beside_the_script_travels_and_counts(run):
    refused = run(0, "")
    assert "Received my_networks, not installed" in refused.stderr
    assert "local_code=['my_networks']" in refused.stderr
    first, again, changed = (run(value, "local_code=['my_networks']") for value in (0, 0, 3))
    assert (first.returncode, again.returncode, changed.returncode) == (0, 0, 0), first.stderr
    (one, _), (same, n_cached), (other, n_changed) = (
        map(float, ended.stdout.split()[-2:]) for ended in (first, again, changed)
    )
    assert same == one
    assert n_cached > 0
    assert other == pytest.approx(one + 3, abs=1e-5)
    assert n_changed == 0


def test_what_python_and_its_packages_bring_is_found():
    value = [functools.reduce, pytest.approx, Path, os.path.join, check_local_code, lambda: sys]
    variables = task_variables()
    assert check_local_code(value, [ROOT / "helpers"], variables) == [ROOT / "helpers"]


def test_a_module_that_is_named_by_what_uses_it_is_found_out(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("def build():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    import mine

    for value in (mine.build, functools.partial(mine.build), lambda: mine.build(), [mine]):
        with pytest.raises(ValueError, match=r"Received mine, not installed: .*mine\.py'\]\."):
            check_local_code(value, [], task_variables())
        given = [tmp_path / "mine.py"]
        assert check_local_code(value, given, task_variables()) == given


def test_local_code_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"files and folders in local_code.*nowhere.*not there"):
        check_local_code(None, [tmp_path / "nowhere"], {})

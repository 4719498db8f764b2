"""Federation: real experiments on one machine, its errors, and what is left of it: nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from helpers.local_mode import Federation, TaskError

ROOT = Path(__file__).parents[2]

SCRIPT = '''
"""A script as a user would write it: a class of its own, and no main guard."""
import logging, sys, keras
from pathlib import Path
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg
from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation

set_logging_level(logging.WARNING)

def build():
    return keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)])

class MyAlgo(TFFedAvgAlgo):
    def __init__(self, rate):
        super().__init__(
            model=build, loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.SGD(rate),
            index_generator=NpIndexGenerator(batch_size=4, num_updates=2),
            dataset=ChestXrayDataset, seed=0,
        )

samples = {name: {"train": Path(a), "test": Path(b)} for name, a, b in [sys.argv[2:]]}
with Federation(samples, fast=sys.argv[1] == "fast") as federation:
    _, scores = federation.execute(FedAvg(algo=MyAlgo(0.1), metric_functions={"auc": auc}),
                                   num_rounds=1, eval_every=1)
print(scores["value"].tolist())
'''


def run_script(tmp_path, samples, mode):
    (tmp_path / "script.py").write_text(SCRIPT)
    ended = subprocess.run(
        [sys.executable, "script.py", mode, "A", samples["A"]["train"], samples["A"]["test"]],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["script.py"]
    return ended.stdout.splitlines()[-1]


@pytest.mark.proof
def test_a_plain_script_gives_the_same_with_forked_and_with_stock_tasks(tmp_path, tiny_samples):
    fast = run_script(tmp_path, tiny_samples, "fast")
    assert fast == run_script(tmp_path, tiny_samples, "stock")
    assert len(fast.split(",")) == 2


def test_names_are_checked_and_nothing_is_left(tiny_samples):
    with Federation(tiny_samples) as federation:
        folder = federation.folder
        assert (folder / "local-worker").is_dir()
        with pytest.raises(ValueError, match=r"one of the hospitals \['A', 'B', 'C'\].*'D'"):
            federation.train_nodes("D")
        with pytest.raises(ValueError, match=r"a split of A: .*Received 'exam'"):
            federation.test_nodes("A", split="exam")
    assert not folder.exists()


def test_a_failing_task_shows_its_own_traceback(tiny_samples):
    import keras
    from substrafl.index_generator import NpIndexGenerator
    from substrafl.strategies import FedAvg

    from helpers.algorithms import TFFedAvgAlgo
    from helpers.data import ChestXrayDataset

    class Broken(TFFedAvgAlgo):
        def __init__(self):
            super().__init__(
                model=lambda: keras.Sequential(
                    [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
                ),
                loss="mse",
                optimizer="sgd",
                index_generator=NpIndexGenerator(batch_size=4, num_updates=1),
                dataset=ChestXrayDataset,
            )

        def _local_train(self, train_dataset):
            raise RuntimeError("the film of patient 7 is lost")

    with (
        Federation(tiny_samples) as federation,
        pytest.raises(
            TaskError, match=r"(?s)“train at [ABC], round 0” failed.*film of patient 7 is lost"
        ),
    ):
        federation.execute(FedAvg(algo=Broken()), num_rounds=1)

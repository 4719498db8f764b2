"""Federation: real experiments on one machine, its errors, and what is left of it: nothing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from substrafl.algorithms.algo import Algo

from helpers.local_mode import Federation, TaskError
from helpers.local_mode.federation import _is_seeded
from helpers.openers import chest_xray_opener

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


@pytest.mark.stress
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
        with pytest.raises(ValueError, match=r"each hospital once\. Received \['A', 'B', 'A'\]"):
            federation.train_nodes("A", "B", "A")
    assert not folder.exists()


@pytest.fixture(scope="module")
def federation(tiny_samples):
    """The hospitals A and B, which train, and C, which has nothing to train on."""
    samples = {**tiny_samples, "C": {"test": tiny_samples["C"]["test"]}}
    with Federation(samples) as federation:
        yield federation


@pytest.mark.parametrize("run", ["execute", "simulate"])
@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_rounds": 0}, ValueError, r"num_rounds to be at least 1\. Received 0\."),
        ({"num_rounds": -1}, ValueError, r"num_rounds to be at least 1\. Received -1\."),
        ({"num_rounds": 1.5}, TypeError, r"num_rounds to be an integer\. Received 1\.5\."),
        ({"num_rounds": True}, TypeError, r"num_rounds to be an integer\. Received True\."),
        ({"num_rounds": "3"}, TypeError, r"num_rounds to be an integer\. Received '3'\."),
        ({"num_rounds": None}, TypeError, r"num_rounds to be an integer\. Received None\."),
        ({"eval_every": 0}, ValueError, r"eval_every to be between 1 and 2\. Received 0\."),
        ({"eval_every": 3}, ValueError, r"eval_every to be between 1 and 2\. Received 3\."),
        ({"eval_every": None}, TypeError, r"eval_every to be an integer\. Received None\."),
        ({"train_on": "A"}, TypeError, r"train_on as a list of hospitals\. Received 'A'\."),
        ({"test_on": "B"}, TypeError, r"test_on as a list of hospitals\. Received 'B'\."),
        ({"train_on": ["A", "A"]}, ValueError, r"each hospital once\. Received \['A', 'A'\]"),
        ({}, ValueError, r"a split of C: \['test'\]\. Received 'train'\. Name only hospitals"),
    ],
)
def test_an_experiment_that_cannot_run_is_refused_before_any_task(
    federation, run, arguments, error, message
):
    with pytest.raises(error, match=f"^Expected {message}"):
        # Without a strategy: nothing is asked of it.
        getattr(federation, run)(None, **{"num_rounds": 2} | arguments)


@pytest.mark.parametrize(
    ("samples", "error", "message"),
    [
        ({}, ValueError, r"samples of at least one hospital\. Received none"),
        (["A"], TypeError, r"samples as a dictionary of hospitals, .*Received \['A'\]"),
        ({"": {}}, ValueError, r"a name for each hospital\. Received ''"),
        ({1: {}}, TypeError, r"hospitals that have text as names\. Received 1\."),
        ({"A": "films"}, TypeError, r"the samples of A as a dictionary .*Received 'films'"),
        ({"A": {}}, ValueError, r"at least one split of A\. Received none"),
        ({"A": {"train": []}}, ValueError, r"sample folders of A, train\. Received none\."),
        (
            {"A": {"train": "films", "test": Path(__file__)}},
            ValueError,
            r"sample folders of A, train\. Received \['films'\], not there\. Prepare them",
        ),
    ],
)
def test_hospitals_without_samples_are_refused(tmp_path, samples, error, message):
    with pytest.raises(error, match=f"^Expected {message}"):
        Federation(samples, store=tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_an_opener_needs_no_description(tmp_path, tiny_samples):
    opener = tmp_path / "opener.py"
    with pytest.raises(ValueError, match=r"^Expected the opener's script\. Received no file .*py'"):
        Federation(tiny_samples, opener=opener)
    shutil.copy(chest_xray_opener.__file__, opener)
    descriptions = []
    for text in (None, "# Mine"):
        if text:
            opener.with_name("description.md").write_text(text)
        with Federation(tiny_samples, opener=opener) as federation:
            client = federation.clients["A"]
            (dataset,) = (d for d in client.list_dataset() if d.owner == owner(client))
            descriptions.append(client.get_dataset(dataset.key).description)
    assert [d.storage_address.name for d in descriptions] == ["description.md"] * 2
    assert len({d.checksum for d in descriptions}) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["description.md", "opener.py"]


def owner(client):
    return client.organization_info().organization_id


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


def test_an_algorithm_is_seeded_if_it_was_given_a_seed_or_takes_none():
    class Plain(Algo):
        def __init__(self, amount):
            super().__init__(amount=amount)

    class Seeded(Algo):  # as SubstraFL's TorchAlgo
        def __init__(self, seed=None):
            super().__init__(seed=seed)

    class Own(Seeded):  # as in its notebooks
        def __init__(self):
            super().__init__()

    for cls in (Plain, Seeded, Own):
        cls.__abstractmethods__ = frozenset()
    assert _is_seeded(Plain(1))
    assert _is_seeded(Seeded(seed=0))
    assert not _is_seeded(Seeded())
    assert not _is_seeded(Own())

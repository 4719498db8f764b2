"""The runner of tasks: order, failures, memory, fallback; with real tasks that need no network."""

import os
import re
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import substra

from helpers.local_mode import Federation, TaskError, TaskStore, fork_server, run_tasks_fast
from helpers.local_mode import runner as runner_module


def make_strategy(amount=1.0, fault=None):
    """Federated averaging of one number: each hospital adds an amount to it every round."""
    import pickle

    from substrafl.algorithms.algo import Algo
    from substrafl.remote import remote_data
    from substrafl.strategies import FedAvg
    from substrafl.strategies.schemas import FedAvgSharedState, StrategyName

    class Counter(Algo):
        def __init__(self, amount, fault):
            super().__init__(amount=amount, fault=fault)
            self.amount, self.fault, self.value = amount, fault, np.zeros(1000)

        strategies = property(lambda self: [StrategyName.FEDERATED_AVERAGING])
        model = property(lambda self: self.value)

        @remote_data
        def train(self, data_from_opener, shared_state=None):
            if shared_state is not None:
                self.value = self.value + shared_state.avg_parameters_update[0]
            if self.fault and shared_state is not None:
                exec(self.fault)
            n = len(data_from_opener["labels"])
            return FedAvgSharedState(
                n_samples=n, parameters_update=[np.full(1000, self.amount * n)]
            )

        def predict(self, data_from_opener, shared_state=None):
            return np.full(len(data_from_opener["labels"]), self.value[0])

        def save_local_state(self, path):
            path.write_bytes(pickle.dumps(self.value))

        def load_local_state(self, path):
            self.value = pickle.loads(path.read_bytes())
            return self

    def value(data_from_opener, predictions):
        return float(predictions[0])

    return FedAvg(algo=Counter(amount, fault), metric_functions={"value": value})


def run(samples, store, *, num_rounds=2, strategy=None, **options):
    with Federation(samples, store=store, **options) as federation:
        _, scores = federation.execute(strategy or make_strategy(), num_rounds=num_rounds)
        return scores, federation.tasks()


# Each hospital adds its number of films; the average is weighted by the number of films.
STEP = (24**2 + 12**2 + 18**2) / (24 + 12 + 18)


def test_side_by_side_gives_what_one_by_one_gives(tiny_samples, tmp_path):
    together, tasks = run(tiny_samples, tmp_path / "a", max_workers=3)
    assert list(together["round"]) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert list(together["hospital"]) == ["A", "B", "C"] * 3
    alone, one_by_one = run(tiny_samples, tmp_path / "b", max_workers=1)
    pd.testing.assert_frame_equal(together, alone)
    np.testing.assert_allclose(
        together.groupby("round")["value"].unique().explode().astype(float), [0, STEP, 2 * STEP]
    )
    identity = ["round", "hospital", "operation", "rank"]
    pd.testing.assert_frame_equal(tasks[identity], one_by_one[identity])
    assert (one_by_one["start"].sort_values().diff()[1:] > 0).all()
    in_order = one_by_one.sort_values("start")
    assert (in_order["end"].to_numpy()[:-1] <= in_order["start"].to_numpy()[1:]).all()
    ends = tasks.set_index("task")["end"]
    later = tasks[tasks["waited_for"] != ""]
    assert (later["start"].to_numpy() >= ends[later["waited_for"]].to_numpy()).all()
    np.testing.assert_array_equal(later["ready"], ends[later["waited_for"]])


def test_the_table_counts_tasks_and_bytes(tiny_samples, tmp_path):
    _, tasks = run(tiny_samples, tmp_path)
    counts = tasks["operation"].value_counts().to_dict()
    assert counts == {"train": 9, "evaluate": 9, "initialize": 3, "aggregate": 2}
    assert not tasks["cached"].any()
    assert (tasks["cpu"] > 0).all()
    assert (tasks["peak_memory"] > 10e6).all()
    by_operation = tasks.groupby("operation")
    sent, received = by_operation["sent"].unique(), by_operation["received"].unique()
    shared, averaged = sent["train"].item(), sent["aggregate"].item()
    assert 8000 < shared < 8500  # 1,000 numbers of 8 bytes
    assert 8000 < averaged < 8500
    assert received["aggregate"].item() == 3 * shared
    assert sorted(received["train"]) == [0, averaged]
    assert sent["evaluate"].item() == sent["initialize"].item() == 0


def test_a_second_and_a_longer_run_go_on_from_the_first(tiny_samples, tmp_path):
    first, _ = run(tiny_samples, tmp_path)
    again, tasks = run(tiny_samples, tmp_path)
    assert tasks["cached"].all()
    pd.testing.assert_frame_equal(again, first)
    longer, tasks = run(tiny_samples, tmp_path, num_rounds=3)
    assert tasks["cached"].sum() == 3 + 9 + 9 + 2
    assert set(tasks[~tasks["cached"]]["round"]) == {3}
    assert longer[longer["round"] == 3]["value"].to_list() == pytest.approx([3 * STEP] * 3)


def test_fresh_runs_everything_again(tiny_samples, tmp_path, monkeypatch):
    alone = {"B": tiny_samples["B"]}
    run(alone, tmp_path, num_rounds=1)
    _, tasks = run(alone, tmp_path, num_rounds=1, use_cache=False)
    assert not tasks["cached"].any()
    monkeypatch.setenv("CHEST_XRAYS_NO_CACHE", "1")
    _, tasks = run(alone, tmp_path, num_rounds=1)
    assert not tasks["cached"].any()
    monkeypatch.setenv("CHEST_XRAYS_NO_CACHE", "")
    monkeypatch.setattr(sys, "argv", ["page.py", "--no-cache"])  # no business of a library
    _, tasks = run(alone, tmp_path, num_rounds=1)
    assert tasks["cached"].all()


def test_a_changed_hyper_parameter_or_data_set_is_noticed(tiny_samples, tmp_path):
    two = {name: tiny_samples[name] for name in "AB"}
    run(two, tmp_path, num_rounds=1)
    _, tasks = run(two, tmp_path, num_rounds=1, strategy=make_strategy(amount=2.0))
    assert not tasks[tasks["operation"] != "evaluate"]["cached"].any()
    swapped = two | {"B": tiny_samples["C"]}
    scores, tasks = run(swapped, tmp_path, num_rounds=1)
    step = (24**2 + 18**2) / (24 + 18)
    assert scores[scores["round"] == 1]["value"].to_list() == pytest.approx([step] * 2)
    assert not tasks[tasks["operation"] == "aggregate"]["cached"].any()


def test_a_damaged_result_is_computed_again(tiny_samples, tmp_path):
    alone = {"B": tiny_samples["B"]}
    first, _ = run(alone, tmp_path, num_rounds=1)
    damaged = sorted((tmp_path / "results").glob("*/output-0"), key=lambda p: p.stat().st_size)[-1]
    damaged.write_bytes(damaged.read_bytes()[:-7])
    with pytest.warns(UserWarning, match="damaged and will be computed again"):
        again, tasks = run(alone, tmp_path, num_rounds=1)
    assert (~tasks["cached"]).sum() == 1
    pd.testing.assert_frame_equal(again, first)


def test_a_failure_names_the_task_and_loses_nothing(tiny_samples, tmp_path):
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    with pytest.raises(TaskError, match=r"“train at [ABC], round 1” was ended by SIGKILL.*memory"):
        run(tiny_samples, tmp_path, strategy=make_strategy(fault=kill))
    slow = "import time; time.sleep(600)"
    for limit in (10, 100):  # a machine that is busy may take longer for what comes before
        with pytest.raises(TaskError, match=f"was ended after {limit} s") as error:
            run(tiny_samples, tmp_path, strategy=make_strategy(fault=slow), time_limit=limit)
        if late := re.search(r"“train at [ABC], round 1”", str(error.value)):
            break
    assert late
    lost = "raise ValueError('film 17 is lost')"
    with pytest.raises(TaskError, match=r"(?s)round 1” failed with.*Traceback.*film 17 is lost"):
        run(tiny_samples, tmp_path, strategy=make_strategy(fault=lost))
    with Federation(tiny_samples, store=tmp_path) as federation:
        with pytest.raises(TaskError, match="film 17"):
            federation.execute(make_strategy(fault=lost), num_rounds=2)
        done = federation.tasks().query("round == 0 and operation != 'evaluate'")
        assert len(done) == 6
        assert done["cached"].all()
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_plan_tells_what_became_of_it(tiny_samples, tmp_path):
    from substra.sdk.models import ComputePlanStatus, ComputeTaskStatus

    with Federation(tiny_samples, store=tmp_path) as federation:
        client = federation.clients["A"]
        with pytest.raises(TaskError):
            federation.execute(make_strategy(fault="raise ValueError"), num_rounds=2)
        keys = set(federation.tasks()["task"])
        tasks = [task for task in client.list_task() if task.key in keys]
        plan = client.get_compute_plan(tasks[0].compute_plan_key)
        assert plan.status == ComputePlanStatus.failed
        statuses = {task.status for task in tasks}
        assert ComputeTaskStatus.failed in statuses
        assert statuses >= {ComputeTaskStatus.done, ComputeTaskStatus.canceled}
        plan, _ = federation.execute(make_strategy(), num_rounds=1)
        assert plan.status == ComputePlanStatus.done
        assert plan.done_count == plan.task_count


def test_an_odd_path_is_no_hindrance(tiny_samples, tmp_path):
    odd = tmp_path / "a folder, 'projet é' ${HOME}"
    scores, _ = run(tiny_samples, odd, num_rounds=1)
    assert scores[scores["round"] == 1]["value"].to_list() == pytest.approx([STEP] * 3)


def test_federations_run_in_several_threads(tiny_samples, tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError("the current folder is the program's")

    monkeypatch.setattr(os, "chdir", refuse)
    before = tempfile.gettempdir()

    def experiment(amount):
        scores, _ = run(tiny_samples, tmp_path / "store", strategy=make_strategy(amount))
        with Federation(tiny_samples, store=tmp_path / "store") as federation:
            _, simulated = federation.simulate(make_strategy(amount), num_rounds=2)
        pd.testing.assert_frame_equal(simulated, scores)  # the same rows in the same order
        return scores[scores["round"] == 2]["value"].unique()

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(experiment, (1.0, 2.0, 3.0)))
    np.testing.assert_allclose(np.ravel(found), 2 * STEP * np.array([1, 2, 3]))
    assert tempfile.gettempdir() == before


@pytest.fixture
def client(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return substra.Client(client_name="A", backend_type="subprocess")


def test_where_fork_does_not_exist_substras_own_spawner_stays(client, monkeypatch, tmp_path):
    worker = client._backend._worker
    stock = worker._spawner
    monkeypatch.delattr(os, "fork")
    with pytest.warns(UserWarning, match=r"cannot fork.*Substra's own spawner"):
        runner = run_tasks_fast([client], store=tmp_path / "store")
    assert worker._spawner._stock is stock
    runner.close()
    assert not (tmp_path / "local-worker").exists()


@pytest.mark.slow
def test_a_federation_that_only_simulates_starts_no_server(tiny_samples, tmp_path, monkeypatch):
    monkeypatch.setattr(fork_server, "_servers", {})
    with monkeypatch.context() as patch:
        patch.delattr(os, "fork")  # no warning that concerns no task
        with Federation(tiny_samples, store=tmp_path / "store") as federation:
            federation.simulate(make_strategy(), num_rounds=1)
    assert fork_server._servers == {}


def test_a_gpu_in_use_is_a_reason_not_to_fork(monkeypatch):
    import tensorflow as tf

    assert runner_module._why_not_fork() is None
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["gpu"])
    tf.constant(1) + 1
    assert runner_module._why_not_fork() == "This program already uses the GPU"


def test_wrong_arguments_are_refused(client, tmp_path):
    class Remote:
        backend_mode = "remote"

    with pytest.raises(ValueError, match=r"backend_type='subprocess' for.*hospital.*'remote'"):
        run_tasks_fast({"hospital": Remote()})
    with pytest.raises(ValueError, match=r"max_workers to be positive\. Received 0"):
        run_tasks_fast({"hospital": client}, max_workers=0, store=TaskStore(tmp_path / "s"))
    with pytest.raises(ValueError, match=r"time_limit to be positive\. Received -1"):
        run_tasks_fast({"hospital": client}, time_limit=-1, store=TaskStore(tmp_path / "s"))
    client._backend._db._tmp_dir.cleanup()

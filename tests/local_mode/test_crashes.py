"""A script with a real network is killed at random moments, or interrupted, and run again."""

import contextlib
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

KILLS = 20
ROUNDS = 3
N_TASKS = 2 + (ROUNDS + 1) * 2 * 2 + ROUNDS  # two hospitals: initialize, train and test, aggregate

SCRIPT = '''
"""Train for some rounds, once with each store, and write the weights of every hospital."""
import json, logging, sys, tempfile, time
from pathlib import Path
from helpers.local_mode import Federation, start_server
start_server()
import keras, numpy as np
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.model_loading import download_algo_state
from substrafl.strategies import FedAvg
from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc

set_logging_level(logging.ERROR)

def build():
    return keras.Sequential([
        keras.Input((8, 8, 1)), keras.layers.Conv2D(4, 3), keras.layers.Flatten(),
        keras.layers.Dropout(0.3), keras.layers.Dense(1),
    ])

films, rounds, *stores = sys.argv[1:]
samples = {
    hospital.name: {split: hospital / split for split in ("train", "test")}
    for hospital in sorted(Path(films).iterdir()) if hospital.name in ("A", "B")
}
print("ready", flush=True)
for store in stores:
    algo = TFFedAvgAlgo(
        model=build, loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(0.01),
        index_generator=NpIndexGenerator(batch_size=4, num_updates=5),
        dataset=ChestXrayDataset, seed=0,
    )
    with Federation(samples, store=store) as federation:
        tempfile.tempdir = str(federation.folder)  # a kill would leave what is unpacked elsewhere
        start = time.monotonic()
        plan, _ = federation.execute(
            FedAvg(algo=algo, metric_functions={"auc": auc}), num_rounds=int(rounds)
        )
        taken = time.monotonic() - start
        found = {}
        for hospital in samples:
            state = download_algo_state(federation.clients[hospital], plan.key)
            found |= {f"{hospital}{i}": w for i, w in enumerate(state.model.get_weights())}
        tasks = federation.tasks()
    np.savez(Path(store).with_name("weights.npz"), **found)
    print(json.dumps([taken, int(tasks["cached"].sum()), len(tasks)]))
'''


class Run:
    """A folder for one run of the script: its store, its weights, and what must stay empty."""

    def __init__(self, folder, start_script):
        self.folder, self.store = folder, folder / "store"
        self._start_script = start_script
        for name in ("work", "temporary"):
            (folder / name).mkdir(parents=True)

    def start(self, samples, *, rounds=ROUNDS, stores=()):
        """Start the script in this folder."""
        films = Path(samples["A"]["train"]).parents[1]
        arguments = [films, rounds, *(stores or [self.store])]
        return self._start_script(
            SCRIPT,
            *arguments,
            cwd=self.folder / "work",
            env={"TF_CPP_MIN_LOG_LEVEL": "3", "TMPDIR": str(self.folder / "temporary")},
        )

    def finish(self, samples, **options):
        """Run the script to its end; return seconds, cached tasks and all tasks by store."""
        process = self.start(samples, **options)
        printed, errors = process.communicate()
        assert process.returncode == 0, errors
        assert self.processes() == []
        return [json.loads(line) for line in printed.splitlines()[1:]]

    def weights(self):
        """Read the weights of every hospital."""
        with np.load(self.folder / "weights.npz") as weights:
            return dict(weights)

    def n_stored(self):
        """Count the results that are complete."""
        return len(list(self.store.glob("results/*/manifest.json")))

    def processes(self):
        """List the processes that were started from this folder and still live."""
        alive = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (entry / "cwd").readlink().is_relative_to(self.folder):
                    alive.append(int(entry.name))
        return alive

    def left(self):
        """List files that should not be there: all but the store's results."""
        folders = [self.folder / "work", self.folder / "temporary", self.store / "runs"]
        return [path for folder in folders for path in folder.glob("*")]


@pytest.fixture
def new_run(tmp_path, start_script):
    """Make the folder of one more run."""
    return lambda name: Run(tmp_path / name, start_script)


def wait_until(condition):
    """Wait as long as it takes on a busy machine; pytest ends a test that waits in vain."""
    while not condition():
        time.sleep(0.02)


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/cwd").exists(), reason="processes are found in /proc, which is Linux's"
)


@needs_proc
@pytest.mark.stress
@pytest.mark.timeout(1800)
def test_killed_at_random_moments_the_same_weights_come_out(tiny_samples, new_run):
    whole = new_run("whole")
    ((seconds, cached, n_tasks),) = whole.finish(tiny_samples)
    assert (cached, n_tasks) == (0, N_TASKS)
    runs = [new_run(str(number)) for number in range(KILLS)]
    # Two at a time take longer than one alone.
    moments = np.random.default_rng().uniform(0, 1.6 * seconds, KILLS)

    def kill(run, moment):
        process = run.start(tiny_samples)
        assert process.stdout.readline() == "ready\n"
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        wait_until(lambda: not run.processes())
        return run.n_stored()

    with ThreadPoolExecutor(2) as two:
        stored = list(two.map(kill, runs, moments))
    # The script again: one process goes through all that was left.
    again = new_run("again").finish(tiny_samples, stores=[run.store for run in runs])
    assert [(cached, n_tasks) for _, cached, n_tasks in again] == [(n, N_TASKS) for n in stored]
    for run in runs:
        np.testing.assert_equal(run.weights(), whole.weights())
        assert run.left() == []
    # The moments were spread over the run: some kills came early, some late.
    assert min(stored) < N_TASKS / 2 <= max(stored)


@needs_proc
@pytest.mark.stress
def test_ctrl_c_ends_a_run_at_once_and_leaves_nothing(tiny_samples, new_run):
    run = new_run("run")
    process = run.start(tiny_samples)
    assert process.stdout.readline() == "ready\n"
    wait_until(lambda: run.n_stored() >= 3)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode not in (0, None)
    assert "KeyboardInterrupt" in errors
    wait_until(lambda: not run.processes())
    assert run.left() == []
    # A shorter run goes on from what was finished, and a longer one from both.
    ((_, cached, n_tasks),) = run.finish(tiny_samples, rounds=1)
    assert 3 <= cached <= n_tasks == 2 + 2 * 2 * 2 + 1
    stored = run.n_stored()
    ((_, cached, n_tasks),) = run.finish(tiny_samples)
    assert (cached, n_tasks) == (stored, N_TASKS)
    whole = new_run("whole")
    whole.finish(tiny_samples)
    np.testing.assert_equal(run.weights(), whole.weights())

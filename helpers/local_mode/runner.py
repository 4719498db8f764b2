"""Runner of tasks: Substra's local mode, side by side, with a cache and one progress bar."""

import atexit
import contextlib
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import pandas as pd
import substra
from substra.sdk.models import ComputePlanStatus, ComputeTaskStatus
from tqdm.auto import tqdm

from helpers.local_mode.clean_up import remove_local_files
from helpers.local_mode.environment import describe_environment, task_variables
from helpers.local_mode.fingerprint import task_fingerprint
from helpers.local_mode.fork_server import lend_server, start_server
from helpers.local_mode.records import record_task, tabulate_tasks
from helpers.local_mode.spawner import ForkSpawner, TaskError
from helpers.local_mode.store import TaskStore
from helpers.local_mode.substra_internals import LocalClient

# By the hospitals' names, or without them.
Clients = Mapping[str, substra.Client] | Iterable[substra.Client]


def run_tasks_fast(
    clients: Clients,
    *,
    store: TaskStore | str | Path | None = None,
    max_workers: int | None = None,
    time_limit: float | None = None,
    use_cache: bool | None = None,
    pass_env: Sequence[str] = (),
) -> "TaskRunner":
    """Let the clients of a federation run their tasks quickly, side by side, and resumably.

    Each task runs in a process of its own that is forked from a server with TensorFlow imported;
    Substra's own spawner starts a Python process for each, one after another. Nothing else changes:
    the function archives, arguments and files are Substra's, and without this call everything works
    as in Substra.

    Parameters
    ----------
    clients : dict of str to substra.Client, or iterable of substra.Client
        Clients with ``backend_type="subprocess"``. The keys are the hospitals' names, for
        messages and tables; without names the organizations' identifiers are used.
    store : TaskStore or path, optional
        Where finished tasks are stored, so that a run continues where one that was killed, or a
        shorter one, stopped. Default: :class:`~helpers.local_mode.TaskStore` in the project's
        cache folder.
    max_workers : int, optional
        Tasks that may run at the same time. Default: as many as there are cores, and at most the
        number of clients. It does not change the results.
    time_limit : float, optional
        Seconds after which a task is terminated and the run fails. Default: no limit, as with
        infinity.
    use_cache : bool, optional
        Whether to run a task only if no result of it is stored; otherwise all tasks are run, and
        the new results are stored. Default: True, unless the environment variable
        ``CHEST_XRAYS_NO_CACHE`` is set.
    pass_env : sequence of str, optional
        Names of further environment variables for the tasks. By default a task gets those for the
        places of programs, the language, and those that TensorFlow, Keras and their libraries
        read; no others, as in a container. A task whose variables have other values is run again.

    Returns
    -------
    TaskRunner
        Records the costs of each task.

    Raises
    ------
    TypeError
        If ``pass_env`` is no list of text.
    ValueError
        If a client is not in subprocess mode, or a number is not positive.

    Warns
    -----
    UserWarning
        Where tasks cannot be forked (Windows, or a GPU that this program already uses):
        Substra's own spawner runs them, one after another.

    Notes
    -----
    The last digits of a sum depend on the number of threads that share it. A task computes with as
    many as the script and as a task of Substra's own spawner: TensorFlow uses one for each core,
    unless ``TF_NUM_INTRAOP_THREADS`` is set before the script starts. So on one machine a
    simulation and both kinds of tasks give the same bits; another processor may round differently.

    A stored result is used for a task with the same archive, inputs, samples, variables, installed
    packages, number of cores and kind of machine. Random numbers without a seed are not part of
    these: seed the algorithm, or set ``use_cache=False``.
    """
    if not hasattr(clients, "items"):
        clients = {client.organization_info().organization_id: client for client in clients}
    runner = TaskRunner(
        clients,
        store=store,
        max_workers=max_workers,
        time_limit=time_limit,
        use_cache=use_cache,
        pass_env=pass_env,
    )
    runner.start()
    return runner


class TaskRunner:
    """Runs the tasks of some clients; created by :func:`run_tasks_fast`, with its parameters.

    Attributes
    ----------
    use_cache : bool
        Whether the next tasks may be answered from the store.
    keeps_results : bool
        Whether the results of the next tasks are stored.
    """

    def __init__(
        self,
        clients: Clients,
        *,
        store: TaskStore | str | Path | None = None,
        max_workers: int | None = None,
        time_limit: float | None = None,
        use_cache: bool | None = None,
        pass_env: Sequence[str] = (),
    ) -> None:
        for hospital, client in clients.items():
            if client.backend_mode != "subprocess":
                raise ValueError(
                    f"Expected backend_type='subprocess' for the client of {hospital}. Received "
                    f"{client.backend_mode!r}, whose tasks are not run by this machine's Python."
                )
        for name, value in (("max_workers", max_workers), ("time_limit", time_limit)):
            if value is not None and not value > 0:
                raise ValueError(f"Expected {name} to be positive. Received {value!r}.")
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self._max_workers = max_workers or max(1, min(cores, len(clients)))
        self._forks = None  # not known before a task is to be run
        self.use_cache = (
            not os.environ.get("CHEST_XRAYS_NO_CACHE") if use_cache is None else use_cache
        )
        self._store = store if isinstance(store, TaskStore) else TaskStore(store)
        self.keeps_results = True
        self._store.prune()
        task_variables(pass_env)  # reports a wrong argument at once
        self._pass_env = pass_env
        self._server = self._environment = None
        # Substra's bookkeeping is not thread-safe: one thread at a time, except in running tasks.
        self._bookkeeping = threading.RLock()
        self._records = {}
        self._clients = list(clients.values())
        self._hospitals = {
            client.organization_info().organization_id: name for name, client in clients.items()
        }
        self._spawner = ForkSpawner(time_limit=time_limit)
        for client in self._clients:
            LocalClient(client).take_over(
                spawn=self._spawn, run_plan=self._run_plan, run_alone=self._run_alone
            )
        atexit.register(self.close)

    def start(self) -> None:
        """Begin to import what tasks need, while the script continues."""
        reason = _why_not_fork()
        self._forks = not reason
        if self._forks:
            start_server(self._pass_env)
        else:
            self._max_workers = 1
            warnings.warn(
                f"{reason}: Substra's own spawner runs the tasks, one after another, and each "
                "imports TensorFlow again.",
                stacklevel=3,
            )

    def table(self) -> pd.DataFrame:
        """Tabulate the costs of the tasks of the last compute plan.

        Returns
        -------
        pandas.DataFrame
            See :func:`helpers.local_mode.tabulate_tasks`.
        """
        return tabulate_tasks(self._records.values())

    def close(self) -> None:
        """Remove the files of the clients; this is called at the program's end."""
        atexit.unregister(self.close)
        remove_local_files(*self._clients)

    def _run_plan(self, client, compute_plan, planned):
        """Run the tasks of a plan, and record their outcome in the plan."""
        self._records = {task.key: record_task(task, self._hospitals) for task in planned}
        try:
            with self._serving():
                self._run_all(client, planned)
        except BaseException:
            for task in planned:
                if task.status == ComputeTaskStatus.waiting_for_executor_slot:
                    task.status = ComputeTaskStatus.canceled
            compute_plan.status = ComputePlanStatus.failed
            raise

    def _run_all(self, client, planned):
        """Run the tasks of a plan, each as soon as its parents have ended and a core is free."""
        began = time.perf_counter()
        parents = {task.key: _parents(task) & self._records.keys() for task in planned}
        awaited = set().union(*parents.values())
        # Tasks on which others depend come first; evaluations fill the gaps.
        waiting = {
            task.key: task for task in sorted(planned, key=lambda task: task.key not in awaited)
        }
        running, ended, failure = {}, {}, None
        with _Progress(self._records) as progress, ThreadPoolExecutor(self._max_workers) as pool:
            try:
                while running or (waiting and not failure):
                    for key in list(waiting):
                        if len(running) == self._max_workers or failure:
                            break
                        if not parents[key] <= ended.keys():
                            continue
                        record = self._records[key]
                        record.waited_for = max(parents[key], key=ended.get, default="")
                        record.ready = ended.get(record.waited_for, 0.0)
                        task = waiting.pop(key)
                        running[pool.submit(self._run_one, client, task, began)] = key
                    progress.tell(running.values())
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        key = running.pop(future)
                        if future.exception():
                            failure = failure or future.exception()
                        else:
                            ended[key] = self._records[key].end
                            progress.count(key, client.find_scores(key))
            except BaseException:  # Ctrl-C: no task may continue
                if self._server:
                    self._server.close()
                raise
        if failure:
            raise failure

    def _run_one(self, client, task, began):
        """Run one task with Substra's own method, and name it if it fails."""
        record = self._records[task.key]
        with self._bookkeeping:
            record.start = time.perf_counter() - began
            try:
                client.run_task(task)
            except Exception as error:
                task.status = ComputeTaskStatus.failed
                reason = f"{error}" if isinstance(error, TaskError) else f"failed: {error!r}"
                raise TaskError(f"The task “{record}” {reason}") from error
            finally:
                record.end = time.perf_counter() - began

    def _run_alone(self, client, task):
        """Run a task that belongs to no plan."""
        self._records[task.key] = record_task(task, self._hospitals)
        with self._serving():
            self._run_one(client, task, time.perf_counter())

    @contextlib.contextmanager
    def _serving(self):
        """Provide a server while tasks run, and the description of their environment."""
        if self._forks is None:
            self.start()
        # Substra's own spawner passes every variable on.
        variables = task_variables(self._pass_env) if self._forks else dict(os.environ)
        self._environment = describe_environment(variables)
        with lend_server(variables) if self._forks else contextlib.nullcontext() as self._server:
            yield

    def _spawn(self, call):
        """Get the stored result of a task, or run it and store the result."""
        record = self._records[call.key]
        inputs = _resources(call.arguments, "--inputs")
        outputs = dict(_resources(call.arguments, "--outputs"))
        record.received = sum(path.stat().st_size for name, path in inputs if name == "shared")
        with _released(self._bookkeeping):
            # The hospital counts, too: the result of one hospital is never used for another.
            environment = self._environment | {"hospital": record.hospital}
            fingerprint = task_fingerprint(
                call.archive, call.arguments, call.inputs, call.samples, environment
            )
            about = self._store.get(fingerprint, outputs) if self.use_cache else None
            record.cached = about is not None
            if about is None:
                if self._server:
                    about = self._spawner.spawn(call, self._server)
                else:
                    about = call.run_stock() or {}
                if self.keeps_results:
                    self._store.put(fingerprint, outputs, about)
        record.cpu = about.get("cpu", record.cpu)
        record.peak_memory = about.get("peak_memory", record.peak_memory)
        if "shared" in outputs:
            record.sent = outputs["shared"].stat().st_size


class _Progress:
    """One bar for a whole plan, in a terminal: what runs, the last score, the time left."""

    def __init__(self, records):
        self._records = records
        self._rounds = max((record.round for record in records.values()), default=0)

    def __enter__(self):
        self._bar = tqdm(total=len(self._records), unit="task", disable=None)
        return self

    def __exit__(self, *error):
        self._bar.close()

    def tell(self, keys):
        """Show what runs now."""
        records = [self._records[key] for key in keys]
        if records:
            tasks = ", ".join(f"{record.hospital} · {record.operation}" for record in records)
            self._bar.set_description_str(f"round {records[0].round}/{self._rounds} · {tasks}")

    def count(self, key, scores):
        """Count a task that has ended; a cached one is no basis for the time left."""
        record = self._records[key]
        if not self._bar.disable:
            self._bar.initial += record.cached
        for name, value in scores.items():
            self._bar.set_postfix_str(f"{record.hospital} {name} {value:.3f}", refresh=False)
        self._bar.update()


def _why_not_fork():
    """Return why tasks cannot be forked here, or None."""
    if not hasattr(os, "fork"):
        return "This system cannot fork processes"
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is not None and tensorflow.config.list_physical_devices("GPU"):
        from tensorflow.python.eager import context

        if context.context()._initialized:
            return "This program already uses the GPU"
    return None


def _parents(task):
    """Keys of the tasks whose outputs a task reads."""
    return {source.parent_task_key for source in task.inputs if source.parent_task_key}


def _resources(lines, option):
    """Read the files of a task from its command line, as pairs of name and path."""
    resources = json.loads(lines[lines.index(option) + 1])
    return [(resource["id"], Path(resource["value"])) for resource in resources]


@contextlib.contextmanager
def _released(lock):
    """Release a lock temporarily."""
    lock.release()
    try:
        yield
    finally:
        lock.acquire()

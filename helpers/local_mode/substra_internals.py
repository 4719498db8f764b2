"""All undocumented parts of Substra and SubstraFL that local mode uses.

Substra's own worker runs the tasks; it has no public way to set another spawner, another order of
the tasks, or the folder of its files. A test looks for every name, and if a version lacks one, an
error names it where it would be used: see :mod:`helpers.compatibility`.
"""

import contextlib
import contextvars
import dataclasses
import functools
import importlib
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import substra
from substra.sdk.archive import uncompress as uncompress
from substra.sdk.backends.local.compute.spawner.base import (
    VOLUME_INPUTS,
    VOLUME_OUTPUTS,
    BaseSpawner,
)
from substra.sdk.backends.local.compute.spawner.base import ExecutionError as ExecutionError
from substra.sdk.schemas import Type
from substrafl.dependency import Dependency

from helpers.compatibility import find_attribute, find_name

_STOCK = "substra.sdk.backends.local.compute.spawner.subprocess"
_PLAN = "_Local__execute_compute_plan"
_FOLDER = contextvars.ContextVar("folder", default=None)
_COUNTING = threading.Lock()  # Substra counts the organizations of a program


@dataclasses.dataclass
class TaskCall:
    """A request from Substra's worker to a spawner.

    Attributes
    ----------
    key : str
        Substra's key of the task.
    archive : str
        The function archive.
    arguments : list of str
        The task's command line, without the name of the function.
    inputs : pathlib.Path
        Folder of the task's inputs.
    samples : dict of str to path
        Folder of each data sample, by its key.
    folder : pathlib.Path
        Substra's folder for the files of running tasks.
    run_stock : callable
        Runs the task with Substra's own spawner.
    """

    key: str
    archive: str
    arguments: list[str]
    inputs: Path
    samples: dict
    folder: Path
    run_stock: Callable


class LocalClient:
    """The internals of a client in local mode.

    Parameters
    ----------
    client : substra.Client
        A client with ``backend_type="subprocess"``.

    Attributes
    ----------
    folder : pathlib.Path
        Its ``local-worker``, which it may share with others.
    """

    def __init__(self, client: substra.Client) -> None:
        self._backend = find_attribute(client, "_backend")
        self._worker = find_attribute(self._backend, "_worker")
        self._db = find_attribute(self._backend, "_db")
        self.folder = Path(find_attribute(self._backend, "_local_worker_dir"))

    def take_over(self, *, spawn: Callable, run_plan: Callable, run_alone: Callable) -> None:
        """Run the client's tasks with other functions than Substra's.

        Parameters
        ----------
        spawn : callable
            Takes a :class:`TaskCall` and runs the process, instead of Substra's spawner.
        run_plan : callable
            Takes this object, a compute plan and its tasks by rank, and calls :meth:`run_task`
            for each of them.
        run_alone : callable
            Takes this object and a task that belongs to no plan.
        """
        find_attribute(self._backend, _PLAN)
        stock = find_attribute(self._worker, "_spawner")
        self._worker._spawner = _Spawner(self._worker, stock, spawn)
        self._worker.schedule_task = functools.partial(run_alone, self)
        setattr(self._backend, _PLAN, functools.partial(self._execute_plan, run_plan))

    def run_task(self, task: Any) -> None:
        """Run a task with the method of Substra's worker.

        Parameters
        ----------
        task : substra.sdk.models.Task
            A task whose parents have ended.
        """
        find_attribute(type(self._worker), "schedule_task")(self._worker, task)

    def find_scores(self, key: str) -> dict[str, float]:
        """Look up the results of an evaluation.

        Parameters
        ----------
        key : str
            Key of a task that has ended.

        Returns
        -------
        dict of str to float
            Value by the name of the metric.
        """
        outputs = self._db.list(Type.OutputAsset, {"compute_task_key": key})
        return {o.identifier: o.asset for o in outputs if isinstance(o.asset, float)}

    def remove_files(self) -> None:
        """Remove the client's assets."""
        find_attribute(self._db, "_tmp_dir").cleanup()

    def _execute_plan(self, run_plan, spec, compute_plan, visited, tasks, spec_options):
        """Replace the method of Substra's backend that runs the tasks one by one."""
        planned = []
        alone, self._worker.schedule_task = self._worker.schedule_task, planned.append
        try:
            for key in sorted((key for key in visited if key in tasks), key=visited.get):
                self._backend.add(key=tasks[key].key, spec=tasks[key], spec_options=spec_options)
        finally:
            self._worker.schedule_task = alone
        run_plan(self, compute_plan, planned)
        return compute_plan


class _Spawner(BaseSpawner):
    """What Substra's worker calls instead of its own spawner."""

    def __init__(self, worker, stock, spawn):
        super().__init__(find_attribute(worker, "_local_worker_dir"))
        self._stock = stock
        self._spawn = spawn

    def spawn(self, name, archive_path, command_args_tpl, data_sample_paths, local_volumes, envs):
        self._spawn(
            TaskCall(
                key=Path(local_volumes[VOLUME_OUTPUTS]).parent.name,
                archive=archive_path,
                arguments=[template.substitute(local_volumes) for template in command_args_tpl],
                inputs=Path(local_volumes[VOLUME_INPUTS]),
                samples=data_sample_paths or {},
                folder=self._local_worker_dir,
                run_stock=functools.partial(
                    self._stock.spawn,
                    *(name, archive_path, command_args_tpl),
                    *(data_sample_paths, local_volumes, envs),
                ),
            )
        )


def find_entry_point(folder: Path) -> tuple[str, str]:
    """Read which script and function a function archive starts with.

    Parameters
    ----------
    folder : pathlib.Path
        The archive's content.

    Returns
    -------
    tuple of str
        The script's name and the function's.
    """
    return find_name(f"{_STOCK}:_get_entrypoint_from_dockerfile")(folder)


def link_samples(samples: dict[str, Path], folder: Path) -> None:
    """Give a task its data samples.

    Parameters
    ----------
    samples : dict of str to path
        Folder of each sample, by its key.
    folder : path
        The task's inputs.
    """
    if samples:
        find_name(f"{_STOCK}:_symlink_data_samples")(samples, folder)


def make_clients(names: Iterable[str], folder: Path) -> dict[str, substra.Client]:
    """Make a client in local mode for each hospital.

    Parameters
    ----------
    names : iterable of str
        Names of the clients.
    folder : pathlib.Path
        Where their files are written, below ``local-worker``.

    Returns
    -------
    dict of str to substra.Client
        By name.
    """
    with _COUNTING, working_in(folder):
        return {name: substra.Client(client_name=name, backend_type="subprocess") for name in names}


@contextlib.contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Let Substra and SubstraFL write into a folder, instead of the current and the temporary one.

    It applies to this thread only; the current folder of the program does not change.

    Parameters
    ----------
    folder : pathlib.Path
        An existing folder.
    """
    for module in ("substra.sdk.backends.local.backend", "substrafl.remote.register.register"):
        find_name(f"{module}:Path")
        importlib.import_module(module).Path = _Path
    token = _FOLDER.set(Path(folder))
    try:
        yield
    finally:
        _FOLDER.reset(token)


class _Path(type(Path())):
    """A path whose current folder is the one of :func:`working_in`."""

    @classmethod
    def cwd(cls):
        return _FOLDER.get() or Path.cwd()


class FolderDependency(Dependency):
    """Code that travels with the functions; its copy is in the folder of :func:`working_in`."""

    def _compute_in_cache_directory(self):
        find_attribute(super(), "_compute_in_cache_directory")
        self._cache_directory = Path(tempfile.mkdtemp(dir=_FOLDER.get()))
        self._compute(self._cache_directory)

    def __del__(self) -> None:
        """Leave the copy: it is removed with the folder, which may no longer exist."""

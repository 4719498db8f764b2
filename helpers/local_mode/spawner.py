"""Spawner of Substra's local mode that forks tasks instead of starting a Python for each.

Substra's own spawner starts a fresh interpreter for every task, which imports TensorFlow every
time. This one goes through the same function archive, entry point, arguments and files, and runs
them in a process forked from a server that has the imports done
(:mod:`helpers.local_mode.server`). Every task still lives and dies in a process of its own.
"""

import os
import signal
import string
import tempfile
from pathlib import Path

from substra.sdk.backends.local.compute.spawner import subprocess as stock
from substra.sdk.backends.local.compute.spawner.base import VOLUME_INPUTS, ExecutionError

from helpers.local_mode.archives import Archives
from helpers.local_mode.fork_server import current_server


class TaskError(ExecutionError):
    """A task of the compute plan failed; the message holds the task's own traceback."""


class ForkSpawner(stock.Subprocess):
    """Substra's subprocess spawner, but for the way in which the process comes to life.

    Parameters
    ----------
    local_worker_dir : pathlib.Path
        Substra's folder for the files of running tasks.
    time_limit : float, optional
        Seconds after which a task is ended.
    archives : Archives, optional
        What other spawners have unpacked; default: nothing.
    """

    def __init__(
        self,
        local_worker_dir: Path,
        *,
        time_limit: float | None = None,
        archives: Archives | None = None,
    ) -> None:
        super().__init__(local_worker_dir)
        self._archives = archives or Archives()
        self._time_limit = time_limit

    def spawn(
        self,
        name: str,
        archive_path: Path,
        command_args_tpl: list[string.Template],
        data_sample_paths: dict[str, Path] | None,
        local_volumes: dict[str, str],
        envs: dict[str, str] | None,
    ) -> dict[str, float]:
        """Run one task and wait for it.

        Parameters
        ----------
        name, archive_path, command_args_tpl, data_sample_paths, local_volumes, envs
            As in Substra's ``BaseSpawner.spawn``.

        Returns
        -------
        dict
            ``cpu`` in seconds and ``peak_memory`` in bytes.

        Raises
        ------
        TaskError
            If the task failed, with the traceback that it printed.
        """
        with tempfile.TemporaryDirectory(dir=self._local_worker_dir) as folder:
            folder = Path(folder)
            self._archives.unpack(archive_path, folder)
            script, function = stock._get_entrypoint_from_dockerfile(folder)
            if data_sample_paths:
                stock._symlink_data_samples(data_sample_paths, local_volumes[VOLUME_INPUTS])
            log = folder / "task.log"
            try:
                ended = current_server().run(
                    script=str(folder / script),
                    arguments=stock._get_command_args(function, command_args_tpl, local_volumes),
                    folder=str(folder),
                    log=str(log),
                    time_limit=self._time_limit,
                )
            except ConnectionError as error:
                raise TaskError(
                    "ended because the server of the tasks was ended, most likely by the system "
                    "because memory ran out. Use fewer films, a smaller model, or fewer tasks side "
                    "by side."
                ) from error
            if ended["status"] != 0:
                raise TaskError(_explain(ended, self._time_limit, log))
        return {"cpu": ended["cpu"], "peak_memory": ended["peak_memory"]}


def _explain(ended, time_limit, log):
    """Say what became of a task, with the last lines that it printed."""
    printed = log.read_text(errors="replace").strip() if log.exists() else ""
    status = ended["status"]
    if ended["late"]:
        reason = f"was ended after {time_limit:g} s, its time limit."
    elif os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        reason = f"was ended by {signal.Signals(number).name}"
        if number == signal.SIGKILL:
            reason += (
                ", which usually means that memory ran out: use fewer films, a smaller model, or "
                "fewer tasks side by side"
            )
        reason += "."
    else:
        reason = f"failed with exit status {os.waitstatus_to_exitcode(status)}."
    return f"{reason}\n\n{printed}" if printed else reason

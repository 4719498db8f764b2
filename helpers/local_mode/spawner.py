"""Spawner of Substra's local mode that forks tasks instead of starting a Python for each.

Substra's own spawner starts a fresh interpreter for every task, which imports TensorFlow every
time. This one uses the same function archive, entry point, arguments and files, and runs them in a
process forked from a server that has done the imports (:mod:`helpers.local_mode.server`). Every
task still runs in a process of its own.
"""

import os
import signal
import tempfile
from pathlib import Path

from helpers.local_mode.archives import Archives
from helpers.local_mode.fork_server import ForkServer
from helpers.local_mode.substra_internals import (
    ExecutionError,
    TaskCall,
    find_entry_point,
    link_samples,
)


class TaskError(ExecutionError):
    """A task of the compute plan failed; the message contains the task's own traceback."""


class ForkSpawner:
    """Does what Substra's subprocess spawner does, except for how it starts a process.

    Parameters
    ----------
    time_limit : float, optional
        Seconds after which a task is terminated.
    """

    def __init__(self, *, time_limit: float | None = None) -> None:
        self._archives = Archives()
        self._time_limit = time_limit

    def spawn(self, call: TaskCall, server: ForkServer) -> dict:
        """Run one task and wait for it.

        Parameters
        ----------
        call : helpers.local_mode.substra_internals.TaskCall
            What Substra's worker asks for.
        server : helpers.local_mode.fork_server.ForkServer
            Forks the process.

        Returns
        -------
        dict
            ``cpu`` in seconds and ``peak_memory`` in bytes.

        Raises
        ------
        TaskError
            If the task failed, with the traceback that it printed.
        """
        with tempfile.TemporaryDirectory(dir=call.folder) as folder:
            folder = Path(folder)
            self._archives.unpack(call.archive, folder)
            script, function = find_entry_point(folder)
            link_samples(call.samples, call.inputs)
            log = folder / "task.log"
            try:
                ended = server.run(
                    script=str(folder / script),
                    arguments=["--function-name", function, *call.arguments],
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
    """Describe the outcome of a task, with the last lines that it printed."""
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

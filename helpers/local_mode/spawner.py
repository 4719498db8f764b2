"""Spawner of Substra's local mode that forks tasks instead of starting a Python for each.

Substra's own spawner starts a fresh interpreter for every task, which imports TensorFlow every
time. This one goes through the same function archive, entry point, arguments and files, and runs
them in a process forked from a server that has the imports done
(:mod:`helpers.local_mode.server`). Every task still lives and dies in a process of its own.
"""

import atexit
import contextlib
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

from substra.sdk.archive import uncompress
from substra.sdk.backends.local.compute.spawner import subprocess as stock
from substra.sdk.backends.local.compute.spawner.base import VOLUME_INPUTS, ExecutionError


class TaskError(ExecutionError):
    """A task of the compute plan failed; the message holds the task's own traceback."""


def run_tasks_fast(*clients):
    """Let the clients of a federation run their tasks in forked processes.

    Parameters
    ----------
    *clients : substra.Client
        Clients with ``backend_type="subprocess"``; others are refused.

    Returns
    -------
    bool
        False where the system cannot fork (Windows): a warning says so, and Substra's own
        spawner stays in use.

    Raises
    ------
    ValueError
        If a client is not in subprocess mode.
    """
    for client in clients:
        if client.backend_mode != "subprocess":
            raise ValueError(
                "Expected clients with backend_type='subprocess'. Received one with "
                f"{client.backend_mode!r}, whose tasks are not run by this machine's Python."
            )
    if not hasattr(os, "fork"):
        warnings.warn(
            "This system cannot fork processes: each task starts a Python of its own, and "
            "imports TensorFlow anew.",
            stacklevel=2,
        )
        return False
    _server()  # starts its imports now, while the script prepares its data
    for client in clients:
        worker = client._backend._worker
        worker._spawner = ForkSpawner(worker._local_worker_dir)
    return True


class ForkSpawner(stock.Subprocess):
    """Substra's subprocess spawner, but for the way in which the process comes to life.

    Parameters
    ----------
    local_worker_dir : pathlib.Path
        Substra's folder for the files of running tasks.
    """

    def spawn(self, name, archive_path, command_args_tpl, data_sample_paths, local_volumes, envs):
        """Run one task and wait for it.

        Parameters
        ----------
        name, archive_path, command_args_tpl, data_sample_paths, local_volumes, envs
            As in Substra's ``BaseSpawner.spawn``.

        Raises
        ------
        TaskError
            If the task failed, with the traceback that it printed.
        """
        with tempfile.TemporaryDirectory(dir=self._local_worker_dir) as folder:
            folder = Path(folder)
            uncompress(archive_path, folder)
            script, function = stock._get_entrypoint_from_dockerfile(folder)
            if data_sample_paths:
                stock._symlink_data_samples(data_sample_paths, local_volumes[VOLUME_INPUTS])
            log = folder / "task.log"
            status = _server().run(
                script=str(folder / script),
                arguments=stock._get_command_args(function, command_args_tpl, local_volumes),
                folder=str(folder),
                log=str(log),
            )
            if status != 0:
                raise TaskError(_explain(function, status, log))


class ForkServer:
    """Handle of the server process; ends with the program that started it."""

    def __init__(self):
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        self._numbers = itertools.count()
        self._lock = threading.Lock()

    def run(self, **request):
        """Run one task and wait for its end.

        Parameters
        ----------
        **request : str or list of str
            ``script``, ``arguments``, ``folder`` and ``log`` of the task.

        Returns
        -------
        int
            0, or the status of :func:`os.waitpid`.
        """
        with self._lock:
            request["id"] = next(self._numbers)
            try:
                self._process.stdin.write(json.dumps(request).encode() + b"\n")
                self._process.stdin.flush()
                answer = self._process.stdout.readline()
            except BaseException:  # Ctrl-C: the task must not go on, nor its answer be read later
                self.close()
                raise
        if not answer:
            raise TaskError(
                "The server of the tasks has ended before the task did: most likely it was killed "
                "because memory ran out. Use fewer films, a smaller model or fewer hospitals."
            )
        return json.loads(answer)["status"]

    def is_alive(self):
        """Tell whether the server still answers.

        Returns
        -------
        bool
            False once its process has ended.
        """
        return self._process.poll() is None

    def close(self):
        """End the server, and with it every task that still runs."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def _server():
    """Return the one server of this program, started when it is first needed."""
    server = _start_server()
    if not server.is_alive():
        _start_server.cache_clear()
        server = _start_server()
    return server


@functools.cache
def _start_server():
    """Start the server; the cache keeps it for the whole program."""
    server = ForkServer()
    atexit.register(server.close)
    return server


def _explain(function, status, log):
    """Say what became of a task, with the last lines that it printed."""
    printed = log.read_text(errors="replace").strip() if log.exists() else ""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        reason = f"was ended by {signal.Signals(number).name}"
        if number == signal.SIGKILL:
            reason += ", which usually means that memory ran out"
    else:
        reason = f"failed with exit status {os.waitstatus_to_exitcode(status)}"
    return f"The task {function!r} {reason}.\n\n{printed}" if printed else f"{function!r} {reason}."

"""Handle of the server that forks the tasks, for the program that needs them."""

import atexit
import contextlib
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

from helpers.local_mode.environment import task_variables


class ForkServer:
    """A running server, see :mod:`helpers.local_mode.server`; it ends with this program.

    It imports TensorFlow as soon as it is created; tasks that are sent before wait for it. Any
    number of threads may run a task at the same time.

    Parameters
    ----------
    variables : dict of str to str
        Environment variables of the server and of its tasks, all of them.

    Attributes
    ----------
    users : int
        How many plans use it now.
    """

    def __init__(self, variables: dict[str, str]) -> None:
        self.users = 0
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=variables,
        )
        self._numbers = itertools.count()
        self._answers = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def run(
        self,
        *,
        script: str,
        arguments: list[str],
        folder: str,
        log: str,
        time_limit: float | None = None,
    ) -> dict:
        """Run one task and wait for its end.

        Parameters
        ----------
        script : str
            Path of the Python script.
        arguments : list of str
            Its arguments.
        folder : str
            Its working folder, also for its temporary files.
        log : str
            File for its output.
        time_limit : float, optional
            Seconds after which the task is terminated.

        Returns
        -------
        dict
            ``status`` of :func:`os.waitpid` (0: all is well), ``cpu`` in seconds,
            ``peak_memory`` in bytes, ``late``: whether the time limit ended it.

        Raises
        ------
        ConnectionError
            If the server ended before the task did.
        """
        answer = Future()
        request = {
            "script": script,
            "arguments": arguments,
            "folder": folder,
            "log": log,
            "time_limit": time_limit,
        }
        with self._lock:
            number = next(self._numbers)
            self._answers[number] = answer
            try:
                self._process.stdin.write(json.dumps(request | {"id": number}).encode() + b"\n")
                self._process.stdin.flush()
            except (OSError, ValueError) as error:  # ValueError: closed by us
                self._answers.pop(number, None)
                raise ConnectionError("The server of the tasks has ended.") from error
        try:
            return answer.result()
        except ConnectionError:
            raise
        except BaseException:  # Ctrl-C: the task must not continue
            self.close()
            raise

    def is_alive(self) -> bool:
        """Return whether the server still answers.

        Returns
        -------
        bool
            False once its process has ended.
        """
        return self._process.poll() is None

    def close(self) -> None:
        """Terminate the server, and with it every task that still runs."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            # It ends its tasks first, if it has any.
            self._process.wait(timeout=1 if self._answers else 0)
        except subprocess.TimeoutExpired:  # no task, or still importing
            self._process.kill()
            self._process.wait()
        self._reader.join()
        self._process.stdout.close()

    def _read(self):
        """Pass every answer to the thread that waits for it."""
        with contextlib.suppress(Exception):  # a line that is no answer: trust no other one
            for line in self._process.stdout:
                answer = json.loads(line)
                self._answers.pop(answer.pop("id")).set_result(answer)
        self._process.kill()
        self._process.wait()
        with self._lock:
            left = [self._answers.popitem()[1] for _ in range(len(self._answers))]
        for answer in left:
            answer.set_exception(ConnectionError("The server of the tasks has ended."))


_servers = {}  # by the variables of their tasks
_STARTING = threading.Lock()  # programs have several federations in several threads


def start_server(pass_env: Sequence[str] = ()) -> None:
    """Start the server of this program, unless it runs; it serves every federation and page.

    Its import of TensorFlow takes seconds. If a script calls this first, they pass while it
    prepares its data; without the call, the server starts with the first task.

    Parameters
    ----------
    pass_env : sequence of str, optional
        As in :func:`helpers.local_mode.run_tasks_fast`.

    Raises
    ------
    TypeError
        If ``pass_env`` is no list of text.
    """
    variables = task_variables(pass_env)
    with _STARTING:
        _find_server(variables)


@contextlib.contextmanager
def lend_server(variables: dict[str, str]) -> Iterator[ForkServer]:
    """Lend a server to one plan, and start it if none runs.

    If Ctrl-C, or the system, terminates it meanwhile, the remaining tasks fail; the next plan gets
    a new one.

    Parameters
    ----------
    variables : dict of str to str
        Environment variables of the tasks, all of them.

    Yields
    ------
    ForkServer
        A server whose tasks have these variables.
    """
    with _STARTING:
        server = _find_server(variables)
        server.users += 1
    try:
        yield server
    finally:
        with _STARTING:
            server.users -= 1


def _find_server(variables):
    """Return the server whose tasks have these variables; start it in place of unused ones."""
    wanted = tuple(sorted(variables.items()))
    for key, server in list(_servers.items()):
        # Each keeps an imported TensorFlow in memory.
        if not server.is_alive() or (key != wanted and not server.users):
            _servers.pop(key).close()
            atexit.unregister(server.close)
    if wanted not in _servers:
        _servers[wanted] = ForkServer(variables)
        atexit.register(_servers[wanted].close)
    return _servers[wanted]

"""Handle of the server that forks the tasks, in the program that needs them."""

import atexit
import contextlib
import itertools
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path


class ForkServer:
    """A running server, see :mod:`helpers.local_mode.server`; it ends with this program.

    It imports TensorFlow as soon as it is made; tasks that are sent before wait for it. Any
    number of threads may have a task run at the same time.
    """

    def __init__(self) -> None:
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("server.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
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
            Its working folder; its temporary files go there too.
        log : str
            File that takes what it prints.
        time_limit : float, optional
            Seconds after which the task is ended.

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
        except BaseException:  # Ctrl-C: the task must not go on
            self.close()
            raise

    def is_alive(self) -> bool:
        """Tell whether the server still answers.

        Returns
        -------
        bool
            False once its process has ended.
        """
        return self._process.poll() is None

    def close(self) -> None:
        """End the server, and with it every task that still runs."""
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
        """Hand every answer to the thread that waits for it."""
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


_server = None
_STARTING = threading.Lock()  # programs have several federations in several threads


def start_server() -> ForkServer:
    """Start the server of this program, unless it runs; it serves every federation and page.

    Its import of TensorFlow takes seconds. A script that calls this first has them pass while it
    prepares its data; without the call the server starts with the first federation.

    Returns
    -------
    ForkServer
        Always the same one while it is alive.
    """
    global _server
    with _STARTING:
        if _server is None or not _server.is_alive():
            _server = ForkServer()
            atexit.register(_server.close)
        return _server


def current_server() -> ForkServer:
    """Return the server that :func:`start_server` has started, even if it has ended since.

    A thread that starts a task just when Ctrl-C has ended the server must fail, and not bring a
    new one to life.

    Returns
    -------
    ForkServer
        Kept for the whole program.
    """
    return _server or start_server()

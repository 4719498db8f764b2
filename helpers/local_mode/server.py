"""Server that forks one process for each task, with the heavy imports done beforehand.

It is started as a script of its own, never imported by the user's program: the program may be a
notebook or a script without ``if __name__ == "__main__"``, and has threads that a fork would not
survive. This process imports TensorFlow and never uses it; a task is forked from it and so
begins with a clean, imported, idle TensorFlow. Only the standard library is imported by name, so
that ``helpers`` itself is read by each task from the function archive, as in a new Python.

Protocol: one JSON object a line. In: ``{"id", "script", "arguments", "folder", "log"}``. Out:
``{"id", "status"}`` when the task has ended, with the status of :func:`os.waitpid`.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
import traceback

RUNPY = "<frozen runpy>"
PRELOADED = (
    "numpy",
    "pandas",
    "sklearn.metrics",
    "tensorflow",
    "keras",
    "substratools",
    "substrafl.algorithms",
    "substrafl.strategies",
    "substrafl.remote",
)


def main():
    """Answer requests until standard input is closed, then end every task that still runs."""
    # What a task, or an import, prints must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Ctrl-C reaches the whole terminal; the program that started us decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    _preload()
    running = {}
    pending = b""
    try:
        while True:
            ready, _, _ = select.select([sys.stdin.fileno(), wake_read], [], [])
            if wake_read in ready:
                os.read(wake_read, 4096)
                for request_id, status in _ended(running):
                    answers.write(json.dumps({"id": request_id, "status": status}) + "\n")
            if sys.stdin.fileno() in ready:
                received = os.read(sys.stdin.fileno(), 1 << 16)
                if not received:
                    return
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    request = json.loads(line)
                    running[_fork(request)] = request["id"]
    finally:
        for pid in running:
            os.killpg(pid, signal.SIGKILL)


def _preload():
    """Import what tasks need; a package that is not installed is simply not needed."""
    sys.path.pop(0)  # the folder of this script: its modules must not shadow others
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    # A garbage collection in a task would write to, and so copy, every page of these objects.
    gc.collect()
    gc.freeze()


def _fork(request):
    """Start a task; return its process number."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setpgid(0, 0)
        _run(request)
        status = 0
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
    except BaseException as error:
        _print_error(error)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        # No exit handlers: those of the server's libraries belong to the server.
        os._exit(status)


def _run(request):
    """Become the process that ``python script @arguments`` would have been."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    if "numpy" in sys.modules:  # as a new Python would; its own generator Python seeds by itself
        sys.modules["numpy"].random.seed()
    os.chdir(request["folder"])
    sys.argv = [request["script"], *request["arguments"]]
    sys.path.insert(0, request["folder"])
    runpy.run_path(request["script"], run_name="__main__")


def _print_error(error):
    """Print a traceback as a Python of the task's own would: without the frames of this server."""
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename in (__file__, runpy.__file__, RUNPY):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames or error.__traceback__)


def _ended(running):
    """Collect the tasks that have ended, as pairs of request and status."""
    ended = []
    while running:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            break
        ended.append((running.pop(pid), status))
    return ended


if __name__ == "__main__":
    main()

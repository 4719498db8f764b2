"""Server that forks one process for each task, with the heavy imports done beforehand.

It is started as a script of its own, never imported by the user's program: the program may be a
notebook or a script without ``if __name__ == "__main__"``, and has threads that would not survive a
fork. This process imports TensorFlow and never uses it; a task is forked from it and so begins with
a clean, imported, idle TensorFlow. Only the standard library is imported by name, so that each task
reads ``helpers`` from the function archive, as a new Python would.

Protocol: one JSON object a line. In: ``{"id", "script", "arguments", "folder", "log",
"time_limit"}``, the last a number or null. Out, when the task has ended: ``{"id", "status",
"cpu", "peak_memory", "late"}`` with the status of :func:`os.wait4`, seconds, bytes, and whether
the task was ended because of its time limit.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import sys
import tempfile
import threading
import time
import traceback

RUNPY = "<frozen runpy>"
PRELOADED = (
    "numpy",
    "pandas",
    "sklearn.metrics",
    "sklearn.linear_model",
    "safetensors.numpy",
    "PIL.ImageOps",
    "platformdirs",
    "tensorflow",
    "keras",
    "substratools",
    "substrafl.algorithms",
    "substrafl.strategies",
    "substrafl.remote",
)
GARBAGE = (
    50_000  # new objects between two collections; Python's default of 700 suits small programs
)
FILE = io.IOBase.__base__  # issubclass knows it at once; IOBase itself is an abstract class
TEXT, BUFFERED = io.TextIOWrapper, (io.BufferedWriter, io.BufferedRandom, io.FileIO)
PATIENCE = 3600  # seconds that the server sleeps at most: the system accepts no infinite number
PR_SET_PDEATHSIG = 1
# Linux counts the peak of resident memory in KiB, macOS in bytes.
PEAK_UNIT = 1 if sys.platform == "darwin" else 1024


def main() -> None:
    """Answer requests until standard input is closed, then terminate all running tasks."""
    # Output of a task, or of an import, must not mix with the answers.
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    # Ctrl-C reaches the whole terminal; the program that started us decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    own = (answers, wake_read, wake_write)

    _preload()
    running = {}  # process number: (request's id, moment at which it is late or None)
    late = set()
    pending = b""
    try:
        while True:
            limits = [limit for _, limit in running.values() if limit is not None]
            patience = max(0, min(limits) - time.monotonic()) if limits else PATIENCE
            patience = min(patience, PATIENCE)
            ready, _, _ = select.select([sys.stdin.fileno(), wake_read], [], [], patience)
            if wake_read in ready:
                os.read(wake_read, 4096)
                for pid, answer in _ended(running):
                    answer["late"] = pid in late
                    late.discard(pid)
                    os.write(answers, json.dumps(answer).encode() + b"\n")
            for pid in _late(running):
                late.add(pid)
                _kill(pid)
            if sys.stdin.fileno() in ready:
                received = os.read(sys.stdin.fileno(), 1 << 16)
                if not received:
                    return
                *lines, pending = (pending + received).split(b"\n")
                for line in lines:
                    request = json.loads(line)
                    limit = request["time_limit"]
                    moment = None if limit is None else time.monotonic() + limit
                    running[_fork(request, own)] = request["id"], moment
    finally:
        for pid in running:
            _kill(pid)


def _preload():
    """Import what tasks need; packages that are not installed are skipped."""
    sys.path.pop(0)  # the folder of this script: its modules must not shadow others
    gc.disable()  # the objects of imports remain
    for name in PRELOADED:
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    # A garbage collection in a task would write to, and so copy, every page of these objects.
    gc.collect()
    gc.freeze()
    # Building a graph creates hundreds of thousands of objects that remain until the task ends.
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    gc.enable()


def _fork(request, own):
    """Start a task without the server's own files; return its process number."""
    server = os.getpid()
    pid = os.fork()
    if pid:
        # Both sides do it, so that the group exists before it is needed, whichever is first.
        with contextlib.suppress(OSError):
            os.setpgid(pid, pid)
        return pid
    status = 1
    try:
        with contextlib.suppress(OSError):
            os.setpgid(0, 0)
        _end_with(server)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # A process that the task starts and leaves must not keep the program waiting for answers.
        for file in own:
            os.close(file)
        status = _run(request)
        _finish()
    finally:
        os._exit(status)


def _end_with(server):
    """Let the kernel terminate this task when the server dies, even by SIGKILL (Linux only)."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:  # it died before we asked
        os._exit(1)


def _run(request):
    """Become the process that ``python script @arguments`` would have been; return its status."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 1)
    os.dup2(log, 2)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    # Temporary files are removed with the task's folder, however the task ends.
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(dir=request["folder"])
    if "numpy" in sys.modules:  # as a new Python would; Python seeds its own generator
        sys.modules["numpy"].random.seed()
    os.chdir(request["folder"])
    sys.pycache_prefix = None  # the compiled modules are in the archive
    sys.argv = [request["script"], *request["arguments"]]
    sys.path.insert(0, request["folder"])
    atexit._clear()  # the handlers of the server's libraries belong to the server
    if "multiprocessing.util" in sys.modules:  # but this one waits for processes of the task
        atexit.register(sys.modules["multiprocessing.util"]._exit_function)
    try:
        runpy.run_path(request["script"], run_name="__main__")
    except SystemExit as ended:
        if ended.code is None or isinstance(ended.code, int):
            return ended.code or 0
        print(ended.code, file=sys.stderr)
        return 1
    except BaseException as error:
        _print_error(error)
        return 1
    return 0


def _finish():
    """Do what Python does when it exits: wait for threads, call exit handlers, close files."""
    for step in (threading._shutdown, atexit._run_exitfuncs, _close_files):
        try:
            step()
        except BaseException as error:
            _print_error(error)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError, OSError):  # the task closed it, say
            stream.flush()


def _close_files():
    """Close the files that the task left open, but not those of the server."""
    # The type is checked, not the object, which may be lazy and import something.
    files = [value for value in gc.get_objects() if issubclass(type(value), FILE)]
    # What writes into another file comes first: text, then compressed files, then buffers.
    files.sort(key=lambda file: (isinstance(file, BUFFERED), not isinstance(file, TEXT)))
    for file in files:
        with contextlib.suppress(Exception):
            file.close()


def _print_error(error):
    """Print a traceback as a separate Python would: without the frames of this server."""
    with contextlib.suppress(AttributeError, ValueError, OSError):  # the task closed it, say
        sys.stdout.flush()  # into the same file: what was printed before comes first
    frames = error.__traceback__
    while frames and frames.tb_frame.f_code.co_filename in (__file__, runpy.__file__, RUNPY):
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames or error.__traceback__)


def _ended(running):
    """Collect the tasks that have ended, as pairs of process number and answer."""
    ended = []
    while running:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
        if pid == 0:
            break
        answer = {
            "id": running.pop(pid)[0],
            "status": status,
            "cpu": usage.ru_utime + usage.ru_stime,
            "peak_memory": usage.ru_maxrss * PEAK_UNIT,
        }
        ended.append((pid, answer))
    return ended


def _late(running):
    """List the tasks that have exceeded their time limit; each is listed once."""
    now = time.monotonic()
    late = [pid for pid, (_, limit) in running.items() if limit is not None and limit <= now]
    for pid in late:
        running[pid] = running[pid][0], None
    return late


def _kill(pid):
    """Terminate a task and all processes that it has started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
    os._exit(0)  # unloading TensorFlow's modules would take a third of a second

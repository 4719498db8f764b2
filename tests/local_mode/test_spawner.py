"""Tasks in forked processes: isolation, failures, a clean end."""

import contextlib
import gzip
import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from helpers.local_mode import fork_server
from helpers.local_mode.archives import Archives, add_bytecode
from helpers.local_mode.environment import task_variables
from helpers.local_mode.fork_server import ForkServer, lend_server, start_server
from helpers.local_mode.spawner import ForkSpawner, TaskError, _explain


@pytest.fixture(scope="module")
def server():
    server = ForkServer(task_variables())
    yield server
    server.close()


@pytest.fixture
def run(run_measured):
    """Run a script as a task; return its status and what it printed."""

    def run(source, *arguments):
        ended, printed = run_measured(source, *arguments)
        return ended["status"], printed

    return run


@pytest.fixture
def run_measured(server, tmp_path):
    """Run a script as a task; return the server's answer and what the task printed."""

    def run_measured(source, *arguments, **limits):
        script, log = tmp_path / "function.py", tmp_path / "log"
        script.write_text(source)
        log.unlink(missing_ok=True)
        ended = server.run(
            script=str(script),
            arguments=list(arguments),
            folder=str(tmp_path),
            log=str(log),
            **limits,
        )
        return ended, log.read_text()

    return run_measured


def test_a_task_is_what_python_would_have_run(run, tmp_path):
    (tmp_path / "neighbour.py").write_text("VALUE = 42")
    status, printed = run(
        "import os, sys, json, neighbour\n"
        "print(json.dumps([__name__, sys.argv[1:], os.getcwd(), neighbour.VALUE, sys.path[0]]))",
        "--function-name",
        "train",
    )
    assert status == 0
    folder = str(tmp_path)
    assert json.loads(printed) == ["__main__", ["--function-name", "train"], folder, 42, folder]


def test_modules_are_not_compiled_again_and_never_stale(run, tmp_path):
    (tmp_path / "package").mkdir()
    module = tmp_path / "package" / "module.py"
    module.write_text("VALUE = 1\ndef fail():\n    raise KeyError('lost film')")
    (tmp_path / "broken.py").write_text("def")
    add_bytecode(tmp_path)
    source = (
        "import importlib._bootstrap_external as loader\n"
        "loader.SourceLoader.source_to_code = lambda *_, **__: exit('compiled')\n"
        "from package import module\n"
        "print(module.VALUE)\n"
        "module.fail()"
    )
    status, printed = run(source)
    assert os.waitstatus_to_exitcode(status) == 1
    assert printed.startswith("1\n")
    assert f'File "{module}", line 3, in fail' in printed
    module.write_text("VALUE = 2\ndef fail():\n    raise KeyError('lost film')")
    assert "compiled" in run(source)[1]
    assert "SyntaxError" in run("import broken")[1]


def test_tensorflow_is_there_and_idle_and_helpers_are_not(run):
    status, printed = run(
        "import sys\n"
        "from tensorflow.python.eager import context\n"
        "print('tensorflow' in sys.modules, context.context()._initialized,\n"
        "      any(name.startswith('helpers') for name in sys.modules))"
    )
    assert (status, printed.split()) == (0, ["True", "False", "False"])


LEAK = """
import os, random, sys, threading, time
import numpy, keras, tensorflow
os.environ["LEAK"] = "1"
sys.path.append("leak")
sys.modules["leak"] = sys
keras.leak = 1
keras.backend.set_floatx("float64")
random.seed(1); numpy.random.seed(1)
tensorflow.config.set_soft_device_placement(False)
tensorflow.constant(1) + 1
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
os.chdir("/")
"""
LOOK = """
import json, os, random, sys, threading
import numpy, keras, tensorflow
from tensorflow.python.eager import context
print(json.dumps([
    "LEAK" in os.environ, "leak" in sys.path, "leak" in sys.modules, hasattr(keras, "leak"),
    keras.backend.floatx(), context.context()._initialized, threading.active_count(),
    os.getcwd() == sys.path[0], random.random(), float(numpy.random.random()),
]))
"""


def test_nothing_leaks_from_one_task_to_the_next(run):
    status, before = run(LOOK)
    assert status == 0
    assert run(LEAK)[0] == 0
    status, after = run(LOOK)
    assert status == 0
    before, after = json.loads(before), json.loads(after)
    assert after[:8] == before[:8] == [False] * 4 + ["float32", False, 1, True]
    random.seed(1)
    seeded = random.random(), np.random.RandomState(1).random()
    for position, value in zip((8, 9), seeded, strict=True):
        assert len({before[position], after[position], value}) == 3


def test_the_traceback_of_a_failed_task_is_its_own(run, tmp_path):
    status, printed = run("def inner():\n    raise KeyError('lost film')\ninner()")
    assert os.waitstatus_to_exitcode(status) == 1
    assert "KeyError: 'lost film'" in printed
    assert "server.py" not in printed
    assert "function.py" in printed
    message = _explain({"status": status, "late": False}, None, tmp_path / "log")
    assert message.startswith("failed with exit status 1.")
    assert "lost film" in message


@pytest.mark.parametrize(
    ("source", "code"),
    [("raise SystemExit", 0), ("raise SystemExit(3)", 3), ("raise SystemExit('no')", 1)],
)
def test_exit_status(run, source, code):
    assert os.waitstatus_to_exitcode(run(source)[0]) == code


END = """
import atexit, gzip, io, logging, multiprocessing, pathlib, sys, threading, time
left, text = open("left", "w"), io.TextIOWrapper(gzip.open("left.gz", "wb"))
left.cycle, text.cycle = [left], [text]
left.write("all"), text.write("all")

def late():
    threading.main_thread().join()
    pathlib.Path("thread").write_text("joined")
    atexit.register(lambda: print("registered last, called first"))

def child():
    time.sleep(0.1)
    pathlib.Path("child").write_text("joined")

def leave():
    print("called at the end", pathlib.Path("thread").read_text())

atexit.register(leave)
multiprocessing.get_context("fork").Process(target=child).start()
threading.Thread(target=late).start()
"""


@pytest.mark.parametrize("last", ["", "raise SystemExit(3)", "1 / 0", "sys.stdout.close()"])
def test_a_task_ends_as_python_would(run, tmp_path, last):
    for name in ("left", "left.gz", "thread", "child"):
        (tmp_path / name).unlink(missing_ok=True)
    status, printed = run(END + last)
    assert os.waitstatus_to_exitcode(status) == {"raise SystemExit(3)": 3, "1 / 0": 1}.get(last, 0)
    assert (tmp_path / "left").read_text() == "all"
    assert gzip.decompress((tmp_path / "left.gz").read_bytes()) == b"all"
    assert (tmp_path / "thread").read_text() == (tmp_path / "child").read_text() == "joined"
    if last == "1 / 0":
        assert "ZeroDivisionError" in printed
    if last != "sys.stdout.close()":
        first, second = [line for line in printed.splitlines() if "called" in line]
        assert first.endswith("called first")
        assert second == "called at the end joined"


def test_exit_handlers_of_the_servers_libraries_stay_there(run):
    assert run("import atexit; print(atexit._ncallbacks())")[1].split() in (["0"], ["1"])


def test_a_task_has_no_file_of_the_server(run):
    status, printed = run(
        "import os, stat\n"
        "for number in range(3, 1000):\n"
        "    try:\n        kind = os.fstat(number).st_mode\n"
        "    except OSError:\n        continue\n"
        "    print(stat.S_ISFIFO(kind))"
    )
    assert status == 0
    assert "True" not in printed


def test_what_a_task_leaves_behind_keeps_nobody_waiting(tmp_path):
    """A process that a task has forked and left lives on; the server's death is still noticed."""
    server = ForkServer(task_variables())
    (tmp_path / "task.py").write_text(
        "import os, pathlib, signal\n"
        "left = os.fork()\n"
        "signal.pause() if left == 0 else pathlib.Path('left').write_text(str(left))"
    )
    files = {"script": str(tmp_path / "task.py"), "folder": str(tmp_path), "log": os.devnull}
    assert server.run(arguments=[], **files)["status"] == 0
    left = int((tmp_path / "left").read_text())
    try:
        server._process.kill()
        server._reader.join()
        assert is_alive(left)
        with pytest.raises(ConnectionError):
            server.run(arguments=[], **files)
        server.close()
    finally:
        os.kill(left, signal.SIGKILL)


@pytest.mark.parametrize("line", ["what is this?", "[]", "{}", '{"id": 77}'])
def test_a_line_that_is_no_answer_ends_the_server_and_nobody_hangs(tmp_path, monkeypatch, line):
    (tmp_path / "server.py").write_text(
        f"import sys\nsys.stdin.readline(); print({line!r}, flush=True)\nsys.stdin.read()"
    )
    monkeypatch.setattr(fork_server, "__file__", str(tmp_path / "fork_server.py"))
    server = ForkServer(task_variables())
    with pytest.raises(ConnectionError, match="has ended"):
        server.run(script="", arguments=[], folder="", log="")
    wait_for(lambda: not server.is_alive())
    server.close()


@pytest.mark.parametrize("limit", [float("inf"), 1e300])
def test_an_endless_time_limit_is_none(run_measured, limit):
    ended, _ = run_measured("pass", time_limit=limit)
    assert (ended["status"], ended["late"]) == (0, False)


def test_a_killed_task_says_so(run, tmp_path):
    status, _ = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "SIGKILL, which usually means that memory ran out" in _explain(
        {"status": status, "late": False}, None, tmp_path / "none"
    )


def test_a_task_that_takes_too_long_is_ended_with_all_it_has_started(run_measured, tmp_path):
    source = (
        "import subprocess, time, pathlib\n"
        "child = subprocess.Popen(['sleep', '1000'])\n"
        "pathlib.Path('child').write_text(str(child.pid))\n"
        "time.sleep(1000)"
    )
    for limit in (5, 50):  # a machine that is busy may not have begun after 5 s
        ended, _ = run_measured(source, time_limit=limit)
        assert ended["late"]
        if (tmp_path / "child").exists():
            break
    message = f"was ended after {limit} s, its time limit."
    assert _explain(ended, limit, tmp_path / "none") == message
    wait_for(lambda: not is_alive(int((tmp_path / "child").read_text())))
    ended, _ = run_measured("pass", time_limit=500)
    assert (ended["status"], ended["late"]) == (0, False)


def test_cpu_time_and_memory_are_those_of_the_task(run_measured):
    idle, _ = run_measured("import time; time.sleep(0.5)")
    busy, _ = run_measured(
        "import time\ndata = b'x' * 200_000_000\nwhile time.process_time() < 0.5: pass"
    )
    assert idle["cpu"] < 0.5 <= busy["cpu"]  # of the processor, however many others want it
    assert busy["peak_memory"] - idle["peak_memory"] > 150_000_000


def test_threads_are_those_of_the_script_and_temporary_files_the_tasks_own(run_measured, tmp_path):
    """Last digits depend on the number of threads: a task may not choose its own."""
    look = (
        "import os, tempfile\n"
        "print(tempfile.gettempdir())\n"
        "print(*sorted(name for name in os.environ if name.endswith('_THREADS')))"
    )
    _, printed = run_measured(look)
    folder, variables = printed.splitlines()
    assert variables.split() == sorted(name for name in os.environ if name.endswith("_THREADS"))
    assert Path(folder).parent == tmp_path


def test_tasks_run_side_by_side(server, tmp_path):
    """Two tasks that wait for each other can only end if they run at the same time."""
    source = (
        "import pathlib, sys, time\n"
        "mine, other = sys.argv[1:]\n"
        "pathlib.Path(mine).touch()\n"
        "while not pathlib.Path(other).exists(): time.sleep(0.01)\n"
    )
    (tmp_path / "meet.py").write_text(source)
    statuses = []

    def task(*names):
        ended = server.run(
            script=str(tmp_path / "meet.py"),
            arguments=[str(tmp_path / name) for name in names],
            folder=str(tmp_path),
            log=str(tmp_path / names[0]) + ".log",
            time_limit=500,
        )
        statuses.append(ended["status"])

    threads = [threading.Thread(target=task, args=names) for names in (("a", "b"), ("b", "a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [0, 0]


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def wait_for(condition):
    """Wait as long as it takes on a busy machine; pytest ends a test that waits in vain."""
    while not condition():
        time.sleep(0.05)


def test_closing_the_server_ends_a_running_task(tmp_path):
    server = ForkServer(task_variables())
    script, pid_file = tmp_path / "sleep.py", tmp_path / "pid"
    script.write_text(
        f"import os, time, pathlib\np = pathlib.Path({str(pid_file)!r})\n"
        "p.with_suffix('.new').write_text(str(os.getpid())); p.with_suffix('.new').rename(p)\n"
        "time.sleep(100)"
    )
    errors = []

    def task():
        try:
            server.run(
                script=str(script), arguments=[], folder=str(tmp_path), log=str(tmp_path / "log")
            )
        except ConnectionError as error:
            errors.append(str(error))

    thread = threading.Thread(target=task)
    thread.start()
    wait_for(pid_file.exists)
    pid = int(pid_file.read_text())
    assert is_alive(pid)
    server._process.stdin.close()
    thread.join()
    wait_for(lambda: not is_alive(pid))
    assert errors == ["The server of the tasks has ended."]
    server.close()


@pytest.mark.slow
def test_a_task_that_comes_too_late_does_not_bring_the_server_back(tmp_path, monkeypatch):
    # Ctrl-C ends the server; another thread was just about to start a task.
    monkeypatch.setattr(Archives, "unpack", lambda *_: None)
    monkeypatch.setattr("helpers.local_mode.spawner.find_entry_point", lambda _: ("f.py", "f"))
    call = {"archive": None, "arguments": [], "inputs": None, "samples": {}, "folder": tmp_path}
    with lend_server(task_variables()) as ended:
        ended.close()
        with pytest.raises(TaskError, match="the server of the tasks was ended"):
            ForkSpawner().spawn(SimpleNamespace(**call), ended)
    with lend_server(task_variables()) as server:  # the next run begins with a new one
        assert server is not ended


@pytest.mark.slow
def test_a_server_serves_as_long_as_tasks_have_its_variables(monkeypatch):
    """An unused one holds memory; one that is used is not closed by another federation."""
    monkeypatch.setenv("SETTING", "1")
    start_server(["SETTING"])
    one, other = task_variables(["SETTING"]), task_variables()
    with lend_server(one) as first, lend_server(one) as same:
        assert same is first
        with lend_server(other) as second:
            assert second is not first
            assert first.is_alive()
            with lend_server(one) as again:
                assert again is first
        start_server()
        assert first.is_alive()
        assert second.is_alive()
    with lend_server(other) as server:
        assert server is second
        assert not first.is_alive()


def test_ctrl_c_leaves_no_process(tmp_path, start_script):
    """A script that is interrupted in the middle of a task, without a main guard."""
    (tmp_path / "sleep.py").write_text(
        "import os, time, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(100)"
    )
    script = start_script(
        "from helpers.local_mode.environment import task_variables\n"
        "from helpers.local_mode.fork_server import ForkServer\n"
        "server = ForkServer(task_variables())\n"
        f"server.run(script={str(tmp_path / 'sleep.py')!r}, arguments=[], "
        f"folder={str(tmp_path)!r}, log={str(tmp_path / 'log')!r})\n"
    )
    pid = tmp_path / "pid"
    wait_for(lambda: pid.exists() and pid.read_text())
    os.killpg(script.pid, signal.SIGINT)
    _, printed = script.communicate()
    assert "KeyboardInterrupt" in printed
    wait_for(lambda: not is_alive(int(pid.read_text())))
    with pytest.raises(ProcessLookupError):
        os.killpg(script.pid, 0)

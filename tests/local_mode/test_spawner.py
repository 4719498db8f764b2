"""Tasks in forked processes: isolation, failures, a clean end."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import substra

from helpers.local_mode import TaskError, run_tasks_fast
from helpers.local_mode.spawner import ForkServer, _explain

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server():
    server = ForkServer()
    yield server
    server.close()


@pytest.fixture
def run(server, tmp_path):
    """Run a script as a task; return its status and what it printed."""

    def run(source, *arguments):
        script, log = tmp_path / "function.py", tmp_path / "log"
        script.write_text(source)
        log.unlink(missing_ok=True)
        status = server.run(
            script=str(script), arguments=list(arguments), folder=str(tmp_path), log=str(log)
        )
        return status, log.read_text()

    return run


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
    message = _explain("train", status, tmp_path / "log")
    assert message.startswith("The task 'train' failed with exit status 1.")
    assert "lost film" in message


@pytest.mark.parametrize(
    ("source", "code"),
    [("raise SystemExit", 0), ("raise SystemExit(3)", 3), ("raise SystemExit('no')", 1)],
)
def test_exit_status(run, source, code):
    assert os.waitstatus_to_exitcode(run(source)[0]) == code


def test_a_killed_task_says_so(run, tmp_path):
    status, _ = run("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "SIGKILL, which usually means that memory ran out" in _explain(
        "train", status, tmp_path / "none"
    )


def is_alive(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def wait_for(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_closing_the_server_ends_a_running_task(tmp_path):
    server = ForkServer()
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
        except TaskError as error:
            errors.append(str(error))

    thread = threading.Thread(target=task)
    thread.start()
    assert wait_for(pid_file.exists, 60)
    pid = int(pid_file.read_text())
    assert is_alive(pid)
    server._process.stdin.close()
    thread.join(20)
    assert wait_for(lambda: not is_alive(pid))
    assert "has ended before the task did" in errors[0]
    server._process.wait()
    server._process.stdout.close()


@pytest.mark.slow
def test_ctrl_c_leaves_no_process(tmp_path):
    """A script that is interrupted in the middle of a task, without a main guard."""
    (tmp_path / "sleep.py").write_text(
        "import os, time, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\n"
        "time.sleep(100)"
    )
    (tmp_path / "script.py").write_text(
        "from helpers.local_mode.spawner import ForkServer\n"
        "server = ForkServer()\n"
        f"server.run(script={str(tmp_path / 'sleep.py')!r}, arguments=[], "
        f"folder={str(tmp_path)!r}, log={str(tmp_path / 'log')!r})\n"
    )
    script = subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    pid = tmp_path / "pid"
    assert wait_for(lambda: pid.exists() and pid.read_text(), 90)
    os.killpg(script.pid, signal.SIGINT)
    _, printed = script.communicate(timeout=30)
    assert b"KeyboardInterrupt" in printed
    assert wait_for(lambda: not is_alive(int(pid.read_text())))
    with pytest.raises(ProcessLookupError):
        os.killpg(script.pid, 0)


def test_where_fork_does_not_exist_substras_own_spawner_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    client = substra.Client(client_name="A", backend_type="subprocess")
    before = client._backend._worker._spawner
    monkeypatch.delattr(os, "fork")
    with pytest.warns(UserWarning, match="cannot fork"):
        assert run_tasks_fast(client) is False
    assert client._backend._worker._spawner is before
    client._backend._db._tmp_dir.cleanup()


def test_other_clients_are_refused():
    class Remote:
        backend_mode = "remote"

    with pytest.raises(ValueError, match=r"backend_type='subprocess'.*'remote'"):
        run_tasks_fast(Remote())

"""README's lines from training to a service, run exactly as they stand there."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEADING = "## From training to a service"
# What keeps running, and where it answers.
SERVERS = {
    "make runs": "http://127.0.0.1:5000/health",
    ".venv/bin/python -m helpers.serve ": "http://127.0.0.1:8000/health",
}
OUTER = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "PYTHON", "O", "PATTERN"}


def _readme_lines():
    section = (ROOT / "README.md").read_text("utf-8").partition(f"{HEADING}\n")[2]
    block = re.search(r"```console\n(.*?)```", section.partition("\n## ")[0], re.DOTALL)
    return [line.removeprefix("$ ") for line in block[1].splitlines()]


def _is_free(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def lend_environment(lender, folder):
    """Make an environment of links to the entries of another, with stamps in order."""
    folder.mkdir(parents=True)
    for entry in lender.iterdir():
        if entry.name in (".requirements", ".installed"):
            (folder / entry.name).touch()
        elif entry.name != "tools":
            (folder / entry.name).symlink_to(entry)
    (folder / ".installed").touch()


@pytest.fixture
def clone(tmp_path):
    """Copy the repository's own files, as a fresh clone has them, beside its environment."""
    if not (ROOT / ".venv" / "tools" / "mlflow" / ".installed").is_file():
        pytest.skip("Needs MLflow's page: make .venv/tools/mlflow/.installed")
    for command in ("curl", "git", "make"):
        if not shutil.which(command):
            pytest.skip(f"Needs {command}.")
    for port in (5000, 8000):
        if not _is_free(port):
            pytest.skip(f"Needs port {port}, which another program has.")
    listing = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=False)
    if names.returncode:
        pytest.skip("Needs a git checkout to know which files are the project's own.")
    for name in filter(None, names.stdout.split("\0")):
        if (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, tmp_path / name)
    # Stamps of its own: whatever make thinks of them, it leaves this environment alone.
    lend_environment(ROOT / ".venv", tmp_path / ".venv")
    lend_environment(ROOT / ".venv" / "tools" / "mlflow", tmp_path / ".venv" / "tools" / "mlflow")
    return tmp_path


@pytest.fixture
def start(clone):
    """Return a function that starts a line and waits until it answers; all end with the test."""
    own = {name: value for name, value in os.environ.items() if name not in OUTER}
    running = []

    def start(line, address):
        log = clone / f"server-{len(running)}.log"
        with log.open("wb") as out:
            server = subprocess.Popen(
                line, shell=True, cwd=clone, env=own, stdout=out, stderr=out, start_new_session=True
            )
        running.append(server)
        while True:  # pytest ends a test that waits in vain
            assert server.poll() is None, log.read_text("utf-8")
            try:
                with urllib.request.urlopen(address, timeout=60):
                    return
            except OSError:
                time.sleep(0.5)

    yield start
    for server in running:
        os.killpg(server.pid, signal.SIGTERM)
    for server in running:
        server.wait()


def _ask_mlflow(path, **content):
    request = urllib.request.Request(
        f"http://127.0.0.1:5000/api/2.0/mlflow/{path}",
        json.dumps(content).encode(),
        {"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@pytest.mark.slow
def test_the_five_lines_of_the_readme_train_show_export_serve_and_predict(clone, start):
    own = {name: value for name, value in os.environ.items() if name not in OUTER}
    lines, printed = _readme_lines(), {}
    assert len(lines) == 5
    for line in lines:
        address = next((at for name, at in SERVERS.items() if line.startswith(name)), None)
        if address:
            start(line, address)
            continue
        ended = subprocess.run(
            line, shell=True, cwd=clone, env=own, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, f"{line}\n{ended.stdout}\n{ended.stderr}"
        printed[line] = ended.stdout

    experiments = _ask_mlflow("experiments/search", max_results=100)["experiments"]
    ids = [experiment["experiment_id"] for experiment in experiments]
    (run,) = _ask_mlflow("runs/search", experiment_ids=ids)["runs"]
    assert run["info"]["status"] == "FINISHED"
    answer = json.loads(printed[lines[-1]])
    (prediction,) = answer["predictions"]
    assert 0 <= prediction["low"] <= prediction["high"] <= 1
    assert 0 <= prediction["probability"] <= 1
    assert "not for clinical use" in answer["notice"]

"""Deployment: containers and cloud templates pass their checkers, and the lock is all it takes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.serve.conftest import encode, start_server

ROOT = Path(__file__).parents[2]
DEPLOYMENT = ROOT / "examples" / "deployment"
CONTAINERS = (DEPLOYMENT / "Containerfile", ROOT / ".devcontainer" / "Containerfile")
CHECKS = ROOT / ".venv" / "tools" / "checks" / "bin"


def _check(name, *arguments):
    """Run a checker that knows what it checks by heart: no cloud and no cluster is asked."""
    if not (CHECKS / name).exists():
        pytest.skip("Needs 'make .venv/tools/checks/.installed'.")
    command = [CHECKS / name, *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize("path", CONTAINERS, ids=["service", "dev container"])
def test_hadolint_finds_nothing(path):
    assert _check("hadolint", "--no-color", path) == (0, "")


def test_hadolint_finds_a_fault(tmp_path):
    (tmp_path / "Containerfile").write_text("FROM python:latest\nRUN cd /tmp\n")
    status, said = _check("hadolint", "--no-color", tmp_path / "Containerfile")
    assert status == 1
    assert "DL3007" in said


@pytest.mark.parametrize("name", ["deployment.yaml", "service.yaml"])
def test_kubernetes_knows_every_field(name, tmp_path):
    path = DEPLOYMENT / "kubernetes" / name
    status, said = _check("kubernetes-validate", "--strict", path)
    assert status == 0, said
    (tmp_path / name).write_text(path.read_text().replace("spec:", "spek:", 1))
    status, said = _check("kubernetes-validate", "--strict", tmp_path / name)
    assert status != 0


def test_cloudformation_finds_nothing(tmp_path):
    path = DEPLOYMENT / "cloudformation.yaml"
    assert _check("cfn-lint", path) == (0, "")
    (tmp_path / "wrong.yaml").write_text(path.read_text().replace("!Ref Models", "!Ref Model"))
    status, said = _check("cfn-lint", tmp_path / "wrong.yaml")
    assert status != 0
    assert "'Model' is not one of" in said


def test_what_the_container_copies_is_there_and_it_is_not_root():
    text = CONTAINERS[0].read_text("utf-8")
    copied = re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE)
    paths = [path for line in copied for path in line.split()]
    assert "helpers" in paths
    assert all((ROOT / path).exists() for path in paths)
    assert re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE)
    assert "--require-hashes" in text


def _commands():
    """Return every command line of the service in the templates."""
    text = CONTAINERS[0].read_text("utf-8")
    yield json.loads(re.search(r"^CMD (\[.+\])$", text, re.MULTILINE)[1])
    manifest = yaml.safe_load((DEPLOYMENT / "kubernetes" / "deployment.yaml").read_text("utf-8"))
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    yield container["args"]
    cloud = (DEPLOYMENT / "cloudformation.yaml").read_text("utf-8")
    yield yaml.safe_load(re.search(r"Command: (\[/model.+\])", cloud)[1])


@pytest.mark.parametrize("arguments", list(_commands()), ids=["container", "kubernetes", "cloud"])
def test_each_template_starts_the_service_as_it_is(arguments, model_folder):
    folder, *options = arguments
    assert folder == "/model"
    with start_server(model_folder, *options) as server:
        assert server.host == "0.0.0.0"
        assert server.ask("GET", "/health")[0] == 200


@pytest.fixture(scope="module")
def container_python(tmp_path_factory):
    """Build the environment of the container: the lock and this package, and nothing else."""
    folder = tmp_path_factory.mktemp("container")
    python = folder / "env" / "bin" / "python"
    package = folder / "package"  # a copy, as the build writes beside it
    package.mkdir()
    shutil.copytree(ROOT / "helpers", package / "helpers")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, package)
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    install = [sys.executable, "-m", "uv", "pip", "install", "--system-certs", "--python", python]
    for arguments in (
        ["--require-hashes", "-r", ROOT / ".tools" / "service.lock"],
        ["--no-build-isolation", package],
    ):
        command = [*install, "--no-deps", *arguments]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            if "error sending request" in ended.stderr or "Failed to fetch" in ended.stderr:
                pytest.skip(f"No package index can be reached: {ended.stderr[-300:]}")
            raise AssertionError(ended.stderr)
    return python


@pytest.mark.slow
def test_the_lock_is_all_that_the_service_needs(container_python, model_folder, rng, monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.chdir(container_python.parent)  # the package is not found by chance
    film = rng.integers(0, 256, (80, 80), dtype=np.uint8)
    with start_server(model_folder, python=container_python) as server:
        status, answer = server.post_films("/predict", encode(film))
        assert status == 200
        assert 0 < answer["predictions"][0]["probability"] < 1
        assert json.loads(server.ask("GET", "/health")[2])["maps"] is False
        status, answer = server.post_films("/explain", encode(film))
        assert status == 501
        assert 'pip install "federated-chest-xrays[explanation]"' in answer["error"]
        assert "What does the network say" in server.ask("GET", "/")[2].decode()
    listed = subprocess.run(
        [container_python, "-c", "import helpers; print(helpers.__file__)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(container_python.parents[1]) in listed.stdout


def test_the_container_pins_the_versions_that_the_tests_use():
    ours, theirs = (
        set(re.findall(r"^[\w-]+==[\w.]+", (ROOT / name).read_text("utf-8"), re.MULTILINE))
        for name in (".requirements.lock", ".tools/service.txt")
    )
    assert theirs - ours == set()


@pytest.mark.slow
def test_buildah_builds_the_container(tmp_path):
    if not shutil.which("buildah"):
        pytest.skip("Needs buildah.")
    common = ["buildah", "--root", tmp_path / "root", "--runroot", tmp_path / "run"]
    common += ["--storage-driver", "vfs"]
    base = re.search(r"^FROM (\S+)", CONTAINERS[0].read_text(), re.MULTILINE)[1]
    pulled = subprocess.run([*common, "pull", base], capture_output=True, text=True, check=False)
    if pulled.returncode:
        pytest.skip(f"The base image cannot be had here: {pulled.stderr.strip()[-200:]}")
    build = [*common, "build", "--isolation", "chroot", "--file", CONTAINERS[0], ROOT]
    ended = subprocess.run(build, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert ended.returncode == 0, ended.stderr[-2000:]

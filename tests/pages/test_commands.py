"""The commands that README promises, and the requirements behind them."""

import os
import re
import shutil
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TARGETS = ["help", "install", "html", "page", "html-noplot", "check-site", "test", "stress", "lint"]
TARGETS += ["audit", "runs", "tensorboard", "project", "benchmark", "studies", "upstream", "clean"]
OUTER = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "PYTHON", "O", "PATTERN"}


def _make(*arguments, folder=ROOT):
    if not shutil.which("make"):
        pytest.skip("Needs make.")
    # The outer make, if this runs under `make test`, must not lend its own variables.
    own = {name: value for name, value in os.environ.items() if name not in OUTER}
    return subprocess.run(
        ["make", "--no-print-directory", "-f", ROOT / "Makefile", *arguments],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        check=False,
    )


def _pins(name):
    """Return package -> versions of a requirements file, names in their normal form."""
    pins = {}
    for line in (ROOT / name).read_text("utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==([^\s;\\]+)", line):
            package = re.sub(r"[-_.]+", "-", match[1]).lower()
            pins.setdefault(package, set()).add(match[2])
    return pins


def test_help_comes_first_and_lists_every_target():
    listing = _make().stdout
    assert listing == _make("help").stdout
    assert re.findall(r"^  ([a-z-]+) {2,}[A-Z]", listing, re.MULTILINE) == TARGETS


def test_commands_of_the_readme_exist():
    commands = re.findall(r"\bmake ([a-z-]+)", (ROOT / "README.md").read_text("utf-8"))
    assert {"html", "test"} <= set(commands)
    assert set(commands) <= set(TARGETS)


def test_paths_of_the_readme_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    paths = re.findall(r"\]\(((?!https?:)[^)]+)\)", text) + re.findall(r"examples/\S+\.py", text)
    assert "docs/_static/flagship.png" in paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_a_python_that_does_not_fit_is_refused_with_what_to_do(tmp_path):
    old = tmp_path / "a folder" / "python"
    old.parent.mkdir()
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo "Python 3.9.1" && exit\nexit 1\n')
    old.chmod(0o755)
    for name in (".requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
    result = _make("install", f"PYTHON={old}", folder=tmp_path)
    assert result.returncode != 0
    assert "Expected Python 3.11 or 3.12. Received Python 3.9.1." in result.stderr
    assert "make install PYTHON=python3.12" in result.stderr
    assert not (tmp_path / ".venv").exists()


def test_pattern_chooses_pages_and_options_are_passed_on():
    shown = _make("--dry-run", "html", "PATTERN=first_look", "O=-q").stdout
    assert "-D sphinx_gallery_conf.filename_pattern='first_look'" in shown
    assert re.search(
        r"-W --keep-going -n -b html .* docs docs/_build/html -q$", shown, re.MULTILINE
    )


def test_lock_covers_the_requirements_with_a_hash_for_each():
    required, locked = _pins("requirements.txt"), _pins(".requirements.lock")
    for package, versions in required.items():
        assert locked.get(package) == versions, package
    assert "torch" not in locked
    lock = (ROOT / ".requirements.lock").read_text("utf-8")
    entries = re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)[1:]
    assert [entry.split()[0] for entry in entries if "--hash=sha256:" not in entry] == []
    assert "://" not in lock


def test_requirements_cover_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = list(chain(project["dependencies"], *project["optional-dependencies"].values()))
    packages = {re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower() for requirement in named}
    # Nobody imports these: they install the environment, and draw for Xplique without a screen.
    assert packages == set(_pins("requirements.txt")) - {"uv", "opencv-python-headless"}


def test_nothing_of_the_lock_brings_cuda():
    assert [name for name in _pins(".requirements.lock") if "nvidia" in name] == []


def _audit(*options):
    if not (ROOT / ".venv" / "tools" / "audit" / ".installed").is_file():
        pytest.skip("Needs pip-audit: make .venv/tools/audit/.installed")
    command = [ROOT / ".ci" / "audit", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_every_lock_can_be_audited():
    ended = _audit("--dry-run")
    assert ended.returncode == 0, ended.stderr
    locks = re.findall(r"^(\S+\.lock): ", ended.stdout, re.MULTILINE)
    assert locks == [
        ".requirements.lock",
        *sorted(f".tools/{p.name}" for p in ROOT.glob(".tools/*.lock")),
    ]


def test_an_audit_without_an_answer_says_so_and_does_not_pass():
    ended = _audit("--osv-url", "http://127.0.0.1:9/")
    assert ended.returncode == 2
    assert "VULNERABILITIES WERE NOT LOOKED FOR in .requirements.lock" in ended.stderr


def test_without_tracked_runs_there_is_nothing_to_show(tmp_path):
    stamps = ("-o", ".venv/tools/mlflow/.installed", "-o", ".venv/.installed")
    for target in ("runs", "tensorboard"):
        ended = _make(*stamps, target, folder=tmp_path)
        assert ended.returncode == 2
        assert "No run is tracked yet: see README.md" in ended.stderr
    assert list(tmp_path.iterdir()) == []

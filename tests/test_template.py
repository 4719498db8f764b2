"""The template: what it refuses, and that the project it writes runs its two commands."""

import csv
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
COOKIECUTTER = ROOT / ".venv" / "tools" / "template" / "bin" / "cookiecutter"
UV = [sys.executable, "-m", "uv"]
# The outer make, if this runs under `make test`, must not lend its own variables.
OUTER = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "PYTHON", "O", "PATTERN"}
# Otherwise the new environment would compile TensorFlow in every process.
OUTER |= {"PYTHONDONTWRITEBYTECODE"}


def _run(*command, **options):
    own = {name: value for name, value in os.environ.items() if name not in OUTER}
    own |= options.pop("env", {})
    return subprocess.run(command, env=own, capture_output=True, text=True, check=False, **options)


def _write_project(folder, **answers):
    if not COOKIECUTTER.is_file():
        pytest.skip("Needs cookiecutter: make .venv/tools/template/.installed")
    answers = [f"{name}={value}" for name, value in answers.items()]
    template = ROOT / "examples" / "template"
    return _run(COOKIECUTTER, template, "--no-input", "--output-dir", folder, *answers)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Copy what the package is built from: a build leaves files behind."""
    folder = tmp_path_factory.mktemp("a clone")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(
        ROOT / "helpers", folder / "helpers", ignore=shutil.ignore_patterns("__pycache__")
    )
    return folder


def test_wheel_has_every_file_of_the_package(source, tmp_path):
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path]
    built = _run(sys.executable, "-m", "pip", "wheel", *options, source)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("helpers/")}
    files = (path for path in (source / "helpers").rglob("*") if path.is_file())
    assert packed == {path.relative_to(source).as_posix() for path in files}


@pytest.mark.parametrize(
    ("answers", "sentence"),
    [
        ({"image_size": "12"}, "Expected image_size as a whole number from 32 to 1024."),
        ({"second_hospital": "North"}, "Expected two different names of hospitals"),
        ({"first_hospital": "../North"}, "Expected two different names of hospitals"),
        ({"source": "helpers"}, "Expected source as the whole path"),
    ],
)
def test_answers_that_cannot_work_are_refused(tmp_path, answers, sentence):
    ended = _write_project(tmp_path, **({"source": ROOT} | answers))
    assert ended.returncode != 0
    assert sentence in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_project_runs_its_two_commands(source, tmp_path):
    ended = _write_project(
        tmp_path,
        project_name="Lung & Heart",
        first_hospital="North",
        second_hospital="Old Town",
        image_size="32",
        source=source,
    )
    assert ended.returncode == 0, ended.stderr
    project = tmp_path / "lung_heart"
    assert _run(sys.executable, "-m", "ruff", "check", project).stdout.startswith("All checks")
    formatted = _run(sys.executable, "-m", "ruff", "format", "--check", project)
    assert formatted.returncode == 0, formatted.stdout

    look = [
        "pip",
        "install",
        "--dry-run",
        "--system-certs",
        "--no-deps",
        "--target",
        tmp_path / "x",
    ]
    if _run(*UV, *look, "setuptools>=77").returncode:
        pytest.skip("Needs a package index, or uv's cache of one.")
    settings = {
        "cwd": project,
        "env": {"CHEST_XRAYS": "", "CHEST_XRAYS_CACHE": str(tmp_path / "c")},
    }
    small = "O=films=240 rounds=2 updates=4"
    ended = _run("make", "run", f"PYTHON={sys.executable}", small, **settings)
    assert ended.returncode == 0, ended.stderr
    results = project / "results"
    with (results / "scores.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["hospital"] for row in rows] == ["North", "Old Town"]
    page = (results / "README.md").read_text("utf-8")
    assert ended.stdout.rstrip().endswith(page.rstrip())
    for row in rows:
        together = round(float(row["together"]), 3)
        assert 0 <= together <= 1
        assert f"| {row['hospital']} | {row['films']} |" in page
        assert f"| {together} |" in page
    assert (results / "auc.png").is_file()
    assert (results / "network.keras").is_file()
    assert "rounds: 2" in (results / ".hydra" / "config.yaml").read_text("utf-8")

    where = "import helpers; print(helpers.__file__)"
    found = _run(project / ".venv" / "bin" / "python", "-c", where, cwd=project).stdout
    assert "site-packages" in found

    ended = _run("make", "test", **settings)
    assert ended.returncode == 0, ended.stdout
    assert " passed" in ended.stdout

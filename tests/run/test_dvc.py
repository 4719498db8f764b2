"""The DVC pipeline: an empty cache twice gives the same metrics; without a change nothing runs."""

import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

pytest.importorskip("hydra")

ROOT = Path(__file__).parents[2]
DVC = ROOT / ".venv" / "tools" / "dvc" / "bin" / "dvc"
FILES = ("dvc.yaml", "params.yaml", "stages.py", ".dvcignore", ".gitignore", ".dvc/config")


@pytest.fixture
def make_clone(tmp_path):
    """Return a function that makes a git repository with the pipeline, and runs DVC in it."""
    if not DVC.is_file():
        pytest.skip("Needs DVC: make .venv/tools/dvc/.installed")
    if not shutil.which("git"):
        pytest.skip("Needs git.")

    def make(name):
        folder = tmp_path / name / "examples" / "dvc"
        (folder / ".dvc").mkdir(parents=True)
        for file in FILES:
            shutil.copy(ROOT / "examples" / "dvc" / file, folder / file)
        (tmp_path / name / ".venv").symlink_to(sys.prefix)
        settings = (folder / "params.yaml").read_text("utf-8")
        for ours, reduced in {"rounds: 4": "rounds: 1", "updates: 10": "updates: 2"}.items():
            assert settings.count(ours) == 1
            settings = settings.replace(ours, reduced)
        (folder / "params.yaml").write_text(settings, "utf-8")
        subprocess.run(["git", "init", "--quiet", tmp_path / name], check=True)

        def dvc(*arguments):
            done = subprocess.run(
                [DVC, *arguments],
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        return folder, dvc

    return make


@pytest.mark.slow
def test_an_empty_cache_twice_gives_the_same_metrics_and_then_nothing_runs(make_clone):
    (first, dvc), (second, dvc_again) = make_clone("first"), make_clone("second")
    with ThreadPoolExecutor(2) as pool:
        for said in pool.map(lambda run: run("repro"), (dvc, dvc_again)):
            assert said.count("Running stage") == 5
    metrics = (first / "metrics.json").read_text("utf-8")
    assert len(json.loads(metrics)["test auc"]) == 4
    assert metrics == (second / "metrics.json").read_text("utf-8")

    again = dvc("repro")
    assert "Running stage" not in again
    assert again.count("didn't change, skipping") == 5
    assert "Data and pipelines are up to date." in dvc("status")

    shutil.rmtree(first / "samples")  # the cache has it
    assert "Running stage" not in dvc("repro")
    assert (first / "samples").is_dir()

    settings = first / "params.yaml"
    settings.write_text(settings.read_text("utf-8").replace("rounds: 1", "rounds: 2"), "utf-8")
    planned = dvc("repro", "--dry")
    assert "Running stage 'run'" in planned
    assert planned.count("didn't change, skipping") >= 3  # films, hospitals and samples

"""What `make upstream` writes, and Python environments to try it in."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
TOOL = ROOT / "docs" / "upstream"
# What the Makefile and this project's tests set, and a reader of the contribution does not.
OWN = ("PYTHONPATH", "MPLBACKEND", "KERAS_BACKEND", "TF_CPP_MIN_LOG_LEVEL")


@pytest.fixture(scope="session")
def run():
    """Run a command outside this project; fail with what it printed."""

    def run(*command, cwd, **variables):
        environment = {name: value for name, value in os.environ.items() if name not in OWN}
        ended = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env=environment | {name: str(value) for name, value in variables.items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stdout[-8000:]
        return ended.stdout

    return run


@pytest.fixture(scope="session")
def build(run):
    """Write both folders."""

    def build(folder, *options, **variables):
        run(sys.executable, TOOL / "build.py", *options, folder, cwd=folder, **variables)
        return folder

    return build


@pytest.fixture(scope="session")
def written(build, tmp_path_factory):
    """Write both folders, with a notebook that was not run."""
    return build(tmp_path_factory.mktemp("upstream"), "--no-outputs")


@pytest.fixture(scope="session")
def interface(written):
    return written / "substrafl" / "substrafl" / "algorithms" / "tensorflow"


@pytest.fixture(scope="session")
def examples(written):
    return written.joinpath("substra-documentation", *["docs", "source", "examples", "substrafl"])


@pytest.fixture(scope="session")
def new_python(written, interface, examples, run, tmp_path_factory):
    """Make an environment with SubstraFL from the registry, the interface in it, and no more.

    It holds what the written requirements name, and the tools that test, run and render.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    venv = shared / "environment"
    python = venv / "bin" / "python"
    with FileLock(shared / "environment.lock"):
        if not (venv / "ready").exists():
            pins = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
            used = ("pytest==", "nbclient==", "ipykernel==", "sphinx==", "nbsphinx==")
            used += ("sphinx-copybutton==", "pypandoc-binary==")
            tools = [line.split()[0] for line in pins if line.startswith(used)]
            run(sys.executable, "-m", "venv", "--clear", venv, cwd=shared)
            pip = [python, "-m", "pip", "install", "--quiet"]
            try:
                run(*pip, "substrafl==1.0.0", cwd=shared)
            except AssertionError as error:
                pytest.skip(f"Needs a package registry: {str(error).splitlines()[-1][:200]}")
            listed = [*written.rglob("requirements*.txt")]
            run(*pip, *(part for file in listed for part in ("-r", file)), cwd=shared)
            run(*pip, *tools, "sphinx_rtd_theme", "myst_parser", cwd=shared)
            where = "import substrafl; print(substrafl.__path__[0])"
            package = Path(run(python, "-c", where, cwd=shared).splitlines()[-1])
            target = package / "algorithms" / "tensorflow"
            target.mkdir()
            for file in interface.iterdir():
                (target / file.name).write_bytes(file.read_bytes())
            (venv / "ready").touch()
    return python


@pytest.fixture(scope="session")
def executed(new_python, examples, pneumoniamnist_file, run, tmp_path_factory):
    """Run the notebook in the new environment, with nothing but its assets beside it."""
    folder = tmp_path_factory.mktemp("notebook") / "go_further"
    shutil.copytree(examples / "go_further", folder)
    (notebook,) = folder.glob("*.ipynb")
    program = (
        "import nbclient, nbformat, sys; path = sys.argv[1];"
        "notebook = nbformat.read(path, as_version=4);"
        "nbclient.NotebookClient(notebook, timeout=1800).execute();"
        "nbformat.write(notebook, path)"
    )
    run(new_python, "-c", program, notebook, cwd=folder, PNEUMONIAMNIST=pneumoniamnist_file)
    return notebook


@pytest.fixture(scope="session")
def pneumoniamnist_file():
    """Find PneumoniaMNIST beside the repository, or skip the test."""
    path = ROOT.parent / "shared" / "data" / "pneumoniamnist.npz"
    named = os.environ.get("PNEUMONIAMNIST", path)
    if not Path(named).is_file():
        pytest.skip("no ../shared/data/pneumoniamnist.npz, and none in PNEUMONIAMNIST")
    return Path(named)

"""Runs: one arm as a whole process, timed from outside."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from work import Work, films_folder

_HERE = Path(__file__).resolve().parent
ROOT = _HERE.parents[1]
FLOWER = ROOT / ".venv-flower" / "bin" / "python"
ARMS = ("bare_loop", "simulate", "ours", "stock", "torch_stock", "flower")
TIME_LIMIT = 3600.0  # seconds; a run that takes longer hangs

_SCRIPTS = {
    "bare_loop": ("bare_loop.py",),
    "imports": ("federated.py", "imports"),
    "simulate": ("federated.py", "simulate"),
    "ours": ("federated.py", "ours"),
    "stock": ("federated.py", "stock"),
    "torch_stock": ("torch_twin.py",),
    "flower": ("flower_twin.py",),
    "opener": ("opener_cost.py",),
}
NEEDS_FLOWER = ("flwr", "ray", "tensorflow", "keras", "numpy")
_MISSING = {
    "torch_stock": "Install PyTorch (torch) in this environment.",
    "flower": (
        "Make its environment with 'python -m venv .venv-flower' and '.venv-flower/bin/pip install "
        "-r docs/benchmark/requirements-flower.txt', or name a Python that has it: --flower PYTHON."
    ),
}


def choose_arms(
    names: Sequence[str] | None = None, *, flower: str | Path | None = None
) -> dict[str, str]:
    """Find out which arms can run here, and with which Python.

    Parameters
    ----------
    names : sequence of str, optional
        Arms that are wanted; by default all whose packages are installed.
    flower : path, optional
        A Python that has Flower. Default: this one, or that of ``.venv-flower``, if they do.

    Returns
    -------
    dict of str to str
        Arm, in the order of :data:`ARMS`, and the Python that runs it.

    Raises
    ------
    ValueError
        If an arm that is wanted is unknown, or its packages are not installed.
    """
    pythons = dict.fromkeys(ARMS[:4], sys.executable)
    if importlib.util.find_spec("torch"):
        pythons["torch_stock"] = sys.executable
    if flower:  # absolute, but not resolved: the Python of an environment is a link
        flower = Path(shutil.which(flower) or flower).absolute()
    candidates = [flower] if flower else [sys.executable, FLOWER]
    found = [str(python) for python in candidates if read_versions(python, NEEDS_FLOWER)]
    if found:
        pythons["flower"] = found[0]
    elif flower:
        raise ValueError(
            f"Expected a Python with {', '.join(NEEDS_FLOWER)}. Received {str(flower)!r}. "
            + _MISSING["flower"]
        )
    names = list(pythons) if names is None else names
    unknown = [name for name in names if name not in ARMS]
    if unknown:
        raise ValueError(f"Expected arms of {', '.join(ARMS)}. Received {', '.join(unknown)}.")
    missing = [name for name in names if name not in pythons]
    if missing:
        advice = " ".join(_MISSING[name] for name in missing)
        raise ValueError(
            f"Expected the packages of every arm. Received none for {', '.join(missing)}. {advice}"
        )
    return {arm: pythons[arm] for arm in ARMS if arm in names}


def read_versions(python: str | Path, packages: Sequence[str]) -> dict[str, str]:
    """Ask a Python for the versions of packages, without importing them.

    Parameters
    ----------
    python : path
        The interpreter.
    packages : sequence of str
        Names.

    Returns
    -------
    dict of str to str
        Name to version; empty if one is not installed, or there is no such Python.
    """
    program = (
        "import json, sys; from importlib.metadata import version; "
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )
    try:
        ended = subprocess.run(
            [str(python), "-c", program, *packages], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return {}
    return json.loads(ended.stdout)


def run_arm(
    arm: str, work: Work, films: str | Path, *, python: str | Path = sys.executable
) -> dict[str, float]:
    """Run one arm in a process of its own.

    Parameters
    ----------
    arm : str
        One of :data:`ARMS`, ``"imports"`` or ``"opener"``.
    work : Work
        What it has to do.
    films : path
        Where :func:`~work.prepare_films` put the films.
    python : path, default=this one
        The interpreter.

    Returns
    -------
    dict of str to float
        ``seconds``, the wall time of the whole process, and what the arm itself said.

    Raises
    ------
    RuntimeError
        If the arm failed or took longer than :data:`TIME_LIMIT`; with what it printed.
    """
    script, *arguments = _SCRIPTS[arm]
    command = [str(python), str(_HERE / script), *arguments]
    command += [work.to_json(), str(films_folder(films, work))]
    # Ray's processes may outlive the arm for a moment.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        start = time.perf_counter()
        try:
            ended = subprocess.run(
                command,
                cwd=folder,
                env=_environment(folder),
                capture_output=True,
                text=True,
                timeout=TIME_LIMIT,
                check=True,
            )
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(
                f"Expected the arm {arm!r} to end. Received nothing for {TIME_LIMIT:.0f} s."
            ) from error
        except subprocess.CalledProcessError as error:
            raise RuntimeError(
                f"Expected the arm {arm!r} to run. Received exit status {error.returncode} and:\n"
                f"{error.stderr.strip() or error.stdout.strip()}"
            ) from error
        seconds = time.perf_counter() - start
    return {"seconds": round(seconds, 3)} | json.loads(ended.stdout.splitlines()[-1])


def warm_up(pythons: dict[str, str]) -> None:
    """Import what the arms import once, so that the first of them does not read it from the disk.

    Parameters
    ----------
    pythons : dict of str to str
        As :func:`choose_arms` returns it.
    """
    modules = {"torch_stock": "torch", "flower": "flwr.simulation, ray, keras"}
    ours = "helpers.local_mode, helpers.algorithms"
    for python, imported in {(python, modules.get(arm, ours)) for arm, python in pythons.items()}:
        command = [python, "-c", f"import {imported}"]
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(command, env=_environment(folder), capture_output=True, check=False)


def _environment(folder):
    """Let an arm find our package, leave its files in one folder, and ask nobody for anything."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    flower = {
        "FLWR_HOME": str(Path(folder, "flower")),
        "FLWR_TELEMETRY_ENABLED": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    if len(folder) < 30:  # Ray's sockets lie in it, and their paths are limited to 103 bytes
        flower["RAY_TMPDIR"] = folder
    return os.environ | quiet | flower | {"PYTHONPATH": path}

"""Local code: modules that are not installed, and travel to the tasks with the algorithm."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cloudpickle

from helpers.local_mode.fingerprint import named_modules

_LOOK = """
import importlib.util, sys
print(*(name for name in sys.argv[1:] if importlib.util.find_spec(name) is None))
"""


def check_local_code(
    value: Any, local_code: Iterable[str | Path], variables: dict[str, str]
) -> list[Path]:
    """Refuse an experiment if a task could not import one of its modules.

    Parameters
    ----------
    value : object
        What travels: a strategy with its algorithm and metrics.
    local_code : iterable of path
        Files and folders that travel with it; a module is imported by their names.
    variables : dict of str to str
        Environment variables of the tasks, all of them.

    Returns
    -------
    list of pathlib.Path
        The absolute paths of ``local_code``.

    Raises
    ------
    ValueError
        If there is no such file or folder, or a module is neither installed nor among them. The
        message shows the argument that adds it.
    """
    paths = [Path(path).absolute() for path in local_code]
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise ValueError(f"Expected files and folders in local_code. Received {absent}, not there.")
    named = {name.partition(".")[0] for name in named_modules(cloudpickle.dumps(value))}
    unknown = named - {"__main__", "helpers", *(path.stem for path in paths)}
    missing = [name for name in sorted(unknown) if name not in sys.stdlib_module_names]
    if missing:
        # A new Python, which has neither the script's folder nor its PYTHONPATH: like a task.
        command = [sys.executable, "-P", "-c", _LOOK, *missing]
        ended = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        missing = ended.stdout.split()
    if missing:
        places = ", ".join(repr(_place(name)) for name in missing)
        raise ValueError(
            f"Expected modules that tasks can import. Received {', '.join(missing)}, not "
            f"installed: give execute the argument local_code=[{places}]."
        )
    return paths


def _place(name):
    """Return where a module is, for this program."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        return name
    path = Path(spec.origin)
    return os.path.relpath(path.parent if path.name == "__init__.py" else path)

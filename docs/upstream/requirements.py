"""Requirements: what written files import, in the versions that this project is run with."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import nbformat

PINS = Path(__file__).resolve().parents[2] / "requirements.txt"


def write_requirements(path, *folders, without=()):
    """Write down the packages that Python files and notebooks import, with the versions used here.

    Parameters
    ----------
    path : pathlib.Path
        The requirements file.
    *folders : pathlib.Path
        Where the files lie.
    without : collection of str
        Names that are imported and come from elsewhere.

    Raises
    ------
    ValueError
        If an import has no package, or no version in requirements.txt.
    """
    imported = set()
    for folder in folders:
        for file in folder.rglob("*.py"):
            imported |= imports_of(file.read_text("utf-8"))
        for file in folder.rglob("*.ipynb"):
            cells = nbformat.read(file, as_version=4).cells
            imported |= imports_of("\n".join(c.source for c in cells if c.cell_type == "code"))
    imported -= {*sys.stdlib_module_names, *without}
    providers, pins = importlib.metadata.packages_distributions(), _pins()
    needed = set()
    for name in imported:
        pinned = {_normal(one) for one in providers.get(name, ())} & set(pins)
        if not pinned:
            raise ValueError(f"Expected a pinned package in requirements.txt that brings {name!r}.")
        needed |= pinned
    lines = [f"{name}=={pins[name]}" for name in needed]
    if "substrafl" in needed:  # it imports distutils, which Python 3.12 no longer brings
        lines.append(f'setuptools=={pins["setuptools"]}; python_version >= "3.12"')
    path.write_text("\n".join(sorted(lines)) + "\n", "utf-8")


def imports_of(text):
    """Collect the top-level packages that a program imports."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            found.add(node.module.split(".")[0])
    return found


def _pins():
    """Read the exact versions of requirements.txt."""
    lines = PINS.read_text("utf-8").splitlines()
    pairs = [line.split("#")[0].strip().split("==") for line in lines if "==" in line]
    return {_normal(name): version for name, version in pairs}


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()

"""What a network installs for the tasks: everything that they import, in the versions of here."""

import ast
import importlib.metadata
import sys

import pytest

from helpers.deployment import PACKAGES, pin_packages
from helpers.local_mode.federation import _HELPERS, _STAYS


def _imports(tree):
    """List the modules that are imported as soon as a file is."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_the_packages_are_those_that_the_travelling_modules_import():
    imported = {
        name.partition(".")[0]
        for path in _HELPERS.rglob("*.py")
        if path.relative_to(_HELPERS).parts[0] not in _STAYS
        for name in _imports(ast.parse(path.read_text("utf-8")))
    }
    imported -= {*sys.stdlib_module_names, "helpers"}
    owners = importlib.metadata.packages_distributions()
    needed = {owner.lower() for name in imported for owner in owners[name]}
    assert set(PACKAGES) == needed - {"substra", "substrafl", "substratools"}


def test_the_versions_are_those_of_this_environment():
    pins = pin_packages("Pytest", "numpy")
    assert pins == sorted(pins, key=str.lower)
    names = [pin.partition("==")[0] for pin in pins]
    assert sorted(names) == sorted([*PACKAGES, "Pytest"])
    assert f"tensorflow=={importlib.metadata.version('tensorflow')}" in pins


def test_all_that_is_missing_is_named():
    with pytest.raises(ImportError, match=r"none of no-such-package, nor-this\. Install"):
        pin_packages("nor-this", "no-such-package")

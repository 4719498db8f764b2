"""What the site says of a deployed network: its tasks can import what travels to them."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

from packaging.requirements import Requirement

from helpers.local_mode.federation import _HELPERS, _STAYS

PAGE = Path(__file__).parents[2] / "docs" / "from_pytorch.rst"


def _imports(tree):
    """List the modules that are imported as soon as a file is."""
    for node in tree.body:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def _installed_with(name, known):
    """Add a distribution and all that it requires."""
    if name not in known:
        known.add(name)
        for line in importlib.metadata.requires(name) or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                _installed_with(requirement.name.lower().replace("_", "-"), known)
    return known


def test_the_dependencies_that_are_named_are_all_that_tasks_import():
    (listed,) = re.findall(r"pypi_dependencies=(\[[^\]]*\])", PAGE.read_text("utf-8"))
    listed = ast.literal_eval(listed)
    needed = set()
    for path in _HELPERS.rglob("*.py"):
        if path.relative_to(_HELPERS).parts[0] not in _STAYS:
            names = _imports(ast.parse(path.read_text("utf-8")))
            needed |= {name.partition(".")[0] for name in names}
    needed -= {*sys.stdlib_module_names, "helpers"}
    brought = _installed_with("substrafl", set())
    for name in listed:
        _installed_with(name, brought)
    owners = importlib.metadata.packages_distributions()
    missing = {name for name in needed if not {o.lower() for o in owners[name]} & brought}
    assert missing == set()
    used = {owner.lower() for name in needed for owner in owners[name]}
    assert set(listed) <= used

"""The interface: our algorithms and all that they import, laid out as SubstraFL lays out its own.

No list of modules is kept here: they follow from the imports.
"""

import ast
import functools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from requirements import write_requirements

ROOT = Path(__file__).resolve().parents[2]
OURS, THEIRS = "helpers", "substrafl.algorithms.tensorflow"
CLASSES = (
    "TFAlgo",
    "TFFedAvgAlgo",
    "TFFedPCAAlgo",
    "TFNewtonRaphsonAlgo",
    "TFScaffoldAlgo",
    "TFSingleOrganizationAlgo",
)
PACKAGE = Path(*THEIRS.split("."))
TESTS = Path("tests", "algorithms", "tensorflow")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["name"]


def write_interface(folder):
    """Write algorithms and tests as SubstraFL lays them out."""
    names = name_modules()
    package, tests = folder / PACKAGE, folder / TESTS
    package.mkdir(parents=True)
    for module, name in names.items():
        (package / f"{name}.py").write_text(rewrite(module, names), "utf-8")
    exports = {cls: names[find(f"{OURS}.algorithms", cls)[0]] for cls in CLASSES}
    lines = ['"""SubstraFL algorithms for TensorFlow."""', ""]
    lines += [f"from {THEIRS}.{module} import {cls}" for cls, module in exports.items()]
    lines += ["", f"__all__ = {list(exports)}", ""]
    (package / "__init__.py").write_text("\n".join(lines), "utf-8")
    source = Path(__file__).with_name("substrafl_tests")
    shutil.copytree(source, tests, ignore=shutil.ignore_patterns("__pycache__"))
    write_requirements(folder / "requirements-tensorflow.txt", folder, without={"substrafl"})
    _format(folder)


def name_modules():
    """Follow the imports of the algorithms within our package.

    Returns
    -------
    dict of str to str
        Each module that is needed, and its name beside the others.
    """
    special = {
        find(f"{OURS}.algorithms", "TFAlgo")[0]: "tf_base_algo",
        find(f"{OURS}.exchange", "get_parameters")[0]: "weight_manager",
    }
    waiting = [find(f"{OURS}.algorithms", cls)[0] for cls in CLASSES] + list(special)
    names = {}
    while waiting:
        module = waiting.pop()
        if module not in names:
            names[module] = special.get(module, module.rpartition(".")[2])
            imports = our_imports(module)
            waiting += [
                find(node.module, alias.name)[0] for node in imports for alias in node.names
            ]
    if len(set(names.values())) < len(names):
        raise ValueError(f"Expected modules with different names. Received {sorted(names)}.")
    return dict(sorted(names.items(), key=lambda item: item[1]))


def find(module, name):
    """Find where a name comes from, through the doors of packages.

    Parameters
    ----------
    module, name : str
        As in ``from module import name``.

    Returns
    -------
    tuple of str and (str or None)
        The module that defines it, and its name there; None if it is the module itself.
    """
    if _source(f"{module}.{name}"):
        return f"{module}.{name}", None
    if _source(module).name != "__init__.py":
        return module, name
    for node in _tree(module).body:
        for alias in node.names if isinstance(node, ast.ImportFrom) else ():
            if name == (alias.asname or alias.name):
                return find(node.module, alias.name)
    raise ValueError(f"Expected {module} to import {name} from one of its modules.")


def our_imports(module):
    """List the imports of a module from our own package."""
    imports = []
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Import) and any(_is_ours(alias.name) for alias in node.names):
            raise ValueError(f"Expected 'from … import' in {module}. Received {ast.unparse(node)}.")
        if isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"Expected full names in {module}. Received {ast.unparse(node)}.")
            if _is_ours(node.module):
                imports.append(node)
    return imports


def rewrite(module, names):
    """Return a module's text with the imports and names of SubstraFL."""
    lines = _source(module).read_text("utf-8").splitlines()
    for node in sorted(our_imports(module), key=lambda node: node.lineno, reverse=True):
        lines[node.lineno - 1 : node.end_lineno] = [
            " " * node.col_offset + _import_line(*find(node.module, alias.name), alias, names)
            for alias in node.names
        ]
    text = "\n".join(lines) + "\n"
    reference = rf"(?P<role>:\w+:`~?)?\b(?P<name>{OURS}(\.\w+)+)(?P<end>`?)"
    text = re.sub(reference, lambda found: _rename(found, names), text)
    if left := re.search(rf".*\b{OURS}\b[.\"'/].*", text):
        raise ValueError(f"Expected no {OURS!r} in what {module} becomes. Received {left[0]!r}.")
    return text


def _import_line(module, name, alias, names):
    """Write one import; a module that is imported as such keeps its name in the code."""
    if name is None:
        renamed = alias.asname or alias.name
        suffix = "" if renamed == names[module] else f" as {renamed}"
        return f"from {THEIRS} import {names[module]}{suffix}"
    return f"from {THEIRS}.{names[module]} import {name}" + (
        f" as {alias.asname}" if alias.asname and alias.asname != name else ""
    )


def _rename(found, names):
    """Write a name that a text mentions as SubstraFL would; what stays here is only named."""
    name, role = found["name"], found["role"] or ""
    module, rest = name, ""
    while not _source(module):
        module, _, last = module.rpartition(".")
        rest = f"{last}.{rest}".rstrip(".")
    if not rest and _source(module).name == "__init__.py":
        return role + THEIRS + found["end"]
    if rest:
        module = find(module, rest.split(".")[0])[0]
    if module not in names:
        last = name.rpartition(".")[2]
        return f"``{last}`` of {PROJECT}" if role else f"{last}{found['end']}"
    if not rest:
        return f"{role}{THEIRS}.{names[module]}{found['end']}"
    if role:  # a leading dot: Sphinx looks for the name in all modules
        return role.rstrip("~") + f".{rest}`"
    return f"{names[module]}.{rest}{found['end']}"


def _is_ours(module):
    return module.split(".")[0] == OURS


def _source(module):
    """Return the file of one of our modules, or None."""
    path = ROOT.joinpath(*module.split("."))
    files = [path / "__init__.py", path.with_suffix(".py")]
    return next((file for file in files if file.is_file()), None)


@functools.cache
def _tree(module):
    return ast.parse(_source(module).read_text("utf-8"))


def _format(folder):
    """Format as SubstraFL: lines of 120 characters, one import a line."""
    ruff = [sys.executable, "-m", "ruff"]
    options = ["--isolated", "--quiet", "--no-cache", "--config", "line-length=120"]
    isort = ["--select", "I", "--fix", "--config", "lint.isort.force-single-line=true"]
    isort += ["--config", 'lint.isort.known-first-party=["substrafl"]']
    isort += ["--config", 'lint.isort.known-third-party=["tensorflow"]']
    subprocess.run([*ruff, "check", *options, *isort, folder], check=True)
    subprocess.run([*ruff, "format", *options, folder], check=True)

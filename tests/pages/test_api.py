"""The API reference is complete, and the hooks around the gallery do their work."""

import ast
import json
import re
import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / "docs" / "gallery_hooks.py"
# Packages of helpers, by their __init__, and the modules that stand directly in it.
MODULES = sorted({*(ROOT / "helpers").glob("*/__init__.py"), *(ROOT / "helpers").glob("[a-z]*.py")})


def _public_names(module):
    """Return what a module defines, and what it exports as ``X as X``; nothing is imported."""
    body = ast.parse(module.read_text("utf-8")).body
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    imports = [node for node in body if isinstance(node, ast.ImportFrom)]
    exported = {alias.asname for node in imports for alias in node.names if alias.asname}
    return {name for name in defined | exported if not name.startswith("_")}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_reference_lists_every_public_name(module):
    text = (ROOT / "docs" / "api.rst").read_text("utf-8")
    listed = set(re.findall(r"^   (?:\w+\.)*(\w+)$", text, re.MULTILINE))
    assert _public_names(module) - listed == set()


def test_a_page_starts_and_ends_without_leftovers(tmp_path):
    reset_run = runpy.run_path(str(HOOKS))["reset_run"]
    for name in ("local-worker", "tmp_substrafl1", "results"):
        (tmp_path / name).mkdir()
    reset_run({}, str(tmp_path / "plot_10_page.py"), "before")
    assert [path.name for path in tmp_path.iterdir()] == ["results"]
    reset_run({}, None, "after")


def test_a_relative_folder_of_radiographs_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHEST_XRAYS", "films")
    hooks = runpy.run_path(str(HOOKS))
    hooks["resolve_radiographs"](None)
    assert hooks["os"].environ["CHEST_XRAYS"] == str(tmp_path / "films")


def test_pages_side_by_side_share_the_cores(monkeypatch):
    hooks = runpy.run_path(str(HOOKS))
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "")  # so that it is removed again
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    monkeypatch.setenv("TF_NUM_INTEROP_THREADS", "7")
    hooks["share_cores"](None, SimpleNamespace(sphinx_gallery_conf={"parallel": 4}))
    assert hooks["os"].environ["TF_NUM_INTRAOP_THREADS"] == "2"
    assert hooks["os"].environ["TF_NUM_INTEROP_THREADS"] == "7"  # as the user has set it


def test_a_warning_that_a_page_prints_becomes_one_of_the_build(tmp_path, monkeypatch):
    hooks = runpy.run_path(str(HOOKS))
    page = tmp_path / "auto_examples" / "plot_10_page.rst"
    page.parent.mkdir()
    page.write_text(
        "    pages/plot_10_page.py:5: UserWarning: color is given twice\nA Warning: no.\n"
    )
    said = []
    monkeypatch.setattr(hooks["logger"], "warning", lambda text, *args: said.append(text % args))
    hooks["report_warnings"](SimpleNamespace(srcdir=tmp_path))
    expected = "plot_10_page.py:5: UserWarning: color is given twice"
    assert said == [f"plot_10_page prints a warning: {expected}"]


def test_the_main_pages_notebook_gets_its_title_and_is_copied(tmp_path):
    hooks = runpy.run_path(str(HOOKS))
    exported = tmp_path / hooks["FLAGSHIP"]
    exported.parent.mkdir(parents=True)
    cells = [{"source": ["## Title\n", "text"]}, {"source": ["## Section"]}]
    exported.write_text(json.dumps({"cells": cells}), "utf-8")
    for _ in range(2):  # a second build changes nothing
        hooks["finish_notebooks"](SimpleNamespace(srcdir=tmp_path))
        copied = json.loads((tmp_path / hooks["NOTEBOOK"]).read_text("utf-8"))
        assert copied["cells"][0]["source"] == ["# Title\n", "text"]
        assert copied["cells"][1]["source"] == ["## Section"]

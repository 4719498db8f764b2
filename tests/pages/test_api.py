"""The API reference is complete, and the hooks around the gallery do their work."""

import ast
import functools
import json
import re
import runpy
import textwrap
from pathlib import Path
from types import SimpleNamespace
from zipfile import ZipFile

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
    texts = ["## Title\n", "text"], ["## Section"], ["By cite:t:li2020:."], ["cite:all:\n"]
    cells = [{"cell_type": "markdown", "source": text} for text in texts]
    exported.write_text(json.dumps({"cells": cells}), "utf-8")
    exported.with_suffix(".py").touch()
    for _ in range(2):  # a second build changes nothing
        hooks["finish_notebooks"](SimpleNamespace(srcdir=tmp_path))
        copied = json.loads((tmp_path / hooks["NOTEBOOK"]).read_text("utf-8"))
        assert copied["cells"][0]["source"] == ["# Title\n", "text"]
        assert copied["cells"][1]["source"] == ["## Section"]
        assert copied["cells"][2]["source"] == ["By Li et al. (2020)."]
        assert copied["cells"][3]["source"][0].startswith("- Tian Li, Anit Kumar Sahu, ")
    with ZipFile(exported.with_suffix(".zip")) as both:
        assert json.loads(both.read(exported.name)) == copied


def test_a_notebook_has_titles_and_authors_in_place_of_roles():
    pypandoc = pytest.importorskip("pypandoc")
    text = """
    See :ref:`sphx_glr_auto_examples_plot_21_first_look.py`, :doc:`/data_sheet`,
    :doc:`the sheet </data_sheet>`, :term:`film`, :term:`films <film>`,
    :func:`~helpers.models.augment`, :footcite:t:`mcmahan2017` and more
    :footcite:p:`li2020,kamiran2012`.

    .. footbibliography::
    """
    to_markdown = functools.partial(pypandoc.convert_text, to="md", format="rst")
    filters = ["--lua-filter", str(ROOT / "docs" / "plain_roles.lua"), "--wrap=none"]
    hooks, cited = runpy.run_path(str(HOOKS)), {}
    references = hooks["parse_file"](str(ROOT / "docs" / "refs.bib"))
    written = to_markdown(textwrap.dedent(text), extra_args=filters)
    said, listed = hooks["cite"](written, references, cited).strip().split("\n\n")
    title = (ROOT / "examples" / "plot_21_first_look.py").read_text("utf-8").splitlines()[1]
    assert said.replace("\n", " ") == (
        f"See *{title}*, *Data sheet*, the sheet, film, films, `augment`, "
        "McMahan et al. (2017) and more (Li et al., 2020; Kamiran and Calders, 2012)."
    )
    assert [*cited] == ["mcmahan2017", "li2020", "kamiran2012"]
    assert len(listed.splitlines()) == 3
    with pytest.raises(RuntimeError, match="Received some_label"):
        to_markdown(":ref:`some_label`", extra_args=filters)

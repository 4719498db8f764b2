"""The site's sources: configuration, headers of the gallery, form of the pages."""

import ast
import importlib
import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "examples").glob("plot_*.py"))


def _tracked_files():
    """Return the repository's own text files: tracked ones, or all but builds without git."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode:
        pytest.skip("Needs a git checkout to know which files are the project's own.")
    return [ROOT / name for name in listing.stdout.splitlines()]


def test_configuration_does_nothing_when_it_is_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = dict(os.environ), sorted((ROOT / "docs").iterdir())
    settings = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    assert (dict(os.environ), sorted((ROOT / "docs").iterdir())) == before
    assert list(tmp_path.iterdir()) == []
    assert settings["sphinx_gallery_conf"]["abort_on_example_error"] is True
    assert settings["autodoc_preserve_defaults"] is True  # or the site shows where it was built


def test_every_page_is_in_a_section_of_the_index():
    assert PAGES
    index = (ROOT / "docs" / "gallery.rst").read_text("utf-8")
    shown = re.findall(r"page-card:: (\S+)", index)
    assert shown == [page.stem for page in PAGES]  # each once, in the order of their numbers


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_page_opens_with_a_title_and_has_a_number(page):
    source = page.read_text("utf-8")
    opening = re.match(r'r?"""\n(?P<title>[^\n]+)\n(?P<underline>=+)\n\n', source)
    assert opening, "Expected a docstring that opens with a title and its underline."
    assert len(opening["underline"]) >= len(opening["title"])
    assert re.fullmatch(r"plot_[0-9][1-9]_[a-z0-9_]+", page.stem)
    assert len(source.splitlines()) <= 300


def test_numbers_of_pages_are_given_once():
    numbers = [page.name[5:7] for page in PAGES]
    assert len(set(numbers)) == len(numbers)


def test_no_file_names_a_place_on_somebodys_machine():
    places = re.compile(r"(?<![\w.~])/(?:home|Users|root|work|opt|tmp)/\w")
    named = [
        f"{path.relative_to(ROOT)}: {line.strip()[:80]}"
        for path in _tracked_files()
        if path.suffix not in {".png", ".ico", ".npz"} and path != Path(__file__) and path.is_file()
        for line in path.read_text("utf-8").splitlines()
        if places.search(line)
    ]
    assert named == []


@pytest.mark.slow
def test_site_builds_in_a_folder_with_spaces_and_accents(tmp_path):
    root = tmp_path / "a folder" / "été"
    others = ("*.rst", "_build", "auto_examples", "generated", "notebooks", "upstream")
    shutil.copytree(ROOT / "docs", root / "docs", ignore=shutil.ignore_patterns(*others))
    (root / "docs" / "index.rst").write_text(
        "Site\n====\n\n.. toctree::\n   :glob:\n\n   auto_examples/plot_*\n", "utf-8"
    )
    examples = root / "examples"
    examples.mkdir(parents=True)
    (examples / "GALLERY_HEADER.rst").write_text("Gallery\n=======\n", "utf-8")
    (examples / "plot_10_page.py").write_text(
        '"""\nPage\n====\n\nA figure.\n"""\nfrom matplotlib import pyplot\n\n'
        "pyplot.plot([1, 2])\npyplot.gca().set_label('From 1 to 2 & on.')\npyplot.show()\n",
        "utf-8",
    )
    options = ["-W", "--keep-going", "-n", "-q", "-b", "html"]
    ended = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, "docs", "site"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    page = root / "site" / "auto_examples" / "plot_10_page.html"
    image = (
        r'<a class="figure-link" href="([^"]+)">\s*(?:</div>)?\s*<img src="([^"]+_001\.png)"([^>]+)'
    )
    ((large, picture, more),) = re.findall(image, page.read_text("utf-8"))
    assert (page.parent / picture).is_file()
    assert (page.parent / large).stat().st_size > (page.parent / picture).stat().st_size
    assert 'alt="From 1 to 2 &amp; on."' in more


def test_site_loads_nothing_from_another_host():
    sources = [*(ROOT / "docs" / "_static").glob("*.css"), ROOT / "docs" / "conf.py"]
    for source in sources:
        assert not re.search(r"(@import|url\(|src=)\W*https?:", source.read_text("utf-8"))


def test_progress_bars_stay_out_of_rendered_pages():
    program = (
        "import sys; sys.path.insert(0, 'docs'); import gallery_hooks\n"
        "class App:\n    def connect(self, *args, **kwargs): pass\n"
        "gallery_hooks.setup(App())\n"
        "from tqdm.auto import tqdm\n"
        "print(sum(tqdm(range(4))))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "TQDM_DISABLE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert (ended.stdout, ended.stderr) == ("6\n", "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_methods_that_a_page_overrides_are_there_to_be_overridden(page):
    # One page's algorithm that "forgets the average" no longer forgot it after a method's renaming.
    tree = ast.parse(page.read_text("utf-8"))
    bases, classes = {}, [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module.startswith(("helpers", "substrafl")):
            module = importlib.import_module(node.module)
            bases |= {
                name.asname or name.name: getattr(module, name.name)
                for name in node.names
                if hasattr(module, name.name)
            }
    for node in classes:
        known = [bases[base.id] for base in node.bases if getattr(base, "id", None) in bases]
        if known:
            bases[node.name] = type(node.name, (), {"of": tuple(known)})
            own = {method.name for method in node.body if isinstance(method, ast.FunctionDef)}
            private = {name for name in own if name.startswith("_") and not name.endswith("__")}
            found = {name for base in _all_bases(known) for name in dir(base)}
            assert private - found == set(), node.name


def _all_bases(classes):
    """List classes, and in place of a page's own class those that it is made of."""
    for cls in classes:
        yield from _all_bases(cls.of) if hasattr(cls, "of") else [cls]

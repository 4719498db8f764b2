"""What the build does around the gallery: a clean state for each page, finished notebooks."""

import contextlib
import json
import logging
import os
import random
import re
import shutil
import sys
from pathlib import Path
from zipfile import ZipFile

import numpy as np
from pybtex.database import parse_file
from pybtex.plugin import find_plugin
from sphinx.util.logging import getLogger

logger = getLogger(__name__)

# The page whose exported notebook is rendered as Substra's documentation would render it.
FLAGSHIP = Path("auto_examples", "plot_11_federated_chest_xrays.ipynb")
NOTEBOOK = Path("notebooks", "federated_chest_xrays.ipynb")
HERE = Path(__file__).parent
CITED = re.compile(r"cite:(?P<how>p|t|all):(?:(?P<keys>[\w,]+):)?")
# As Python prints it: "file.py:12: UserWarning: reason".
PRINTED_WARNING = re.compile(r"[\w.]+:\d+: \w*Warning: .*")
# sphinx-gallery builds its pages on "builder-inited" with the default priority, 500.
BEFORE_GALLERY, AFTER_GALLERY = 100, 900


def reset_run(gallery_conf, fname, when):
    """Give a page the state of a fresh Python, and remove what its run left in its folder.

    Parameters
    ----------
    gallery_conf : dict
        The gallery's configuration (not used).
    fname : path or None
        The page; None while sphinx-gallery enters a folder.
    when : {"before", "after"}
        Whether the page is about to run or has run.
    """
    del gallery_conf, when
    if fname is not None:
        folder = Path(fname).parent
        for left in [folder / "local-worker", *folder.glob("tmp_substrafl*")]:
            shutil.rmtree(left, ignore_errors=True)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - packages that the pages call may still draw from it
    if "keras" in sys.modules:  # never imported for this alone: TensorFlow takes seconds
        keras = sys.modules["keras"]
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)


def share_cores(app, config):
    """Give each of the pages that run side by side its part of the cores; the user may know better.

    Small networks gain little from a second thread, and all of them would fight for it.
    """
    del app
    threads = max(1, (os.cpu_count() or 1) // config.sphinx_gallery_conf["parallel"])
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
        os.environ.setdefault(name, str(threads))


def resolve_radiographs(app):
    """Make a relative ``CHEST_XRAYS`` absolute: pages run in their own folders."""
    del app
    source = os.environ.get("CHEST_XRAYS")
    if source and source != "pneumoniamnist":  # which is downloaded
        os.environ["CHEST_XRAYS"] = str(Path(source).expanduser().absolute())


def find_pandoc(app):
    """Put the pandoc that pypandoc-binary brings on the PATH, where nbsphinx looks for it."""
    del app
    import pypandoc

    folder = str(Path(pypandoc.get_pandoc_path()).parent)
    if folder not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([folder, os.environ["PATH"]])


def cite(text, references, cited):
    """Write authors and years where plain_roles.lua has left keys, and the list of what is cited.

    Parameters
    ----------
    text : str
        A notebook's text: ``cite:p:key,key:`` for authors and years in brackets, ``cite:t:key:``
        for the year alone in brackets, ``cite:all:`` for the list.
    references : pybtex.database.BibliographyData
        What can be cited.
    cited : dict
        The keys cited so far, in their order; those of the text are added.

    Returns
    -------
    str
        The text for a reader.
    """

    def name(found):
        if found["how"] == "all":
            style = find_plugin("pybtex.style.formatting", "unsrt")()
            entries = style.format_bibliography(references, [*cited])
            texts = [entry.text.render_as("markdown").replace("\n", " ") for entry in entries]
            return "\n".join(f"- {text}" for text in texts)
        named = []
        for key in found["keys"].split(","):
            cited[key] = None
            entry = references.entries[key]
            people = [
                " ".join(map(str, person.rich_prelast_names + person.rich_last_names))
                for person in entry.persons["author"]
            ]
            authors = f"{people[0]} et al." if len(people) > 2 else " and ".join(people)
            form = "{} ({})" if found["how"] == "t" else "{}, {}"
            named.append(form.format(authors, entry.fields["year"]))
        return "; ".join(named) if found["how"] == "t" else f"({'; '.join(named)})"

    return CITED.sub(name, text)


def finish_notebooks(app):
    """Finish the exported notebooks, and copy the flagship's to where nbsphinx looks.

    Their title is lifted to the first level and their citations are written out, in the archive for
    download, too.
    """
    references = parse_file(str(HERE / "refs.bib"))
    for path in Path(app.srcdir, "auto_examples").rglob("*.ipynb"):
        notebook, cited = json.loads(path.read_text("utf-8")), {}
        texts = [cell for cell in notebook["cells"] if cell.get("cell_type") == "markdown"]
        before = [cell["source"] for cell in texts]
        for cell in texts:
            cell["source"] = cite("".join(cell["source"]), references, cited).splitlines(True)
        title = texts[0]["source"]
        if title[0].startswith("## "):
            title[0] = title[0].removeprefix("#")
        if [cell["source"] for cell in texts] != before:
            path.write_text(json.dumps(notebook, indent=2) + "\n", "utf-8")
            with ZipFile(path.with_suffix(".zip"), "w") as both:
                for file in (path.with_suffix(".py"), path):
                    both.write(file, file.name)
    copy = Path(app.srcdir, NOTEBOOK)
    copy.parent.mkdir(exist_ok=True)
    with contextlib.suppress(FileNotFoundError):  # the toctree reports a notebook that is missing
        source = Path(app.srcdir, FLAGSHIP).read_bytes()
        if not copy.exists() or copy.read_bytes() != source:
            copy.write_bytes(source)


def report_warnings(app):
    """Warn of warnings that pages print: a reader cannot fix them, and an ignored one grows."""
    for path in sorted(Path(app.srcdir, "auto_examples").rglob("plot_*.rst")):
        for line in path.read_text("utf-8").splitlines():
            if found := PRINTED_WARNING.search(line):
                logger.warning("%s prints a warning: %s", path.stem, found[0])


def setup(app):
    """Connect the hooks to the build."""
    # Progress bars belong in a terminal, not in a page; tqdm reads this when it is imported.
    os.environ.setdefault("TQDM_DISABLE", "1")
    # A package of the theme makes every logger speak, and Substra says goodbye for each client.
    logging.getLogger("substra").setLevel(logging.WARNING)
    app.connect("config-inited", share_cores)
    app.connect("builder-inited", resolve_radiographs, priority=BEFORE_GALLERY)
    app.connect("builder-inited", find_pandoc, priority=BEFORE_GALLERY)
    app.connect("builder-inited", finish_notebooks, priority=AFTER_GALLERY)
    app.connect("builder-inited", report_warnings, priority=AFTER_GALLERY)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

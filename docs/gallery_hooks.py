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

import numpy as np
from sphinx.util.logging import getLogger

logger = getLogger(__name__)

# The page whose exported notebook is rendered as Substra's documentation would render it.
FLAGSHIP = Path("auto_examples", "plot_11_federated_chest_xrays.ipynb")
NOTEBOOK = Path("notebooks", "federated_chest_xrays.ipynb")
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


def finish_notebooks(app):
    """Give the exported notebooks their title, and copy the flagship's to where nbsphinx looks."""
    for path in Path(app.srcdir, "auto_examples").rglob("*.ipynb"):
        notebook = json.loads(path.read_text("utf-8"))
        title = notebook["cells"][0]["source"]
        if title and title[0].startswith("## "):
            title[0] = title[0].removeprefix("#")
            path.write_text(json.dumps(notebook, indent=2) + "\n", "utf-8")
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

"""Figures of the gallery: each has a description, and is a link to its large version."""

import html
import re
from pathlib import Path, PurePosixPath

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.osutil import relative_uri
from sphinx_gallery.directives import imgsgnode
from sphinx_gallery.scrapers import matplotlib_scraper

ALT = re.compile(r"^( *:alt:).*$", re.MULTILINE)


def describe_figure(figure):
    """Return the description of a figure: its own label, or those of its panels in their order.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        A figure. Panels are described by ``ax.set_label(...)``, which the functions of
        :mod:`helpers.plots` call; their titles are put before it. Color bars need none.

    Returns
    -------
    str
        One line.

    Raises
    ------
    ValueError
        If a panel that is shown has no description.
    """
    if figure.get_label():
        return " ".join(figure.get_label().split())
    said = []
    for ax in figure.axes:
        label = " ".join(ax.get_label().split())
        if not label and ax.axison:
            raise ValueError("a panel has no description")
        if label and label != "<colorbar>":
            titles = (" ".join(ax.get_title(loc).split()) for loc in ("left", "center", "right"))
            title = ", ".join(title for title in titles if title)
            said.append(label if label.startswith(title) else f"{title}: {label}")
    if not said:
        raise ValueError("it has no description")
    return " ".join(said)


def scrape_figures(block, block_vars, gallery_conf):
    """Save the open figures as sphinx-gallery does, with their descriptions as alternative texts.

    Parameters
    ----------
    block : tuple
        The page's block of code.
    block_vars : dict
        What sphinx-gallery knows about the page.
    gallery_conf : dict
        The gallery's configuration.

    Returns
    -------
    str
        The images in reStructuredText.

    Raises
    ------
    sphinx.errors.ExtensionError
        If a figure is not described, which ends the build.
    """
    import matplotlib.pyplot as plt

    said = []
    for number in plt.get_fignums():
        try:
            said.append(describe_figure(plt.figure(number)))
        except ValueError as error:
            plt.close("all")
            place = len(block_vars["image_path_iterator"]) + len(said) + 1
            page = Path(block_vars["src_file"]).stem
            raise ExtensionError(
                f"Figure {place} of {page}, in the block at line {block[2]}: {error}. "
                "Expected ax.set_label('what it shows') for each panel, or figure.set_label."
            ) from error
    # sphinx-gallery writes the text into HTML as it is.
    texts = (html.escape(text) for text in said)
    rst = matplotlib_scraper(block, block_vars, gallery_conf)
    return ALT.sub(lambda found: f"{found[1]} {next(texts)}", rst)


def link_figures(app, doctree, docname):
    """Make each figure of a page a link to the largest of its files, for small screens."""
    if app.builder.format != "html":
        return
    for image in list(doctree.findall(imgsgnode)):
        if image.get("srcset"):
            largest = PurePosixPath(image["srcset"].split(",")[-1].split()[0]).name
            target = relative_uri(
                app.builder.get_target_uri(docname), f"{app.builder.imagedir}/{largest}"
            )
            start = nodes.raw("", f'<a class="figure-link" href="{target}">', format="html")
            image.parent.insert(image.parent.index(image), start)
            image.parent.insert(image.parent.index(image) + 1, nodes.raw("", "</a>", format="html"))


def setup(app):
    """Connect the links; the scraper is named in the gallery's configuration."""
    app.connect("doctree-resolved", link_figures)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

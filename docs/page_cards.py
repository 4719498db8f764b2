"""Cards: the pages of the gallery with their questions, how long they take, and for whom they are.

A card's question, level and tags stand in ``gallery.rst``. Its title, picture and duration are
those of the page. ``_static/page_cards.js`` makes buttons of the levels and tags.
"""

import ast
import html
import re
from pathlib import Path
from typing import ClassVar

from docutils.parsers.rst import directives
from PIL import Image
from sphinx_design.grids import GridItemCardDirective

GALLERY = "auto_examples"
PICTURES = Path("generated", "cards")
PICTURE_SIZE = (600, 420)  # pixels; a card is up to 300 wide
LEVELS = ("beginner", "intermediate", "advanced")
# At the end of a page as sphinx-gallery writes it.
ALT = re.compile(r"^ +:alt: (.+)$", re.MULTILINE)
DURATION = re.compile(r"running time of the script:\*\* \((\d+) minutes ([\d.]+) seconds\)")


def read_title(script):
    """Read the title of a page, the first line of its docstring.

    Parameters
    ----------
    script : path
        The page.

    Returns
    -------
    str
        The title.
    """
    return ast.get_docstring(ast.parse(Path(script).read_text("utf-8"))).splitlines()[0]


def read_duration(page):
    """Read how long a page took in this build.

    Parameters
    ----------
    page : path
        The page as sphinx-gallery wrote it.

    Returns
    -------
    str
        Seconds or minutes with their unit; empty if the page was not run.

    Examples
    --------
    >>> read_duration("a page that was not built")
    ''
    """
    found = _search(DURATION, page)
    if not found:
        return ""
    seconds = 60 * int(found[1]) + float(found[2])
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.0f} min"


def read_description(page):
    """Read what a page's first figure shows, for those who do not see its picture.

    Parameters
    ----------
    page : path
        The page as sphinx-gallery wrote it.

    Returns
    -------
    str
        The figure's alternative text; empty if there is no figure.
    """
    found = _search(ALT, page)
    return html.unescape(found[1]) if found else ""


def _search(pattern, page):
    """Search a page, which may not exist."""
    page = Path(page)
    return pattern.search(page.read_text("utf-8")) if page.is_file() else None


def draw_picture(images, page, target):
    """Take the upper part of a page's first figure, which can be read on a card.

    Parameters
    ----------
    images : path
        The folder of the gallery's images.
    page : str
        Name of the page's script.
    target : path
        The PNG that is written. A page without a figure, or one that was not run, gets the
        thumbnail of the gallery.
    """
    figure = Path(images, f"sphx_glr_{page}_001_2_00x.png")
    thumbnail = Path(images, "thumb", f"sphx_glr_{page}_thumb.png")
    with Image.open(figure if figure.is_file() else thumbnail) as image:
        width, height = PICTURE_SIZE
        scale = width / image.width
        picture = image.convert("RGB").resize((width, round(image.height * scale)))
        paper = Image.new("RGB", PICTURE_SIZE, "white")
        paper.paste(picture, (0, max(0, (height - picture.height) // 2)))
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    paper.quantize(256).save(target, optimize=True)  # half the bytes


class PageCard(GridItemCardDirective):
    """The card of one page: ``.. page-card:: plot_12_page`` with its question as content."""

    required_arguments = 1
    optional_arguments = 0
    option_spec: ClassVar = {
        "level": lambda value: directives.choice(value, LEVELS),
        "tags": directives.unchanged_required,
    }

    def run_with_defaults(self):
        """Build the card out of what the page and the directive say."""
        page, source = self.arguments[0], Path(self.env.srcdir)
        built = source / GALLERY / f"{page}.rst"
        self.env.note_dependency(str(built))
        groups = [self.options["level"], *self.options["tags"].split(", ")]
        facts = [read_duration(built), *groups]
        picture = PICTURES / f"{page}.png"
        draw_picture(source / GALLERY / "images", page, source / picture)
        title = read_title(source / ".." / "examples" / f"{page}.py")
        self.arguments = [title]
        self.options = {
            "img-top": f"/{picture.as_posix()}",
            "img-alt": read_description(built) or f"No figure: {title}",
            "link": f"{GALLERY}/{page}",
            "link-type": "doc",
            "link-alt": title,
            "footer": " · ".join(filter(None, facts)),
            "class-item": ["page-card", *(f"tag-{group.replace(' ', '-')}" for group in groups)],
        }
        return super().run_with_defaults()


def add_buttons(app, pagename, *_):
    """Load the buttons' script on the one page that has cards."""
    if pagename == "gallery":
        app.add_js_file("page_cards.js", loading_method="defer")


def setup(app):
    """Add the directive and its buttons."""
    app.add_directive("page-card", PageCard)
    app.connect("html-page-context", add_buttons)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

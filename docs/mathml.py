"""Formulas as MathML, converted by docutils while the site is built: no script, no network."""

from docutils.nodes import SkipNode
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

logger = logging.getLogger(__name__)


def _convert(node, *, as_block):
    """Return the MathML of one formula; a formula that docutils cannot read fails the build."""
    try:
        return tex2mathml(node.astext(), as_block=as_block)
    except MathError as error:
        logger.warning("Expected a formula in LaTeX. Received: %s", error, location=node)
        return node.astext()


def visit_math(writer, node):
    """Write a formula inside a line of text."""
    writer.body.append(_convert(node, as_block=False))
    raise SkipNode


def visit_math_block(writer, node):
    """Write a formula on lines of its own, numbered when it has a label."""
    # The second class lets the theme's script make it reachable with the keyboard if it scrolls.
    writer.body.append(writer.starttag(node, "div", CLASS="math pst-scrollable-table-container"))
    if node["number"]:
        writer.body.append(f'<span class="eqno">({node["number"]})')
        writer.add_permalink_ref(node, "Link to this equation")
        writer.body.append("</span>")
    writer.body.append(_convert(node, as_block=True))
    writer.body.append("</div>\n")
    raise SkipNode


def setup(app):
    """Register the renderer under the name that ``html_math_renderer`` gives."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Repairs in finished pages: what others write and a browser or a screen reader trips over."""

import re

# What is there -> what should be. Pages are long: each pattern begins with a fixed text.
REPAIRS = {
    # The items of a list; "doc-biblioentry" is withdrawn.
    r'role="doc-biblioentry"': 'role="listitem"',
    # The corner of a table is no heading of anything.
    r'<th(?: class="(?:blank|head)[^"]*"\s*)?>(?:<p></p>|&nbsp;)?</th>': "<td></td>",
    # A class that the theme's script looks for: what scrolls can then be reached with the keyboard.
    r'class="(?=output_subarea output_html)': 'class="pst-scrollable-table-container ',
    # Text outside of tags: after it a tag begins, none ends.
    r"X-ray\w*(?=[^<>]*<)": r'<span class="unbroken">\g<0></span>',
}
# A long name in the text, or as a page's title, and the places in it where a line may end.
NAMES = re.compile(r'(?<=<span class="pre">)[^<]{20,}|(?<=<h1>)[^<\s]{20,}(?=<)')
JOINTS = re.compile(r"(?<=[^\W_])(?:[./](?=\w)|_+(?=[^\W_]))")


def repair(html):
    """Return a page's text with all repairs.

    Parameters
    ----------
    html : str
        The page's own part: no header, no sidebars.

    Returns
    -------
    str
        The same text for the eye.
    """
    for pattern, replacement in REPAIRS.items():
        html = re.sub(pattern, replacement, html)
    return NAMES.sub(lambda name: JOINTS.sub(r"\g<0><wbr>", name[0]), html)


def finish_page(app, pagename, templatename, context, doctree):
    """Repair one page; and let the page for wrong addresses work at any address."""
    del templatename, doctree
    if "body" in context:
        context["body"] = repair(context["body"])
    if pagename == "404" and app.config.ogp_site_url:
        context["metatags"] = f'<base href="{app.config.ogp_site_url}">' + context["metatags"]


def setup(app):
    """Connect the repairs to the build."""
    app.connect("html-page-context", finish_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

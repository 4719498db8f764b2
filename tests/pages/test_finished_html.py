"""Repairs in finished pages: roles, corners of tables, and where a line may end."""

from pathlib import Path
from types import SimpleNamespace

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def finished(load_from_docs):
    return load_from_docs("finished_html")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ('<div role="doc-biblioentry">', '<div role="listitem">'),
        ("<tr><th></th><th>AUC</th></tr>", "<tr><td></td><th>AUC</th></tr>"),
        ('<th class="head"><p></p></th>', "<td></td>"),
        ('<th class="blank level0" >&nbsp;</th>', "<td></td>"),
        ("<p>An X-ray, two X-rays</p>", "<p>An {X-ray}, two {X-rays}</p>"),
        ('<img alt="X-rays">', '<img alt="X-rays">'),
        ('<span class="pre">helpers.data.band_ages</span>', "helpers.|data.|band_|ages"),
        ('<span class="pre">num_updates</span>', "num_updates"),
        ('<span class="pre">helpers.Name.__init__</span>', "helpers.|Name.|__init__"),
        ("<h1>sensitivity_at_specificity<a>", "sensitivity_|at_|specificity"),
        ("<h1>Where do the films go?</h1>", "Where do the films go?"),
    ],
)
def test_a_page_is_repaired(finished, written, expected):
    word = r'<span class="unbroken">%s</span>'
    for name in ("X-rays", "X-ray"):
        expected = expected.replace(f"{{{name}}}", word % name)
    assert expected.replace("|", "<wbr>") in finished.repair(written)


@pytest.mark.parametrize(
    ("pagename", "begins"), [("404", '<base href="https://a.org/b/">'), ("a", "")]
)
def test_the_page_for_wrong_addresses_finds_its_files_at_any_address(finished, pagename, begins):
    app = SimpleNamespace(config=SimpleNamespace(ogp_site_url="https://a.org/b/"))
    context = {"body": "", "metatags": "<meta>"}
    finished.finish_page(app, pagename, "page.html", context, None)
    assert context["metatags"] == f"{begins}<meta>"

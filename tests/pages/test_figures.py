"""Figures of the site: described in words, or the build ends; linked to their large version."""

from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import pytest
from sphinx.errors import ExtensionError

mpl.use("Agg")

import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def figures(load_from_docs):
    return load_from_docs("figures")


@pytest.fixture(autouse=True)
def no_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture
def scrape(figures, tmp_path):
    from sphinx_gallery.scrapers import ImagePathIterator

    paths = ImagePathIterator(str(tmp_path / "sphx_glr_plot_10_page_{0:03}.png"))
    page = {"image_path_iterator": paths, "src_file": "plot_10_page.py", "example_globals": {}}
    settings = {
        "image_srcset": [2.0], "src_dir": str(tmp_path), "matplotlib_animations": (False, None),
        "compress_images": [],
    }  # fmt: skip
    return lambda: figures.scrape_figures(("code", "plot()", 7), page, settings)


def test_panels_are_described_in_their_order_each_after_its_title(figures):
    figure, (left, right) = plt.subplots(1, 2)
    left.set(label="From 1\nto 2.", title="Two  lines")
    right.set_label("From 3 to 4.")
    figure.colorbar(right.imshow([[1, 2]]))
    assert figures.describe_figure(figure) == "Two lines: From 1 to 2. From 3 to 4."
    figure.set_label("All.")
    assert figures.describe_figure(figure) == "All."


def test_a_description_that_begins_with_the_title_does_not_say_it_twice(figures):
    figure, ax = plt.subplots()
    ax.set(label="Loss from 1 to 2.", title="Loss")
    assert figures.describe_figure(figure) == "Loss from 1 to 2."


@pytest.mark.parametrize("hidden", [True, False])
def test_a_panel_without_a_description_is_refused(figures, hidden):
    figure, (left, right) = plt.subplots(1, 2)
    left.set_label("From 1 to 2.")
    if hidden:
        right.set_axis_off()
        assert figures.describe_figure(figure) == "From 1 to 2."
    else:
        with pytest.raises(ValueError, match="a panel has no description"):
            figures.describe_figure(figure)


def test_the_scraper_writes_the_descriptions_of_all_figures(scrape):
    for said in ('<1 & "2"', "second *figure*"):
        plt.subplots(figsize=(1, 1))[1].set_label(said)
    lines = [line.strip() for line in scrape().splitlines() if ":alt:" in line]
    assert lines == [":alt: &lt;1 &amp; &quot;2&quot;", ":alt: second *figure*"]


def test_the_scraper_refuses_a_figure_without_a_description(scrape):
    plt.subplots(figsize=(1, 1))[1].set_label("first")
    plt.subplots()
    with pytest.raises(ExtensionError, match=r"Figure 2 of plot_10_page, in the block at line 7"):
        scrape()
    assert not plt.get_fignums()


def test_images_become_links_to_the_largest_file(figures):
    from docutils import nodes
    from sphinx_gallery.directives import imgsgnode

    image = imgsgnode(srcset="/auto/images/a.png, /auto/images/a_2_00x.png 2.00x")
    page = nodes.section("", nodes.paragraph(), image)
    builder = SimpleNamespace(format="html", imagedir="_images", get_target_uri="{}.html".format)
    figures.link_figures(SimpleNamespace(builder=builder), page, "auto/page")
    before, _, after = page.children[1:]
    assert before.astext() == '<a class="figure-link" href="../_images/a_2_00x.png">'
    assert after.astext() == "</a>"

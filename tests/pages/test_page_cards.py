"""The cards of the gallery: what they say is what the page says."""

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
CARDS = re.findall(
    r"page-card:: (\S+)\n +:level: (.*)\n +:tags: (.*)\n\n +(.*)\n",
    (ROOT / "docs" / "gallery.rst").read_text("utf-8"),
)


@pytest.fixture(scope="module")
def page_cards(load_from_docs):
    return load_from_docs("page_cards")


@pytest.mark.parametrize(
    ("minutes", "seconds", "said"), [(0, "7.400", "7 s"), (0, "59.1", "59 s"), (2, "31.0", "3 min")]
)
def test_the_duration_is_that_of_the_run(page_cards, tmp_path, minutes, seconds, said):
    page = tmp_path / "page.rst"
    page.write_text(f"**Total running time of the script:** ({minutes} minutes {seconds} seconds)")
    assert page_cards.read_duration(page) == said


def test_a_page_that_was_not_run_has_no_duration(page_cards, tmp_path):
    page = tmp_path / "page.rst"
    page.write_text("A page.")
    assert page_cards.read_duration(page) == ""
    assert page_cards.read_duration(tmp_path / "none.rst") == ""


def test_the_picture_has_the_text_of_the_figure(page_cards, tmp_path):
    page = tmp_path / "page.rst"
    page.write_text(
        ".. image-sg:: a.png\n   :alt: Cram&#x27;s V, at most 0.3.\n   :srcset: a.png\n"
    )
    assert page_cards.read_description(page) == "Cram's V, at most 0.3."
    page.write_text("A page.")
    assert page_cards.read_description(page) == ""


def test_every_card_asks_a_question_and_names_its_level_and_tags(page_cards):
    assert len(CARDS) == len(list((ROOT / "examples").glob("plot_*.py")))
    for page, level, tags, question in CARDS:
        assert question.endswith("?"), page
        assert level in page_cards.LEVELS, page
        assert all(re.fullmatch(r"[a-z]+( [a-z]+)*", tag) for tag in tags.split(", ")), page
    tags = [tag for card in CARDS for tag in card[2].split(", ")]
    assert {tag for tag in tags if tags.count(tag) == 1} <= {"local mode"}  # or a button is useless


def test_the_title_is_that_of_the_page(page_cards):
    page = ROOT / "examples" / "plot_12_how_the_weights_travel.py"
    assert page_cards.read_title(page) == "How the weights travel"


def test_the_picture_is_the_upper_part_of_the_first_figure(page_cards, tmp_path):
    figure = Image.new("RGB", (1200, 2000), "red")  # its upper panel, and a lower one that is cut
    figure.paste("blue", (0, 900, 1200, 2000))
    figure.save(tmp_path / "sphx_glr_plot_01_page_001_2_00x.png")
    page_cards.draw_picture(tmp_path, "plot_01_page", tmp_path / "cards" / "page.png")
    with Image.open(tmp_path / "cards" / "page.png") as picture:
        assert picture.size == page_cards.PICTURE_SIZE
        assert picture.convert("RGB").getcolors() == [(600 * 420, (255, 0, 0))]


def test_a_page_without_a_figure_has_the_thumbnail_on_white_paper(page_cards, tmp_path):
    (tmp_path / "thumb").mkdir()
    Image.new("RGB", (400, 200), "red").save(tmp_path / "thumb" / "sphx_glr_plot_01_page_thumb.png")
    page_cards.draw_picture(tmp_path, "plot_01_page", tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.convert("RGB").getpixel((300, 210)) == (255, 0, 0)
        assert picture.convert("RGB").getpixel((300, 5)) == (255, 255, 255)

"""Progress of a build: the order of the pages, and the time that is left."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def progress(load_from_docs):
    return load_from_docs("build_progress")


def test_every_page_has_its_place_and_the_longest_is_first(progress):
    pages = {page.stem for page in (ROOT / "examples").glob("plot_*.py")}
    assert set(progress.SECONDS) == pages
    first = min(pages, key=progress.longest_first)
    assert progress.SECONDS[first] == max(progress.SECONDS.values())


def test_the_time_left_follows_the_pace_and_ends_with_the_longest_page(progress):
    usual = {"a": 10, "b": 10, "c": 30}
    began = {"a": 0, "b": 0}
    # "a" took twice its time. Left: 10 s of "b", 60 s of "c", which two workers cannot share.
    assert progress.estimate_left(usual, began, {"a": 20}, 10, 1) == 70
    assert progress.estimate_left(usual, began, {"a": 20}, 10, 2) == 60
    assert progress.estimate_left({"a": 10}, {"a": 0}, {"a": 20}, 20, 2) == 0


def test_a_line_says_page_seconds_count_and_time_left(progress, tmp_path, capsys, monkeypatch):
    conf = {"src_dir": tmp_path, "parallel": 2}
    file = tmp_path / progress.FILE
    file.parent.mkdir()
    file.write_text(json.dumps(["plot_01_your_first_network", "plot_32_leakage"]) + "\n")
    usual = progress.SECONDS["plot_01_your_first_network"]
    for when, at in (("before", 100), ("after", 100 + 2 * usual)):
        monkeypatch.setattr(progress.time, "time", lambda at=at: at)
        progress.report_page(conf, tmp_path / "plot_01_your_first_network.py", when)
    left = round(2 * progress.SECONDS["plot_32_leakage"] / 60)
    assert capsys.readouterr().err == (
        f"plot_01_your_first_network: {2 * usual} s, 1 of 2 pages, about {left} min left\n"
    )
    progress.report_page(conf, None, "before")
    assert len(file.read_text().splitlines()) == 3

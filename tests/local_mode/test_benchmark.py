"""The benchmark's arithmetic; its times are no business of a test."""

import json

from helpers.local_mode.benchmark import FILMS, _write_samples, summarize


def test_ratios_are_those_of_the_medians():
    report = summarize({"bare_loop": [10.0, 12.0, 50.0], "simulate": [18.0], "ours": [24.0, 30.0]})
    assert report["ratios"] == {
        "simulate_over_bare_loop": 1.5,
        "ours_over_bare_loop": 2.25,
        "stock_over_ours": None,
    }
    assert report["seconds"]["bare_loop"] == [10.0, 12.0, 50.0]


def test_its_hospitals_have_the_films_that_it_promises(tmp_path):
    samples = _write_samples(tmp_path)
    for splits in samples.values():
        about = json.loads((splits["train"] / "sample.json").read_text("utf-8"))
        assert about["shape"] == [FILMS, 64, 64, 1]

"""The benchmark's arithmetic; its times are no business of a test."""

from helpers.local_mode.benchmark import summarize


def test_ratios_are_those_of_the_medians():
    report = summarize({"bare_loop": [10.0, 12.0, 50.0], "simulate": [18.0], "ours": [24.0, 30.0]})
    assert report["ratios"] == {
        "simulate_over_bare_loop": 1.5,
        "ours_over_bare_loop": 2.25,
        "stock_over_ours": None,
    }
    assert report["seconds"]["bare_loop"] == [10.0, 12.0, 50.0]

"""One call makes what four calls make."""

import pandas as pd

from helpers.data import (
    label_films,
    make_hospitals,
    make_radiographs,
    prepare_hospitals,
    prepare_samples,
    read_radiographs,
)

TASK = "any finding vs none"


def test_one_call_is_the_four_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(tmp_path / "cache"))
    radiographs = read_radiographs(make_radiographs(tmp_path / "films", n_films=1200, size=32))
    prepared = prepare_hospitals(TASK, size=8, seed=1, radiographs=radiographs)
    labels = label_films(radiographs.table, TASK)
    films = make_hospitals(radiographs.table, labels, seed=1)
    pd.testing.assert_series_equal(prepared.labels, labels)
    pd.testing.assert_frame_equal(prepared.films, films)
    assert prepared.samples == prepare_samples(radiographs, films, labels, size=8, task=TASK)
    assert prepared.radiographs is radiographs

"""Hospital films: one call for what the pages need, and weights in the samples."""

import shutil

import pandas as pd
import pytest

from helpers.data import label_films, make_hospitals, make_radiographs, set_up_hospitals


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_radiographs(tmp_path_factory.mktemp("films") / "nih", n_films=1000, size=32)


@pytest.fixture
def study(folder, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS", str(folder))
    return set_up_hospitals(seed=3)


def test_it_is_what_the_steps_give(study):
    labels = label_films(study.radiographs.table, study.task)
    assert study.labels.equals(labels)
    assert study.films.equals(make_hospitals(study.radiographs.table, labels, seed=3))


def test_samples_hold_some_films_with_their_weights(study, tmp_path):
    some = study.films[study.films["sex"] == "F"]
    weights = pd.Series(2.5, index=some.index[:1])
    samples = study.prepare(8, films=some, weights=weights)
    rows = pd.concat(
        pd.read_csv(folder / "metadata.csv") for own in samples.values() for folder in own.values()
    )
    assert len(rows) == len(some)
    assert set(rows["sex"]) == {"F"}
    weighed = rows.set_index("image")["weight"]
    assert weighed[some["image"].iloc[0]] == 2.5
    assert (weighed == 1).sum() == len(some) - 1
    rest = study.prepare(8)
    first = next(iter(rest.values()))["train"]
    assert "weight" not in pd.read_csv(first / "metadata.csv")


def test_a_collection_without_the_column_is_replaced(folder, tmp_path, monkeypatch):
    table = pd.read_csv(folder / "Data_Entry_2017.csv")
    column = next(name for name in table if "Gender" in name or "Sex" in name)
    copy = tmp_path / "men"
    copy.mkdir()
    shutil.copytree(folder / "images", copy / "images")
    table.assign(**{column: "M"}).to_csv(copy / "Data_Entry_2017.csv", index=False)
    monkeypatch.setenv("CHEST_XRAYS", str(copy))
    monkeypatch.setattr("helpers.data.hospital_films.make_radiographs", lambda: folder)
    assert set(set_up_hospitals().films["sex"]) == {"M"}
    assert set(set_up_hospitals(needs="sex").films["sex"]) == {"F", "M"}

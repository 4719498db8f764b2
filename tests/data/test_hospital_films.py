"""Hospital films: one call for what the pages need, and weights in the samples."""

import shutil
from dataclasses import replace

import pandas as pd
import pytest

from helpers.data import (
    count_hospitals,
    label_films,
    make_hospitals,
    make_radiographs,
    read_radiographs,
    set_up_hospitals,
    verify_sample,
)


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


def test_the_task_may_come_from_the_environment(folder, monkeypatch, capsys):
    monkeypatch.setenv("CHEST_XRAYS", str(folder))
    monkeypatch.setenv("CHEST_XRAYS_TASK", "")
    assert set_up_hospitals().task == "any finding vs none"
    monkeypatch.setenv("CHEST_XRAYS_TASK", "Effusion, Pneumonia")
    study = set_up_hospitals()
    assert study.findings == list(study.labels) == ["Effusion", "Pneumonia"]
    assert str(study).endswith(" Task: Effusion, Pneumonia.")
    one = set_up_hospitals("any finding vs none", radiographs=study.radiographs)  # asked for
    assert one.findings == ["any finding vs none"]
    assert str(one) == str(one.radiographs)
    samples = study.prepare(8)
    counts = count_hospitals(study.films, study.labels)
    about = verify_sample(next(iter(samples.values()))["train"])
    assert about["n_positive"] == counts.loc[0, study.findings].to_dict()
    capsys.readouterr()
    set_up_hospitals(["Effusion", "Hernia"], radiographs=study.radiographs)
    assert "Hernia is not measured, for want of films of both labels: " in capsys.readouterr().out


def test_an_unknown_task_of_the_environment_is_named_with_its_variable(folder, monkeypatch):
    monkeypatch.setenv("CHEST_XRAYS", str(folder))
    monkeypatch.setenv("CHEST_XRAYS_TASK", "Efusion")
    with pytest.raises(ValueError, match="did you mean Effusion") as error:
        set_up_hospitals()
    assert error.value.__notes__ == [
        "The task is that of the environment variable CHEST_XRAYS_TASK."
    ]


def test_uncertain_findings_count_as_the_policy_says(folder):
    radiographs = read_radiographs(folder)
    found = radiographs.table["findings"]
    table = radiographs.table.assign(
        uncertain=pd.Series("Effusion", index=found.index).where(found == "Cardiomegaly")
    )
    unsure = table["uncertain"].notna()
    assert unsure.any()
    radiographs = replace(radiographs, table=table)
    studies = {
        policy: set_up_hospitals("Effusion", radiographs=radiographs, uncertain=policy)
        for policy in ("ignore", "zeros", "ones")
    }
    labels = {policy: study.labels for policy, study in studies.items()}
    for study in studies.values():  # films without a label are left out of both
        assert study.labels.index.equals(study.films.index)
        assert count_hospitals(study.films, study.labels)["films"].sum() == len(study.films)
    assert labels["ignore"].index.equals(table.index[~unsure])
    unsure = unsure[unsure].index
    assert (labels["zeros"][unsure] == 0).all()
    assert (labels["ones"][unsure] == 1).all()
    for policy in ("zeros", "ones"):
        assert labels[policy].drop(unsure).equals(labels["ignore"])


def test_the_number_of_hospitals_may_be_chosen_where_the_films_name_none(folder, monkeypatch):
    radiographs = read_radiographs(folder)
    unnamed = replace(radiographs, table=radiographs.table.assign(hospital=None))
    assert set_up_hospitals(radiographs=unnamed).films["hospital"].nunique() == 3
    assert set_up_hospitals(radiographs=unnamed, n_hospitals=2).films["hospital"].nunique() == 2
    monkeypatch.setenv("CHEST_XRAYS_HOSPITALS", "4")
    assert set_up_hospitals(radiographs=unnamed).films["hospital"].nunique() == 4
    set_up_hospitals(radiographs=radiographs)  # names as many
    monkeypatch.setenv("CHEST_XRAYS_HOSPITALS", "5")
    with pytest.raises(ValueError, match=r"CHEST_XRAYS_HOSPITALS\), or 4, as the films .* 5"):
        set_up_hospitals(radiographs=radiographs)
    for wrong in ("three", "0", "-1", "2.5", "²"):
        monkeypatch.setenv("CHEST_XRAYS_HOSPITALS", wrong)
        with pytest.raises(ValueError, match=f"variable CHEST_XRAYS_HOSPITALS .*'{wrong}'"):
            set_up_hospitals(radiographs=unnamed)

"""Studies: a run is compared with the table of all seeds, and refused where it disagrees."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from helpers import studies
from helpers.evaluation import seed_interval
from helpers.studies import (
    average_seeds,
    compare_seeds,
    compare_with_study,
    gather_study,
    is_study,
    join_study,
    study_seed,
)

BY = ["arm", "metric"]
SETTINGS = {"num_rounds": 3, "rates": (0.1, 0.2)}
VALUES = {"federated": [0.80, 0.82, 0.81, 0.83], "alone": [0.70, 0.71, 0.69, 0.72]}


def _table(values, seeds):
    rows = [
        (seed, 3, arm, "A", "test", "auc", value)
        for arm, of_seeds in values.items()
        for seed, value in zip(seeds, of_seeds, strict=True)
    ]
    columns = ["seed", "round", "arm", "hospital", "split", "metric", "value"]
    return pd.DataFrame(rows, columns=columns)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Four seeds, run as ``make studies`` runs them, and kept."""
    monkeypatch.setattr(studies, "FOLDER", tmp_path / "docs" / "studies")
    runs = tmp_path / "runs"
    runs.mkdir()
    for seed in range(4):
        monkeypatch.setenv("CHEST_XRAYS_STUDY", str(runs))
        monkeypatch.setenv("CHEST_XRAYS_SEED", str(seed))
        one = _table({arm: values[seed : seed + 1] for arm, values in VALUES.items()}, [seed])
        live = join_study("page", one, data="films", by=BY, settings=SETTINGS)
        assert live.table.equals(one)
    monkeypatch.delenv("CHEST_XRAYS_STUDY")
    monkeypatch.delenv("CHEST_XRAYS_SEED")
    return gather_study("page", runs, minutes=2.5)


def test_the_page_shows_all_seeds_where_its_own_agrees(kept):
    ours = {arm: [values[0] + 1e-3] for arm, values in VALUES.items()}
    study = join_study("page", _table(ours, [0]), data="films", by=BY, settings=SETTINGS)
    assert study.seeds == [0, 1, 2, 3]
    # This run's own numbers where it has some, the study's elsewhere.
    for arm, values in VALUES.items():
        rows = study.table[study.table["arm"] == arm].sort_values("seed")["value"]
        assert rows.tolist() == [*ours[arm], *values[1:]]
    assert len(study.table) == len(kept.table)
    assert study.about["settings"] == {"num_rounds": 3, "rates": [0.1, 0.2]}
    assert str(study).startswith("Study of 4 seeds, 20")


def test_a_run_of_some_arms_leaves_the_order_of_the_study(kept):
    alone = _table({"alone": VALUES["alone"][:1]}, [0])
    study = join_study("page", alone, data="films", by=BY, settings=SETTINGS)
    assert list(study.table["arm"].unique()) == list(VALUES)
    assert len(study.table) == 8


@pytest.mark.parametrize("shift", [0.1, -0.1])
def test_a_run_outside_of_the_interval_is_refused(kept, shift):
    live = _table({"federated": [0.8], "alone": [0.7 + shift]}, [0])
    with pytest.raises(ValueError, match=r"study of 'page'[\s\S]*alone") as error:
        join_study("page", live, data="films", by=BY, settings=SETTINGS)
    assert "federated" not in str(error.value)


def test_swapped_numbers_are_refused(kept):
    live = _table({"federated": VALUES["alone"][:1], "alone": VALUES["federated"][:1]}, [0])
    with pytest.raises(ValueError, match=r"alone[\s\S]*federated"):
        join_study("page", live, data="films", by=BY, settings=SETTINGS)


def test_a_study_of_other_settings_is_refused_and_one_of_other_films_not_shown(kept):
    live = _table({"federated": [0.5]}, [0])
    with pytest.raises(ValueError, match="Run 'make studies' after a change"):
        join_study("page", live, data="films", by=BY, settings={"num_rounds": 4})
    for page, data in (("page", "other films"), ("another", "films")):
        study = join_study(page, live, data=data, by=BY, settings=SETTINGS)
        assert study.table is live
        assert str(study) == "This run alone, 1 seed."


def test_a_quantity_that_the_study_lacks_is_refused(kept):
    live = _table({"pooled": [0.9]}, [0])
    with pytest.raises(ValueError, match=r"Received fewer of \[\('pooled', 'auc'\)\]"):
        join_study("page", live, data="films", by=BY, settings=SETTINGS)


def test_runs_of_other_settings_are_not_put_together(tmp_path, monkeypatch):
    monkeypatch.setattr(studies, "FOLDER", tmp_path / "kept")
    with pytest.raises(ValueError, match="Expected tables of 'page'"):
        gather_study("page", tmp_path, minutes=1)
    for seed, number in enumerate((3, 4)):
        (tmp_path / f"page.{seed}.csv").write_text("seed,value\n0,1\n", "utf-8")
        text = json.dumps({"data": "films", "settings": {"num_rounds": number}})
        (tmp_path / f"page.{seed}.json").write_text(text, "utf-8")
    with pytest.raises(ValueError, match="same films and settings"):
        gather_study("page", tmp_path, minutes=1)
    assert not (tmp_path / "kept").exists()


def test_the_limits_are_those_of_one_more_seed():
    study = _table({"federated": VALUES["federated"]}, range(4))
    mean, std = np.mean(VALUES["federated"]), np.std(VALUES["federated"], ddof=1)
    half = stats.t.ppf(0.975, 3) * std * np.sqrt(1.25)
    row = compare_with_study(study[:1], study, BY, level=0.95).iloc[0]
    assert row["low"] == pytest.approx(mean - half)
    assert row["high"] == pytest.approx(mean + half)


def test_a_quantity_without_spread_has_to_be_met():
    study = _table({"bytes": [1e9 / 3] * 3}, range(3))
    assert compare_with_study(study[:1], study, BY)["within"].all()
    other = study[:1].assign(value=1e9 / 3 + 1)
    assert not compare_with_study(other, study, BY)["within"].any()


def test_the_interval_over_seeds_is_students():
    values = VALUES["alone"]
    found = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert seed_interval(values)[1:] == pytest.approx((found.low, found.high))
    assert np.isnan(seed_interval([0.5])[1:]).all()


def test_the_seed_is_named_by_the_environment(monkeypatch):
    monkeypatch.delenv("CHEST_XRAYS_SEED", raising=False)
    assert study_seed() == 0
    monkeypatch.setenv("CHEST_XRAYS_SEED", " 3 ")
    assert study_seed() == 3
    monkeypatch.setenv("CHEST_XRAYS_SEED", "-1")
    with pytest.raises(ValueError, match="Received '-1'"):
        study_seed()
    monkeypatch.setenv("CHEST_XRAYS_STUDY", " ")
    assert not is_study()


def _seeds(values):
    """Three seeds of each arm, in two skews."""
    rows = [
        (seed, arm, skew, "auc", value)
        for (skew, arm), of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
    ]
    return pd.DataFrame(rows, columns=["seed", "arm", "skew", "metric", "value"])


PAIRED = {
    ("a", "FedAvg"): [0.70, 0.75, 0.80],
    ("a", "Scaffold"): [0.71, 0.77, 0.83],
    ("b", "Scaffold"): [0.60, 0.60, 0.63],
    ("b", "FedAvg"): [0.62, 0.63, 0.64],
}


def test_arms_are_compared_within_their_seed_and_skew():
    table = compare_seeds(_seeds(PAIRED)[::-1], "FedAvg", by=["skew"])
    for skew, gains in {"a": [0.01, 0.02, 0.03], "b": [-0.02, -0.03, -0.01]}.items():
        row = table.loc[skew, "Scaffold"]
        found = stats.ttest_1samp(gains, 0)
        low, high = found.confidence_interval(0.95)
        assert row[["gain", "low", "high"]].tolist() == pytest.approx([np.mean(gains), low, high])
        # Two tests of the same p-value: Holm multiplies both by two.
        assert row["p"] == pytest.approx(min(1, 2 * found.pvalue))
        assert row["score"] == pytest.approx(np.mean(PAIRED[skew, "Scaffold"]))
    assert table.xs("FedAvg", level="arm")["gain"].isna().all()


def test_quantities_are_averaged_in_the_order_of_the_table():
    table = average_seeds(_table(VALUES, [0, 1, 2, 3]), BY)
    assert list(table) == [*BY, "value", "low", "high"]
    assert table["arm"].tolist() == ["federated", "alone"]
    for row, values in zip(table.itertuples(), VALUES.values(), strict=True):
        assert (row.value, row.low, row.high) == pytest.approx(seed_interval(values))


def test_the_average_of_one_seed_has_no_limits():
    table = average_seeds(_table({"alone": [0.7]}, [0]))
    assert table["value"].tolist() == [0.7]
    assert table[["low", "high"]].isna().all(axis=None)


def test_without_columns_there_is_one_comparison():
    one = _seeds({key: values for key, values in PAIRED.items() if key[0] == "a"})
    table = compare_seeds(one, "FedAvg")
    assert table.loc["Scaffold", "gain"] == pytest.approx(0.02)
    found = stats.ttest_1samp([0.01, 0.02, 0.03], 0)
    assert table.loc["Scaffold", "p"] == pytest.approx(found.pvalue)


def test_a_single_seed_has_a_gain_and_no_interval():
    table = compare_seeds(
        _seeds({key: values[:1] for key, values in PAIRED.items()}), "FedAvg", by=["skew"]
    )
    assert table.loc["a", "Scaffold"]["gain"] == pytest.approx(0.01)
    assert table[["low", "high", "p"]].isna().all(axis=None)


def test_a_baseline_that_is_missing_is_named():
    with pytest.raises(ValueError, match=r"arm 'FedProx'.*'FedAvg', 'Scaffold'"):
        compare_seeds(_seeds(PAIRED), "FedProx", by=["skew"])

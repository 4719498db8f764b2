"""Tidy tables: columns, files, the comparison of arms."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.results import (
    COLUMNS,
    compare_arms,
    compare_at_home,
    score_everywhere,
    score_films,
    tidy_facts,
    tidy_scores,
    tidy_values,
    write_results,
)


def scores(*values, number=2):
    names = ["A", "B"][: len(values)]
    return pd.DataFrame({"round": number, "hospital": names, "metric": "auc", "value": values})


def test_columns_and_what_a_page_adds():
    table = tidy_scores(scores(0.5, 0.7), arm="alone", seed=1, trained_at="A")
    assert list(table) == [*COLUMNS, "trained_at"]
    assert table.loc[1].tolist() == [1, 2, "alone", "B", "test", "auc", 0.7, "A"]


def test_numbers_of_a_page_become_rows():
    values = {"bytes": {"int8": 3}, "share": pd.Series({"int8": 0.25, "float16": 0.5})}
    table = tidy_values(values, seed=1, round=2, hospital="A", split="train")
    assert list(table) == list(COLUMNS)
    assert table.loc[0].tolist() == [1, 2, "int8", "A", "train", "bytes", 3.0]
    assert table["value"].tolist() == [3.0, 0.25, 0.5]
    assert table["value"].dtype == float


def test_comparison_takes_the_last_round_and_averages_seeds():
    table = pd.concat(
        [
            tidy_scores(scores(0.1, 0.1, number=0), arm="federated", seed=0),
            tidy_scores(scores(0.6, 0.8), arm="federated", seed=0),
            tidy_scores(scores(0.8, 1.0), arm="federated", seed=1),
            tidy_scores(scores(0.5, 0.6), arm="alone", seed=0),
        ]
    )
    compared = compare_arms(table)
    assert list(compared) == ["A", "B", "mean"]
    assert compared.loc["federated"].round(6).tolist() == [0.7, 0.9, 0.8]
    assert compared.loc["alone"].round(6).tolist() == [0.5, 0.6, 0.55]


def test_files_are_written_below_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = tidy_scores(scores(0.5), arm="pooled", seed=0)
    path = write_results(table, "some_page")
    assert (tmp_path / "results" / "some_page.csv") == path.resolve()
    pd.testing.assert_frame_equal(pd.read_csv(path), table, check_dtype=False)


def test_missing_columns_are_named():
    with pytest.raises(ValueError, match=r"columns \['value'\] in scores"):
        tidy_scores(scores(0.5).drop(columns="value"), arm="pooled", seed=0)
    with pytest.raises(ValueError, match=r"columns \['seed', 'arm', 'split'\] in results"):
        write_results(scores(0.5), "page")


class _Mean:
    """A network that scores a film by its mean."""

    def predict(self, data_from_opener):
        images = data_from_opener["images"]
        return np.asarray(images[np.arange(len(images))]).mean(axis=(1, 2))


def test_all_hospitals_films_are_scored_in_their_order(tiny_samples):
    scored = score_films(_Mean(), tiny_samples, "test")
    assert list(scored["hospital"].unique()) == list(tiny_samples)
    folder = next(iter(tiny_samples.values()))["test"]
    first = np.load(Path(folder) / "images.npy")
    assert scored["score"][: len(first)].tolist() == first.mean(axis=(1, 2))[:, 0].tolist()


class _Negative(_Mean):
    """A network that answers the opposite."""

    def predict(self, data_from_opener):
        return -super().predict(data_from_opener)


def test_models_are_scored_everywhere_with_intervals(tiny_samples):
    home, *others = tiny_samples
    best = SimpleNamespace(round=6)
    runs = {
        ("alone", home): SimpleNamespace(algo=_Mean(), best=best),
        ("federated", "all"): SimpleNamespace(algo=_Negative(), best=best),
    }
    table = score_everywhere(runs, tiny_samples, seed=3, n=20)
    assert list(table) == [*COLUMNS, "low", "high", "trained_at"]
    assert (set(table["seed"]), set(table["round"])) == ({3}, {6})
    by_arm = {arm: rows.set_index("hospital") for arm, rows in table.groupby("arm")}
    metrics = dict.fromkeys(others, "auc elsewhere") | {home: "auc"}
    assert by_arm["alone"]["metric"].to_dict() == metrics
    assert set(by_arm["federated"]["metric"]) == {"auc"}
    both = by_arm["alone"]["value"] + by_arm["federated"]["value"]
    assert both.tolist() == pytest.approx([1] * len(tiny_samples))
    assert (table["low"] <= table["value"]).all()
    assert (table["value"] <= table["high"]).all()


def test_gains_are_over_the_model_that_is_named(tiny_samples):
    models = {"alone": _Mean(), "federated": dict.fromkeys(tiny_samples, _Negative())}
    over_alone = compare_at_home(models, tiny_samples, n=20)
    over_federated = compare_at_home(models, tiny_samples, against="federated", n=20)
    assert list(over_alone) == ["federated"]
    assert list(over_federated) == ["alone"]
    gains = over_alone["federated"]["gain"]
    assert over_federated["alone"]["gain"].tolist() == pytest.approx((-gains).tolist())


def test_single_numbers_get_the_same_columns_and_limits_if_one_has_them():
    plain = tidy_facts({("all", "films"): 3}, seed=2, round=4)
    assert list(plain) == list(COLUMNS)
    assert plain.loc[0].tolist() == [2, 4, "all", "all", "all", "films", 3.0]
    both = tidy_facts({("all", "films"): 3, ("noise", "share"): (0.5, 0.4, 0.6)}, seed=0)
    assert list(both) == [*COLUMNS, "low", "high"]
    assert both.loc[0, ["low", "high"]].isna().all()
    assert both.loc[1, ["value", "low", "high"]].tolist() == [0.5, 0.4, 0.6]

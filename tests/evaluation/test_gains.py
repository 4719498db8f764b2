"""Gains at home: by hand, on the same patients, and the sentences that are made of them."""

import numpy as np
import pandas as pd
import pytest

from helpers.evaluation import auc, describe_gains, gain_at_home, seed_interval, tidy_gains
from helpers.evaluation.gains import MEAN
from helpers.results import COLUMNS


@pytest.fixture
def hospitals():
    rng = np.random.default_rng(0)
    labels = {name: rng.integers(2, size=120) for name in "ABC"}
    patients = {name: np.arange(120) // 2 for name in "ABC"}
    good = {name: own + rng.normal(scale=0.7, size=120) for name, own in labels.items()}
    poor = {name: own + rng.normal(scale=3.0, size=120) for name, own in labels.items()}
    return labels, patients, good, poor


def test_values_are_those_of_the_hospitals_and_the_mean_weights_them_equally(hospitals):
    labels, patients, good, poor = hospitals
    ours = {"A": good["A"], "B": poor["B"], "C": good["C"]}
    theirs = {"A": poor["A"], "B": good["B"], "C": good["C"]}
    gains = gain_at_home(auc, labels, ours, theirs, patients, n=200)
    for name in "ABC":
        assert gains.loc[name, "ours"] == pytest.approx(auc(labels[name], ours[name]))
        assert gains.loc[name, "theirs"] == pytest.approx(auc(labels[name], theirs[name]))
    assert gains["verdict"].tolist()[:3] == ["gains", "loses", "undecided"]
    assert gains.loc["C", ["gain", "low", "high"]].tolist() == [0, 0, 0]  # the same patients
    assert gains["gain"].iloc[-1] == pytest.approx(gains["gain"].iloc[:-1].mean())
    again = gain_at_home(auc, labels, ours, theirs, patients, n=200)
    assert gains.equals(again)


def _results(labels, ours, theirs, patients, *, seed=0):
    gains = gain_at_home(auc, labels, ours, theirs, patients, n=100)
    return tidy_gains({"federated": gains}, seed=seed, rounds={"federated": 3}), gains


def test_the_tidy_table_holds_what_was_found(hospitals):
    labels, patients, good, poor = hospitals
    results, gains = _results(labels, good, poor, patients)
    assert set(COLUMNS) <= set(results)
    by = results.set_index(["arm", "metric", "hospital"])["value"]
    for name, row in gains.iterrows():
        assert by["federated", "auc", name] == row["ours"]
        assert by["alone", "auc", name] == row["theirs"]
        assert by["federated", "gain", name] == row["gain"]
    limits = results[results["metric"] == "gain"].set_index("hospital")[["low", "high"]]
    assert limits.equals(gains[["low", "high"]].rename_axis("hospital"))


def test_swapped_models_turn_the_sentences_round(hospitals):
    labels, patients, good, poor = hospitals
    found = describe_gains(_results(labels, good, poor, patients)[0])
    assert "a gain" in found
    assert "Worse than alone: nobody." in found
    assert "It did not pay, as a point estimate, for: nobody." in found
    swapped = describe_gains(_results(labels, poor, good, patients)[0])
    assert "A LOSS" in swapped
    assert "Better than alone: nobody." in swapped
    assert "Worse than alone: A (-" in swapped
    assert "It did not pay, as a point estimate, for: A, B, C." in swapped
    assert "seeds" not in found + swapped


def test_hospitals_are_judged_by_the_first_seed_and_the_mean_by_all(hospitals):
    labels, patients, good, poor = hospitals
    first, gains = _results(labels, good, poor, patients)
    second, others = _results(labels, poor, good, patients, seed=1)
    text = describe_gains(pd.concat([second, first]))
    assert "It did not pay, as a point estimate, for: nobody." in text
    means = [table.loc[MEAN, "gain"] for table in (gains, others)]
    value, low, high = seed_interval(means)
    assert f"Over 2 seeds, each with other test patients: {value:+.3f} [{low:+.3f}" in text
    assert low < 0 < high
    assert text.endswith("undecided.")


def test_seeds_are_rows(hospitals):
    labels, patients, good, poor = hospitals
    both = {name: np.stack([good[name], poor[name]]) for name in labels}
    only = {name: np.stack([poor[name], poor[name]]) for name in labels}
    gains = gain_at_home(auc, labels, both, only, patients, n=200)
    expected = np.mean([auc(labels["A"], good["A"]), auc(labels["A"], poor["A"])])
    assert gains.loc["A", "ours"] == pytest.approx(expected)
    alone = gain_at_home(auc, labels, good, poor, patients, n=200)
    width = (gains["high"] - gains["low"]).mean()
    assert width > (alone["high"] - alone["low"]).mean()  # seeds are drawn, too


def test_lengths_are_checked(hospitals):
    labels, patients, good, poor = hospitals
    with pytest.raises(ValueError, match=r"Expected a score for each of 120 labels of A"):
        gain_at_home(auc, labels, {name: own[:-1] for name, own in good.items()}, poor, patients)

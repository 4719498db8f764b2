import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from helpers.evaluation import (
    auc,
    bootstrap_patients,
    calibration_error,
    choose_threshold,
    fit_platt,
    rates_at_threshold,
)
from helpers.export.card import WARNING, fit_answer, make_card

RUN = ("name", "date", "data", "synthetic", "task", "hospitals", "algorithm", "strategy")
RUN += ("settings", "seed", "rounds", "best_round", "bytes", "versions")


@pytest.fixture(scope="module")
def answer(run, predictions):
    return fit_answer(run, predictions)


@pytest.fixture(scope="module")
def made(run, predictions, answer):
    of_model = {"version": "0123", "classes": ["none", "any finding"], "input": {"shape": [16]}}
    return make_card(run, predictions, of_model | answer)


def test_the_answer_is_fitted_on_validation_films(predictions, answer):
    valid = predictions[predictions["split"] == "valid"]
    expected = fit_platt(valid["label"], valid["logit"])
    calibration = answer["calibration"]
    assert calibration["slope"] == pytest.approx(expected.slope, rel=1e-5)
    assert calibration["intercept"] == pytest.approx(expected.intercept, rel=1e-5)
    probabilities = expected.apply(valid["logit"])
    assert answer["threshold"] == pytest.approx(choose_threshold(valid["label"], probabilities))
    draws = np.array(calibration["draws"])
    assert draws.shape == (200, 2)
    low, high = np.quantile(draws[:, 0], [0.025, 0.975])
    assert low < expected.slope < high
    assert answer == fit_answer({**dict.fromkeys(RUN, 0)}, predictions)


def test_the_draws_are_of_patients_as_a_second_computation_finds(predictions, answer):
    """The spread of the slope, from patients drawn here by pandas and a fit by scikit-learn."""
    valid, rng = predictions[predictions["split"] == "valid"], np.random.default_rng(5)
    films = dict(list(valid.groupby("patient")))
    slopes = []
    for _ in range(60):
        drawn = pd.concat([films[p] for p in rng.choice(list(films), len(films))])
        slopes.append(fit_platt(drawn["label"], drawn["logit"]).slope)
    spread = np.std(np.array(answer["calibration"]["draws"])[:, 0])
    assert spread == pytest.approx(np.std(slopes), rel=0.3)


def test_the_first_row_is_measured_on_all_test_films(predictions, answer, made):
    test, (card, _) = predictions[predictions["split"] == "test"], made
    row = card["groups"][0]
    assert (row["films"], row["patients"]) == (160, 80)
    assert row["with a finding"] == test["label"].sum()
    slope, intercept, _ = answer["calibration"].values()
    probabilities = expit(slope * test["logit"] + intercept)
    rates = rates_at_threshold(test["label"], probabilities, answer["threshold"])
    expected = {
        "AUC": bootstrap_patients(auc, test["label"], probabilities, test["patient"], n=200),
        "sensitivity": [rates.sensitivity],
        "specificity": [rates.specificity],
        "calibration error": [calibration_error(test["label"], probabilities)],
    }
    for name, values in expected.items():
        assert row[name][: len(values)] == pytest.approx([*values], abs=6e-5), name
        assert row[name][1] < row[name][2]


def test_groups_are_counted_and_small_ones_marked(predictions, made):
    card, text = made
    test, rows = predictions[predictions["split"] == "test"], card["groups"]
    for column in ("hospital", "sex", "age", "view"):
        own = [row for row in rows if row["group"].startswith(f"{column}: ")]
        assert sum(row["films"] for row in own) == len(test)
    of = {row["group"]: row for row in rows}
    assert of["sex: unknown"]["films"] == test["sex"].isna().sum()
    children = of["age: 0-17"]
    assert children["too small"]
    assert (children["with a finding"], children["AUC"]) == (0, [None] * 3)
    assert "| age: 0-17 | 3 | 3 | 0 | – [–, –] |" in text
    assert "without one):\n  age: 0-17.\n" in text


def test_calibration_is_judged_before_and_after_on_test_films(predictions, answer, made):
    before, after = made[0]["calibration"]
    test = predictions[predictions["split"] == "test"]
    expected = fit_platt(test["label"], test["logit"])
    assert before["slope"][0] == pytest.approx(expected.slope, abs=1e-4)
    assert before["intercept"][0] == pytest.approx(expected.intercept, abs=1e-4)
    assert before["slope"][2] < 1  # the logits are overconfident
    assert after["slope"][1] < 1 < after["slope"][2]
    assert after["slope"][0] * answer["calibration"]["slope"] == pytest.approx(
        expected.slope, abs=1e-3
    )
    assert after["error"][0] < before["error"][0]


def test_the_card_is_plain_json_and_says_all_headings(run, made):
    card, text = made
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert card["run"] == run
    assert card["warning"] == WARNING
    assert text.count(WARNING) == 1
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        *("Model details", "Intended use", "Factors", "Metrics", "Evaluation data"),
        *("Training data", "Quantitative analyses", "Ethical considerations"),
        "Caveats and recommendations",
    ]
    assert "Numbers drawn at random. These films are synthetic." in text
    assert text.count("\n| Harbor |") == 3
    assert "- **Settings:** updates 9, optimizer.learning_rate 0.002\n" in text
    assert "sent_per_hospital_and_round 23684" in text


def test_everything_that_lacks_is_named(run, predictions):
    films = predictions[predictions["split"] == "test"].drop(columns="view")
    with pytest.raises(ValueError, match=r"none of: run\['seed'\], the column 'view', valid films"):
        fit_answer({key: run[key] for key in run if key != "seed"}, films)


def test_films_of_one_class_cannot_calibrate(run, predictions):
    with pytest.raises(ValueError, match="Expected films of both classes"):
        fit_answer(run, predictions.assign(label=1))


def test_a_useless_model_still_has_a_threshold_in_json(run, predictions):
    answer = fit_answer(run, predictions.assign(logit=0.0))
    assert answer["threshold"] in (0.0, 1.0)

"""Every public function over scores, found by its parameters, refuses NaN and infinity."""

import importlib
import inspect
import pkgutil
import re
import sys

import numpy as np
import pandas as pd
import pytest

import helpers.evaluation
import helpers.fairness
from helpers.evaluation import Calibration, auc, gain_at_home
from helpers.evaluation.metrics import check_finite
from helpers.fairness import (
    RandomizedThresholds,
    Thresholds,
    compare_choices,
    fit_thresholds,
)

N = 40
LABELS = np.arange(N) % 2
SCORES = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, N))
GROUPS = np.repeat(["a", "b"], N // 2)
# Parameters that hold one number of the model's for each film, and an argument that is right.
PER_FILM = dict.fromkeys(
    ("scores", "predictions", "logits", "probabilities", "baseline"), SCORES
) | dict.fromkeys(("decisions", "before", "after"), (SCORES > 0.5).astype(int))
# What the functions need besides.
OTHERS = {
    "labels": LABELS,
    "data_from_opener": {"labels": LABELS},
    "groups": pd.Series(GROUPS, name="group"),
    "hospitals": GROUPS,
    "patients": np.arange(N),
    "between": ("a", "b"),
    "metric": auc,
    "threshold": 0.5,
    "level": 0.5,
    "calibration": Calibration(),
    "targets": (0.0, 1.0),
    "calibrations": {"a": Calibration(), "b": Calibration()},
    "n": 3,
}
# Parameters of functions that take no scores. A new name must be put here or above.
WITHOUT_SCORES = {
    *("alpha", "by_group", "column", "columns", "counts", "draws", "films", "flags", "intercept"),
    *("against", "bar", "fitted_on", "fitted_strata", "interval", "judged_on", "judged_strata"),
    *("measure", "measured", "method", "n_exchanges", "of", "purpose", "rate", "scored"),
    *("strata", "tolerance", "audited", "effects", "intervals", "pairs", "row"),
    *("metrics", "minimum", "n_bins", "name", "optimizer", "p_values", "scheme", "seed"),
    *("sensitivity", "share", "slope", "specificity", "split", "table", "tables", "unit", "value"),
    *("values", "weights", "within", "high", "low", "above", "below", "arm", "gains", "n_draws"),
    *("rates", "curve", "patience", "min_delta", "train", "step", "max_rounds", "rule"),
    *("results", "round", "rounds", "stopped_at", "stops", "add", "findings", "several"),
}
# Dictionaries of such arrays, by hospital or choice; a test of their own is below.
IN_DICTIONARIES = {"ours", "theirs", "decided"}


def instances():
    """Return one object of each class that has methods over scores."""
    return {
        Calibration: Calibration(),
        Thresholds: Thresholds({"a": 0.5, "b": 0.4}),
        RandomizedThresholds: fit_thresholds(LABELS, SCORES, GROUPS, "equalized_odds"),
    }


def public_callables():
    """Return name and callable of all public functions and methods, methods unbound."""
    found = {}
    for package in (helpers.evaluation, helpers.fairness):
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            for name, value in vars(module).items():
                if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
                    continue
                found[name] = value
                if inspect.isclass(value):
                    methods = {f"{name}.{key}": method for key, method in vars(value).items()}
                    found |= {
                        key: method
                        for key, method in methods.items()
                        if inspect.isfunction(method) and "._" not in key
                    }
    return found


CALLABLES = public_callables()
CASES = [
    (name, parameter, method)
    for name, function in CALLABLES.items()
    for parameter in inspect.signature(function).parameters
    if parameter in PER_FILM
    # A function that has methods to choose from refuses with each of them.
    for method in (
        sys.modules[function.__module__].METHODS
        if "method" in inspect.signature(function).parameters
        else [None]
    )
]


def call(name, method, **changed):
    """Call a function with arguments that are right, but for those that are changed."""
    function, arguments = CALLABLES[name], {} if method is None else {"method": method}
    known = OTHERS | PER_FILM | changed
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name == "self":
            owner = getattr(sys.modules[function.__module__], name.partition(".")[0])
            arguments["self"] = instances()[owner]
        elif parameter.name in known:
            arguments[parameter.name] = known[parameter.name]
    return function(**arguments)


def test_every_parameter_is_known_to_hold_scores_or_not():
    parameters = {
        p for function in CALLABLES.values() for p in inspect.signature(function).parameters
    }
    assert parameters - {"self"} <= {*PER_FILM, *OTHERS, *WITHOUT_SCORES, *IN_DICTIONARIES}
    assert len({name for name, _, _ in CASES}) >= 22


@pytest.mark.parametrize(("name", "parameter", "method"), CASES)
def test_scores_that_are_not_finite_are_refused(name, parameter, method):
    call(name, method)  # is accepted
    for wrong in (np.nan, np.inf, -np.inf):
        values = PER_FILM[parameter].astype(float)
        values[[7, 30]] = wrong
        place = re.escape(f"[7], is {wrong}. A training that diverged")
        with pytest.raises(
            ValueError,
            match=rf"are finite\. Received 2 of 40 that are not; the first, {parameter}{place}",
        ):
            call(name, method, **{parameter: values})


def test_of_several_seeds_the_first_film_is_named_with_its_seed():
    scores = np.stack([SCORES, SCORES])
    scores[1, 4] = np.nan
    with pytest.raises(ValueError, match=r"Received 1 of 80 .* scores\[1, 4\], is nan"):
        call("bootstrap_patients", None, scores=scores)


def test_finite_values_keep_their_shape():
    assert check_finite(np.float32([[0.5], [1.5]])).tolist() == [[0.5], [1.5]]
    assert check_finite([]).shape == (0,)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_in_dictionaries_that_are_not_finite_are_refused(wrong):
    right, broken = {"A": SCORES}, {"A": np.where(np.arange(N) == 7, wrong, SCORES)}
    patients = {"A": np.arange(N)}
    for ours, theirs in ((right, broken), (broken, right)):
        with pytest.raises(ValueError, match=r"^Expected .* that are finite"):
            gain_at_home(auc, {"A": LABELS}, ours, theirs, patients, n=3)
    decided = {"floor": SCORES > 0.5, "other": broken["A"]}
    for against in decided:
        with pytest.raises(ValueError, match=r"^Expected .* that are finite"):
            compare_choices(
                LABELS, decided, against, pd.Series(GROUPS), np.arange(N), between=("a", "b"), n=3
            )

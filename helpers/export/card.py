"""Card: what a logit is turned into, and the model card; computed from a run's predictions."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.summary import band_ages, fill_unknown
from helpers.evaluation import (
    Calibration,
    auc,
    bootstrap_patients,
    calibration_error,
    choose_threshold,
    error_by_chance,
    fit_federated,
    rates_at_threshold,
    resample_patients,
)

WARNING = "Not for clinical use: nothing here was examined for decisions about patients."
_COLUMNS = ("hospital", "split", "patient", "label", "logit", "sex", "age", "view")
_OF_RUN = ("name", "date", "data", "synthetic", "task", "hospitals", "algorithm", "strategy")
_OF_RUN += ("settings", "seed", "rounds", "best_round", "bytes", "versions")
_DRAWS = 200
_FEWEST = 10  # patients with a finding, and without one: a smaller group is marked


def fit_answer(run: Mapping[str, Any], predictions: pd.DataFrame) -> dict[str, Any]:
    """Fit on validation films: Platt's scaling with draws over patients, and a threshold."""
    missing = [f"run[{name!r}]" for name in _OF_RUN if name not in run]
    missing += [f"the column {name!r}" for name in _COLUMNS if name not in predictions]
    splits = set(predictions.get("split", ()))
    missing += [f"{split} films" for split in ("valid", "test") if split not in splits]
    if missing:
        raise ValueError(
            f"Expected a run and its predictions. Received none of: {', '.join(missing)}. Take "
            "both from the folder that python -m helpers.run wrote."
        )
    valid = predictions[predictions["split"] == "valid"]
    labels, logits = valid["label"].to_numpy(), valid["logit"].to_numpy()
    fitted = fit_federated([(labels, logits)]).calibration
    drawn = resample_patients(valid["patient"], n=100 * _DRAWS, strata=valid["hospital"])
    lines = (_fit(labels[films], logits[films]) for films in drawn)
    whole = (list(line) for line in lines if not np.isnan(line[0]))  # both classes were drawn
    draws = [next(whole) for _ in range(_DRAWS)]
    level = np.clip(choose_threshold(labels, fitted.apply(logits)), 0, 1)
    return {"calibration": vars(fitted) | {"draws": draws}, "threshold": float(level)}


def make_card(
    run: Mapping[str, Any], predictions: pd.DataFrame, signature: Mapping[str, Any]
) -> tuple[dict[str, Any], str]:
    """Make the model card of a run, with the headings of Mitchell et al. (2019 [1]_).

    Parameters
    ----------
    run, predictions
        As for :func:`helpers.export.export_model`.
    signature : mapping
        The content of ``signature.json``.

    Returns
    -------
    card : dict
        ``warning``, ``run``, and the tables ``groups`` (all test films first), ``calibration`` and
        ``films``, as lists of rows. A measure is ``[value, low, high]``, with its 95 % interval
        over patients; None where it is not defined.
    text : str
        The same as Markdown.

    References
    ----------
    .. [1] M. Mitchell et al., "Model cards for model reporting", FAT* 2019.
    """
    slope, intercept, _ = signature["calibration"].values()
    test = predictions[predictions["split"] == "test"].reset_index(drop=True)
    lines = {"before": test["logit"], "after": slope * test["logit"] + intercept}
    test = test.assign(all="test", age=band_ages(test["age"]))
    test["probability"] = Calibration().apply(lines["after"])
    card = {
        "warning": WARNING,
        "run": dict(run),
        "groups": [
            {"group": f"{column}: {value}"} | _measure(films, signature["threshold"])
            for column in ("all", "hospital", "sex", "age", "view")
            for value, films in test.groupby(fill_unknown(test[column]))
        ],
        "calibration": [{"calibration": name} | _judge(test, line) for name, line in lines.items()],
        "films": [
            {"hospital": hospital, "split": split} | dict(numbers)
            for hospital, splits in run["hospitals"].items()
            for split, numbers in splits.items()
        ],
    }
    small = [row["group"] for row in card["groups"] if row["too small"]]
    words = {name: _list(run[name]) for name in ("settings", "bytes", "versions")}
    words["data"] = f"{run['data'].rstrip('.')}."
    text = Path(__file__).with_name("card_template.md").read_text(encoding="utf-8")
    return card, text.format(
        run=dict(run) | words,
        signature=signature,
        warning=WARNING,
        synthetic=" These films are synthetic." if run["synthetic"] else "",
        test_films=_tabulate(row for row in card["films"] if row["split"] == "test"),
        training_films=_tabulate(row for row in card["films"] if row["split"] != "test"),
        groups=_tabulate(card["groups"]),
        calibration=_tabulate(card["calibration"]),
        small_groups=", ".join(small) or "none",
        n_draws=_DRAWS,
        fewest=_FEWEST,
    )


def _measure(films, threshold):
    """Measure a group: its size, and metrics of its calibrated probabilities."""
    patients = films.groupby("label")["patient"].nunique().reindex([0, 1], fill_value=0)
    of = functools.partial(_interval, films, films["probability"])
    return {
        "films": len(films),
        "patients": films["patient"].nunique(),
        "with a finding": int(films["label"].sum()),
        "AUC": of(auc),
        "sensitivity": of(lambda y, p: rates_at_threshold(y, p, threshold).sensitivity),
        "specificity": of(lambda y, p: rates_at_threshold(y, p, threshold).specificity),
        "calibration error": of(calibration_error),
        "too small": bool(patients.min() < _FEWEST),
    }


def _judge(films, line):
    """Judge probabilities, given as their log odds, by the films' labels."""
    probabilities = Calibration().apply(line)
    return {
        "error": _interval(films, probabilities, calibration_error),
        "error by chance": round(error_by_chance(probabilities), 4),
        "slope": _interval(films, line, lambda y, z: _fit(y, z)[0]),
        "intercept": _interval(films, line, lambda y, z: _fit(y, z)[1]),
    }


def _interval(films, scores, metric):
    """Return value and limits over patients, rounded; None for what is not defined."""
    found = bootstrap_patients(metric, films["label"], scores, films["patient"], n=_DRAWS)
    return [None if np.isnan(number) else round(number, 4) for number in found]


def _fit(labels, logits):
    """Fit Platt's scaling, much faster than fit_platt; NaN if all labels are the same."""
    one_class = len(np.unique(labels)) < 2
    return (np.nan,) * 2 if one_class else (*vars(fit_federated([(labels, logits)])[0]).values(),)


def _list(values):
    """Write settings in a line; those within others as ``outer.inner``."""
    flat = pd.json_normalize(dict(values)).to_dict("records")
    return ", ".join(f"{name} {value}" for row in flat for name, value in row.items())


def _tabulate(rows):
    """Write rows as a Markdown table; a measure as value [low, high]."""

    def show(cell):
        if not isinstance(cell, list):
            return (
                {True: "yes", False: ""}[cell]
                if isinstance(cell, bool)
                else str(cell).replace("|", "/")
            )
        value, low, high = ("–" if number is None else f"{number:.3f}" for number in cell)
        return f"{value} [{low}, {high}]"

    rows = list(rows)
    lines = [rows[0], ["---"] * len(rows[0]), *(map(show, row.values()) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)

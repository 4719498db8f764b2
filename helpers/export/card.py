"""Card: a model card (Mitchell et al. 2019), computed from a run and its predictions."""

import json
from collections.abc import Mapping
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
    fit_platt,
    rates_at_threshold,
    resample_patients,
)

NOT_CLINICAL = "Not for clinical use. Nothing here has been examined for decisions about a patient."
_COLUMNS = ("hospital", "split", "patient", "label", "logit", "sex", "age", "view")
_DRAWS = 200
_FEWEST = 10  # patients with and without a finding: below, a group is marked as too small


def fit_signature(predictions: pd.DataFrame, *, seed: int = 0) -> dict[str, Any]:
    """Fit on validation films what turns a logit into an answer.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Films with ``hospital``, ``split``, ``patient``, ``label``, ``logit``, ``sex``, ``age`` and
        ``view``, of the splits ``valid`` and ``test``.
    seed : int, default=0
        Seed of the draws.

    Returns
    -------
    dict
        ``calibration``: ``slope``, ``intercept`` (Platt's scaling) and ``draws``, the same fitted
        again on 200 draws of patients within each hospital; ``threshold``: the calibrated
        probability with the best balanced accuracy, in [0, 1].

    Raises
    ------
    ValueError
        If a column or split is missing, or validation films are all of one class.
    """
    missing = [name for name in _COLUMNS if name not in predictions]
    absent = {"valid", "test"} - set(predictions.get("split", ()))
    if missing or absent:
        raise ValueError(
            f"Expected predictions with the columns {list(_COLUMNS)} and the splits valid and "
            f"test. Received none of {[*missing, *sorted(absent)]}."
        )
    valid = predictions[predictions["split"] == "valid"]
    labels, logits = valid["label"].to_numpy(), valid["logit"].to_numpy()
    calibration, draws = fit_platt(labels, logits), []
    resamples = resample_patients(
        valid["patient"], n=2 * _DRAWS, seed=seed, strata=valid["hospital"]
    )
    for films in resamples:
        if len(draws) < _DRAWS and len(set(labels[films])) == 2:
            drawn = fit_platt(labels[films], logits[films])
            draws.append([drawn.slope, drawn.intercept])
    if len(draws) < _DRAWS:
        raise ValueError(
            "Expected validation films of both classes from several patients. Received so few that "
            "most draws of patients are of one class."
        )
    threshold = np.clip(choose_threshold(labels, calibration.apply(logits)), 0, 1)
    return {"calibration": vars(calibration) | {"draws": draws}, "threshold": float(threshold)}


def make_card(run: Mapping[str, Any], predictions: pd.DataFrame, signature: Mapping) -> dict:
    """Make the model card of a run, under the headings of Mitchell et al. (2019 [1]_).

    Parameters
    ----------
    run : mapping
        The content of the run's `run.json`.
    predictions : pandas.DataFrame
        As for :func:`fit_signature`.
    signature : mapping
        With ``calibration`` and ``threshold``, as :func:`fit_signature` returns them.

    Returns
    -------
    dict
        Heading, then paragraphs (str) and tables (list of rows, dict), ready for JSON.

    References
    ----------
    .. [1] M. Mitchell et al., "Model cards for model reporting", FAT* 2019.
    """
    return {"Model details": [NOT_CLINICAL]}


def render_card(card: Mapping[str, list], title: str) -> str:
    """Write a model card as Markdown."""
    return f"# {title}\n" + "".join(f"\n## {head}\n\n{parts}\n" for head, parts in card.items())

"""
Calibration and alarm levels per hospital
=========================================

Hospitals have trained one network together. Does a prediction of *80 %* mean the same in all of
them? And if all use one alarm level, does each get the agreed rate of false alarms?

We will:

1. train one network across the hospitals,
2. **calibrate** it with one temperature, with Platt's scaling for all hospitals, and with Platt's
   scaling at each hospital, and list what leaves a hospital for each of these,
3. compare predictions with labels, in a diagram and by three scores,
4. set an alarm level at an agreed :term:`specificity`, for all together and at each hospital.

We expect a network of a few hundred updates to predict probabilities that are too close to 0 and
1, or not close enough, and hospitals with other patients to need other levels. The floor is the
network as it is. The ceiling is not an error of zero: with so few films a perfect model has some
error by chance, and we compute how much.
"""

# %%
# One network
# -----------

from helpers.data import count_hospitals, set_up_hospitals
from helpers.display import show

IMAGE_SIZE = 32  # pixels, to keep the run short. 224 or more in a real study.
SEED = 0

study = set_up_hospitals("any finding vs none", seed=SEED)
show(count_hospitals(study.films, study.labels))

# %%
# It is trained as in :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py`.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.local_mode import train_and_score
from helpers.models import build_small_cnn

N_ROUNDS = 12  # and one seed, to keep the run short. More of both in a real study.
set_logging_level(logging.ERROR)

algo = TFFedAvgAlgo(
    model=functools.partial(build_small_cnn, IMAGE_SIZE, (16, 32, 64)),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    optimizer=keras.optimizers.Adam(2e-3),
    index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
    dataset=ChestXrayDataset,
    seed=SEED,
)
scored = train_and_score(algo, study.prepare(IMAGE_SIZE), num_rounds=N_ROUNDS)
valid, test = scored["valid"], scored["test"]

# %%
# Three calibrations, and what leaves a hospital
# ----------------------------------------------
#
# All are fitted on validation films. A temperature divides all :term:`logits <logit>` by one number
# :footcite:p:`guo2017`; Platt's scaling multiplies and shifts them.
#
# - *Platt, each* is fitted at each hospital on its own films. **Nothing leaves.**
# - *One temperature* and *Platt, all* depend on the scores of all hospitals. These need not leave:
#   Newton's method needs six **sums over films** from each hospital in each exchange, and Platt's
#   targets need the numbers of films with and without a finding. Secure aggregation can add the
#   sums. :func:`~helpers.evaluation.fit_federated` runs the exchange, and its result is that of
#   :term:`pooled` films:

import pandas as pd

from helpers.evaluation import Calibration, fit_federated, fit_platt, fit_temperature

hospitals = sorted(set(valid["hospital"]))


def split_hospitals(table):
    rows = (table[table["hospital"] == name] for name in hospitals)
    return [(own["label"].to_numpy(), own["score"].to_numpy()) for own in rows]


rows = {}
for method, pooled in (("temperature", fit_temperature), ("platt", fit_platt)):
    fitted, n_exchanges = fit_federated(split_hospitals(valid), method=method)
    rows[method] = vars(fitted) | {"exchanges": n_exchanges}
    rows[f"{method}, pooled films"] = vars(pooled(valid["label"], valid["score"]))
show(pd.DataFrame(rows).T.round(4))

# %%
# A slope below one moves probabilities towards one half, a slope above one away from it. *If* the
# slope is one, a positive intercept means that the network predicts too few findings. With another
# slope the intercept alone does not show this; then compare means, as in the next table.

ARMS = ("as it is", "one temperature", "Platt, all", "Platt, each")


def calibrate(known, new):
    """Fit all calibrations on known films; return the probabilities of new ones."""
    parts = split_hospitals(known)
    fitted = {
        "as it is": Calibration(),
        "one temperature": fit_federated(parts, method="temperature").calibration,
        "Platt, all": fit_federated(parts).calibration,
    }
    said = {arm: calibration.apply(new["score"]) for arm, calibration in fitted.items()}
    said["Platt, each"] = said["as it is"].copy()
    for name, part in zip(hospitals, parts, strict=True):
        own = (new["hospital"] == name).to_numpy()
        said["Platt, each"][own] = fit_federated([part]).calibration.apply(new["score"][own])
    return said


predicted = calibrate(valid, test)
means = test.assign(**predicted).groupby("hospital")[["label", *ARMS]].mean()
show(means.rename(columns={"label": "share with a finding"}).round(2))

# %%
# Predictions and labels
# ----------------------

import numpy as np

from helpers.evaluation import calibration_bins, calibration_error
from helpers.plots import legend_below, make_panels, plot_calibration

N_BINS = 5  # in the diagram and in the error: a hospital has few films
own_rows = {name: (test["hospital"] == name).to_numpy() for name in hospitals}

axes = make_panels(2, height=3.8)
for ax, arm in zip(axes, ("as it is", "Platt, each"), strict=True):
    bins = {
        name: calibration_bins(test["label"][own], predicted[arm][own], n_bins=N_BINS)
        for name, own in own_rows.items()
    }
    plot_calibration(bins, ax=ax).set_title(arm)
legend_below(axes[1], n_columns=4, markerscale=0.5)
show()

# %%
# Above the line, findings are more frequent than predicted; below it, less frequent. A small mark,
# of few films, far from the line is noise. An overconfident network lies *above* the line on the
# left and *below* it on the right.
#
# The expected calibration error is the mean distance from the line, with the same bins. The Brier
# score :footcite:p:`brier1950` and the log loss also reward discrimination; they need no bins, and
# are best for the true probabilities. All are means over the hospitals. **Each resample draws
# validation patients, fits again, and draws test patients**, so that the intervals include the fit.

from helpers.evaluation import (
    bootstrap_fit,
    brier_score,
    choose_federated_level,
    log_loss,
    rates_at_threshold,
)

SPECIFICITY = 0.8  # as the hospitals have agreed
SCORES = {
    "calibration error": functools.partial(calibration_error, n_bins=N_BINS),
    "Brier score": brier_score,
    "log loss": log_loss,
}


def measure(fit_films, test_films):
    """Fit on some validation films, judge on some test films: every number of the next tables."""
    known, new = valid.iloc[fit_films], test.iloc[test_films]
    said, rows = calibrate(known, new), {name: new["hospital"] == name for name in hospitals}
    found = {}
    for score, function in SCORES.items():
        for arm in ARMS:
            values = [function(new["label"][own], said[arm][own]) for own in rows.values()]
            found[score, arm, "mean"] = np.mean(values)
            found[score, arm, "change"] = np.mean(values) - found[score, "as it is", "mean"]
    parts = split_hospitals(known)
    common = choose_federated_level(parts, specificity=SPECIFICITY).threshold
    for name, part in zip(hospitals, parts, strict=True):
        own_level = choose_federated_level([part], specificity=SPECIFICITY).threshold
        for arm, level in (("one level", common), ("own level", own_level)):
            rates = rates_at_threshold(new["label"][rows[name]], new["score"][rows[name]], level)
            found["specificity", arm, name], found["sensitivity", arm, name] = rates[::-1]
    off = {}
    for arm in ("one level", "own level"):
        off[arm] = np.mean([abs(found["specificity", arm, h] - SPECIFICITY) for h in hospitals])
        found["off", arm, "mean"] = off[arm]
    found["off", "own level", "change"] = off["own level"] - off["one level"]
    return found


intervals = bootstrap_fit(
    measure,
    valid["patient"],
    test["patient"],
    fitted_strata=valid["hospital"],
    judged_strata=test["hospital"],
    n=200,  # 2,000 in a real study
    seed=SEED,
)
results = pd.DataFrame(
    [(*key, *interval) for key, interval in intervals.items()],
    columns=["metric", "arm", "hospital", "value", "low", "high"],
)
by_score = results[results["metric"].isin(SCORES)].set_index(["metric", "arm", "hospital"])
show(by_score.unstack("hospital").swaplevel(axis=1).sort_index(axis=1).loc[list(SCORES)].round(3))

# %%
# Even a perfect model has a calibration error, by chance. Next is its mean if labels were drawn
# from *exactly* right probabilities; one sample may lie below. Resampling adds such noise as well,
# so that the intervals of this error lie too high. The two other scores have no such bias.

from helpers.evaluation import error_by_chance

by_chance = {
    arm: np.mean([error_by_chance(said[own], n_bins=N_BINS) for own in own_rows.values()])
    for arm, said in predicted.items()
}
show(pd.Series(by_chance, name="calibration error by chance").round(3))

# %%
# Alarm levels
# ------------
#
# The hospitals have agreed on a specificity: this share of healthy films must not trigger an alarm.
# *One level* for all is found by bisection: in each exchange a hospital answers how many of its
# healthy validation films score below a proposed level, and no score leaves it
# (:func:`~helpers.evaluation.choose_federated_level`). On all validation films together it holds
# by construction. Does it hold at each hospital, on other films? An *own level* needs no exchange.

from helpers.plots import plot_intervals

levels = results[results["hospital"].isin(hospitals)]
axes = make_panels(2, height=3)
for ax, metric in zip(axes, ("specificity", "sensitivity"), strict=True):
    rows = levels[levels["metric"] == metric]
    plot_intervals(rows, reference=SPECIFICITY if metric == "specificity" else None, ax=ax)
    ax.set(title=metric, xlim=(0, 1.02))
show()

# %%
# Above, marks should lie on the agreed line; below is the cost in :term:`sensitivity`.
# An own level follows a hospital's own patients, and depends on its few validation films, which the
# intervals include.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.evaluation import describe_change, describe_sides
from helpers.results import tidy_values, write_results

chance = tidy_values({"calibration error by chance": by_chance}, seed=SEED, hospital="mean")
results = pd.concat([results, chance]).assign(seed=SEED, round=N_ROUNDS, split="test")
write_results(results, "calibration_and_alarms")


def say_verdicts(results):
    table = results.set_index(["metric", "arm", "hospital"])
    chance = results[results["metric"] == "calibration error by chance"]
    for arm, value in zip(chance["arm"], chance["value"], strict=True):
        error = table.loc[("calibration error", arm, "mean"), "value"]
        print(f"Calibration error, {arm}: {error:.3f}; a perfect model, by chance: {value:.3f}.")
    print("Changes against the network as it is:")
    changes = results[(results["hospital"] == "change") & (results["metric"] != "off")]
    for _, row in changes[changes["arm"] != "as it is"].iterrows():
        change = describe_change(*row[["value", "low", "high"]], below="better", above="worse")
        print(f"{row['metric']}, {row['arm']}: {change}.")
    for arm in ("one level", "own level"):
        own = results[(results["metric"] == "specificity") & (results["arm"] == arm)]
        off = table.loc[("off", arm, "mean"), "value"]
        print(
            f"{arm}: mean distance from {SPECIFICITY} {off:.3f}; of {len(own)} hospitals, "
            f"specificity {describe_sides(own, SPECIFICITY)}."
        )
    limits = table.loc[("off", "own level", "change"), ["value", "low", "high"]]
    change = describe_change(*limits, below="closer", above="farther")
    print(f"Distance of own levels less that of one level: {change}.")


say_verdicts(results)

# %%
# Positive slopes keep the order of a hospital's films, and so its :term:`AUC`. Calibration and
# levels can be fitted after training, locally, but need enough films. Synthetic films, one seed:
# nothing here is a clinical result. See :footcite:t:`vancalster2019` on why calibration matters.
#
# References
# ----------
#
# .. footbibliography::

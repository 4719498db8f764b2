"""
Thresholds after training
=========================

A model is there, it was trained on films that were not chosen fairly, and nobody will train it
again. What can still be done is to change where scores become decisions. Should women get a
threshold of their own? What does fairness then mean, and what does it cost?

We will:

1. train one network on films with a planted bias, as on
   :ref:`the page before <sphx_glr_auto_examples_50_fairness_plot_20_weights_before_training.py>`,
2. fit several ways to decide on the validation films,
3. judge them on the test films: whom they find, whom they alarm, how far women and men are apart,
4. look at smaller groups, and mark those too small to be judged.

We expect one threshold for all to miss ill women, which is the floor, and a way that aims at one
kind of fairness to be good at that kind, less so at the others. The ceiling is a gap of zero at
the balanced accuracy of the best of them.

In the flow of this project this is the arrow *results → page*: only scores are touched.
"""

# %%
# One model, trained on biased films
# ----------------------------------
#
# Ill women and healthy men are mostly missing from the training films; validation and test films
# are those of all patients. That validation films are chosen fairly is what everything below rests
# on.

import pandas as pd

from helpers.data import (
    label_films,
    make_hospitals,
    make_radiographs,
    prepare_samples,
    read_radiographs,
)
from helpers.fairness import leave_out

TASK = "any finding vs none"
IMAGE_SIZE = 32  # pixels, since this section trains often. 224 or more in earnest.
SEED = 0
LEFT_OUT = 0.7  # share of ill women and of healthy men that never get to the training films

radiographs = read_radiographs()
if radiographs.table["sex"].nunique() < 2:  # a collection that does not know it
    radiographs = read_radiographs(make_radiographs())
labels = label_films(radiographs.table, TASK)
everybody = make_hospitals(radiographs.table, labels, seed=SEED)
films = leave_out(everybody, labels[everybody.index], "sex", "F", share=LEFT_OUT, seed=SEED)

# %%
# The training is that of the other pages, with all weights one.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import WeightedChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener

N_ROUNDS = 12  # and one seed: enough to see it. More of both in earnest.
set_logging_level(logging.ERROR)


class WeightedAlgo(TFFedAvgAlgo):
    def __init__(self):
        super().__init__(
            model=functools.partial(build_cnn, IMAGE_SIZE),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(2e-3),
            index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
            dataset=WeightedChestXrayDataset,
            seed=SEED,
        )


def train(table, weight):
    """Train with a weight for each training film; return validation and test films, scored."""
    table = table.assign(weight=weight.reindex(table.index).fillna(1.0))
    samples = prepare_samples(radiographs, table, labels[table.index], size=IMAGE_SIZE, task=TASK)
    with Federation(samples) as federation:
        states, _ = federation.simulate(
            FedAvg(algo=WeightedAlgo(), metric_functions={"auc": auc}),
            num_rounds=N_ROUNDS,
            eval_every=N_ROUNDS,
        )
    algo = states.state[-1].algo  # after the last round all hospitals hold the same model
    scored = {}
    for split in ("valid", "test"):
        opened = ChestXrayOpener().get_data([own[split] for own in samples.values()])
        scored[split] = opened["metadata"].assign(score=algo.predict(opened)[:, 0])
    return scored


parts = train(films, pd.Series(1.0, index=films.index))
valid, test = parts["valid"], parts["test"]

# %%
# Six ways to decide
# ------------------
#
# All are fitted on the validation films, by one function:
#
# - *one*: a threshold for all, the best in balanced accuracy;
# - *per group*: for women and for men the best of each;
# - *demographic parity*: called ill equally often;
# - *true positive rate parity*: of the ill, found equally often (equal opportunity);
# - *equalized odds*: that, and alarmed equally often if healthy :footcite:p:`hardt2016`;
# - *reject option*: what lies close to the threshold is decided in favor of those found too
#   rarely :footcite:p:`kamiran2012reject`.
#
# The three parities are fairlearn's, and throw a die for some films: the same film shown twice may
# be decided twice in different ways.

from helpers.evaluation import balanced_accuracy, bootstrap_patients
from helpers.fairness import fit_thresholds, measure_gaps, measure_groups
from helpers.fairness.thresholds import METHODS

GAPS = ("selection_rate", "true_positive_rate", "false_positive_rate")

rows, groups, decided = [], {}, {}
for method in METHODS:
    thresholds = fit_thresholds(valid["label"], valid["score"], valid["sex"], method)
    decisions = decided[method] = thresholds.decide(test["score"], test["sex"])
    groups[method] = measure_groups(test["label"], decisions, test["sex"], test["patient"])
    found = measure_gaps(test["label"], decisions, test["sex"], test["patient"], metrics=GAPS)
    found = found[["value", "low", "high"]].astype(float).rename(index="gap of {}".format)
    found.loc["balanced_accuracy"] = list(
        bootstrap_patients(balanced_accuracy, test["label"], decisions, test["patient"])
    )
    rows.append(found.rename_axis("metric").assign(arm=method))
results = pd.concat(rows).reset_index()
wide = results.pivot(index="arm", columns="metric", values="value").loc[list(METHODS)]
wide.round(3)

# %%
# Each row is a way to decide. Read along it: a way that makes one gap small need not make the
# others small.

import matplotlib.pyplot as plt

from helpers.plots import plot_groups

_, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
for ax, metric, title in zip(
    axes, GAPS[1:], ("ill patients that are found", "healthy patients alarmed"), strict=True
):
    plot_groups(pd.concat(groups), metric, ax=ax).set_title(title)
plt.show()

# %%
# For every way there are two dots, women and men. On the left they should lie far to the right,
# on the right far to the left, and in both close together. Whether each parity holds on the test
# films, which it has not seen, is told by the gap and its interval:

aims = {
    "demographic_parity": "gap of selection_rate",
    "true_positive_rate_parity": "gap of true_positive_rate",
    "equalized_odds": "gap of true_positive_rate",
    "reject_option": "gap of true_positive_rate",
}
by_arm = results.set_index(["arm", "metric"])
pd.DataFrame(
    [
        {
            "way": method,
            "aims at": aim,
            "before": by_arm.loc[("one", aim), "value"],
            "after": by_arm.loc[(method, aim), "value"],
            "low": by_arm.loc[(method, aim), "low"],
            "high": by_arm.loc[(method, aim), "high"],
            "cut in half": by_arm.loc[(method, aim), "value"]
            <= by_arm.loc[("one", aim), "value"] / 2,
            "balanced accuracy, change": wide.loc[method, "balanced_accuracy"]
            - wide.loc["one", "balanced_accuracy"],
        }
        for method, aim in aims.items()
    ]
).round(3)

# %%
# An interval that holds 0 says that the gap which is left may be chance. A parity that was exact
# on the validation films is not on others: thresholds are fitted to a few dozen ill patients of
# each sex.
#
# Parities exclude each other
# ---------------------------
#
# If women and men are not ill equally often, a decision that finds the ill of both equally often
# and alarms the healthy of both equally often *must* call one of them ill more often. No threshold
# can change that; one has to choose what should be equal.

prevalence = test.groupby("sex")["label"].mean()
print(prevalence.round(3).to_string())
odds = wide.loc["equalized_odds"]
print(f"equalized odds:     gap of selection rates     {odds['gap of selection_rate']:.3f}")
parity = wide.loc["demographic_parity"]
print(f"demographic parity: gap of true positive rates {parity['gap of true_positive_rate']:.3f}")

# %%
# Smaller groups
# --------------
#
# Sex is one way to divide patients. Here are the intersections with the age band, for one
# threshold and for equalized odds. Hollow dots have fewer than ten ill or ten healthy patients:
# they are no facts about anybody.

from helpers.data.summary import band_ages

finer = pd.DataFrame({"sex": test["sex"], "age": band_ages(test["age"])})
_, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
for ax, method in zip(axes, ("one", "equalized_odds"), strict=True):
    measured = measure_groups(test["label"], decided[method], finer, test["patient"])
    plot_groups(measured, "true_positive_rate", ax=ax).set_title(method.replace("_", " "))
plt.show()

# %%
# A threshold that is fair to women and men says nothing of old women. And a threshold by sex needs
# to know the sex of every patient, and to treat two patients with one score in two ways: whether
# that is lawful, or right, is not a question of statistics.
#
# Conclusion
# ----------
#
# Without touching the model, decisions can be moved to any one of several kinds of fairness, at a
# price that the table states, and as well as the validation films allow. Weights and thresholds
# can be combined: :ref:`sphx_glr_auto_examples_50_fairness_plot_40_combinations.py`.

from helpers.results import write_results

write_results(
    results.assign(seed=SEED, round=N_ROUNDS, hospital="all", split="test"),
    "thresholds_after_training",
)

# %%
# References
# ----------
#
# .. footbibliography::

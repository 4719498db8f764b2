"""
Weights before training
=======================

Suppose that the training films were not chosen fairly: ill women were mostly sent elsewhere, and
healthy men were hardly ever imaged. A network will learn that men are ill. Can weights on the
films, computed from counts that each hospital may share, undo that?

We will:

1. plant this bias in the training films, so that we know it; validation and test stay as they are,
2. count, compute weights and look at what they do,
3. train the same network without weights, with weights, and on the films nobody left out,
4. compare how many of the ill women and of the ill men are found, on the same test patients.

We expect the network without weights to miss ill women: that is the floor. The ceiling is the
network that was trained on all films. Weights should bring us from one towards the other. They
cannot bring back the films: a few women stand for many. And a gap can close in two ways, because
women are found more often, or because men are missed: **levelling down**
:footcite:p:`mittelstadt2023`, which was found in models of chest X-rays :footcite:p:`zhang2022`.
"""

# %%
# A bias that we know
# -------------------
#
# :func:`~helpers.fairness.leave_out` touches the training films only. The patients whom the model
# will meet are those of the other splits.

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
IMAGE_SIZE = 32  # pixels, to keep the run short. 224 or more in a real study.
SEED = 0
LEFT_OUT = 0.7  # share of ill women and of healthy men that never get to the training films

radiographs = read_radiographs()
if radiographs.table["sex"].nunique() < 2:  # a collection that does not know it
    radiographs = read_radiographs(make_radiographs())
labels = label_films(radiographs.table, TASK)
everybody = make_hospitals(radiographs.table, labels, seed=SEED)
films = leave_out(everybody, labels[everybody.index], "sex", "F", share=LEFT_OUT, seed=SEED)

described = films.assign(label=labels[films.index])
described.groupby(["split", "sex"])["label"].agg(["size", "mean"]).round(2)

# %%
# Compare the rows of the training films with those of the test films. Underdiagnosis of this kind,
# in groups that were served less well, is known from real chest X-ray models
# :footcite:p:`seyyed2021`.
#
# Weights from counts
# -------------------
#
# Each hospital counts its training films by sex and label, and the counts are added. The
# reweighing of Kamiran and Calders :footcite:p:`kamiran2012` gives a film of group :math:`g` with
# label :math:`y` the weight
#
# .. math:: w_{gy} = \frac{n_g\, n_y}{n\, n_{gy}},
#
# the number of films that one would expect if group and label were independent, divided by the
# actual number.

from helpers.fairness import compute_weights, count_groups, sum_counts, weigh_films

training = films[films["split"] == "train"]


def count_films(table, columns):
    return count_groups(table, labels[table.index], columns, unit="films")


counts = sum_counts(count_films(own, ["sex"]) for _, own in training.groupby("hospital"))
weights = compute_weights(counts, "kamiran_calders")
counts.merge(weights).assign(weighted=lambda table: table["count"] * table["weight"]).round(2)

# %%
# In the last column, women and men have the same share of ill. The sums need no hospital's column,
# so that they can be added by a secure aggregation; and whole numbers add up exactly:

pooled = compute_weights(count_films(training, ["sex"]), "kamiran_calders")
print(
    f"The weights of pooled films are {'the same' if pooled.equals(weights) else 'NOT the same'}."
)

# %%
# Other schemes answer other questions. :func:`~helpers.fairness.compute_weights` knows several,
# and a column of your own weights does as well.

from helpers.fairness.weighting import SCHEMES

by_group = sum_counts(
    count_films(own, ["hospital", "sex"]) for _, own in training.groupby("hospital")
)
spread = {
    scheme: weigh_films(
        training,
        labels[training.index],
        compute_weights(by_group if scheme == "hospital_balanced" else counts, scheme),
    ).agg(["min", "mean", "max"])
    for scheme in SCHEMES
}
pd.DataFrame(spread).T.round(2)

# %%
# From the column to the loss
# ---------------------------
#
# The weight becomes the column ``weight`` of a sample's metadata. The opener reads it, and
# :class:`~helpers.data.WeightedChestXrayDataset` gives it to Keras along with each batch, where it
# multiplies the loss of its film. Nothing else changes.

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
from helpers.results import score_films

N_ROUNDS = 12  # and one seed, to keep the run short. More of both in a real study.
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
    return {split: score_films(algo, samples, split) for split in ("valid", "test")}


# %%
# Three trainings
# ---------------

ones = pd.Series(1.0, index=everybody.index)
reweighed = weigh_films(training, labels[training.index], weights)
scored = {
    "without weights": train(films, ones),
    "reweighed": train(films, reweighed),
    "nobody left out": train(everybody, ones),
}

# %%
# Each gets one threshold for everybody, that with the best balanced accuracy on the validation
# films. Then the test films are judged: how many of the ill are found (the true positive rate),
# for women and for men. The gap has a **sign**: women minus men.

from helpers.evaluation import balanced_accuracy, bootstrap_difference, bootstrap_patients
from helpers.fairness import compare_gaps, fit_thresholds, measure_groups

FLOOR = "without weights"
test = scored[FLOOR]["test"]  # the same films, in the same order, in all three
y, sex, patients = test["label"], test["sex"], test["patient"]

decided, groups, comparisons, rows = {}, {}, {}, []
for arm, parts in scored.items():
    valid = parts["valid"]
    thresholds = fit_thresholds(valid["label"], valid["score"], valid["sex"])
    decided[arm] = thresholds.decide(parts["test"]["score"])
    groups[arm] = measure_groups(y, decided[arm], sex, patients)
    comparisons[arm] = compare_gaps(
        y, decided[FLOOR], decided[arm], sex, patients, between=("F", "M"), share=0.5
    )
    found = {
        "auc": bootstrap_patients(auc, y, parts["test"]["score"], patients),
        "balanced accuracy": bootstrap_patients(balanced_accuracy, y, decided[arm], patients),
        "balanced accuracy, change": bootstrap_difference(
            balanced_accuracy, y, decided[arm], decided[FLOOR], patients
        ),
    }
    rows += [{"arm": arm, "metric": name, **x._asdict()} for name, x in found.items()]
results = pd.DataFrame(rows)
rates = pd.DataFrame({arm: one["true_positive_rate"] for arm, one in groups.items()}).T
rates["F − M"] = rates["F"] - rates["M"]
wide = results.pivot(index="arm", columns="metric", values="value").loc[list(scored)]
rates.add_prefix("found, ").join(wide).round(3)

# %%
# Chance has a balanced accuracy of one half and no gap at all: a model that finds nobody treats
# everybody the same. So all columns must be read together.
#
# *Cut in half* is a statement about two gaps on the same patients. Its measure is the size of the
# gap that is left, minus half of the gap without weights: below zero the gap was cut in half.
# Every resample judges both networks on the same patients, so that what makes a patient hard for
# both cancels out.

import matplotlib.pyplot as plt

from helpers.plots import plot_groups

_, axes = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
plot_groups(pd.concat(groups), "true_positive_rate", ax=axes[0]).set_title("Ill patients found")
halves = pd.DataFrame({arm: comparisons[arm] for arm in scored if arm != FLOOR}).T
limits = halves[["value", "low", "high"]].astype(float)
axes[1].hlines(halves.index, limits["low"], limits["high"], color="0.4")
axes[1].plot(limits["value"], halves.index, "o", color="black")
axes[1].axvline(0, color="0.6", linewidth=1)
axes[1].set(xlabel="gap left − half of the gap without weights", ylim=(1.5, -0.5))
axes[1].set_title("95 % paired intervals")
plt.show()

# %%
# On the left, look at both dots of a pair, and not only at their distance: a pair that is closer
# because the right dot moved to the left was levelled down. On the right, an interval that
# contains zero leaves open whether the gap was cut in half.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above.

from helpers.evaluation import Interval, side_of


def say_verdicts():
    half_words = {"below": "cut in half", "above": "NOT cut in half", "undecided": "undecided"}
    words = {"below": "worse", "above": "better", "undecided": "undecided"}
    changes = results[results["metric"] == "balanced accuracy, change"].set_index("arm")
    for arm, half in halves.iterrows():
        limits, change = (
            Interval(*row[["value", "low", "high"]]) for row in (half, changes.loc[arm])
        )
        print(f"{arm}: gap (women − men) {half['before']:+.3f} → {half['after']:+.3f}.")
        print(f"  Cut in half? {half_words[side_of(limits)]}.")
        print(f"  Found: women {half['first_change']:+.3f}, men {half['second_change']:+.3f}.")
        if half["levelled_down"]:
            print("  Levelling down: it closed more by the loss of those who were served better.")
        print(f"  Balanced accuracy {change.value:+.3f}: {words[side_of(change)]}.")


say_verdicts()

# %%
# What this cannot show: it is one seed and a few hundred test films, and the intervals cover other
# test patients, not other trainings. Weights fix what was *counted*: a group that nobody recorded
# gets none, and in a real hospital nobody knows which films were never taken. The next page leaves
# the training as it is and changes decisions afterwards:
# :ref:`sphx_glr_auto_examples_50_fairness_plot_30_thresholds_after_training.py`.

from helpers.results import write_results

gaps = halves.reset_index(names="arm").assign(metric="gap left, less half of it before")
results = pd.concat([results, gaps[["arm", "metric", "value", "low", "high"]]])
write_results(
    results.assign(seed=SEED, round=N_ROUNDS, hospital="all", split="test"),
    "weights_before_training",
)

# %%
# References
# ----------
#
# .. footbibliography::

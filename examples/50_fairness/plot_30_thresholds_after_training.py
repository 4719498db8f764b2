"""
Thresholds after training
=========================

A model was trained on films that were not chosen fairly, and nobody will train it again. What can
still be done is to change where scores become decisions. Should women get a threshold of their
own? What does fairness then mean, and what does it cost?

We will:

1. train one network on films with a planted bias, as on
   :ref:`the page before <sphx_glr_auto_examples_50_fairness_plot_20_weights_before_training.py>`,
2. fit several ways to decide on the validation films,
3. judge them on the test films: whom they find, whom they alarm, how far women and men are apart,
   and in which direction,
4. look at smaller groups, and mark those too small to be judged.

We expect one threshold for all to miss ill women, which is the floor, and a way that aims at one
kind of fairness to be good at that kind, less so at the others. The ceiling is a gap of zero at
the balanced accuracy of the best of them.
"""

# %%
# One model, trained on biased films
# ----------------------------------
#
# Ill women and healthy men are mostly missing from the training films; validation and test films
# are those of all patients. Everything below depends on validation films that are chosen fairly.

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
# The three parities are fairlearn's, and randomize some decisions: the same film shown twice may
# be decided in two ways.

from helpers.evaluation import balanced_accuracy, bootstrap_difference, bootstrap_patients
from helpers.fairness import compare_gaps, fit_thresholds, measure_groups
from helpers.fairness.thresholds import METHODS

RATES = {"selection_rate": "SR", "true_positive_rate": "TPR", "false_positive_rate": "FPR"}
y, sex, patients = test["label"], test["sex"], test["patient"]

decided, groups, rows = {}, {}, []
for method in METHODS:
    thresholds = fit_thresholds(valid["label"], valid["score"], valid["sex"], method)
    decided[method] = thresholds.decide(test["score"], sex)
    groups[method] = measure_groups(y, decided[method], sex, patients)
    gain = bootstrap_difference(balanced_accuracy, y, decided[method], decided["one"], patients)
    rows += [
        {
            "arm": method,
            "metric": "balanced_accuracy",
            **bootstrap_patients(balanced_accuracy, y, decided[method], patients)._asdict(),
        },
        {"arm": method, "metric": "balanced_accuracy_change", **gain._asdict()},
    ]
rates = pd.DataFrame(
    {
        method: {
            f"{short}, {name}": measured.loc["F", rate] - measured.loc["M", rate]
            if name == "F − M"
            else measured.loc[name, rate]
            for rate, short in RATES.items()
            for name in ("F", "M", "F − M")
        }
        | {"balanced accuracy": balanced_accuracy(y, decided[method])}
        for method, measured in groups.items()
    }
).T
rates.round(2)

# %%
# Each row is a way to decide; SR is the share that is called ill, TPR the share of the ill that is
# found, FPR the share of the healthy that is alarmed. The gaps have a **sign**, women minus men: a
# correction can overshoot. A way that makes one gap small need not make the others small.

import matplotlib.pyplot as plt

from helpers.plots import plot_groups

_, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
titles = {
    "true_positive_rate": "ill patients that are found",
    "false_positive_rate": "healthy patients alarmed",
}
for ax, (metric, title) in zip(axes, titles.items(), strict=True):
    plot_groups(pd.concat(groups), metric, ax=ax).set_title(title)
plt.show()

# %%
# For every way there are two dots, women and men. On the left they should lie far to the right,
# on the right far to the left, and in both close together. Now each way is judged by the gap that
# it aims at, on test films, which it has not seen. *Less half* is the size of the gap that is left
# minus half of that with one threshold, on the same resampled patients: below zero, the gap was
# cut in half. The thresholds themselves are taken for given here; with other validation films
# they, and the intervals, would move further.

AIMS = {
    "demographic_parity": "selection_rate",
    "true_positive_rate_parity": "true_positive_rate",
    "equalized_odds": "true_positive_rate",
    "reject_option": "true_positive_rate",
}
halves = pd.DataFrame(
    {
        method: compare_gaps(
            y,
            decided["one"],
            decided[method],
            sex,
            patients,
            between=("F", "M"),
            rate=aim,
            share=0.5,
        )
        for method, aim in AIMS.items()
    }
).T
halves.insert(0, "aims at", pd.Series(AIMS).map(RATES))
halves.rename(
    columns={"value": "less half", "first_change": "women", "second_change": "men"}
).infer_objects().round(3)

# %%
# Parities exclude each other
# ---------------------------
#
# If women and men are not ill equally often, a decision that finds the ill of both equally often,
# and alarms the healthy of both equally often, calls one of them ill more often: the gap of
# selection rates is then :math:`(\text{TPR} - \text{FPR})\,\Delta\pi`, with the difference of
# prevalence :math:`\Delta\pi`. It is zero only if TPR equals FPR, which means that decisions have
# nothing to do with disease; a *perfect* model has the whole :math:`\Delta\pi`. One has to choose
# what should be equal. :func:`~helpers.fairness.split_selection_gap` splits the gap exactly:

from helpers.fairness import split_selection_gap

split = pd.DataFrame(
    {method: split_selection_gap(measured, ("F", "M")) for method, measured in groups.items()}
).T
split.rename(columns="due to {}".format).round(3)

# %%
# Smaller groups
# --------------
#
# Sex is one way to divide patients. Here are the intersections with the age band, for one
# threshold and for equalized odds. Hollow dots have fewer than ten ill or ten healthy patients,
# too few to interpret.

from helpers.data.summary import band_ages

finer = pd.DataFrame({"sex": sex, "age": band_ages(test["age"])})
_, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained", sharey=True)
for ax, method in zip(axes, ("one", "equalized_odds"), strict=True):
    measured = measure_groups(y, decided[method], finer, patients)
    plot_groups(measured, "true_positive_rate", ax=ax).set_title(method.replace("_", " "))
plt.show()

# %%
# Conclusion
# ----------
#
# These sentences are made from the numbers above.

from helpers.evaluation import Interval, side_of

results = pd.DataFrame(rows)


def say_verdicts():
    half_words = {"below": "cut in half", "above": "NOT cut in half", "undecided": "undecided"}
    words = {"below": "worse", "above": "better", "undecided": "undecided"}
    changes = results[results["metric"] == "balanced_accuracy_change"].set_index("arm")
    for method, half in halves.iterrows():
        limits, change = (
            Interval(*row[["value", "low", "high"]]) for row in (half, changes.loc[method])
        )
        print(f"{method}: gap of {half['aims at']} {half['before']:+.3f} → {half['after']:+.3f}.")
        print(f"  Cut in half? {half_words[side_of(limits)]}.", end="")
        print("  It REVERSED the gap." * half["reversed"], end="")
        fell = half["levelled_down"] and half["aims at"] == "TPR"
        print("  Levelling down." * fell)
        print(f"  Balanced accuracy {change.value:+.3f}: {words[side_of(change)]}.")
    for short in RATES.values():
        gaps = rates[f"{short}, F − M"].abs()
        print(f"Smallest gap of {short}: {gaps.idxmin()} ({gaps.min():.3f}), as a point estimate.")
    odds = split.loc["equalized_odds"]
    print(
        f"equalized odds: gap of SR {odds['selection_rate']:+.3f}, of which prevalence "
        f"{odds['prevalence']:+.3f}, which no equalized odds can remove."
    )


say_verdicts()

# %%
# Without touching the model, decisions can be moved towards one of several kinds of fairness, as
# well as the few validation patients allow. A threshold that is fair to women and men says nothing
# about old women. And a threshold by sex needs to know the sex of every patient, and treats two
# patients with one score in two ways: whether that is lawful, or right, is not a question of
# statistics. Weights and thresholds can be combined:
# :ref:`sphx_glr_auto_examples_50_fairness_plot_40_combinations.py`.

from helpers.results import write_results

gaps = halves.reset_index(names="arm").assign(metric="gap left, less half of it before")
results = pd.concat([results, gaps[["arm", "metric", "value", "low", "high"]]])
write_results(
    results.assign(seed=SEED, round=N_ROUNDS, hospital="all", split="test"),
    "thresholds_after_training",
)

# %%
# References
# ----------
#
# .. footbibliography::

r"""
Weights before training, thresholds after it
============================================

The training films were not chosen fairly: most ill women were sent elsewhere, and most healthy men
were never imaged. A network can learn from this that men are ill. Can weights before training,
thresholds after it, or both together close the gap between women and men, and at what cost?

We will:

1. plant this bias in the training films, so that it is known,
2. compute weights from counts that hospitals may share, and train four networks,
3. turn scores into decisions in six ways, each with its own definition of fairness,
4. compare every choice with *no weights and one threshold*, on the same test patients.

We expect the network without weights to miss ill women: with one threshold it is the **floor**.
The **ceiling** is the same network trained on all films. Weights should move the result from the
floor towards the ceiling, and thresholds should close the gap that they are fitted to close. A gap
can also close because men are missed more often: **levelling down** :footcite:p:`mittelstadt2023`,
which was observed in models of chest X-rays :footcite:p:`zhang2022`.
"""

# %%
# A bias that is known
# --------------------
#
# Only training films are left out. Validation and test films include all patients.

from helpers.data import set_up_hospitals
from helpers.display import show
from helpers.fairness import leave_out

IMAGE_SIZE = 32  # pixels, to keep the run short. 224 or more in a real study.
SEED = 0
LEFT_OUT = 0.7  # share of ill women and of healthy men that are missing from the training films

study = set_up_hospitals(needs="sex", seed=SEED)
everybody, labels = study.films, study.labels
films = leave_out(everybody, labels[everybody.index], "sex", "F", share=LEFT_OUT, seed=SEED)

show(labels[films.index].groupby([films["split"], films["sex"]]).agg(["size", "mean"]).round(2))

# %%
# Real models of chest X-rays, too, underdiagnose underserved groups :footcite:p:`seyyed2021`.
#
# Weights from counts
# -------------------
#
# Each hospital counts its training films by sex and label, and the counts are added. Reweighing
# :footcite:p:`kamiran2012` gives a film of group :math:`g` with label :math:`y` the weight
#
# .. math:: w_{gy} = \frac{n_g\, n_y}{n\, n_{gy}},
#
# the number of films expected if group and label were independent, divided by the actual number.

from helpers.fairness import compute_weights, count_groups, sum_counts, weigh_films

training = films[films["split"] == "train"]


def count_films(column):
    of_hospitals = (own for _, own in training.groupby("hospital"))
    how = {"columns": [column], "unit": "films"}
    return sum_counts(count_groups(own, labels[own.index], **how) for own in of_hospitals)


counts = count_films("sex")
reweighed = compute_weights(counts, "kamiran_calders")
both = counts.merge(reweighed)
show(both.assign(weighted=both["count"] * both["weight"]).round(2))

# %%
# In the last column, women and men have the same share of ill films. The sums are those of
# :term:`pooled` films and contain no names of hospitals, so that secure aggregation can add them.
#
# Four networks
# -------------
#
# The weight of a film multiplies its loss. Four networks are trained, each once: without weights;
# reweighed; with one weight for all films of a hospital; and with nobody left out. The third is a
# **null check**. Adam divides a gradient by its size, so that a factor for a whole hospital should
# change almost nothing: the check shows how far two nearly equal trainings differ.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import WeightedChestXrayDataset
from helpers.local_mode import train_and_score
from helpers.models import build_small_cnn

N_ROUNDS = 12  # and one seed, to keep the run short. More of both in a real study.
set_logging_level(logging.ERROR)


def train(table, weights):
    algo = TFFedAvgAlgo(
        model=functools.partial(build_small_cnn, IMAGE_SIZE, (16, 32, 64)),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
        dataset=WeightedChestXrayDataset,
        seed=SEED,
    )
    own = table[table["split"] == "train"]
    weights = weigh_films(own, labels[own.index], weights)
    samples = study.prepare(IMAGE_SIZE, films=table, weights=weights)
    return train_and_score(algo, samples, num_rounds=N_ROUNDS)


ones = compute_weights(counts, "none")
scored = {
    "no weights": train(films, ones),
    "reweighed": train(films, reweighed),
    "null check": train(films, compute_weights(count_films("hospital"), "hospital_balanced")),
    "nobody left out": train(everybody, ones),
}

# %%
# Six ways to decide
# ------------------
#
# All are fitted on validation films, which must have been chosen fairly. The true positive rate
# (TPR) is the :term:`sensitivity`, the false positive rate (FPR) is one minus the
# :term:`specificity`, and the selection rate (SR) is the share of films that are called ill. The
# three parities are fairlearn's. They randomize: one film, shown twice, may get two decisions.
#
# - *one*: a single threshold, the best in :term:`balanced accuracy`. It requires no parity.
# - *per group*: the best threshold for women and for men. It requires no parity either.
# - *demographic parity*: the same SR for both, whoever is ill.
# - *true positive rate parity*: the same TPR for both (equal opportunity).
# - *equalized odds*: the same TPR and the same FPR :footcite:p:`hardt2016`.
# - *reject option*: close to the threshold, decide in favor of the group that is detected too
#   rarely, until TPRs are about equal :footcite:p:`kamiran2012reject`.

import pandas as pd

from helpers.fairness import compare_choices, fit_thresholds, measure_groups
from helpers.fairness.thresholds import METHODS

FLOOR, *references = (("no weights", "one"), ("null check", "one"), ("nobody left out", "one"))
test = scored["no weights"]["test"]  # the same films, in the same order, for all networks
y, sex, patients = test["label"], test["sex"], test["patient"]
choices = [(weights, way) for weights in ("no weights", "reweighed") for way in METHODS]

decided = {}
for weights, way in [*choices, *references]:
    valid = scored[weights]["valid"]
    thresholds = fit_thresholds(valid["label"], valid["score"], valid["sex"], way)
    decided[weights, way] = thresholds.decide(scored[weights]["test"]["score"], sex)
groups = {choice: measure_groups(y, called, sex, patients) for choice, called in decided.items()}
about, how = (FLOOR, sex, patients), {"between": ("F", "M"), "n": 500}  # 2,000 in a real study
compared = compare_choices(y, decided, *about, **how)
compared = compared.rename_axis(["weights", "decisions", "metric"])

GAPS = {
    "true_positive_rate_gap": "gap of TPR",
    "false_positive_rate_gap": "gap of FPR",
    "selection_rate_gap": "gap of SR",
}
rates = pd.concat(groups)["true_positive_rate"].unstack().add_prefix("TPR, ")
after = compared["after"].unstack("metric").loc[list(decided)]
show(rates.join(after.rename_axis([None, None])).rename(columns=GAPS).round(3))

# %%
# Gaps have a **sign**, women minus men: a correction can overshoot. A model that detects nobody has
# no gap either, and a balanced accuracy of one half, which is chance.


from helpers.plots import make_panels, plot_group_pairs

axes = make_panels(2, height=5)
for ax, rate in zip(axes, ("true_positive_rate", "false_positive_rate"), strict=True):
    plot_group_pairs(pd.concat(groups), rate, ("F", "M"), ax=ax)
show()

# %%
# In the upper panel, marks should lie far to the right; in the lower, far to the left; and in both,
# close together. A pair that is closer because the better group lost was levelled down.
#
# The trade-off
# -------------
#
# The figure shows changes against the floor, where the grey lines cross. Intervals are **paired**:
# every resample of the :term:`bootstrap` judges both choices on the same patients.

from helpers.plots import plot_trade_off

changes = compared.unstack("metric").drop(index=[FLOOR])
limits = changes[["low", "high"]].swaplevel(axis=1)
axes = make_panels(2, height=5.2)
for ax, cost in zip(axes, ("true_positive_rate_gap", "selection_rate_gap"), strict=True):
    plot_trade_off(
        changes["value"].astype(float), cost=cost, gain="balanced_accuracy",
        by=("network", "decisions"), limits=limits, ax=ax,
    )  # fmt: skip
    ax.axhline(0, color="0.8", zorder=-1), ax.axvline(0, color="0.8", zorder=-1)
    ax.set(xlabel=f"change of the size of the {GAPS[cost]}", ylabel="change of balanced accuracy")
show()

# %%
# Left is fairer, up is more accurate. Nothing is better in both than a choice on the line. The line
# is selected on these patients, and will look worse on others.
#
# Why a gap of selection rates stays
# ----------------------------------
#
# Suppose that TPR and FPR are the same for women and men. Then the gap of selection rates is
# :math:`(\text{TPR} - \text{FPR})\,\Delta\pi`, with the difference of :term:`prevalence`
# :math:`\Delta\pi`. Unless women and men are ill equally often, it is zero **only if TPR equals
# FPR**, that is, if decisions are unrelated to disease. The gap of a *perfect* model is the whole
# :math:`\Delta\pi`. One has to choose what should be equal. The decomposition is exact:

from helpers.fairness import split_selection_gap

parts = {choice: split_selection_gap(one, ("F", "M")) for choice, one in groups.items()}
split = pd.DataFrame(parts).T.add_prefix("SR gap due to ")
show(split.round(3))

# %%
# Conclusion
# ----------
#
# These sentences are computed from the table of results. A gap was cut in half if its size, less
# half of its size at the floor, is below zero on the resampled patients.

from helpers.evaluation import describe_change
from helpers.fairness import describe_gap
from helpers.results import tidy_values, write_results

halves = compare_choices(y, decided, *about, **how, rates=["true_positive_rate"], share=0.5)
halves = halves.rename_axis(compared.index.names).drop(index="balanced_accuracy", level="metric")
rows = pd.concat([compared, halves.rename(index="{} less half".format, level="metric")])
rows = rows.reset_index().astype({"reversed": float, "levelled_down": float})
rows["arm"] = rows["weights"] + " + " + rows["decisions"]
results = pd.concat([rows, tidy_values(split.set_axis(split.index.map(" + ".join)), seed=SEED)])
results = results.assign(seed=SEED, round=N_ROUNDS, hospital="all", split="test")
write_results(results, "weights_and_thresholds")

STEPS = {
    "Weights": "reweighed + one",
    "Thresholds": "no weights + true_positive_rate_parity",
    "Both": "reweighed + true_positive_rate_parity",
    "Null check": "null check + one",
    "Ceiling": "nobody left out + one",
}


def judge(row, below, above):
    return describe_change(*row[["value", "low", "high"]], below=below, above=above)


def say_verdicts(results):
    table = results.set_index(["metric", "arm"])
    gaps, null = table.loc["true_positive_rate_gap"], STEPS["Null check"]
    for name, arm in STEPS.items():
        half = table.loc["true_positive_rate_gap less half"].loc[arm]
        accuracy = table.loc["balanced_accuracy"].loc[arm]
        print(
            f"{name}: {describe_gap(gaps.loc[arm], 'TPR', ('women', 'men'))}\n"
            f"  Less half of that before: {judge(half, 'cut in half', 'NOT cut in half')}.\n"
            f"  Balanced accuracy: {judge(accuracy, 'worse', 'better')}."
        )
        if arm != null:
            more = abs(gaps["value"][arm]) > abs(gaps["value"][null])
            print(f"  Moves the gap more than the null check: {'yes' if more else 'no'}.")
    sure = [name for name, arm in STEPS.items() if gaps.loc[arm, "high"] < 0]
    print(f"The gap of TPR is smaller, by the paired interval, with: {', '.join(sure) or 'none'}.")
    if gaps.loc[null, "low"] * gaps.loc[null, "high"] > 0:
        print("The null check should change nothing: intervals over patients omit training noise.")
    for way in METHODS[2:]:
        print(f"{way} without weights:".replace("_", " "))
        for gap, name in GAPS.items():
            row = table.loc[gap].loc[f"no weights + {way}"]
            print(f"  size of the {name} {judge(row, 'smaller', 'LARGER')}.")
    for gap, name in GAPS.items():
        after = table.loc[gap]["after"].drop([null, STEPS["Ceiling"]]).abs()
        print(f"Smallest {name}, as a point estimate: {after.idxmin()}.")
    left = table["value"].xs("no weights + equalized_odds", level="arm")
    total, rest = left["SR gap due to selection_rate"], left["SR gap due to prevalence"]
    print(f"Equalized odds leave an SR gap of {total:+.3f}, {rest:+.3f} of it due to prevalence.")


say_verdicts(results)

# %%
# One seed, one planted bias, synthetic films. The intervals cover other test patients, not other
# trainings or other validation films; the null check gives an idea of the first. Of 20 intervals
# one excludes zero by chance. Weights act on what was *counted*, and nobody counts films that were
# never taken. Thresholds by sex need the sex of every patient, and treat two patients with the same
# score differently: whether that is lawful, or right, is not a question of statistics.
#
# References
# ----------
#
# .. footbibliography::

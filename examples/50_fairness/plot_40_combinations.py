"""
Which combination?
==================

Weights before training, thresholds after it, or both? Every choice costs something, and what is
better depends on what one wants to be equal. This page tries all of them on one planted bias and
puts them into one table.

We will:

1. train the same network with five weightings,
2. decide in six ways with each,
3. measure balanced accuracy and three gaps between women and men, all with intervals,
4. mark the choices that are not beaten in both by another: the Pareto front.

We expect no winner. No weights and one threshold are the floor; the upper left corner of the
figure, no gap and the best accuracy, is the ceiling that nothing needs to reach.

In the flow of this project this is *samples → results*, thirty times.
"""

# %%
# The bias
# --------
#
# As on the pages before, ill women and healthy men are mostly missing from the training films, and
# from no others.

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
# Five weightings
# ---------------
#
# All weights are computed from counts that are added over the hospitals.

from helpers.fairness import compute_weights, count_groups, sum_counts, weigh_films

training = films[films["split"] == "train"]


def weigh(scheme):
    columns = ["hospital"] if scheme == "hospital_balanced" else ["sex"]
    counts = sum_counts(
        count_groups(own, labels[own.index], columns, unit="films")
        for _, own in training.groupby("hospital")
    )
    return weigh_films(training, labels[training.index], compute_weights(counts, scheme))


# %%
# The network and its training are those of the other pages.

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


from helpers.fairness.weighting import SCHEMES

scored = {scheme: train(films, weigh(scheme)) for scheme in SCHEMES}

# %%
# Six ways to decide, for each
# ----------------------------
#
# Fitted on the validation films, judged on the test films; by sex, but for the thresholds *per
# hospital*. Intervals are drawn over patients.

from helpers.evaluation import balanced_accuracy, bootstrap_patients
from helpers.fairness import fit_thresholds, measure_gaps
from helpers.fairness.thresholds import PARITIES

N_RESAMPLES = 300  # 2,000 in earnest
GAPS = ("true_positive_rate", "false_positive_rate", "selection_rate")
WAYS = {
    "one": ("one", "sex"),
    "per hospital": ("per_group", "hospital"),
    **{name: (name, "sex") for name in PARITIES},
    "reject_option": ("reject_option", "sex"),
}

rows = []
for weighting, parts in scored.items():
    valid, test = parts["valid"], parts["test"]
    for way, (method, column) in WAYS.items():
        thresholds = fit_thresholds(valid["label"], valid["score"], valid[column], method)
        decisions = thresholds.decide(test["score"], test[column])
        gaps = measure_gaps(
            test["label"], decisions, test["sex"], test["patient"], metrics=GAPS, n=N_RESAMPLES
        )
        gaps.index += "_gap"
        found = {name: (gap.value, gap.low, gap.high) for name, gap in gaps.iterrows()}
        found["balanced_accuracy"] = bootstrap_patients(
            balanced_accuracy, test["label"], decisions, test["patient"], n=N_RESAMPLES
        )
        rows += [(weighting, way, metric, *values) for metric, values in found.items()]
columns = ["weighting", "postprocessing", "metric", "value", "low", "high"]
results = pd.DataFrame(rows, columns=columns)

# %%
# The table
# ---------
#
# A row for each combination; the columns on the right say whether it is on the front, for the gap
# of true positive rates.

from helpers.plots import pareto_front, plot_trade_off

table = results.pivot_table(
    index=["weighting", "postprocessing"], columns="metric", values="value", sort=False
)
table["on the front"] = pareto_front(table["true_positive_rate_gap"], table["balanced_accuracy"])
table.round(3)

# %%
# The figure
# ----------

import matplotlib.pyplot as plt

_, axes = plt.subplots(2, 1, figsize=(8, 8.5), layout="constrained")
for ax, cost in zip(axes, ("true_positive_rate_gap", "selection_rate_gap"), strict=True):
    plot_trade_off(table, cost=cost, gain="balanced_accuracy", by=("weights", "decisions"), ax=ax)
plt.show()

# %%
# Left is fair, up is accurate, and on the line nothing is better in both. The two panels show the
# same thirty choices with another idea of *fair*: a choice on the line above need not be on the
# line below. How far dots may be trusted is a matter of the intervals:

wide = results.assign(width=results["high"] - results["low"]).groupby("metric")["width"].mean()
print("mean width of the intervals\n" + wide.round(3).to_string())

# %%
# Two dots that are closer than that cannot be told apart with these test films. The front is made
# of the luckiest of thirty, so that it will look worse on other patients.
#
# What buys what
# --------------

floor = table.loc[("none", "one")]
weights_only = table.loc[("kamiran_calders", "one")]
thresholds_only = table.loc[("none", "true_positive_rate_parity")]
both = table.loc[("kamiran_calders", "true_positive_rate_parity")]
summary = (
    pd.DataFrame(
        {
            "nothing": floor,
            "weights": weights_only,
            "thresholds": thresholds_only,
            "both": both,
        }
    )
    .T.drop(columns="on the front")
    .astype(float)
)
summary["gap cut in half"] = (
    summary["true_positive_rate_gap"] <= floor["true_positive_rate_gap"] / 2
)
summary.round(3)

# %%
# The rows say what each buys: the change of the gap and that of the balanced accuracy, against
# *nothing*. And parity criteria exclude each other: as long as women and men of these films are
# not ill equally often, no row can have a zero in all three columns of gaps, unless it tells the
# ill from the healthy perfectly, or not at all :footcite:p:`hardt2016`.

best = table[["true_positive_rate_gap", "false_positive_rate_gap", "selection_rate_gap"]].idxmin()
same = best.nunique() == 1
print(best.map(" + ".join).to_string())
print(f"One combination has the smallest of all gaps: {'yes' if same else 'no'}.")

# %%
# One row is a check. A weight that all films of a hospital share should do next to nothing: Adam
# divides by the size of the gradient. What it changes is how far two trainings are apart that
# differ in almost nothing, and no smaller difference in the table means anything.

apart = (table.loc["hospital_balanced"].astype(float) - table.loc["none"].astype(float)).abs()
apart.drop(columns="on the front").round(3)

# %%
#
# Conclusion
# ----------
#
# There is no fair model, there are choices. A table such as this one puts them before those who
# have to answer for them, with intervals that say how much of it is known. One seed, one planted
# bias and synthetic films: nothing here is a clinical result.

from helpers.results import write_results

write_results(
    results.assign(
        seed=SEED,
        round=N_ROUNDS,
        arm=results["weighting"] + " + " + results["postprocessing"],
        hospital="all",
        split="test",
    ),
    "combinations",
)

# %%
# References
# ----------
#
# .. footbibliography::

"""
Weights before training
=======================

Suppose that the training films were not chosen fairly: ill women were mostly sent elsewhere, and
healthy men were hardly ever filmed. A network will learn that men are ill. Can weights on the
films, computed from counts that each hospital may give away, undo that?

We will:

1. plant this bias in the training films, so that we know it; validation and test stay as they are,
2. count, compute weights and look at what they do,
3. train the same network without weights, with weights, and on the films nobody left out,
4. compare how many of the ill women and of the ill men are found.

We expect the network without weights to miss ill women: that is the floor. The ceiling is the
network that was trained on all films. Weights should bring us from one towards the other. They
cannot bring back the films: a few women stand for many.

In the flow of this project this sits on the arrow *hospitals → samples*: a weight for each film is
one more column of the metadata.
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
IMAGE_SIZE = 32  # pixels, since this section trains often. 224 or more in earnest.
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
# Look at the rows of the training films: the share of ill among women and men is nothing like that
# of the test films. Underdiagnosis of this kind, in groups that were served less well, is known
# from real chest X-ray models :footcite:p:`seyyed2021`.
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
# the number of films that one would expect if group and label had nothing to do with each other,
# divided by that which there is.

from helpers.fairness import compute_weights, count_groups, sum_counts, weigh_films

training = films[films["split"] == "train"]


def count_films(table, columns):
    return count_groups(table, labels[table.index], columns, unit="films")


counts = sum_counts(count_films(own, ["sex"]) for _, own in training.groupby("hospital"))
weights = compute_weights(counts, "kamiran_calders")
counts.merge(weights).assign(weighted=lambda table: table["count"] * table["weight"]).round(2)

# %%
# In the last column, women and men have the same share of ill. Counts are whole numbers, so that
# nothing is lost by adding them at a distance:

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
# and how far women and men are apart in it. Intervals are drawn over patients.

from helpers.evaluation import balanced_accuracy, bootstrap_patients
from helpers.fairness import fit_thresholds, measure_gaps, measure_groups

rows, groups = [], {}
for arm, parts in scored.items():
    valid, test = parts["valid"], parts["test"]
    decisions = fit_thresholds(valid["label"], valid["score"], valid["sex"]).decide(test["score"])
    groups[arm] = measure_groups(test["label"], decisions, test["sex"], test["patient"])
    gap = measure_gaps(
        test["label"], decisions, test["sex"], test["patient"], metrics=["true_positive_rate"]
    )
    found = {
        "auc": bootstrap_patients(auc, test["label"], test["score"], test["patient"]),
        "balanced accuracy": bootstrap_patients(
            balanced_accuracy, test["label"], decisions, test["patient"]
        ),
        "gap of true positive rates": gap.loc["true_positive_rate"],
    }
    rows += [
        {"arm": arm, "metric": name, "value": x.value, "low": x.low, "high": x.high}
        for name, x in found.items()
    ]
results = pd.DataFrame(rows)
results.pivot(index="arm", columns="metric", values="value").loc[list(scored)].round(3)

# %%
# Chance has a balanced accuracy of one half and no gap at all: who finds nobody treats everybody
# the same. So both columns must be read together.

import matplotlib.pyplot as plt

from helpers.plots import plot_groups

_, axes = plt.subplots(1, 2, figsize=(10, 3), layout="constrained")
table = pd.concat(groups)
plot_groups(table, "true_positive_rate", ax=axes[0]).set_title("Ill patients that are found")
gaps = results[results["metric"] == "gap of true positive rates"]
axes[1].errorbar(
    gaps["value"],
    gaps["arm"],
    xerr=[gaps["value"] - gaps["low"], gaps["high"] - gaps["value"]],
    fmt="o",
    color="black",
)
axes[1].axvline(0, color="0.6", linewidth=1)
axes[1].invert_yaxis()
axes[1].set(xlabel="gap between women and men", title="95 % intervals over patients")
plt.show()

# %%
# On the left, two dots close to each other are a small gap; on the right is the gap itself, with
# what other test patients might have shown. In words:

gaps = gaps.set_index("arm")["value"]
left = gaps["reweighed"] / gaps["without weights"]
accuracy = results[results["metric"] == "balanced accuracy"].set_index("arm")["value"]
change = accuracy["reweighed"] - accuracy["without weights"]
print(f"Reweighing leaves {left:.0%} of the gap: it is {'' if left <= 0.5 else 'NOT '}cut in half.")
print(f"Balanced accuracy changes by {change:+.3f}.")

# %%
# What this cannot show: it is one seed and a few hundred test films, and the intervals say how
# little that is. Weights fix what was *counted*. A group that nobody wrote down gets none; and
# in a real hospital nobody knows which films were never taken.
#
# Conclusion
# ----------
#
# A bias in who was filmed can be fixed before training by a column of weights, and the hospitals
# need to give away no more than a table of counts. The next page leaves the training as it is and
# fixes decisions afterwards:
# :ref:`sphx_glr_auto_examples_50_fairness_plot_30_thresholds_after_training.py`.

from helpers.results import write_results

write_results(
    results.assign(seed=SEED, round=N_ROUNDS, hospital="all", split="test"),
    "weights_before_training",
)

# %%
# References
# ----------
#
# .. footbibliography::

"""
Was it worth federating, and for whom?
======================================

A federation reports one number: the mean over its hospitals. A hospital has another question:
is the model better on *my* patients than the one that I can train myself? A mean can rise while
a hospital loses.

We will:

1. give every hospital four models: its own, trained **alone**; the **federated** one; the
   federated one **fine-tuned** on its own films; and the one trained on the **pooled** films,
2. judge all of them on each hospital's own test patients, with three scores and intervals,
3. look at differences between models on the *same* patients, which is what an answer needs,
4. test every hospital's own model at all the others,
5. compare what a hospital gains with its size.

*Alone* is the floor: a hospital that does not get above it has no reason to take part. *Pooled*
is the ceiling, and nobody could reach it. We expect small hospitals to gain more than large ones,
as they have fewer films of their own, and fine-tuning to gain something more.
"""

# %%
# Hospitals of unequal size
# -------------------------

from helpers.data import count_hospitals, set_up_hospitals

TASK = "any finding vs none"
IMAGE_SIZE = 48  # pixels, to keep the run short

study = set_up_hospitals(TASK, seed=0)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
counts = count_hospitals(study.films, study.labels)
counts.pivot_table(index="hospital", columns="split", values=["films", "patients"], sort=False)

# %%
# The test patients of a hospital are few: the intervals below will say how few.
#
# Four ways to a model
# --------------------
#
# All of them train the same network with the same optimizer. A hospital makes the same number of
# updates alone and in the federation; fine-tuning adds one round of them; the pooled run makes as
# many as all hospitals together. Every score depends on the seed, so each is trained with three.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.data import ChestXrayDataset
from helpers.models import build_cnn

SEEDS = (0, 1, 2)
N_ROUNDS, N_UPDATES = 7, 20  # to keep the run short; more rounds get further
BUILD = functools.partial(build_cnn, IMAGE_SIZE)


def settings(seed, *, model=BUILD, n_updates=N_UPDATES, learning_rate=2e-3):
    return {
        "model": model,
        "loss": keras.losses.BinaryCrossentropy(from_logits=True),
        "optimizer": keras.optimizers.Adam(learning_rate),
        "index_generator": NpIndexGenerator(batch_size=32, num_updates=n_updates, seed=seed),
        "dataset": ChestXrayDataset,
        "seed": seed,
    }


# %%
# One node is added that no federation has, with everybody's films, for the ceiling. All trainings
# are simulated in this process. SubstraFL trains a federated hospital once more than it averages.

import logging

from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg, SingleOrganization

from helpers.algorithms import TFFedAvgAlgo, TFSingleOrganizationAlgo
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import start_from

set_logging_level(logging.ERROR)
pool = {"train": [samples[hospital]["train"] for hospital in hospitals]}
federation = Federation({**samples, "pool": pool})


def train(strategy, *, at, num_rounds=N_ROUNDS):
    how = {"test_on": hospitals[:1], "num_rounds": num_rounds, "eval_every": num_rounds}
    states, _ = federation.simulate(strategy, train_on=at, **how)
    return states.state[-1].algo.model.get_weights()


def train_one(at, algo, num_rounds=N_ROUNDS):
    strategy = SingleOrganization(algo=algo, metric_functions={"auc": auc})
    return train(strategy, at=[at], num_rounds=num_rounds)


models = {}  # (arm, trained at, seed) -> weights
for seed in SEEDS:
    strategy = FedAvg(algo=TFFedAvgAlgo(**settings(seed)), metric_functions={"auc": auc})
    models["federated", "all", seed] = train(strategy, at=hospitals)
    more = TFSingleOrganizationAlgo(**settings(seed, n_updates=N_UPDATES * len(hospitals)))
    models["pooled", "all", seed] = train_one("pool", more)
    algo = TFSingleOrganizationAlgo(**settings(seed))
    for hospital in hospitals:
        models["alone", hospital, seed] = train_one(hospital, algo)

# %%
# Fine-tuning is an ordinary training at one hospital that starts from the federated weights, by
# :func:`~helpers.models.start_from`. It is short, and takes small steps.

for seed in SEEDS:
    start = start_from(BUILD, models["federated", "all", seed])
    algo = TFSingleOrganizationAlgo(**settings(seed, model=start, learning_rate=5e-4))
    for hospital in hospitals:
        models["fine-tuned", hospital, seed] = train_one(hospital, algo, num_rounds=1)
federation.close()
once = N_UPDATES * N_ROUNDS
print(
    f"{len(models)} models; updates: alone {once}, fine-tuned {once + N_UPDATES} on own films, ",
    end="",
)
print(f"pooled {once * len(hospitals)}")

# %%
# What happens inside a hospital
# ------------------------------
#
# Scores of single films are about patients, and stay where they are. A hospital keeps for each
# model a table with a row for each seed and a column for each test film, and shares **numbers about
# all of its films**: how many it has, three scores for each model, and their intervals.
#
# The scores are the :term:`AUC`; the balanced accuracy at probability one half; and the sensitivity
# at a threshold that calls at least 90 % of the healthy films healthy. That threshold is chosen on
# the test films themselves, which is good enough to compare models, and too good as an estimate.

import numpy as np
import pandas as pd

from helpers.evaluation import (
    balanced_accuracy,
    bootstrap_difference,
    bootstrap_patients,
    sensitivity_at_specificity,
)
from helpers.openers.chest_xray_opener import ChestXrayOpener

METRICS = {
    "auc": auc,
    "balanced_accuracy": balanced_accuracy,
    "sensitivity_at_90": sensitivity_at_specificity,
}
N_RESAMPLES = 300  # to keep the run short; 2,000 in a real study
trained = list(dict.fromkeys((arm, trained_at) for arm, trained_at, _ in models))


test = {name: ChestXrayOpener().get_data([samples[name]["test"]]) for name in hospitals}
patients = {name: data["metadata"]["patient"].to_numpy() for name, data in test.items()}
model = BUILD()


def predict(weights, data):
    model.set_weights(weights)
    dataset = ChestXrayDataset(data, is_inference=True)
    return model.predict_on_batch(dataset[np.arange(len(dataset))])[:, 0]


logits = {
    (arm, trained_at, hospital): np.stack(
        [predict(models[arm, trained_at, seed], data) for seed in SEEDS]
    )
    for arm, trained_at in trained
    for hospital, data in test.items()
}

# %%
# What leaves, first part: every model's score for each seed, on every hospital's test films. It
# is the page's tidy table.

from helpers.results import COLUMNS, write_results

results = pd.DataFrame(
    [
        (seed, N_ROUNDS, arm, hospital, "test", name, metric(test[hospital], row), trained_at)
        for (arm, trained_at, hospital), rows in logits.items()
        for seed, row in zip(SEEDS, rows, strict=True)
        for name, metric in METRICS.items()
    ],
    columns=[*COLUMNS, "trained_at"],
)
write_results(results, "was_it_worth_federating")
own = results[results["trained_at"].isin(["all"]) | (results["trained_at"] == results["hospital"])]
ARMS = ["alone", "federated", "fine-tuned", "pooled"]
table = own.pivot_table(
    index=["metric", "hospital"], columns="arm", values="value", sort=False
).loc[list(METRICS), ARMS]
table.round(3)

# %%
# These are means over the seeds, each hospital on its own test patients. They are no reason to pick
# winners yet.
#
# Intervals over patients
# -----------------------
#
# Films of one patient resemble each other, so that the bootstrap draws *patients*, each with all
# films. It draws the seeds as well, but three of them are too few to show how much seeds differ:
# the intervals are somewhat too narrow.


def rows_of(arm, hospital):
    trained_at = "all" if arm in ("federated", "pooled") else hospital
    return logits[arm, trained_at, hospital]


def interval(name, arm, hospital, *, baseline=None):
    rows = [rows_of(one, hospital) for one in (arm, baseline) if one]
    measure = bootstrap_difference if baseline else bootstrap_patients
    return measure(
        METRICS[name], test[hospital]["labels"], *rows, patients[hospital], n=N_RESAMPLES
    )


def tabulate(name, arms, baseline=None):
    return pd.DataFrame(
        [
            (arm, hospital, *interval(name, arm, hospital, baseline=baseline))
            for arm in arms
            for hospital in hospitals
        ],
        columns=["arm", "hospital", "value", "low", "high"],
    )


intervals = {name: tabulate(name, ARMS) for name in METRICS}

# %%
import matplotlib.pyplot as plt

from helpers.plots import plot_gains, plot_intervals, plot_transfer

_, axes = plt.subplots(1, 3, figsize=(11, 4.2), sharey=True, layout="constrained")
for ax, name in zip(axes, METRICS, strict=True):
    chance = 0.1 if name == "sensitivity_at_90" else 0.5
    plot_intervals(intervals[name], reference=chance, ax=ax).set_xlabel(name.replace("_", " "))
    ax.get_legend().set_visible(ax is axes[0])
plt.show()

# %%
# Each row is a hospital, from top to bottom its four models; bars are 95 % intervals. They are
# wide, since test patients are few, and nearly all bars of a hospital overlap. That does *not* mean
# that the models are equally good: a patient who is hard for one model tends to be hard for the
# others, so that all bars of a hospital shift together.
#
# Differences on the same patients
# --------------------------------
#
# Therefore each resample judges two models on the same patients, and we look at the difference.

PAIRS = {"federated": "alone", "fine-tuned": "federated", "pooled": "federated"}
differences = {
    f"{arm} − {baseline}": tabulate("auc", [arm], baseline) for arm, baseline in PAIRS.items()
}

_, axes = plt.subplots(1, 3, figsize=(11, 3.4), sharex=True, sharey=True, layout="constrained")
for ax, (name, table) in zip(axes, differences.items(), strict=True):
    plot_intervals(table, reference=0, ax=ax).set(title=name, xlabel="difference in AUC")
plt.show()

# %%
# Right of zero the first model of the title is better. Where the bar crosses zero, these patients
# and seeds do not decide. One bar in twenty misses zero by chance alone.
#
# Trained here, tested there
# --------------------------
#
# The models that hospitals trained alone can be tested at the others, too. The diagonal of the left
# table is what a hospital sees when it validates its own model; off the diagonal is what happens
# when that model moves to another hospital.

scores = results[(results["metric"] == "auc") & (results["arm"] != "fine-tuned")]
origin = scores["trained_at"].where(scores["arm"] == "alone", scores["arm"])
matrix = scores.assign(trained_at=origin).pivot_table(
    index="trained_at", columns="hospital", values="value", sort=False
)
matrix = matrix.loc[[*hospitals, "federated", "pooled"], hospitals]
sizes = counts[counts["split"] == "train"].set_index("hospital")["films"]
own_gains = tabulate("auc", ["federated", "fine-tuned"], "alone")

_, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
plot_transfer(matrix, home=hospitals, ax=left).set_title("AUC, mean of the seeds")
plot_gains(own_gains, sizes, ax=right).set(ylabel="AUC gained over alone", title="Gain and size")
plt.show()

# %%
# On the left, compare a column's entries: they are about the same patients. On the right, a slope
# downwards would say that small hospitals gain most. Four points make no law.
#
# What left the hospitals
# -----------------------
#
# Weights, during the training; and for this page:

shared = {
    "numbers of films and patients": counts[["films", "patients", "positive"]].size,
    "scores, one for each model, seed, metric and test hospital": len(results),
    "limits of intervals": 2
    * sum(map(len, [*intervals.values(), *differences.values(), own_gains])),
}
for what, number in shared.items():
    print(f"{number:>4} {what}")

# %%
# No score of a single film is among them. Even so, a number about a handful of patients says much
# about each: a hospital with few test patients may rather keep it to itself. What this page cannot
# show is the future, or other settings: with more rounds, both the federation and a hospital alone
# might get further.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above. The gain is defined as on the main page: over the
# hospital's *own* model, on its *own* test films.

from helpers.evaluation import describe_gains, gain_at_home

gains = {
    arm: gain_at_home(
        auc,
        test,
        {hospital: rows_of(arm, hospital) for hospital in hospitals},
        {hospital: rows_of("alone", hospital) for hospital in hospitals},
        patients,
        n=N_RESAMPLES,
    )
    for arm in ("federated", "fine-tuned")
}


def say_verdicts():
    for arm, table in gains.items():
        print(describe_gains(table, arm))
    alone = matrix.loc[hospitals].to_numpy()
    elsewhere = alone[~np.eye(len(hospitals), dtype=bool)].mean()
    at_home = np.diag(alone).mean()
    print(f"A hospital's own model has {at_home:.3f} at home and {elsewhere:.3f} elsewhere: a gain")
    print(f"over the latter would be larger by {at_home - elsewhere:+.3f}, and is nobody's gain.")
    federated = gains["federated"]["gain"][hospitals]
    correlation = federated.corr(sizes[hospitals], method="spearman")
    held = "yes" if correlation < -0.8 else "NO"
    print(
        f"Small hospitals gain more, as we expected: {held} (rank correlation {correlation:+.2f})."
    )


say_verdicts()

# %%
# "Was it worth it" has as many answers as there are hospitals, and it takes no more than a few
# numbers from everyone to give each its own.
#
# .. seealso::
#
#    :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py` trains through
#    real tasks; :func:`helpers.evaluation.bootstrap_difference` is the interval used here.

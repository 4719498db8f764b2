"""
Calibration and alarm levels per hospital
=========================================

Hospitals have trained one network together. It says *80 %*: does that mean the same in all of
them? And if each raises an alarm above one level, do all get the false alarms that were agreed?

We will:

1. train one network across the hospitals,
2. draw at each of them what it says against what is true,
3. calibrate it with one temperature, with Platt's scaling for all films, and with Platt's scaling
   at each hospital,
4. set an alarm level at a specificity that was agreed on, for all together and at each hospital,
   and see who gets what on other films.

We expect a network of a few hundred updates to be too sure or too shy of itself, and hospitals
with other patients to need other levels. The floor is the network as it is. The ceiling is an
error of zero, which so few films cannot show: a perfect model has some error by chance, too, and
we compute how much.

In the flow of this project this is the arrow *results → page*; what leaves a hospital are two
numbers or one, or nothing, if it keeps its calibration for itself.
"""

# %%
# One network
# -----------

import pandas as pd

from helpers.data import (
    count_hospitals,
    label_films,
    make_hospitals,
    prepare_samples,
    read_radiographs,
)

TASK = "any finding vs none"
IMAGE_SIZE = 32  # pixels, since this section trains often. 224 or more in earnest.
SEED = 0

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = make_hospitals(radiographs.table, labels, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=IMAGE_SIZE, task=TASK)
count_hospitals(films, labels)

# %%
# The training is that of the other pages.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener

N_ROUNDS = 12  # and one seed: enough to see it. More of both in earnest.
set_logging_level(logging.ERROR)


class ChestXrayAlgo(TFFedAvgAlgo):
    def __init__(self):
        super().__init__(
            model=functools.partial(build_cnn, IMAGE_SIZE),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(2e-3),
            index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
            dataset=ChestXrayDataset,
            seed=SEED,
        )


with Federation(samples) as federation:
    states, _ = federation.simulate(
        FedAvg(algo=ChestXrayAlgo(), metric_functions={"auc": auc}),
        num_rounds=N_ROUNDS,
        eval_every=N_ROUNDS,
    )
algo = states.state[-1].algo  # after the last round all hospitals hold the same model
scored = {}
for split in ("valid", "test"):
    opened = ChestXrayOpener().get_data([own[split] for own in samples.values()])
    scored[split] = opened["metadata"].assign(logit=algo.predict(opened)[:, 0])
valid, test = scored["valid"], scored["test"]

# %%
# Three calibrations
# ------------------
#
# All are fitted on validation films. A temperature divides all logits by one number
# :footcite:p:`guo2017`; Platt's scaling multiplies and shifts them. At each hospital it can do so
# without anybody else: that is *Platt, each*, and nothing has to leave.

from helpers.evaluation import (
    Calibration,
    apply_hospitals,
    fit_hospitals,
    fit_platt,
    fit_temperature,
)

temperature = fit_temperature(valid["label"], valid["logit"])
platt = fit_platt(valid["label"], valid["logit"])
own = fit_hospitals(valid["label"], valid["logit"], valid["hospital"])
probabilities = {
    "as it is": Calibration().apply(test["logit"]),
    "one temperature": temperature.apply(test["logit"]),
    "Platt, all": platt.apply(test["logit"]),
    "Platt, each": apply_hospitals(test["logit"], test["hospital"], own),
}
pd.DataFrame(
    {"one temperature": vars(temperature), "Platt, all": vars(platt)}
    | {f"Platt, {name}": vars(calibration) for name, calibration in own.items()}
).T.round(2)

# %%
# A slope below one makes the network less sure of itself, one above it more. A positive intercept
# says that it expected too few ill patients.
#
# What it says against what is true
# ---------------------------------

import matplotlib.pyplot as plt
import numpy as np

from helpers.plots import hospital_colors

colors = hospital_colors(test["hospital"])
EDGES = np.linspace(0, 1, 6)  # five bins: a hospital has few films

_, axes = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained", sharey=True)
for ax, name in zip(axes, ("as it is", "Platt, each"), strict=True):
    ax.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    table = test.assign(said=probabilities[name], bin=np.digitize(probabilities[name], EDGES[1:-1]))
    for hospital, rows in table.groupby("hospital"):
        bins = rows.groupby("bin").agg(
            said=("said", "mean"), true=("label", "mean"), n=("said", "size")
        )
        ax.plot(bins["said"], bins["true"], color=colors[hospital], linewidth=1)
        ax.scatter(
            bins["said"], bins["true"], s=3 * bins["n"], color=colors[hospital], label=hospital
        )
    ax.set(title=name, xlabel="probability that the network says", xlim=(0, 1), ylim=(-0.03, 1.03))
axes[0].set_ylabel("share of films with a finding")
axes[1].legend(fontsize=8, markerscale=0.5)
plt.show()

# %%
# A dot on the line means what it says. Dots are as large as their number of films; a small one far
# from the line is noise. Above the line the network is too shy, below it too sure.
#
# The expected calibration error is the mean distance from the line. Next to it stands what it would
# be if every probability were *exactly* right, and labels were drawn from it: no calibration can
# be seen to be better than that.

from helpers.evaluation import bootstrap_patients, calibration_error

rng = np.random.default_rng(SEED)


def error_by_chance(said, n_draws=200):
    draws = rng.random((n_draws, len(said))) < said
    return np.mean([calibration_error(drawn, said) for drawn in draws])


rows = []
for name, said in probabilities.items():
    for hospital in ["all", *sorted(set(test["hospital"]))]:
        mine = np.ones(len(test), bool) if hospital == "all" else (test["hospital"] == hospital)
        mine = np.asarray(mine)
        error = bootstrap_patients(
            calibration_error, test["label"][mine], said[mine], test["patient"][mine], n=500
        )
        rows.append(
            {
                "arm": name,
                "hospital": hospital,
                "metric": "calibration_error",
                **error._asdict(),
                "by_chance": error_by_chance(said[mine]),
            }
        )
results = pd.DataFrame(rows)
errors = results.pivot(index="hospital", columns="arm", values="value")[list(probabilities)]
errors.assign(
    **{
        "by chance, as it is": results[results["arm"] == "as it is"].set_index("hospital")[
            "by_chance"
        ]
    }
).round(3)

# %%
# The interval of an error that cannot be negative is not centered on it, and a hospital with few
# films has a large error whatever is done. So we ask only for the mean over the hospitals:

mean = errors.drop(index="all").mean()
best = mean.idxmin()
print(mean.round(3).to_string())
print(f"The smallest mean error has {best!r}.")

# %%
# Two numbers fitted on a few dozen films may do harm. If *each* is not better than *all*, the
# hospitals are either alike or too small to show how they differ. None of the three changes a
# hospital's AUC: they keep the order of its films.
#
# Alarm levels
# ------------
#
# The hospitals have agreed on a specificity: so many of the healthy shall not be alarmed. One
# level, chosen on everybody's validation films, holds it on average. Does it at each of them?

from helpers.evaluation import choose_threshold, rates_at_threshold

SPECIFICITY = 0.8

common = choose_threshold(valid["label"], valid["logit"], specificity=SPECIFICITY)
alarms = []
for hospital, rows in test.groupby("hospital"):
    known = valid[valid["hospital"] == hospital]
    levels = {
        "one level": common,
        "own level": choose_threshold(known["label"], known["logit"], specificity=SPECIFICITY),
    }
    for arm, level in levels.items():
        rates = rates_at_threshold(rows["label"], rows["logit"], level)
        for metric, index in (("specificity", 1), ("sensitivity", 0)):
            found = bootstrap_patients(
                lambda y, z, level=level, index=index: rates_at_threshold(y, z, level)[index],
                rows["label"],
                rows["logit"],
                rows["patient"],
                n=500,
            )
            alarms.append({"arm": arm, "hospital": hospital, "metric": metric, **found._asdict()})
alarms = pd.DataFrame(alarms)

_, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained", sharey=True)
for ax, metric in zip(axes, ("specificity", "sensitivity"), strict=True):
    for shift, (arm, marker) in zip(
        (-0.12, 0.12), (("one level", "o"), ("own level", "s")), strict=True
    ):
        rows = alarms[(alarms["arm"] == arm) & (alarms["metric"] == metric)].reset_index(drop=True)
        fill = {"one level": "white", "own level": "black"}[arm]
        ax.hlines(rows.index + shift, rows["low"], rows["high"], color="0.6")
        ax.plot(
            rows["value"],
            rows.index + shift,
            marker,
            color="black",
            markerfacecolor=fill,
            label=arm,
        )
    ax.set(xlabel=metric, xlim=(0, 1.02))
axes[0].axvline(SPECIFICITY, color="0.6", linewidth=1, zorder=0)
axes[0].set_yticks(rows.index, rows["hospital"])
axes[0].invert_yaxis()
axes[1].legend(fontsize=8, loc="lower left")
plt.show()

# %%
# On the left, dots should lie on the line that was agreed on; on the right is what that costs in
# patients who are missed. The distance from the line, on average:

held = alarms[alarms["metric"] == "specificity"].assign(
    off=lambda t: (t["value"] - SPECIFICITY).abs()
)
off = held.groupby("arm")["off"].mean()
covers = held[(held["low"] <= SPECIFICITY) & (held["high"] >= SPECIFICITY)].groupby("arm").size()
print(off.round(3).to_string())
print("hospitals whose interval holds the specificity agreed on:")
print(covers.reindex(off.index, fill_value=0).to_string())

# %%
# A level of one's own follows one's own patients, and the luck of one's own few validation films.
# Which of the two weighs more is what the two numbers compare. As validation films grow, so does
# the case for a level of one's own.
#
# Conclusion
# ----------
#
# One model need not mean one meaning. Calibration and alarm levels can be fitted where the patients
# are, after the federation is over, and need no other hospital; they need enough films. Synthetic
# films, one seed: nothing here is a clinical result.

from helpers.results import write_results

write_results(
    pd.concat([results, alarms], ignore_index=True).assign(seed=SEED, round=N_ROUNDS, split="test"),
    "calibration_and_alarms",
)

# %%
# References
# ----------
#
# .. footbibliography::

"""
Hostile hospitals
=================

A hospital that wants to do harm sends an :term:`update` that looks like any other: the right
tensors, finite numbers, a valid file. How much harm can one hospital do, and what bounds it?

We will:

1. train five hospitals together, all of them honest,
2. let one flip the **sign** of its update, or multiply it by **100**,
3. meet both attacks with plain averaging, with checks, and with three **robust averages**.

We expect the checks to stop what is *far too large*, and to pass what is *plausible but hostile*:
robust averages are meant for that. The floor is chance, an :term:`AUC` of one half; the ceiling is
the run in which all hospitals are honest.
"""

# %%
# Five hospitals
# --------------
#
# Robust averages need several hospitals, so the patients are assigned at random to five hospitals
# of equal size. One of them is the attacker. Five is the minimum for multi-:term:`Krum`, which
# needs :math:`n \ge 2f + 3` hospitals if :math:`f` of them may be hostile.

from helpers.data import (
    assign_hospitals,
    label_films,
    prepare_samples,
    read_radiographs,
    split_patients,
)
from helpers.display import show

TASK = "any finding vs none"
IMAGE_SIZE = 32  # pixels, so that many runs fit on one page; 64 or more in a real study
SEED = 0

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = assign_hospitals(radiographs.table[labels.notna()], by="iid", n_hospitals=5, seed=SEED)
films = split_patients(films, labels=labels, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=IMAGE_SIZE, task=TASK)
hospitals = list(samples)
ATTACKER = hospitals[2]
show(films.groupby(["hospital", "split"]).size().unstack())

# %%
# The :term:`algorithm` is that of :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py`,
# with the smaller network of :ref:`sphx_glr_auto_examples_plot_01_your_first_network.py`. Models
# are scored on the test films of all hospitals together: *everyone* is one more hospital.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_small_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener

set_logging_level(logging.ERROR)
N_ROUNDS = 5  # enough to see a collapse; in a real study, train until the AUC no longer rises

algo = TFFedAvgAlgo(
    model=functools.partial(build_small_cnn, IMAGE_SIZE),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    optimizer=keras.optimizers.Adam(2e-3),
    index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
    dataset=ChestXrayDataset,
    seed=SEED,
)
algo.trace(ChestXrayOpener().get_data([samples[ATTACKER]["train"]]))  # once, not in every run
everyone = {"test": [samples[hospital]["test"] for hospital in hospitals]}
federation = Federation(samples | {"everyone": everyone})

# %%
# Two attacks
# -----------
#
# :term:`FedAvg` weights an update by its number of films, and that number is a *claim*. A hospital
# that claims as many films as the four others together, and flips the sign, cancels on average what
# they have learned. The second attack sends 100 times the honest update, with the honest number.
#
# The attacker is made by a :term:`strategy` that
# :class:`wraps <helpers.strategies.WrappedStrategy>` another one and changes what one hospital is
# about to send.

from helpers.strategies import WrappedStrategy

ATTACKS = {  # factor of each tensor, and the films claimed for each film that exists
    "nothing": (1, 1),
    "sign-flipped": (-1, 4),
    "times 100": (100, 1),
}
ATTACKERS_ID = federation.train_nodes(ATTACKER)[0].organization_id


class Hostile(WrappedStrategy):
    def __init__(self, strategy, attack):
        super().__init__(strategy)
        self.factor, self.claim = ATTACKS[attack]

    def update_train_node(self, node, operation, **settings):
        local_state, sent = super().update_train_node(node, operation, **settings)
        if node.organization_id == ATTACKERS_ID:
            sent.parameters_update = [self.factor * tensor for tensor in sent.parameters_update]
            sent.n_samples *= self.claim
        return local_state, sent


# %%
# Five ways to average
# --------------------
#
# - *average*: FedAvg, as it is.
# - *average, checked*: :class:`~helpers.strategies.SafeExchange` skips what its checks refuse, such
#   as an update that is many times as long as the others.
# - *median* and *trimmed mean* of each weight :footcite:p:`yin2018`, and *multi-Krum*
#   :footcite:p:`blanchard2017`, which averages the updates that are closest to each other. None of
#   the three uses the number of films.

import pandas as pd
from substrafl.strategies import FedAvg

from helpers.results import tidy_scores
from helpers.strategies import FedMedian, FedTrimmedMean, MultiKrum, SafeExchange

ARMS = {
    "average": FedAvg,
    "average, checked": lambda *args: SafeExchange(FedAvg(*args), on_fault="skip"),
    "median": FedMedian,
    "trimmed mean": FedTrimmedMean,
    "multi-Krum": MultiKrum,
}


def run(arm, attack):
    _, scores = federation.simulate(
        Hostile(ARMS[arm](algo, {"auc": auc}), attack),
        train_on=hospitals,
        test_on=["everyone"],
        num_rounds=N_ROUNDS,
        eval_every=N_ROUNDS,
    )
    return tidy_scores(scores, arm=arm, seed=SEED, attack=attack)


logging.getLogger("helpers").setLevel(logging.ERROR)  # or every round warns
runs = [run("average", "nothing")]
runs += [run(arm, attack) for attack in ("sign-flipped", "times 100") for arm in ARMS]
results = pd.concat(runs, ignore_index=True)
federation.close()

# %%
# The AUC after the last round. We call it *collapse* if less than half of what the honest run has
# learned is left, *harmless* if it is at most .02 below the honest run, and *harm* in between.


def tabulate_aucs(results):
    last = results[(results["metric"] == "auc") & (results["round"] == N_ROUNDS)]
    return last.pivot_table(index="arm", columns="attack", values="value", sort=False)


def judge(score, honest):
    if score >= honest - 0.02:
        return "harmless"
    return "collapse" if score - 0.5 < (honest - 0.5) / 2 else "harm"


aucs = tabulate_aucs(results)
honest = aucs.loc["average", "nothing"]
print(f"honest run: {honest:.3f}")
attacked = aucs.drop(columns="nothing")
show(attacked.round(3).astype(str) + "  " + attacked.map(judge, honest=honest))

# %%


from helpers.plots import describe_range, legend_below, make_panels

(ax,) = make_panels(1, height=4.4)
attacked.plot.barh(ax=ax, width=0.7, color=["0.35", "#D55E00"], edgecolor="white", legend=False)
for bar in ax.containers[1]:
    bar.set_hatch("//")
ax.axvline(honest, color="black", linewidth=1, linestyle="--", label="all hospitals honest")
ax.invert_yaxis()
ax.set(xlabel="test AUC, films of all hospitals", ylabel="", xlim=(0.4, 1))
legend_below(ax, title="the attacker's update")
said = "; ".join(f"{attack}: {describe_range(attacked[attack])}" for attack in attacked)
ax.set_label(f"AUC of an honest run {honest:.2f}, with an update that is {said}.")
show()

# %%
# Bars that reach the dashed line are harmless. The check of norms can detect an update that is 100
# times as long as the others. A flipped update is as long as an honest one, and passes every check.
# Robust averages need not *recognize* anything: they bound what a single hospital can change.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.results import write_results

write_results(results, "hostile_hospitals")


def say_verdicts(results):
    aucs = tabulate_aucs(results)
    honest = aucs.loc["average", "nothing"]
    attacked = aucs.drop(columns="nothing")
    for attack in attacked:
        for arm, score in attacked[attack].items():
            print(f"{attack}, {arm}: {score:.3f} against {honest:.3f}, {judge(score, honest)}.")
    flipped = attacked["sign-flipped"]
    passes = abs(flipped["average, checked"] - flipped["average"]) < 0.005
    print(f"The checks {'pass' if passes else 'do NOT pass'} the flipped update; expected: pass.")
    stops = judge(attacked.loc["average, checked", "times 100"], honest) == "harmless"
    print(f"The checks {'stop' if stops else 'do NOT stop'} the one times 100; expected: stop.")
    verdicts = attacked.map(judge, honest=honest)
    harmless = verdicts.index[(verdicts == "harmless").all(axis="columns")]
    print(f"Both attacks are harmless with: {', '.join(harmless) or 'none'}.")


say_verdicts(results)

# %%
# This is one seed, with patients assigned at random, which is the easiest case; differences of a
# few hundredths mean nothing. Median and trimmed mean require a majority of honest hospitals, Krum
# requires :math:`n \ge 2f + 3`, and all of them require hospitals that resemble each other: one
# whose patients differ is treated like a hostile one. The attacks here are fixed. An attacker who
# knows the defense adapts to it, and can do more harm than these figures show.
#
# References
# ----------
#
# .. footbibliography::

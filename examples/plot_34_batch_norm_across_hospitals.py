"""
BatchNorm across hospitals
==========================

A BatchNorm layer brings every feature to mean 0 and variance 1 before it goes on
:footcite:p:`ioffe2015`. While it trains it takes both from the batch; afterwards from **moving
statistics** of all the films that passed. Two scanners differ in just these numbers. What should
become of them when hospitals train one network together?

We will:

1. give every hospital a display curve of its own, so that their features differ,
2. list what each of five choices **sends**,
3. train the same network with each, from the same start,
4. look at the hospitals one by one, and at one that **only tests**: whose statistics does it get?

We expect a choice that keeps statistics at home to serve the hospitals that train, and a stranger
only as well as the statistics that it happens to get. GroupNorm has no statistics: we expect the
smallest gap between the two from it. The floor is the network that each hospital trains alone; the
ceiling is the one trained on the pooled films.
"""

# %%
# Hospitals with scanners of their own
# ------------------------------------
#
# The films are those of the other pages, at half their size so that ten runs fit on one page.
# The last hospital does not train.

from helpers.data import set_up_hospitals

TASK = "any finding vs none"
IMAGE_SIZE = 32  # pixels, to keep the run short; 64 and more in a real study
SEED = 0

study = set_up_hospitals(TASK, seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
trainers, stranger = hospitals[:-1], hospitals[-1]
study.films.groupby(["hospital", "split"]).size().unstack()

# %%
# Scanners differ already, but mildly. To see the effect in a short run we exaggerate: each hospital
# gets a power of the pixel values. A power keeps the order of grey levels, so that nothing is lost
# to the eye; mean and variance, which are what BatchNorm looks at, change a lot.

import numpy as np

from helpers.data import ChestXrayDataset
from helpers.openers.chest_xray_opener import ChestXrayOpener

CURVES = dict(zip(hospitals, np.geomspace(0.4, 2.5, len(hospitals)), strict=True))


class ScannerDataset(ChestXrayDataset):
    def __init__(self, data_from_opener, is_inference):
        super().__init__(data_from_opener, is_inference)
        self._powers = data_from_opener["metadata"]["hospital"].map(CURVES).to_numpy("float32")

    def __getitem__(self, indices):
        batch = super().__getitem__(indices)
        x = batch if self._is_inference else batch[0]
        x = x ** self._powers[indices].reshape(-1, 1, 1, 1)
        return x if self._is_inference else (x, batch[1])


# %%
# One film of each hospital, as its network sees it:

import matplotlib.pyplot as plt

from helpers.plots import plot_films

of_hospital = {
    hospital: ScannerDataset(ChestXrayOpener().get_data([splits["train"]]), is_inference=True)
    for hospital, splits in samples.items()
}
pixels = {hospital: dataset[np.arange(100)] for hospital, dataset in of_hospital.items()}
titles = [
    f"{hospital}\nmean {x.mean():.2f}, deviation {x.std():.2f}" for hospital, x in pixels.items()
]
shown = np.stack([x[0] for x in pixels.values()])
plot_films(np.uint8(255 * shown), titles)
plt.show()

# %%
# Five choices
# ------------
#
# :class:`~helpers.algorithms.BatchNorm` names them. Two are SubstraFL's: to average the
# statistics or not. ``LOCAL`` is FedBN :footcite:p:`li2021`, where nothing of these layers leaves
# a hospital. ``FROZEN`` never touches them again after the start. ``GROUP`` replaces each layer by
# GroupNorm :footcite:p:`wu2018`, which takes mean and variance from the film itself.
#
# Frozen statistics need a start that has some. We let the films of one hospital run through the
# network, which trains no weight but fills the statistics, and all choices :func:`start
# <helpers.models.start_from>` there. In a real study this would be a network that was trained
# before.

import keras

from helpers.models import build_cnn, start_from


def build():
    model = build_cnn(IMAGE_SIZE, (16, 32, 32), normalization="batch")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # Keras' 0.99 needs hundreds of batches to forget the start
    return model


keras.utils.set_random_seed(SEED)
first_model = build()
draw = np.random.default_rng(SEED)
for _ in range(30):
    x = of_hospital[trainers[0]][draw.choice(len(of_hospital[trainers[0]]), 32)]
    first_model(x, training=True)
build_started = start_from(build, first_model)

# %%
# What each of them sends in a round, and what it keeps to itself:

import pandas as pd

from helpers.algorithms import BatchNorm
from helpers.exchange import get_parameters


def count_numbers(choice):
    model = choice.change(build_started)()
    sent = get_parameters(choice.exchanged_variables(model))
    n_sent = sum(value.size for value in sent.values())
    return {
        "tensors sent": len(sent),
        "numbers sent": n_sent,
        "kept": model.count_params() - n_sent,
    }


pd.DataFrame({str(choice): count_numbers(choice) for choice in BatchNorm}).T

# %%
# The same training with each
# ---------------------------
#
# One argument changes. ``Federation.simulate`` runs without tasks, with the same results.

import logging

from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.results import tidy_scores

set_logging_level(logging.ERROR)
N_ROUNDS = 8
N_UPDATES = 15  # batches of 32 films in a round, at each hospital

pool = {"train": [samples[hospital]["train"] for hospital in trainers]}
federation = Federation(samples | {"pool": pool})
results = []


def train(arm, batch_norm, train_on=trainers, n_updates=N_UPDATES, trained_at="all"):
    algo = TFFedAvgAlgo(
        model=build_started,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=n_updates, seed=SEED),
        dataset=ScannerDataset,
        batch_norm=batch_norm,
        seed=SEED,
    )
    states, scores = federation.simulate(
        FedAvg(algo=algo, metric_functions={"auc": auc}),
        train_on=train_on,
        test_on=hospitals,
        num_rounds=N_ROUNDS,
        eval_every=N_ROUNDS,
    )
    results.append(tidy_scores(scores, arm=arm, seed=SEED, trained_at=trained_at))
    return states


states = {choice: train(str(choice), choice) for choice in BatchNorm}

# %%
# Floor and ceiling use BatchNorm as anybody would who has all the films in one place.

train("pooled", "averaged", ["pool"], N_UPDATES * len(trainers))
for hospital in trainers:
    train("alone", "averaged", [hospital], trained_at=hospital)

# %%
# Hospital by hospital
# --------------------
#
# Each row is a choice, each point a hospital's own test films; the cross is the stranger. Of the
# networks trained *alone*, a hospital that trains is shown its own, and the stranger their mean.

from helpers.plots import hospital_colors
from helpers.results import write_results

results_table = pd.concat(results, ignore_index=True)
last = results_table[results_table["round"] == N_ROUNDS]
is_own = (last["trained_at"] == "all") | (last["trained_at"] == last["hospital"])
own = last[is_own | (last["hospital"] == stranger)]
table = own.pivot_table(index="arm", columns="hospital", values="value", sort=False)[hospitals]
table = table.loc[["alone", *map(str, BatchNorm), "pooled"]]

colors = hospital_colors(hospitals)
_, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
for hospital in hospitals:
    marker = "x" if hospital == stranger else "o"
    name = f"{hospital}, only tests" if hospital == stranger else hospital
    ax.scatter(table[hospital], table.index, color=colors[hospital], marker=marker, label=name)
ax.scatter(table[trainers].mean(axis="columns"), table.index, color="black", marker="|", s=250)
ax.axvline(0.5, color="0.8", zorder=0)
ax.invert_yaxis()
ax.set(xlabel="AUC after the last round (black bar: mean of those that train)")
ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %%
# The same in numbers, with the gap between the hospitals that train and the stranger:

summary = pd.DataFrame(
    {"those that train": table[trainers].mean(axis="columns"), "stranger": table[stranger]}
)
summary["gap"] = summary["those that train"] - summary["stranger"]
choices = summary.loc[list(map(str, BatchNorm))]
summary.round(3)

# %%
# Differences of a few hundredths are nothing here: one seed, one split, about a hundred test films
# of each hospital. A gap under GroupNorm has another reason than statistics: an unusual display
# curve changes the contrasts *within* a film, and the network has not seen the like. No
# normalization of features undoes that.
#
# Whose statistics does a stranger get?
# -------------------------------------
#
# SubstraFL gives a node that only tests the local state of the **first** hospital that trains.
# Under FedBN the trained scales and shifts differ from hospital to hospital; where they are
# averaged they do not:


def spread(choice):
    """Largest difference between hospitals, for each kind of weight of the first such layer."""
    memory = states[choice]
    rounds = zip(memory.round_idx, memory.state, strict=True)
    models = [state.algo.model for number, state in rounds if number == N_ROUNDS]
    norms = [{w.name: w.numpy() for w in m.get_layer("block1_norm").weights} for m in models]
    return {name: np.ptp([norm[name] for norm in norms], axis=0).max() for name in norms[0]}


pd.DataFrame({str(choice): spread(choice) for choice in BatchNorm}).T.round(4)

# %%
# So under FedBN the *order* of the hospitals decides whose layers the stranger gets. Here is the
# same run again, with another hospital first:

train("local, other order", "local", trainers[::-1])
again = results[-1]
again = again[again["round"] == N_ROUNDS].set_index("hospital")["value"]
both = pd.DataFrame({f"{trainers[0]} first": table.loc["local"], f"{trainers[-1]} first": again})
moved = (both.iloc[:, 1] - both.iloc[:, 0]).loc[hospitals]
print(f"the stranger, {stranger}, moved by {moved[stranger]:+.3f}")
print(f"those that train moved by up to {moved[trainers].abs().max():.3f}")
both.loc[hospitals].round(3)

# %%
# Those that train move, too, although nothing in their training depends on the order, except the
# last digit of a sum. Training amplifies it: where two pixels under a pooling window are equal, a
# last digit decides which one learns. Treat this change as the noise of a single run, and read the
# table above with it in mind.
#
# A hospital that joins later has to be asked for more than its test films: it can estimate
# statistics from films without labels, or train for a round.

federation.close()
write_results(pd.concat(results, ignore_index=True), "batch_norm_across_hospitals")

# %%
# Conclusion
# ----------
#
# These sentences are made from the numbers above. *Noise* is what the other order changed at the
# hospitals that train.


def say_verdicts():
    noise = moved[trainers].abs().max()
    trained, met, gap = (choices[name] for name in ("those that train", "stranger", "gap"))
    print(f"Best for those that train: {trained.idxmax()}, {trained.max():.3f}; noise {noise:.3f}.")
    print(
        f"Best for the stranger: {met.idxmax()}, {met.max():.3f}; "
        f"worst: {met.idxmin()}, {met.min():.3f}."
    )
    group = str(BatchNorm.GROUP)
    held = "as expected" if gap.idxmin() == group else f"NOT as expected: {gap.idxmin()} has less"
    print(f"GroupNorm has a gap of {gap[group]:+.3f}, {held} ({gap.min():+.3f}).")
    alone = summary.loc["alone", "those that train"]
    below = trained.index[trained < alone]
    print(
        f"Alone has {alone:.3f} at home and beats {len(below)} of {len(trained)} choices: ", end=""
    )
    print(f"{', '.join(below) or 'none'}.")


say_verdicts()

# %%
# Say which choice was made: *federated averaging with BatchNorm* can mean at least four different
# things. SubstraFL's default averages scales and shifts and keeps statistics at home. FedBN is made
# for hospitals that differ and are all known. Frozen layers need a start that was worth keeping.
# GroupNorm has no statistics to decide about, for which reason the other pages use it; whether it
# serves a stranger is another question, which the table answers for these films.
#
# .. seealso::
#
#    :class:`~helpers.algorithms.BatchNorm` for each choice in a sentence, and
#    :func:`helpers.models.freeze_layers`, which leaves any layer out of the exchange.
#
# References
# ----------
#
# .. footbibliography::

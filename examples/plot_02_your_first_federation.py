"""
Your first federation
=====================

Three hospitals want one network, and no :term:`film` may leave its :term:`hospital`. How can they
train it together? This page assumes :ref:`sphx_glr_auto_examples_plot_01_your_first_network.py`,
and nothing else. We will:

1. write :term:`federated learning` in a few lines of NumPy and Keras, on one machine,
2. draw what travels,
3. do the same with Substra, software made for this, compare every weight, and say what it adds.

Floor: each hospital trains alone. Ceiling: one network trained on :term:`pooled` films, as nobody
may. We expect both above the floor, and from Substra the same weights as ours, up to rounding.
"""

# %%
# Three hospitals
# ---------------
#
# By default the films are synthetic. We take three hospitals, with these numbers of training films:

import numpy as np

from helpers.data import ChestXrayDataset, set_up_hospitals
from helpers.display import show
from helpers.openers.chest_xray_opener import ChestXrayOpener

IMAGE_SIZE, SEED = 32, 0  # pixels, to keep the run short; 224 or more in a real study
folders = set_up_hospitals("any finding vs none", seed=SEED).prepare(IMAGE_SIZE)
folders = {hospital: folders[hospital] for hospital in list(folders)[:3]}
reader = ChestXrayOpener()
to_train = {hospital: reader.get_data([own["train"]]) for hospital, own in folders.items()}
test = {hospital: reader.get_data([own["test"]]) for hospital, own in folders.items()}
films = {name: ChestXrayDataset(data, is_inference=False)[:] for name, data in to_train.items()}
show({hospital: len(labels) for hospital, (_, labels) in films.items()})

# %%
# Federated averaging
# -------------------
#
# The network is the :term:`CNN` of the page before; its first layer rescales grey levels. In each
# :term:`round`, every hospital starts from the common :term:`weights <weight>`, trains on some
# :term:`batches <batch>` of its own films, and returns the *change* of its weights, its
# :term:`update`. The updates are averaged, each weighted by its hospital's share of all training
# films, and the mean is added to the common weights. That is all of :term:`FedAvg`
# :footcite:p:`mcmahan2017`. SubstraFL's :term:`index generator` draws the batches, here and below.

import keras
import tensorflow as tf
from keras import layers
from substrafl.index_generator import NpIndexGenerator

N_ROUNDS, N_STEPS, RATE = 12, 20, 0.2


def build_network():
    filters = [layers.Conv2D(n, 3, strides=2, activation="relu") for n in (8, 16)]
    filters += [layers.Conv2D(32, 3, activation="relu"), layers.GlobalMaxPooling2D()]
    first = [keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1)), layers.Rescaling(4, -2)]
    return keras.Sequential([*first, *filters, layers.Dense(1)])


# Keep TensorFlow from rearranging formulas, as with Substra below: rounding must be the same.
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
keras.utils.set_random_seed(SEED)
network = build_network()
start = network.get_weights()
loss = keras.losses.BinaryCrossentropy(from_logits=True)
network.compile(optimizer=keras.optimizers.SGD(RATE), loss=loss, jit_compile=False)


def draw_batches(n_steps):
    return NpIndexGenerator(batch_size=32, num_updates=n_steps, seed=SEED)


def train(weights, x, y, batches):
    network.set_weights(weights)
    batches.reset_counter()
    for batch in batches:
        network.train_on_batch(x[batch], y[batch])
    return [after - before for after, before in zip(network.get_weights(), weights, strict=True)]


def federate(hospitals, n_steps=N_STEPS):
    weights, batches = start, {}
    for name, (x, _) in hospitals.items():
        batches[name] = draw_batches(n_steps)
        batches[name].n_samples = len(x)
    n_films = sum(len(x) for x, _ in hospitals.values())
    for _ in range(N_ROUNDS):
        mean = [0] * len(weights)
        for name, (x, y) in hospitals.items():
            update, share = train(weights, x, y, batches[name]), len(x) / n_films
            mean = [so_far + share * own for so_far, own in zip(mean, update, strict=True)]
        weights = [old + change for old, change in zip(weights, mean, strict=True)]
    return weights


federated = federate(films)

# %%
# One network object serves all: ``train`` sets its weights; SGD, unlike Adam, keeps nothing else.
#
# What travels
# ------------

import matplotlib.pyplot as plt

from helpers.plots import hospital_colors, make_panels

middle = {"ha": "center", "va": "center"}


def draw_box(ax, x, y, text, edge="black", face="white"):
    box = {"boxstyle": "round,pad=0.5", "facecolor": face, "edgecolor": edge, "linewidth": 2}
    ax.text(x, y, text, **middle, bbox=box)


def draw_arrow(ax, start, end, text, color="black"):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color, "linewidth": 2})
    ax.text(*np.mean([start, end], axis=0), text, **middle, backgroundcolor="white")


(ax,) = make_panels(1, height=4.4)
ax.set(xlim=(0, 9), ylim=(0, 6), title="Weights go down, updates go up, films stay")
ax.set_axis_off()
sizes = ", ".join(f"{len(x)} films of {hospital}" for hospital, (x, _) in films.items())
ax.set_label(f"{sizes}; their updates are averaged in one place.")
draw_box(ax, 4.5, 5.5, "add the weighted mean of the updates to the weights".center(60))
for place, (hospital, color) in enumerate(hospital_colors(films).items()):
    x = 1.5 + 3 * place
    draw_box(ax, x, 2.4, hospital, edge=color)
    draw_arrow(ax, (x - 0.5, 4.9), (x - 0.5, 2.9), "weights", color)
    draw_arrow(ax, (x + 0.5, 2.9), (x + 0.5, 4.9), "update", color)
    ax.text(x, 0.15, f"{len(films[hospital][0])} films", **middle)
    picture = ax.inset_axes([x - 0.7, 0.4, 1.4, 1.4], transform=ax.transData)
    picture.imshow(films[hospital][0][0, :, :, 0], cmap="gray", vmin=0, vmax=1)
    picture.set_axis_off()
show()
print(f"numbers that each arrow carries: {(n_numbers := network.count_params()):,}")

# %%
# Every arrow carries that many numbers, however many films there are; up goes the number of films,
# too. SubstraFL sends down the mean update, and each hospital adds it: the weights are the same.
# Films and labels stay; test scores leave. An update may still reveal something of the films, see
# :ref:`sphx_glr_auto_examples_plot_43_smaller_updates_and_a_curious_aggregator.py`.
#
# Floor and ceiling
# -----------------
#
# With one hospital, ``federate`` is ordinary training: the floor; with the pool, the ceiling, which
# takes as many steps as all hospitals together. Each hospital tests on its own test films.

from helpers.evaluation import auc, gain_at_home

alone = {hospital: federate({hospital: own}) for hospital, own in films.items()}
pool = [np.concatenate(parts) for parts in zip(*films.values(), strict=True)]
pooled = federate({"pool": pool}, n_steps=N_STEPS * len(films))


def predict(weights, hospital):
    network.set_weights(weights)
    return network(ChestXrayDataset(test[hospital], is_inference=True)[:]).numpy()[:, 0]


patients = {hospital: data["metadata"]["patient"] for hospital, data in test.items()}
by_own = {hospital: predict(alone[hospital], hospital) for hospital in films}
gains = {}
for arm, weights in {"federated": federated, "pooled": pooled}.items():
    by_all = {hospital: predict(weights, hospital) for hospital in films}
    gains[arm] = gain_at_home(auc, test, by_all, by_own, patients)
show(gains["federated"].rename(columns={"ours": "federated", "theirs": "alone"}).round(3))

# %%
# The same with Substra
# ---------------------
#
# Substra runs each hospital's work where its films are; SubstraFL is its library for federated
# learning. The :term:`algorithm` says how a hospital trains, the :term:`strategy` what is averaged.
# :class:`~helpers.local_mode.Federation` sets up hospitals in :term:`local mode`, on this machine.
# Here ``simulate`` still runs all of it in this process: nothing is kept apart yet.

import logging

from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.local_mode import Federation
from helpers.models import start_from

set_logging_level(logging.ERROR)


class FirstAlgo(TFFedAvgAlgo):
    def __init__(self):
        super().__init__(
            model=start_from(build_network, start),
            loss=loss,
            optimizer=keras.optimizers.SGD(RATE),
            index_generator=draw_batches(N_STEPS),
            dataset=ChestXrayDataset,
            seed=SEED,
        )


strategy = FedAvg(algo=FirstAlgo(), metric_functions={"auc": auc})
with Federation(folders) as federation:
    states, scores = federation.simulate(strategy, num_rounds=N_ROUNDS, eval_every=N_ROUNDS)
    algos = federation.algos(states)
tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": False})

# %%
# Both runs start from ``start`` and draw batches with the same seed. So after the last round, the
# weights at every hospital should equal ours.

differences = [
    np.abs(ours - theirs).max()
    for hospital in films
    for ours, theirs in zip(federated, algos[hospital, N_ROUNDS].model.get_weights(), strict=True)
]
largest = max(np.abs(array).max() for array in federated)
print(f"largest difference of a weight: {max(differences):.0e}; largest weight: {largest:.2f}")

# %%
# What Substra adds
# -----------------
#
# Each hospital is an :term:`organization`. Through its :term:`client`, its access to Substra, it
# registers an :term:`opener`, the script that reads its films, and where the films are; they stay.
# A :term:`task` is one step at one organization: train, average or evaluate. A :term:`permission`
# lists the organizations that may use an opener, a model or an update. Substra records each task.
# Here the first hospital also averages; any organization may, and it needs no films for it.

(ax,) = make_panels(1, height=4.8)
ax.set(xlim=(0, 10), ylim=(0, 8), title="Films are only read by tasks of their own organization")
ax.set_axis_off()
frames = (0.1, 0.9, 5.9, 7), (7.3, 4.7, 2.6, 3.2), (7.3, 0.9, 2.6, 3.2)  # left, bottom, size
colors = hospital_colors(films).items()
for (name, color), (left, bottom, *size) in zip(colors, frames, strict=True):
    ax.add_patch(plt.Rectangle((left, bottom), *size, fill=False, edgecolor=color, linewidth=2))
    ax.text(left + 0.2, bottom + size[1] - 0.5, name if left > 1 else f"organization {name}")
places = (4.5, 2.6), (8.6, 6.1), (8.6, 2.3)
for x, y, text in ((0.8, 0.3, "task"), (4.5, 6, "average"), *[(x, y, "train") for x, y in places]):
    draw_box(ax, x, y, text, face="#FFE2A8")
for y, text in ((6.4, "client"), (4.3, "opener"), (1.8, "films")):
    draw_box(ax, 1.2, y, text)
draw_arrow(ax, (1.2, 5.9), (1.2, 4.8), "registers")
draw_arrow(ax, (1.2, 2.3), (1.2, 3.8), "read by")
draw_arrow(ax, (2.1, 4), (3.7, 3), "array")
draw_arrow(ax, (4.5, 3.1), (4.5, 5.5), "update")
draw_arrow(ax, (8, 5.9), (6.9, 4.7), "")
draw_arrow(ax, (8, 2.5), (6.9, 4), "")
draw_arrow(ax, (6.2, 4.6), (5, 5.5), "")
draw_box(ax, 6.6, 4.35, "permission", face="0.9")
ax.text(1.5, 0.3, "runs at one organization, and is recorded by Substra", va="center")
said = "the client registers an opener, which reads films for a task; updates need a permission"
ax.set_label(f"Diagram of {len(films)} organizations: {said}.")
show()

# %%
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

import pandas as pd

from helpers.evaluation import describe_gains, tidy_gains
from helpers.results import tidy_facts, write_results

facts = {("Substra", "largest difference of a weight"): max(differences)}
facts["Substra", "largest weight"] = largest
facts["federated", "numbers in an update"] = n_numbers
tidy = tidy_gains(gains, seed=SEED, rounds=dict.fromkeys(("alone", *gains), N_ROUNDS))
results = pd.concat([tidy, tidy_facts(facts, seed=SEED)])
write_results(results, "your_first_federation")


def say_verdicts(results):
    for arm in ("federated", "pooled"):
        print(describe_gains(results, arm))
    value = results.groupby(["arm", "metric"])["value"].max()
    difference = value["Substra", "largest difference of a weight"]
    allowed = 1e-5 * value["Substra", "largest weight"]
    word = "agree up to rounding" if difference <= allowed else "do NOT agree"
    print(f"By hand and with Substra, the weights {word}: largest difference {difference:.0e}.")


say_verdicts(results)

# %%
# This is one seed, few rounds, and no clinical result. With real tasks:
# :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py`.
#
# References
# ----------
#
# .. footbibliography::

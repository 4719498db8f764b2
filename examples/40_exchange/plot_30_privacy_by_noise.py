r"""
Privacy by noise
================

An update says something about the films that made it. How much? A hospital that wants a *bound*,
rather than a hope, must **clip** what each film contributes, **noise** the sum, and draw at random
which films take part. This is DP-SGD :footcite:p:`abadi2016`. What does the bound cost?

We will:

1. look at the clipping, film by film, and at the noise beside it,
2. ask how much privacy a training **spends**, and how much noise a given sum would need,
3. train with more and more noise, and draw accuracy against :math:`\varepsilon`,
4. say what is protected, and what is not.

We expect hundreds of films to be few. The noise is the same whether ten films hide behind it or
ten thousand, so that small hospitals pay most. The ceiling is the federation without clipping and
noise; the floor is what a hospital reaches alone, where nothing is sent and nothing needs to be
hidden. Below the floor there is no reason to federate.

In the flow of this project the page stands between algorithm and exchange: opener → **algorithm**
→ exchange → strategy → results.
"""

# %%
# Hospitals and network
# ---------------------
#
# The hospitals are those of the other pages. The network is small: noise is added to every
# weight, so that each weight which is not needed costs. It uses GroupNorm. BatchNorm is refused
# here, because it mixes the films of a batch and keeps statistics of them.

from helpers.data import label_films, make_hospitals, prepare_samples, read_radiographs

TASK = "any finding vs none"
IMAGE_SIZE = 32  # pixels
SEED = 0

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = make_hospitals(radiographs.table, labels, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=IMAGE_SIZE, task=TASK)
hospitals = list(samples)
train_films = films[films["split"] == "train"]
n_films = train_films["hospital"].value_counts()[hospitals]
n_films

# %%
# The algorithm gets two things: the settings in :class:`~helpers.algorithms.DPSGD`, and an index
# generator that draws each film into each batch with the same probability, independently of the
# others. It is *that* sampling for which privacy can be accounted; a batch has 64 films only on
# average.
#
# The page fixes both seeds, so that every build is the same. **A seed that others know protects
# nothing.** Leave both out in a real study: each hospital then draws secrets of its own, and keeps
# them in its :term:`local state`. No update holds them. But SubstraFL allows every hospital that
# tests to read the local states of all that train, as one without training needs a model to test;
# and whoever knows the secrets can subtract the noise. What is promised below is promised against
# those who see the updates alone.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import DPSGD, PoissonIndexGenerator, TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.models import build_cnn

BATCH_SIZE = 64
N_UPDATES = 8  # in a round, at each hospital
N_ROUNDS = 6
CLIP_NORM = 0.5

build = functools.partial(build_cnn, IMAGE_SIZE, (8, 16), 0.0)


def make_algo(noise_multiplier=None):
    how = {"index_generator": NpIndexGenerator(BATCH_SIZE, N_UPDATES, seed=SEED)}
    if noise_multiplier is not None:
        how = {
            "index_generator": PoissonIndexGenerator(BATCH_SIZE, N_UPDATES, seed=SEED),
            "privacy": DPSGD(CLIP_NORM, noise_multiplier, seed=SEED),
        }
    return TFFedAvgAlgo(
        model=build,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.2, momentum=0.9),
        dataset=ChestXrayDataset,
        seed=SEED,
        **how,
    )


print(f"{make_algo().model.count_params():,} weights")

# %%
# What a film contributes
# -----------------------
#
# Without clipping, a film's gradient may be as long as it likes, and one odd film can turn the
# sum. These are the lengths for the films of one hospital, at the first weights:

import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from helpers.openers.chest_xray_opener import ChestXrayOpener

hospital = hospitals[0]
dataset = ChestXrayDataset(
    ChestXrayOpener().get_data([samples[hospital]["train"]]), is_inference=False
)
algo = make_algo()
loss = keras.losses.BinaryCrossentropy(from_logits=True)


def gradient_length(x, y):
    with tf.GradientTape() as tape:
        value = loss(y, algo.model(x, training=True))
    return tf.linalg.global_norm(tape.gradient(value, algo.model.trainable_variables))


traced_length = tf.function(gradient_length, autograph=False)
lengths = [float(traced_length(*dataset[[number]])) for number in range(len(dataset))]
_, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.hist(lengths, bins=30, color="0.6")
ax.axvline(CLIP_NORM, color="black")
ax.set(xlabel="length of a film's gradient (line: where it is clipped)", ylabel="films")
plt.show()

# %%
# After clipping, no film can move the sum by more than the line. The noise is measured in the
# same unit. Its length grows with the root of the number of weights, while a batch can add up to
# no more than its films:

n_weights = algo.model.count_params()
print(f"sum of {BATCH_SIZE} clipped films, if all agreed: {BATCH_SIZE * CLIP_NORM:5.1f}")
for noise in (0.3, 1.0, 3.0):
    print(f"noise with multiplier {noise}:  {noise * CLIP_NORM * n_weights**0.5:18.1f}")

# %%
# What a training spends
# ----------------------
#
# :func:`~helpers.algorithms.spent_epsilon` adds up the updates :footcite:p:`koskela2020`, with the
# package dp-accounting. :math:`\varepsilon` bounds how much likelier *anything* that is sent can
# become because one film was there: at most :math:`e^\varepsilon` times, but for a chance of
# :math:`\delta`. 1 is called strong, 10 is :math:`e^{10}` and says little.
#
# Each hospital has an :math:`\varepsilon` of its own: it clips and noises at home, and no film is
# in two hospitals. SubstraFL trains once more than it averages, and the last update is sent too.

import pandas as pd

from helpers.algorithms import find_noise, spent_epsilon

DELTA = 1e-3  # to be well below one in the number of films
NOISES = (0.3, 1.0, 3.0)
n_updates = N_UPDATES * (N_ROUNDS + 1)
spent = pd.DataFrame(
    {
        f"noise {noise}": {
            hospital: spent_epsilon(n, BATCH_SIZE, n_updates, noise, DELTA)
            for hospital, n in n_films.items()
        }
        for noise in NOISES
    }
)
spent.assign(films=n_films).round(2)

# %%
# The smaller the hospital, the more it spends for the same noise: its films take part more often.
# Asked the other way round, with :func:`~helpers.algorithms.find_noise`:

smallest = n_films.min()
for factor in (1, 10):
    noise = find_noise(3.0, factor * smallest, BATCH_SIZE, n_updates, DELTA / factor)
    print(f"noise multiplier for ε = 3 with {factor * smallest:5,} films: {noise:.2f}")

# %%
# What it costs
# -------------
#
# The same training without clipping, with clipping alone, and with three amounts of noise; then
# each hospital alone, without either.

import logging

from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.results import tidy_scores

set_logging_level(logging.ERROR)
federation = Federation(samples)


def train(arm, noise_multiplier=None, train_on=(), test_on=(), epsilon=np.inf):
    algo = make_algo(noise_multiplier)
    _, scores = federation.simulate(
        FedAvg(algo=algo, metric_functions={"auc": auc}),
        train_on=train_on,
        test_on=test_on,
        num_rounds=N_ROUNDS,
        eval_every=N_ROUNDS,
    )
    return tidy_scores(scores, arm=arm, seed=SEED, epsilon=epsilon)


results = [train("no clipping, no noise"), train("clipping alone", 0.0)]
for noise in NOISES:
    results.append(train(f"noise {noise}", noise, epsilon=spent[f"noise {noise}"].max()))
for hospital in hospitals:
    results.append(train("alone", train_on=[hospital], test_on=[hospital], epsilon=0.0))
federation.close()

# %%
# Accuracy against :math:`\varepsilon` of the hospital that spends most:

from helpers.plots import hospital_colors
from helpers.results import compare_arms, write_results

results = pd.concat(results, ignore_index=True)
write_results(results, "privacy_by_noise")
table = compare_arms(results)
table.insert(0, "largest ε", results.groupby("arm")["epsilon"].first())

private = table[table.index.str.startswith("noise")]
colors = hospital_colors(hospitals)
_, ax = plt.subplots(figsize=(8, 4.2), layout="constrained")
for hospital in hospitals:
    ax.plot(
        private["largest ε"],
        private[hospital],
        "o-",
        color=colors[hospital],
        alpha=0.5,
        label=hospital,
    )
ax.plot(private["largest ε"], private["mean"], "ks-", label="mean of the hospitals")
lines = {"no clipping, no noise": "-", "clipping alone": "--", "alone": ":"}
for arm, style in lines.items():
    ax.axhline(table.loc[arm, "mean"], color="black", linestyle=style, linewidth=1, label=arm)
ax.axhline(0.5, color="0.8", zorder=0)
ax.set(xscale="log", xlabel="ε of one film (more to the right: less privacy)", ylabel="test AUC")
ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
plt.show()

# %%
# The same in numbers. *Alone* sends nothing, so that its :math:`\varepsilon` is 0.

floor = table.loc["alone", "mean"]
for arm, row in private.iterrows():
    verdict = "above" if row["mean"] > floor else "not above"
    print(f"{arm}: ε = {row['largest ε']:6.1f}, {verdict} what the hospitals reach alone")
table.round(3)

# %%
# One seed, one network and six rounds; a few hundredths either way mean nothing, and settings that
# suit the noise better (larger batches, fewer weights, a network trained before on other films)
# would move the curve. They would not make few films many. Note also that to *choose* such
# settings by trying costs privacy again, if they are tried on the same films.
#
# What is protected
# -----------------
#
# **One film.** A patient has several here, and what is spent adds up: for :math:`k` films it is
# :math:`k\varepsilon`. The simple remedy is to train on one film of each patient, which makes
# the films fewer still.

per_patient = train_films.groupby(["hospital", "patient"]).size().groupby("hospital").max()
pd.DataFrame({"most films of a patient": per_patient}).assign(
    **{f"ε of that patient, {name}": spent[name] * per_patient for name in spent}
).round(1)

# %%
# **Not protected:** the number of films, which SubstraFL sends as it is; the scores of an
# evaluation, computed on test films without noise; and that a hospital takes part at all. Nor does
# :math:`\varepsilon` speak about what the network learned *rightly*: if films of smokers look
# different, the network may tell smokers, whoever was in the training.
#
# **And it presumes** that seeds are secret, and that the code does what it says: the noise comes
# from an ordinary generator in single precision, which nobody has hardened.
#
# Conclusion
# ----------
#
# A bound has a price, which can be known beforehand: the number of films, the batch, the updates
# and the noise say what is spent, without looking at a film. With hospitals of this size, look at
# the figure before you promise anybody both privacy and accuracy.
#
# .. seealso::
#
#    :class:`~helpers.algorithms.DPSGD` for the equation, and
#    :ref:`sphx_glr_auto_examples_40_exchange_plot_10_an_exchange_one_can_trust.py` for what a
#    curious reader finds in an update without noise.
#
# References
# ----------
#
# .. footbibliography::

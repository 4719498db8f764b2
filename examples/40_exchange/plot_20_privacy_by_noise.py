r"""
Privacy by noise
================

An update says something about the films that made it. How much? A hospital that wants a *bound*,
rather than a hope, must **clip** what each film or patient contributes, add **noise** to the sum,
and draw at random who takes part. This is DP-SGD :footcite:p:`abadi2016`. What does the bound cost?

We will:

1. look at the clipping, film by film, and at the noise beside it,
2. compute how much privacy a training **spends**, for a film and for a patient,
3. train with noise, and draw each hospital's AUC against its own :math:`\varepsilon`,
4. say what is protected, and what is not.

We expect hundreds of films to be too few. The noise is the same whether ten films hide behind it
or ten thousand, so that small hospitals pay most. The ceiling is the federation without clipping
and noise; the floor is what a hospital reaches alone, where nothing is sent. Below the floor there
is no reason to federate.
"""

# %%
# Hospitals and network
# ---------------------
#
# The network is small: noise is added to every weight, so that each weight that is not needed
# costs. It uses GroupNorm. BatchNorm is refused here, because it mixes the films of a batch and
# keeps statistics of them.

from helpers.data import set_up_hospitals

IMAGE_SIZE = 32  # pixels
SEED = 0

study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
training = study.films[study.films["split"] == "train"].groupby("hospital")
sizes = training.agg(films=("image", "size"), patients=("patient", "nunique")).loc[hospitals]
sizes["most films of a patient"] = training["patient"].agg(lambda p: p.value_counts().max())
sizes

# %%
# Private training needs an index generator that draws each film into each batch with the same
# probability, independently of the others: privacy can be accounted for *that* sampling. A batch
# has 64 films only on average.
#
# With ``unit="patient"`` patients are drawn, the gradients of a patient's films are averaged and
# clipped together, and the guarantee is the **patient's** :footcite:p:`mcmahan2018`. A batch has
# fewer patients than films, so that about as many films take part.
#
# The page fixes its seeds, so that every build is the same. **A seed that others know protects
# nothing.** Leave seeds out in a real study: each hospital then draws secrets of its own, and keeps
# them in its :term:`local state`. No update holds them. But SubstraFL allows every hospital that
# tests to read the local states of all that train, as one without training needs a model to test;
# and whoever knows the secrets can subtract the noise. What is promised below is promised against
# those who see the updates alone.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import DPSGD, PoissonIndexGenerator, TFFedAvgAlgo
from helpers.data import ChestXrayDataset, PatientDataset
from helpers.models import build_cnn

BATCH_SIZES = {"sample": 64, "patient": 24}
WHO = {"sample": "film", "patient": "patient"}  # whose contribution is clipped
N_UPDATES = 8  # in a round, at each hospital
N_ROUNDS = 6  # to keep the run short
CLIP_NORM = 1.0


def make_algo(noise_multiplier=None, unit="sample"):
    size = BATCH_SIZES[unit]
    how = {"index_generator": NpIndexGenerator(size, N_UPDATES, seed=SEED)}
    if noise_multiplier is not None:
        how = {
            "index_generator": PoissonIndexGenerator(size, N_UPDATES, seed=SEED),
            "privacy": DPSGD(CLIP_NORM, noise_multiplier, seed=SEED, unit=unit),
        }
    return TFFedAvgAlgo(
        model=functools.partial(build_cnn, IMAGE_SIZE, (8, 16), 0.0),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.SGD(0.2, momentum=0.9),
        dataset=PatientDataset if unit == "patient" else ChestXrayDataset,
        seed=SEED,
        **how,
    )


# %%
# What a film contributes
# -----------------------
#
# Without clipping, a film's gradient is unbounded, and one odd film can dominate the sum. These are
# the lengths for the films of one hospital, at the first weights:

import matplotlib.pyplot as plt

from helpers.algorithms import gradient_lengths
from helpers.openers.chest_xray_opener import ChestXrayOpener

opened = ChestXrayOpener().get_data([samples[hospitals[0]]["train"]])
algo = make_algo()
loss = keras.losses.BinaryCrossentropy(from_logits=True)
lengths = gradient_lengths(algo.model, loss, ChestXrayDataset(opened, is_inference=False))
_, ax = plt.subplots(figsize=(7, 3), layout="constrained")
ax.hist(lengths, bins=30, color="0.6")
ax.axvline(CLIP_NORM, color="black")
ax.set(xlabel="length of a film's gradient (line: where it is clipped)", ylabel="films")
plt.show()
print(f"{(lengths > CLIP_NORM).sum()} of {len(lengths)} films are clipped.")

# %%
# Clipping shortens a gradient and keeps its direction. It has a price of its own, which *clipping
# alone* shows below. The length of the noise grows with the root of the number of weights, that of
# a sum with the films or patients in it:

n_weights = algo.model.count_params()
NOISES = (0.5, 2.0)
for unit, size in BATCH_SIZES.items():
    print(f"{size} clipped gradients by {unit}, if all agreed: {size * CLIP_NORM:6.1f}")
for noise in NOISES:
    length = noise * CLIP_NORM * n_weights**0.5
    print(f"noise with multiplier {noise}, {n_weights:,} weights: {length:6.1f}")

# %%
# What a training spends
# ----------------------
#
# Two sets of films are **neighbors** if one has *one film more*: a film is added or removed. Then
# :math:`\varepsilon` and :math:`\delta` bound how much likelier *anything* that is sent becomes: at
# most :math:`e^\varepsilon` times, but for a chance of :math:`\delta`. 1 is called strong; 10 is
# :math:`e^{10}` and says little. :math:`\delta` must be well below one in the number :math:`n` of
# films: to publish one film drawn at random has :math:`\varepsilon = 0` and
# :math:`\delta = 1 / n`. By patient, read *patient* for *film*.
#
# :func:`~helpers.algorithms.spent_epsilon` adds up the updates :footcite:p:`koskela2020`, with the
# package dp-accounting. Each hospital has an :math:`\varepsilon` of its own: it clips and adds
# noise at home, and no film is in two hospitals. SubstraFL trains once more than it averages, and
# the last update is sent too.

import pandas as pd

from helpers.algorithms import find_noise, group_privacy, spent_epsilon

DELTA = 1e-5
n_updates = N_UPDATES * (N_ROUNDS + 1)
units = {"sample": sizes["films"], "patient": sizes["patients"]}
spent = {}
for unit, n_of_hospital in units.items():
    for noise in NOISES:
        how = (BATCH_SIZES[unit], n_updates, noise, DELTA)
        spent[unit, noise] = n_of_hospital.map(lambda n, how=how: spent_epsilon(n, *how))
spent = pd.DataFrame(spent)
spent.rename(columns=WHO).round(2)

# %%
# The smaller the hospital, the more it spends for the same noise: its films take part more often.
# Conversely, with :func:`~helpers.algorithms.find_noise`, for the smallest hospital and for one
# with ten times as many films:

for factor in (1, 10):
    n = factor * sizes["films"].min()
    noise = find_noise(3.0, n, BATCH_SIZES["sample"], n_updates, DELTA)
    print(f"noise multiplier for ε = 3 with {n:5,} films: {noise:.2f}")

# %%
# What does a bound for one *film* leave to a patient with :math:`k` films? By group privacy
# :footcite:p:`dwork2014` no more than :math:`k\varepsilon` with
# :math:`k e^{(k - 1)\varepsilon}\delta` in place of :math:`\delta`. From 1 on, such a
# :math:`\delta` excludes nothing: **the guarantee is void.**

k = int(sizes["most films of a patient"].max())
group = pd.DataFrame(
    [group_privacy(spent["sample", noise].max(), DELTA, k) for noise in NOISES],
    index=pd.Index(NOISES, name="noise, by film"),
    columns=["ε", "δ"],
)
group["guarantee"] = ["void" if delta >= 1 else "holds" for delta in group["δ"]]
print(f"The patient with {k} films, at the hospital that spends most:")
group

# %%
# What it costs
# -------------
#
# The training without clipping, with clipping alone, and with two amounts of noise, by film and by
# patient; then each hospital alone, without either.

import logging

from substrafl.logger import set_logging_level

from helpers.local_mode import train_and_score

set_logging_level(logging.ERROR)


def train(algo, *names):
    own = {name: samples[name] for name in names or hospitals}
    return train_and_score(algo, own, num_rounds=N_ROUNDS, splits=["test"])["test"]


scored = {"no clipping, no noise": train(make_algo())}
for unit, who in WHO.items():
    scored[f"clipping alone, by {who}"] = train(make_algo(0.0, unit))
    for noise in NOISES:
        scored[f"noise {noise}, by {who}"] = train(make_algo(noise, unit))
scored["alone"] = pd.concat([train(make_algo(), name) for name in hospitals], ignore_index=True)

# %%
# Every hospital is judged on its own test films; an arm is compared with *alone* on the same
# resampled patients. The intervals say nothing of other seeds.

from helpers.evaluation import auc, compare_at_hospitals

results = compare_at_hospitals(auc, scored, "alone", n=500)
aucs = results[results["metric"] == "score"].pivot(index="arm", columns="hospital", values="value")
aucs = aucs.loc[list(scored), hospitals]
aucs["mean"] = aucs.mean(axis="columns")
aucs.round(3)

# %%
# Each hospital's AUC against its own :math:`\varepsilon`, of a film on the left and of a patient on
# the right. Dotted is what it reaches alone, where :math:`\varepsilon = 0`; dashed is the mean with
# clipping alone; grey is chance.

from helpers.plots import plot_privacy

_, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
for ax, (unit, who) in zip(axes, WHO.items(), strict=True):
    noisy = aucs.loc[[f"noise {noise}, by {who}" for noise in NOISES], hospitals]
    plot_privacy(spent[unit].T, noisy.set_axis(NOISES), aucs.loc["alone", hospitals], ax=ax)
    ax.axhline(aucs.loc[f"clipping alone, by {who}", "mean"], color="black", linestyle="--")
    ax.set_xlabel(f"ε of one {who} (further right: less privacy)")
axes[1].legend(fontsize=8)
plt.show()

# %%
# What is protected
# -----------------
#
# By film: one film. By patient: all training films of one patient. **Not protected** are the
# number of films or patients, which SubstraFL sends as it is; the scores of an evaluation,
# computed on test films without noise; that a hospital takes part at all; and what the network
# learned *rightly*: if films of smokers look different, it may tell smokers, whoever was in the
# training. **And it presumes** that seeds are secret, that settings were not chosen by trying them
# on the same films, and that the code does what it says: the noise comes from an ordinary
# generator in single precision, which is not hardened.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above.

from helpers.evaluation import Interval, side_of


def say_verdicts():
    gains = results[results["metric"] == "gain"].set_index(["arm", "hospital"])
    limits = gains[["value", "low", "high"]]
    for arm in [arm for arm in scored if arm != "alone"]:
        sides = pd.Series({name: side_of(Interval(*limits.loc[arm, name])) for name in hospitals})
        n = {side: (sides == side).sum() for side in ("above", "below", "undecided")}
        gain = aucs.loc[arm, "mean"] - aucs.loc["alone", "mean"]
        print(
            f"{arm}: mean AUC {aucs.loc[arm, 'mean']:.3f}, {gain:+.3f} against alone; hospitals "
            f"above {n['above']}, below {n['below']}, undecided {n['undecided']}."
        )
        losers = [name for name in hospitals if limits.loc[(arm, name), "value"] < 0]
        print(f"  Lower than alone, as a point estimate, at: {', '.join(losers) or 'no hospital'}.")
    for unit, who in WHO.items():
        clipped = aucs.loc[f"clipping alone, by {who}", "mean"]
        price = clipped - aucs.loc["no clipping, no noise", "mean"]
        print(f"Clipping alone by {who} changes the mean AUC by {price:+.3f}.")
        for noise in NOISES:
            price = aucs.loc[f"noise {noise}, by {who}", "mean"] - clipped
            low, high = spent[unit, noise].min(), spent[unit, noise].max()
            print(f"  Noise {noise} on top: {price:+.3f}, ε of a {who} {low:.1f} to {high:.1f}.")


say_verdicts()

# %%
# One seed, one network and six rounds. Larger batches, fewer weights, or pretraining on other films
# would move the figure; they cannot replace missing films. The bound can be computed beforehand.

from helpers.results import write_results

write_results(results.assign(seed=SEED, round=N_ROUNDS, split="test"), "privacy_by_noise")

# %%
# References
# ----------
#
# .. footbibliography::

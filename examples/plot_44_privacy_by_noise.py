r"""
Privacy by noise
================

An :term:`update` reveals something about the films behind it. A hospital that wants to *bound* how
much must **clip** what each film or patient contributes, add **noise** to the sum, and draw at
random who takes part. This is DP-SGD :footcite:p:`abadi2016`, which gives
:term:`differential privacy`. What does the bound cost?

We will:

1. compare the clipped gradients of films with the noise,
2. compute how much privacy a training **spends**, for a film and for a patient,
3. train with noise, and draw each hospital's :term:`AUC` against its own :math:`\varepsilon`,
4. list what is protected, and what is not.

We expect hundreds of films to be too few, and small hospitals to spend most: the noise is the same
whether it hides ten films or ten thousand. The ceiling is the federation without clipping and
noise; the floor is what a hospital reaches alone, below which there is no reason to federate.
"""

# %%
# Hospitals and network
# ---------------------
#
# The network is small, because noise is added to every weight. It uses GroupNorm. BatchNorm is
# refused here: it mixes the films of a batch and keeps statistics of them.

from helpers.data import set_up_hospitals
from helpers.display import show

IMAGE_SIZE = 32  # pixels
SEED = 0

study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
training = study.films[study.films["split"] == "train"].groupby("hospital")
sizes = training.agg(films=("image", "size"), patients=("patient", "nunique")).loc[hospitals]
sizes["most films of a patient"] = training["patient"].agg(lambda p: p.value_counts().max())
show(sizes)

# %%
# Private training needs an :term:`index generator` that draws each film into each :term:`batch`
# with the same probability, independently of the others: the account of privacy assumes it. A batch
# has 48 films only on average.
#
# With ``unit="patient"`` patients are drawn, the gradients of a patient's films are averaged and
# clipped together, and the guarantee is the **patient's** :footcite:p:`mcmahan2018`. A batch has
# fewer patients than films, so that about as many films take part.
#
# The page fixes its :term:`seeds <seed>`, so that every build is the same. **A seed that others
# know protects nothing.** Leave seeds out in a real study: each hospital then draws its own
# secrets, and keeps them in its :term:`local state`. No update contains them. But SubstraFL allows
# every hospital that tests to read the local states of all that train, and whoever knows the
# secrets can subtract the noise. The guarantee below holds against those who see only the updates.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import DPSGD, PoissonIndexGenerator, TFFedAvgAlgo
from helpers.data import ChestXrayDataset, PatientDataset
from helpers.models import build_cnn

BATCH_SIZES = {"sample": 48, "patient": 18}
WHO = {"sample": "film", "patient": "patient"}  # whose contribution is clipped
NOISES = (0.5, 2.0)
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
# Without clipping, a film's gradient is unbounded, and one odd film can dominate the sum. Clipping
# shortens a gradient and keeps its direction. It has its own cost, which *clipping alone* shows
# below. The length of the noise grows with the square root of the number of weights, that of the
# sum with the films or patients in it. Here are the films of one hospital, at the initial weights:

from helpers.algorithms import gradient_lengths
from helpers.openers.chest_xray_opener import ChestXrayOpener

opened = ChestXrayOpener().get_data([samples[hospitals[0]]["train"]])
algo = make_algo()
loss = keras.losses.BinaryCrossentropy(from_logits=True)
lengths = gradient_lengths(algo.model, loss, ChestXrayDataset(opened, is_inference=False))
print(f"{(lengths > CLIP_NORM).sum()} of {len(lengths)} films are clipped, ", end="")
print(f"the longest gradient from {lengths.max():.1f} to {CLIP_NORM:.1f}.")

n_weights = algo.model.count_params()
for unit, size in BATCH_SIZES.items():
    print(f"{size} clipped gradients by {unit}, if all agreed: {size * CLIP_NORM:6.1f}")
for noise in NOISES:
    print(f"noise {noise}, {n_weights:,} weights: {noise * CLIP_NORM * n_weights**0.5:6.1f}")

# %%
# What a training spends
# ----------------------
#
# Two sets of films are **neighbors** if one has *one film more*: a film is added or removed. Then
# anything that is sent is at most :math:`e^\varepsilon` times as likely with one set as with the
# other, except with probability :math:`\delta` (:term:`ε <ε (epsilon)>`). An ε of 1 is called
# strong; 10 allows a factor of :math:`e^{10}` and guarantees little. :math:`\delta` must be well
# below one in the number :math:`n` of films: publishing one film drawn at random has
# :math:`\varepsilon = 0` and :math:`\delta = 1 / n`. By patient, read *patient* for *film*.
#
# :func:`~helpers.algorithms.spent_epsilon` composes the updates :footcite:p:`koskela2020`, with the
# package dp-accounting. Each hospital has its own :math:`\varepsilon`: it clips and adds noise
# locally, and no film is in two hospitals. SubstraFL trains, and sends, once more than it averages.

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
show(spent.rename(columns=WHO).round(2))

# %%
# The smaller a hospital, the more it spends for the same noise: its films take part more often.
# Conversely, :func:`~helpers.algorithms.find_noise` finds the noise for a given
# :math:`\varepsilon`, here for the smallest hospital and for one with ten times as many films:

for factor in (1, 10):
    n = factor * sizes["films"].min()
    noise = find_noise(3.0, n, BATCH_SIZES["sample"], n_updates, DELTA)
    print(f"noise multiplier for ε = 3 with {n:5,} films: {noise:.2f}")

# %%
# What does a bound for one *film* guarantee a patient with :math:`k` films? By group privacy
# :footcite:p:`dwork2014` only :math:`k\varepsilon`, with :math:`k e^{(k - 1)\varepsilon}\delta` in
# place of :math:`\delta`. A :math:`\delta` of 1 or more excludes nothing: **the guarantee is
# void.**

k = int(sizes["most films of a patient"].max())
group = pd.DataFrame(
    [group_privacy(spent["sample", noise].max(), DELTA, k) for noise in NOISES],
    index=pd.Index(NOISES, name="noise, by film"),
    columns=["ε", "δ"],
)
group["guarantee"] = ["void" if delta >= 1 else "holds" for delta in group["δ"]]
print(f"A patient with {k} films, at the hospital that spends most:")
show(group)

# %%
# What it costs
# -------------
#
# We train without clipping, with clipping alone, and with two amounts of noise, by film and by
# patient; then each hospital alone, without clipping and noise. Every hospital is judged on its own
# test films, and every arm is compared with *alone* on the same resampled patients (a
# :term:`bootstrap`). The intervals do not cover other seeds.

import logging

from substrafl.logger import set_logging_level

from helpers.evaluation import auc, compare_at_hospitals
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

results = compare_at_hospitals(auc, scored, "alone", n=500)
aucs = results[results["metric"] == "score"].pivot(index="arm", columns="hospital", values="value")
aucs = aucs.loc[list(scored), hospitals]
aucs["mean"] = aucs.mean(axis="columns")
show(aucs.round(3))

# %%
# The figure shows each hospital's AUC against its own :math:`\varepsilon`, for a film in the upper
# panel and for a patient in the lower. Dotted lines are what a hospital reaches alone, where
# :math:`\varepsilon = 0`; the dashed line is the mean with clipping alone; grey is chance. Below
# its dotted line a hospital would do better alone.


from helpers.plots import legend_below, make_panels, plot_privacy

axes = make_panels(2, height=3.8, sharey=True)
for ax, (unit, who) in zip(axes, WHO.items(), strict=True):
    noisy = aucs.loc[[f"noise {noise}, by {who}" for noise in NOISES], hospitals]
    plot_privacy(spent[unit].T, noisy.set_axis(NOISES), aucs.loc["alone", hospitals], ax=ax)
    ax.axhline(aucs.loc[f"clipping alone, by {who}", "mean"], color="black", linestyle="--")
    ax.set(title=f"By {who}", xlabel=f"ε of one {who} (further right: less privacy)")
legend_below(axes[1], n_columns=4)
show()

# %%

from helpers.results import tidy_values, write_results

mean = aucs["mean"]
steps = {f"clipping alone, by {who}": "no clipping, no noise" for who in WHO.values()}
for noise in NOISES:
    steps |= {f"noise {noise}, by {who}": f"clipping alone, by {who}" for who in WHO.values()}
change = {arm: mean[arm] - mean[before] for arm, before in steps.items()}
measured = {"score": mean, "gain": mean - mean["alone"], "change by this step": change}
about = {"seed": SEED, "round": N_ROUNDS, "split": "test"}
rows = [results.assign(**about), tidy_values(measured, hospital="mean", **about)]
for name, own in spent.iterrows():
    epsilons = {f"noise {noise}, by {WHO[unit]}": own[unit, noise] for unit, noise in spent}
    rows.append(tidy_values({"epsilon": epsilons}, hospital=name, **about))
results = pd.concat(rows, ignore_index=True)
write_results(results, "privacy_by_noise")

# %%
# What is protected
# -----------------
#
# By film: one film. By patient: all training films of one patient. **Not protected** are the
# number of films or patients, which SubstraFL sends as it is; the scores of an evaluation,
# computed on test films without noise; that a hospital takes part at all; and what the network
# learned *rightly*: if films of smokers look different, it may recognize smokers, whoever was in
# the training. **The guarantee presumes** that seeds are secret, that settings were not chosen by
# trying them on the same films, and that the code is correct: the noise comes from an ordinary
# generator in single precision, which is not hardened.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.evaluation import describe_sides


def say_verdicts(results):
    mean = results[results["hospital"] == "mean"].set_index(["metric", "arm"])["value"]
    own = results[results["hospital"] != "mean"].set_index("hospital")
    for arm in mean["gain"].index.drop("alone"):
        gains = own[(own["metric"] == "gain") & (own["arm"] == arm)]
        losers = ", ".join(gains.index[gains["value"] < 0]) or "no hospital"
        print(
            f"{arm}: mean AUC {mean['score', arm]:.3f}, {mean['gain', arm]:+.3f} against alone; "
            f"hospitals {describe_sides(gains)}.\n"
            f"  Lower than alone, as a point estimate, at: {losers}."
        )
    for who in WHO.values():
        change = mean["change by this step", f"clipping alone, by {who}"]
        print(f"Clipping alone by {who} changes the mean AUC by {change:+.3f}.")
        for noise in NOISES:
            arm = f"noise {noise}, by {who}"
            epsilon = own.loc[(own["metric"] == "epsilon") & (own["arm"] == arm), "value"]
            print(
                f"  Noise {noise} on top: {mean['change by this step', arm]:+.3f}, ε of a {who} "
                f"{epsilon.min():.1f} ({epsilon.idxmin()}) to {epsilon.max():.1f} "
                f"({epsilon.idxmax()})."
            )


say_verdicts(results)

# %%
# One seed, one network and six rounds. Larger batches, fewer weights, or pretraining on other films
# would change these figures; they cannot replace missing films.
#
# References
# ----------
#
# .. footbibliography::

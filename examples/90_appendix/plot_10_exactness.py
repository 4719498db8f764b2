"""
How exact the algorithms are
============================

A federated algorithm that is wrong still trains. A flipped sign in a correction costs a few points
of accuracy and raises no error. Do the algorithms of this project compute what their papers say?

We will:

1. let hospitals train a model so small that the same training is a few lines of NumPy,
2. compare one algorithm with its reference in detail, through real tasks,
3. compare all others in the same way,
4. compare those that SubstraFL has for PyTorch with its own classes,
5. check what the papers say must hold, such as limits and sums.

We expect differences of the size of single precision, some :math:`10^{-8}` for weights of this
size, and allow :math:`10^{-6}`. A mistake in a formula would show as :math:`10^{-3}` or more.

**One thing differs from some papers, on purpose.** The papers of Scaffold
:footcite:p:`karimireddy2020` and of the server optimizers :footcite:p:`reddi2021` average the
clients *uniformly*. SubstraFL's strategies weight each hospital by its samples, as Federated
Averaging does :footcite:p:`mcmahan2017`, and so do the references here. With equal hospitals
the two are the same. The page measures how far they are apart with these hospitals.
"""

# %%
# Five hospitals and a linear model
# ---------------------------------
#
# The films are reduced to 8 × 8 pixels and assigned to five hospitals of unequal size: averages
# over films and over hospitals then differ. Three of them train, to keep the run short; all five
# where an average needs as many.

from helpers.data import (
    label_films,
    prepare_samples,
    read_radiographs,
    split_patients,
)
from helpers.data.hospitals import assign_hospitals
from helpers.exactness import N_ROUNDS, N_UPDATES, RATE, SEED, SIZE, draw_indices
from helpers.local_mode import Federation, start_server

start_server()  # TensorFlow is imported for the tasks while the films are prepared

TASK = "any finding vs none"

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = radiographs.table[labels.notna()]
films = assign_hospitals(films, "size", n_hospitals=5, alpha=0.7, seed=SEED)
films = split_patients(films, labels=labels, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=SIZE, task=TASK)
hospitals = list(samples)
THREE = hospitals[:3]
films[films["split"] == "train"]["hospital"].value_counts(sort=False)

# %%
# The model is linear, :math:`a^\top w + b` for a film of 64 pixels, and the loss is the squared
# error, so that a gradient can be written down by hand. A round has four updates.

import keras
import numpy as np

from helpers.data import ChestXrayDataset


def build_linear():
    return keras.Sequential(
        [keras.Input((SIZE, SIZE, 1)), keras.layers.Flatten(), keras.layers.Dense(1)]
    )


def settings(**changes):
    return {
        "model": build_linear,
        "loss": "mse",
        "optimizer": keras.optimizers.SGD(RATE),
        "index_generator": draw_indices(),
        "dataset": ChestXrayDataset,
        "seed": SEED,
    } | changes


# %%
# One comparison in detail
# ------------------------
#
# Federated Averaging :footcite:p:`mcmahan2017`, Algorithm 1, in NumPy:

import inspect

from helpers.numpy_reference import fed_avg

source = inspect.getsource(fed_avg)
print(source[source.rindex('"""') + 4 :])

# %%
# And with our algorithm, through real tasks: every training and every average in a process of its
# own, and between them nothing but files. The reference has the same films as rows of a matrix, in
# the same batches; it is made of :class:`~helpers.numpy_reference.LinearHospitals`, which knows
# nothing of Keras, tasks or exchange.

import logging

from substrafl.logger import set_logging_level
from substrafl.model_loading import download_algo_state
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.exactness import Exactness, weights_of

set_logging_level(logging.ERROR)
federation = Federation(samples)
exactness = Exactness(federation, samples, settings)
start = exactness.start

plan, _ = federation.execute(
    FedAvg(algo=TFFedAvgAlgo(**settings())),
    train_on=THREE,
    test_on=THREE[:1],
    num_rounds=N_ROUNDS,
)
through_tasks = np.array(
    [weights_of(download_algo_state(federation.clients[name], plan.key)) for name in THREE]
)
expected = fed_avg(exactness.in_numpy(), start, N_ROUNDS)
print(f"weights have moved by up to {np.abs(expected - start).max():.3f}")
print(f"largest difference to NumPy  {np.abs(through_tasks - expected).max():.1e}")

# %%
# All others
# ----------
#
# First what changes the local training, or what is made of the average: FedProx
# :footcite:p:`li2020`, Equation 2; momentum at the server :footcite:p:`hsu2019`; the adaptive
# optimizers :footcite:p:`reddi2021`, Algorithm 2. Then what is done to gradients and updates before
# they are sent: each film's gradient is clipped, as for privacy :footcite:p:`abadi2016`, Algorithm
# 1, here without the noise; updates are compressed for transmission, what is lost being added to
# the next one :footcite:p:`karimireddy2019`, Algorithm 2.

exactness.compare_training()
exactness.compare_sending()

# %%
# Then what changes who takes part and what is averaged. A part of the hospitals sits out, the
# fraction :math:`C` of Algorithm 1 in :footcite:t:`mcmahan2017`. The weights go round instead of
# being averaged :footcite:p:`chang2018`. And one hospital is hostile and sends its update with the
# wrong sign, multiplied by 100, against which there are the median and the trimmed mean
# :footcite:p:`yin2018`, Options I and II of Algorithm 1, and multi-Krum
# :footcite:p:`blanchard2017`, Section 4, with five hospitals, the least that it needs for a hostile
# one (:math:`n \ge 2f + 3`).

exactness.compare_averages()

# %%
# Finally SubstraFL's other strategies: Scaffold :footcite:p:`karimireddy2020`, Algorithm 1 with
# Option II, weighted by samples; training at one hospital; Newton's method, which must take the
# very steps that it takes on pooled films; and principal components :footcite:p:`hartebrodt2022`,
# Algorithm 3, which must converge to those of the pooled films although no film is sent.

exactness.compare_strategies()
cosines = exactness.compare_components()

# %%
# Five of these algorithms exist in SubstraFL for PyTorch. Where PyTorch is installed, they train
# the same model here, from the same weights and on the same batches. PyTorch is no requirement.

from helpers.exactness import HAS_TORCH, TWINS

exactness.compare_torch()

# %%
# A paper says more than a formula. Some settings must lead back to Federated Averaging; a FedProx
# that pulls without end must not move; full batches must be as good as pooled films; and what the
# control variates of Scaffold take from one hospital they must give to others.

exactness.compare_limits()

# %%
# The hostile hospital is checked once more, without any reference: how far the weights end up from
# those of the honest run, as a multiple of the way that it went.

import pandas as pd

pd.Series(exactness.measure_hostile(), name="times as far").round(2).to_frame()

# %%
# How far apart are samples and clients as weights? As a share of the way that the weights went:

from helpers.numpy_reference import fed_opt, scaffold

apart = {}
for uniform in (False, True):
    ours, again = (exactness.in_numpy(uniform=uniform) for _ in range(2))
    corrected, *_ = scaffold(ours, start, N_ROUNDS, n_updates=N_UPDATES, aggregation_rate=0.8)
    apart[uniform] = {
        "Scaffold": corrected,
        "FedAdam": fed_opt(again, start, N_ROUNDS, "adam"),
    }
weighting = {
    name: np.linalg.norm(found - apart[True][name]) / np.linalg.norm(found - start)
    for name, found in apart[False].items()
}
pd.Series(weighting, name="distance between the two weightings").round(3).to_frame()

# %%
# The table
# ---------

from pathlib import Path

table = exactness.table()
is_property = ~table["reference"].str.startswith(("NumPy", "SubstraFL"))
written = table["algorithm"].where(~is_property, table["algorithm"] + ", " + table["equation"])
Path("results").mkdir(exist_ok=True)
table.assign(algorithm=written)[["algorithm", "reference", "difference", "tolerance"]].to_csv(
    "results/exactness.csv", index=False
)

shown = table.copy()
if not HAS_TORCH:
    missing = pd.DataFrame({"algorithm": TWINS, "reference": "SubstraFL, PyTorch"})
    shown = pd.concat([shown, missing], ignore_index=True)
shown["difference"] = shown["difference"].map("{:.1e}".format).replace("nan", "not installed here")
shown["holds"] = shown["holds"].map({True: "yes", False: "NO"})
shown = shown.astype(object).fillna("")
shown.sort_values(["algorithm", "reference"], kind="stable").reset_index(drop=True)

# %%
# Zero means the same bits. As a picture, each point should lie left of its own line:

import matplotlib.pyplot as plt

from helpers.plots import plot_exactness

plot_exactness(table)
plt.show()
federation.close()

# %%
# What this cannot show
# ---------------------
#
# That a formula is computed right says nothing about whether it helps; that is the subject of
# :ref:`sphx_glr_auto_examples_30_evaluation_plot_30_strategies_side_by_side.py`. The references are
# ours too: a paper that both sides misread would go unnoticed, except where SubstraFL's classes
# have read it as well. And a linear model has no BatchNorm, no dropout and no layers that are
# frozen; what becomes of those is in the tests.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def say_verdicts():
    failed = table[~table["holds"]]
    print(f"{table['holds'].sum()} of {len(table)} comparisons hold.")
    if not HAS_TORCH:
        print(f"{len(TWINS)} more, with SubstraFL's own classes, need PyTorch and were not made.")
    for row in failed.itertuples():
        print(f"  {row.algorithm} against {row.reference} does NOT: {row.difference:.1e}")
    for name, distance in weighting.items():
        print(f"{name} with uniform clients, as in its paper: {distance:.1%} of its way apart.")
    print(f"FedPCA against PCA of the pooled films: cosine {cosines[True]:.6f}; ", end="")
    print(f"with the weights of SubstraFL's class {cosines[False]:.6f}.")


say_verdicts()

# %%
# Each algorithm was compared with its paper, in a few lines of NumPy that share nothing with it,
# and the table is regenerated with each build of this site.
#
# .. seealso::
#
#    :mod:`helpers.numpy_reference` has the other half of each comparison.
#
# References
# ----------
#
# .. footbibliography::

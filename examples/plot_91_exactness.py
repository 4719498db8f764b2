"""
How exact the algorithms are
============================

A federated :term:`algorithm` with a mistake still trains. A wrong sign in a correction costs a few
points of accuracy and raises no error. Do the algorithms of this project compute what their papers
say?

We will:

1. let hospitals train a model so small that the same training is a few lines of NumPy,
2. compare one algorithm with its reference in detail, through real tasks,
3. compare all others in the same way,
4. compare some with SubstraFL's own classes for PyTorch,
5. check properties that the papers state, such as limits and sums.

We expect differences of the size of single precision, some :math:`10^{-8}` for weights of this
size, and allow :math:`10^{-6}`; the table lists the exceptions. A mistake in a formula would show
as :math:`10^{-3}` or more.

**One thing differs from some papers, on purpose.** The papers on :term:`Scaffold`
:footcite:p:`karimireddy2020` and on the server optimizers :footcite:p:`reddi2021` average the
clients *uniformly*. SubstraFL's strategies weight each hospital by its samples, as :term:`FedAvg`
does :footcite:p:`mcmahan2017`, and so do the references here. With hospitals of equal size, both
are the same. The page measures how much they differ with these hospitals.
"""

# %%
# Five hospitals and a linear model
# ---------------------------------
#
# The films are reduced to 8 × 8 pixels and assigned to five hospitals of unequal size: averages
# over films and over hospitals then differ. Three of them train, to keep the run short; all five
# train where an average needs that many.

from helpers.data import (
    assign_hospitals,
    label_films,
    prepare_samples,
    read_radiographs,
    split_patients,
)
from helpers.display import show
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
show(films[films["split"] == "train"]["hospital"].value_counts(sort=False))

# %%
# The model is linear, :math:`a^\top w + b` for a film :math:`a` of 64 pixels. The loss is the
# squared error, so that the gradient can be written by hand. A :term:`round` has four
# :term:`updates <update>`.

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
# Federated averaging :footcite:p:`mcmahan2017`, Algorithm 1, in NumPy:

import inspect

from helpers.numpy_reference import fed_avg

source = inspect.getsource(fed_avg)
print(source[source.rindex('"""') + 4 :])

# %%
# Our algorithm does the same through real :term:`tasks <task>`: each training and each average runs
# in a process of its own, and only files pass between them. The reference has the same films as
# rows of a matrix, in the same batches. It consists of
# :class:`~helpers.numpy_reference.LinearHospitals`, which use neither Keras nor tasks nor the code
# of the exchange.

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
print(f"weights have moved by up to   {np.abs(expected - start).max():.3f}")
print(f"largest difference from NumPy {np.abs(through_tasks - expected).max():.1e}")

# %%
# All others
# ----------
#
# The first group changes the local training or the use of the average: :term:`FedProx`
# :footcite:p:`li2020`, Equation 2; momentum at the server :footcite:p:`hsu2019`; the adaptive
# optimizers :footcite:p:`reddi2021`, Algorithm 2. The second changes gradients and updates before
# they are sent. Each film's gradient is clipped, as for :term:`differential privacy`
# :footcite:p:`abadi2016`, Algorithm 1, here without the noise. Updates are compressed for
# transmission, and the error is added to the next one :footcite:p:`karimireddy2019`, Algorithm 2.

exactness.compare_training()
show(exactness.compare_sending())

# %%
# The third group changes who participates and what is averaged. Only a fraction of the hospitals
# participates, :math:`C` in Algorithm 1 of :footcite:t:`mcmahan2017`. The weights pass from one
# hospital to the next instead of being averaged :footcite:p:`chang2018`. Finally, one hospital is
# hostile: it sends its update with the wrong sign, multiplied by 100. Against it there are the
# median and the trimmed mean :footcite:p:`yin2018`, Options I and II of Algorithm 1, and
# multi-:term:`Krum` :footcite:p:`blanchard2017`, Section 4, which needs :math:`n \ge 2f + 3`
# hospitals against :math:`f` hostile ones, here five.

show(exactness.compare_averages())

# %%
# The last group is SubstraFL's other strategies: Scaffold :footcite:p:`karimireddy2020`, Algorithm
# 1 with Option II, weighted by samples; training at one hospital; Newton's method, which must take
# the same steps as on :term:`pooled` films; and principal components :footcite:p:`hartebrodt2022`,
# Algorithm 3, which must converge to those of the pooled films although no film is sent.

exactness.compare_strategies()
cosines = exactness.compare_components()

# %%
# SubstraFL has some of these algorithms for PyTorch. Where PyTorch is installed, they train the
# same model here, from the same weights and on the same batches. PyTorch is optional.

from helpers.exactness import HAS_TORCH, TWINS

show(exactness.compare_torch())

# %%
# A paper says more than a formula. Some settings must reduce to federated averaging. FedProx with a
# very strong penalty must not move. Full batches must be equivalent to pooled films. And the
# weighted sum of Scaffold's corrections must be zero.

show(exactness.compare_limits())

# %%
# The hostile hospital is checked once more, without any reference: the distance of the final
# weights from those of the honest run, as a multiple of how far the honest run moved them.

import pandas as pd

show(pd.Series(exactness.measure_hostile(), name="times as far").round(2).to_frame())

# %%
# How much does it matter whether an average is weighted by samples or by clients? The distance
# between the two results, as a share of the distance that the weights moved:

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
show(pd.Series(weighting, name="distance between the two weightings").round(3).to_frame())

# %%
# The table
# ---------

table = exactness.table()
shown = table.copy()
if not HAS_TORCH:
    missing = pd.DataFrame({"algorithm": TWINS, "reference": "SubstraFL, PyTorch"})
    shown = pd.concat([shown, missing], ignore_index=True)
shown["difference"] = shown["difference"].map("{:.1e}".format).replace("nan", "not installed here")
shown["holds"] = shown["holds"].map({True: "yes", False: "NO"})
shown = shown.astype(object).fillna("")
show(shown.sort_values(["algorithm", "reference"], kind="stable").reset_index(drop=True))

# %%
# Zero means identical bits. In the figure, each point should be to the left of its own line:


from helpers.plots import plot_exactness

plot_exactness(table)
show()
federation.close()

# %%
# What this cannot show
# ---------------------
#
# A correct formula is not necessarily a useful one; that is the subject of
# :ref:`sphx_glr_auto_examples_plot_33_strategies_side_by_side.py`. The references are
# ours, too: if we misread a paper in both places, this page would not notice, except where
# SubstraFL's classes serve as a second reading. And a linear model has no batch normalization, no
# dropout and no frozen layers; the tests cover those.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.results import COLUMNS, tidy_facts, write_results

facts = {
    ("all", "comparisons"): len(table),
    ("all", "comparisons that hold"): table["holds"].sum(),
    ("all", "comparisons that need PyTorch and were not made"): 0 if HAS_TORCH else len(TWINS),
    ("FedPCA", "cosine with pooled components"): cosines[True],
    ("FedPCA as in SubstraFL", "cosine with pooled components"): cosines[False],
}
facts |= {(name, "distance from uniform weights"): share for name, share in weighting.items()}
results = table.rename(columns={"algorithm": "arm", "difference": "value"}).assign(
    seed=SEED, round=N_ROUNDS, hospital="all", split="train", metric="largest difference"
)
results = results[[*COLUMNS, "equation", "reference", "tolerance"]]
results = pd.concat([results, tidy_facts(facts, seed=SEED, round=N_ROUNDS)], ignore_index=True)
write_results(results, "exactness")


def say_verdicts(results):
    value = results[results["reference"].isna()].set_index(["metric", "arm"])["value"]
    n, hold = value["comparisons", "all"], value["comparisons that hold", "all"]
    print(f"{hold:.0f} of {n:.0f} comparisons hold.")
    missing = value["comparisons that need PyTorch and were not made", "all"]
    if missing:
        print(f"{missing:.0f} more, with SubstraFL's own classes, need PyTorch and were not made.")
    compared = results[results["reference"].notna()]
    for row in compared[~(compared["value"] <= compared["tolerance"])].itertuples():
        print(f"  {row.arm} against {row.reference} does NOT: {row.value:.1e}")
    for name, share in value["distance from uniform weights"].items():
        print(f"{name} with uniform clients, as in its paper: results differ by {share:.1%}.")
    cosine = value["cosine with pooled components"]
    print(f"FedPCA against PCA of the pooled films: cosine {cosine['FedPCA']:.6f}; ", end="")
    print(f"with the weights of SubstraFL's class {cosine['FedPCA as in SubstraFL']:.6f}.")


say_verdicts(results)

# %%
# Each algorithm was compared with its paper, written in a few lines of NumPy that share no code
# with it. The table is regenerated with each build of this site.
#
# .. seealso::
#
#    :mod:`helpers.numpy_reference` contains the references.
#
# References
# ----------
#
# .. footbibliography::

"""
What local mode costs
=====================

In :term:`local mode` a federated run is a graph of tasks, each in a process of its own, on a
machine with a few cores. What does one round of it cost, and what will a long run cost, before
anybody starts it?

We will:

1. count the tasks of a run with a formula,
2. time **one** round, task by task, and see who waited for whom,
3. compare it with the same round without any task, the floor, and with one task after the other,
   the ceiling,
4. predict from it the time and the traffic of a run of several rounds,
5. make that run, and put the measured truth beside the prediction.

We expect the *bytes* of the prediction to be exact, since every round exchanges arrays of the
same shapes. The *seconds* should be right to a tenth or two on a machine that does nothing else: a
mean of a few tasks is no more than that.

In the flow of this project the page looks at the whole chain from outside: samples → opener →
algorithm → exchange → strategy, each step with its price.
"""

# %%
# Hospitals and algorithm
# -----------------------
#
# They are those of :ref:`sphx_glr_auto_examples_30_training_plot_10_federated_chest_xrays.py`,
# with fewer updates in a round: here we look at the clock, and not at the score.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import (
    ChestXrayDataset,
    label_films,
    make_hospitals,
    prepare_samples,
    read_radiographs,
)
from helpers.local_mode import start_server
from helpers.models import build_cnn

start_server()  # TensorFlow is imported for the tasks while the films are prepared
# sphinx_gallery_parallel = False

TASK = "any finding vs none"
IMAGE_SIZE = 64
N_UPDATES = 10  # for the sake of time; a hundred or more in earnest
SEED = 0


class ChestXrayAlgo(TFFedAvgAlgo):
    def __init__(self):
        super().__init__(
            model=functools.partial(build_cnn, IMAGE_SIZE),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(2e-3),
            index_generator=NpIndexGenerator(batch_size=32, num_updates=N_UPDATES, seed=SEED),
            dataset=ChestXrayDataset,
            seed=SEED,
        )


radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = make_hospitals(radiographs.table, labels, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=IMAGE_SIZE, task=TASK)
samples = dict(list(samples.items())[:3])  # three hospitals, for the sake of time

# %%
# How many tasks
# --------------
#
# :term:`FedAvg` :footcite:p:`mcmahan2017`, as SubstraFL plans it, gives each of :math:`K`
# hospitals an initialization and a first training. Each of :math:`N` rounds then has one
# aggregation and :math:`K` trainings, and each of :math:`E` evaluated rounds has one evaluation at
# each of :math:`T` hospitals:
#
# .. math:: 2K + N(K + 1) + E\,T
#
# :func:`~helpers.local_mode.count_tasks` counts them by operation. When all hospitals train and
# test, and every round is evaluated, the total is

import pandas as pd

from helpers.local_mode import count_tasks

pd.DataFrame(
    {
        f"{n_rounds} rounds": {
            n_hospitals: sum(count_tasks(n_hospitals, n_rounds).values())
            for n_hospitals in (2, 4, 8, 16)
        }
        for n_rounds in (1, 4, 16, 64)
    }
).rename_axis("hospitals")

# %%
# These numbers are why a task must start quickly. If each of them starts a Python and imports
# TensorFlow, as it does in Substra's own local mode, every one costs seconds before it does
# anything. Here they are :func:`forked <helpers.local_mode.run_tasks_fast>` from a process in
# which that is done.
#
# The floor: one round without any task
# -------------------------------------
#
# ``simulate`` runs the same plan in this process, with nothing written, packed or forked: this
# is what the training itself costs.

import logging
import os
import time

from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.evaluation import auc
from helpers.local_mode import Federation

set_logging_level(logging.ERROR)
METRICS = {"auc": auc}

with Federation(samples) as federation:
    began = time.perf_counter()
    _, scores_in_memory = federation.simulate(
        FedAvg(algo=ChestXrayAlgo(), metric_functions=METRICS), num_rounds=1
    )
    in_memory = time.perf_counter() - began
print(f"one round in memory: {in_memory:.1f} s")

# %%
# One round, timed
# ----------------
#
# ``max_workers`` says how many tasks may run at the same time. ``use_cache=False`` forgets results
# of former runs: otherwise a task whose result is known would be *cached*, not run, which is what
# one wants after a crash, and not when one measures.

CORES = min(2, os.cpu_count())


def run(n_rounds, max_workers=CORES):
    with Federation(samples, max_workers=max_workers, use_cache=False) as federation:
        began = time.perf_counter()
        _, scores = federation.execute(
            FedAvg(algo=ChestXrayAlgo(), metric_functions=METRICS), num_rounds=n_rounds
        )
        return federation.tasks(), scores, time.perf_counter() - began


one_round, scores, whole = run(n_rounds=1)
print(f"expected tasks: {count_tasks(len(samples), 1)}")
print(f"executed tasks: {one_round['operation'].value_counts(sort=False).to_dict()}")

# %%
# ``tasks`` is a table with a row for each task. By operation, with seconds and megabytes (MB):

by_operation = (
    one_round.assign(waiting=one_round["start"] - one_round["ready"])
    .groupby("operation", sort=False)
    .agg({"task": "size", "wall": "mean", "cpu": "mean", "waiting": "mean"})
)
largest = one_round.groupby("operation")["peak_memory"].max()
shared = one_round.groupby("operation")[["received", "sent"]].sum()
by_operation.join([largest / 1e6, shared / 1e6]).round(2)

# %%
# The first column counts the tasks. Seconds are those of one task on average: *wall* by the clock,
# *cpu* of the processor, and *waiting* with everything at hand but no core free. The peak memory
# is that of the largest task; most of it is TensorFlow, which the tasks share. The last two columns
# add up the :term:`shared states <shared state>` that were read and written: here, nothing else
# crosses between hospitals. When each task ran is drawn by :func:`~helpers.plots.plot_timeline`.

import matplotlib.pyplot as plt

from helpers.plots import plot_timeline

plot_timeline(one_round)
plt.show()

# %%
# Read it from left to right along the arrows. An aggregation begins when the last update has
# arrived, wherever that was; the trainings of the round begin when the average is there. This
# point, where all wait for the slowest, comes once in every round, and no number of cores removes
# it. Evaluations hang on nothing: nobody waits for them, so that they are put off to when a core
# has nothing better to do.
#
# The ceiling: one task after the other
# -------------------------------------
#
# That is how Substra's own local mode runs them. Here, though, each of them still begins with
# TensorFlow imported, and may use all cores for itself.

serial, serial_scores, _ = run(n_rounds=1, max_workers=1)

seconds = {
    "in memory, no tasks": in_memory,
    "side by side": one_round["end"].max(),
    "one after the other": serial["end"].max(),
}
_, ax = plt.subplots(figsize=(7, 1.9), layout="constrained")
bars = ax.barh(list(seconds), list(seconds.values()), color=["0.6", "#0072B2", "0.35"])
ax.bar_label(bars, fmt="%.1f s", padding=4)
ax.invert_yaxis()
ax.set(xlabel="seconds for one round")
ax.margins(x=0.12)
plt.show()

# %%
# The distance from the first bar to the last is the price of isolation: every task has a process
# of its own, with its own memory and its own errors, and prepares the network anew. Working side
# by side wins it back, as far as there are cores: what happens in memory happens in one process,
# hospital after hospital. All three should have computed the same:

for name, others in {"in memory": scores_in_memory, "side by side": scores}.items():
    both = serial_scores.merge(others, on=["round", "hospital", "metric"])
    difference = (both["value_x"] - both["value_y"]).abs().max()
    print(f"{name} and one after the other: {len(both)} scores, largest difference {difference:g}")

# %%
# Side by side and one after the other agree to the last digit. In memory the digits may end
# otherwise: a single process has all the cores for each operation, a task has its share of them,
# and a sum that is split in another way is rounded in another way.
#
# The planner
# -----------
#
# All that a prediction needs is in the table of tasks.
# :func:`~helpers.local_mode.predict_tasks` writes down the plan of a longer run, gives each task
# the mean duration of its operation at its hospital, and plays the plan through on a number of
# cores. What comes out is again a table of tasks, and :func:`~helpers.local_mode.sum_costs` sums
# up either kind.

from helpers.local_mode import predict_tasks, sum_costs

N_ROUNDS = 4  # for the sake of time; see the table below for what more would cost

predicted = predict_tasks(one_round, N_ROUNDS, cores=CORES)

# %%
# It also answers what one would not try out: more rounds, fewer evaluations, more cores, more
# hospitals (copies of those that were timed).

rare = {"n_rounds": 100, "eval_every": 10}
plans = {
    f"{N_ROUNDS} rounds": predicted,
    "100 rounds": predict_tasks(one_round, 100, cores=CORES),
    "… evaluated every tenth": predict_tasks(one_round, **rare, cores=CORES),
    "… with a core for everybody": predict_tasks(one_round, **rare, cores=len(samples)),
    "… of 16 hospitals": predict_tasks(one_round, **rare, cores=CORES, n_hospitals=16),
}
costs = pd.DataFrame({name: sum_costs(plan) for name, plan in plans.items()}).T
pd.DataFrame(
    {
        "tasks": costs["tasks"].astype(int),
        "minutes": (costs["wall"] / 60).round(1),
        "cores busy": (costs["work"] / costs["wall"]).round(1),
        "received, MB": (costs["received"] / 1e6).round(1),
    }
)

# %%
# *Cores busy* is the work divided by the time. It stays below the number of cores because of the
# points where all wait. The line with more cores is a rough one, because tasks that run side by
# side slow each other down: they share the memory and the cache of the machine.
#
# The measured truth
# ------------------
#
# Now the same run for real.

UNITS = {"wall": "s", "work": "s", "cpu": "s", "peak_memory": "bytes"}
UNITS |= {"sent": "bytes", "received": "bytes"}

measured, _, _ = run(N_ROUNDS)

_, (top, bottom) = plt.subplots(2, figsize=(9, 7), layout="constrained", sharex=True)
plot_timeline(predicted, ax=top).set_title("predicted from one round", loc="right")
plot_timeline(measured, ax=bottom).set_title("measured", loc="right")
for ax in (top, bottom):
    ax.set_xlim(0, 1.01 * max(predicted["end"].max(), measured["end"].max()))
top.set_xlabel("")
plt.show()

# %%
# Compare the *pattern* first: the same order, the same points of waiting. Bars that are longer
# below than above are where the time went that was not foreseen. In numbers:

comparison = pd.DataFrame({"predicted": sum_costs(predicted), "measured": sum_costs(measured)})
shown = comparison.map("{:,.1f}".format)
shown["error"] = (comparison["predicted"] / comparison["measured"] - 1).map("{:+.1%}".format)
shown.rename(lambda name: f"{name}, {UNITS[name]}" if name in UNITS else name)

# %%
# The number of tasks and the bytes are not estimates, and they hold for each hospital by itself.
# It *sends* an update in each training, the last of which nobody reads; the one that aggregates
# also reads all updates, and writes the averages.

traffic = {
    name: table.groupby("hospital")[["sent", "received"]].sum()
    for name, table in {"predicted": predicted, "measured": measured}.items()
}
print("bytes exact, hospital by hospital:", traffic["predicted"].equals(traffic["measured"]))
traffic["measured"]

# %%
# What this cannot show
# ---------------------
#
# There is no network here: a shared state travels through a file. Between hospitals the same
# bytes take time, which can be added by hand. If all of them pass, one after the other, through
# the line of the hospital that aggregates, :math:`B` bytes at :math:`b` bits a second take
#
# .. math:: t = 8 B / b
#
# to which come two delays of the line in each round, one each way.

received = costs["received"].iloc[:2]
# As many reads of a larger network's Float32 weights as in 100 rounds of this one.
larger = received["100 rounds"] * 10e6 / build_cnn(IMAGE_SIZE).count_params()
received = pd.concat([received, pd.Series({"100 rounds, 10 million weights": larger})])
bandwidths = {"10 Mbit/s": 1e7, "100 Mbit/s": 1e8, "1 Gbit/s": 1e9}
pd.DataFrame({name: 8 * received / bits for name, bits in bandwidths.items()}).round(1)

# %%
# The table is in seconds. One hospital's own update never leaves it if it aggregates, so that
# these are upper bounds; and an encrypted line adds its own.
#
# Nor does the prediction know what it has not seen: that a machine slows down when it gets warm,
# that memory may run out with more tasks side by side (the peak memory of the first table says
# when), that films which are not yet in the system's cache take longer to read. And before the
# first task, functions are packed and registered, once for a run whatever its length:

print(f"one round: {whole:.1f} s, of which {whole - sum_costs(one_round)['wall']:.1f} s around it")

# %%
# The results in one tidy table, as on the other pages.

from helpers.results import COLUMNS, write_results

costs = {
    ("predicted", N_ROUNDS): sum_costs(predicted),
    ("measured", N_ROUNDS): sum_costs(measured),
    ("side by side", 1): sum_costs(one_round),
    ("one after the other", 1): sum_costs(serial),
    ("in memory", 1): pd.Series({"wall": in_memory}),
}
results = pd.concat(costs, names=["arm", "round", "metric"]).rename("value").reset_index()
results = results.assign(seed=SEED, hospital="all", split="all")[[*COLUMNS]]
write_results(results, "what_local_mode_costs")
results.pivot_table(index=["arm", "round"], columns="metric", values="value", sort=False).round(1)

# %%
# Conclusion
# ----------
#
# Time a single round before a long run. Its table tells what a task costs, its timeline who waits
# for whom, and the planner what the rest will take: bytes exactly, seconds as well as a few
# samples allow. If it is too long, evaluate more rarely, train longer in fewer rounds, or look
# for the hospital that the others wait for.
#
# .. seealso::
#
#    :class:`~helpers.local_mode.Federation` holds ``max_workers``, ``use_cache`` and ``tasks``. How
#    the exchanged arrays look is told in
#    :ref:`sphx_glr_auto_examples_30_training_plot_20_how_the_weights_travel.py`.
#
# References
# ----------
#
# .. footbibliography::

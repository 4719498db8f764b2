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
same shapes. We expect the *seconds* to be within 20 % on a machine that does nothing else.
"""

# %%
# Hospitals and algorithm
# -----------------------
#
# They are those of :ref:`sphx_glr_auto_examples_10_training_plot_10_federated_chest_xrays.py`,
# with fewer updates in a round: here we look at the clock, and not at the score.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset, set_up_hospitals
from helpers.local_mode import start_server
from helpers.models import build_cnn

start_server()  # TensorFlow is imported for the tasks while the films are prepared
# sphinx_gallery_parallel = False

TASK = "any finding vs none"
IMAGE_SIZE = 64
N_UPDATES = 10  # to keep the run short; a hundred or more in a real study
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


study = set_up_hospitals(TASK, seed=SEED)
samples = study.prepare(IMAGE_SIZE)
samples = dict(list(samples.items())[:3])  # three hospitals, to keep the run short

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
# These numbers are why a task must start quickly. If each of them imports TensorFlow first, as in
# Substra's own local mode, every one costs seconds before it does anything. Here they are
# :func:`forked <helpers.local_mode.run_tasks_fast>` from a process that has imported it.
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
# of former runs: a task whose result is known would otherwise not run, and cost nothing.

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
# Seconds are those of one task on average: *wall* by the clock, *cpu* of the processor, *waiting*
# ready, but for a core. The peak memory is that of the largest task; most of it is TensorFlow,
# which the tasks share. The last two columns add up the :term:`shared states <shared state>` that
# were read and written. :func:`~helpers.plots.plot_timeline` draws when each task ran.

import matplotlib.pyplot as plt

from helpers.plots import plot_timeline

plot_timeline(one_round)
plt.show()

# %%
# Read it from left to right along the arrows. An aggregation begins when the last update has
# arrived; the trainings of the round begin when the average is there. At this point, once in every
# round, all wait for the slowest, and no number of cores removes it. Nothing depends on
# evaluations: they run when a core has nothing else to do.
#
# The ceiling: one task after the other
# -------------------------------------
#
# That is how Substra's own local mode runs them. Here each of them still begins with TensorFlow
# imported.

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
# The distance from the first bar to the last is the overhead of isolation: every task has a process
# of its own, with its own memory and its own errors, and prepares the network anew. How much of it
# two cores win back, the verdicts at the end say. All three should have computed the same scores:

for name, others in {"in memory": scores_in_memory, "side by side": scores}.items():
    both = serial_scores.merge(others, on=["round", "hospital", "metric"])
    difference = (both["value_x"] - both["value_y"]).abs().max()
    print(f"{name} and one after the other: {len(both)} scores, largest difference {difference:g}")

# %%
# A difference in the last digits would come from a sum that is split over other threads.
#
# The planner
# -----------
#
# All that a prediction needs is in the table of tasks.
# :func:`~helpers.local_mode.predict_tasks` writes down the plan of a longer run, gives each task
# the measured duration of its operation at its hospital, and plays the plan through on a number of
# cores. **First and later trainings are predicted apart**: the first one also traces the network,
# and in a long run there is one of them and many of the others. One round has both:

first = one_round[one_round["operation"] == "train"].groupby("round")["wall"].mean()
print(f"first training {first[0]:.2f} s, second training {first[1]:.2f} s, on average")

# %%
# What comes out is again a table of tasks, and :func:`~helpers.local_mode.sum_costs` sums it up.

from helpers.local_mode import predict_tasks, sum_costs

N_ROUNDS = 4  # to keep the run short; the table below says what more would cost

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
# points where all wait. The line with more cores is a rough one: tasks side by side slow each other
# down, as they share the memory and the cache of the machine.
#
# The measured run
# ----------------

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
# below than above show where time was lost. In numbers:

comparison = pd.DataFrame({"predicted": sum_costs(predicted), "measured": sum_costs(measured)})
shown = comparison.map("{:,.1f}".format)
shown["error"] = (comparison["predicted"] / comparison["measured"] - 1).map("{:+.1%}".format)
shown.rename(lambda name: f"{name}, {UNITS[name]}" if name in UNITS else name)

# %%
# A hospital *sends* an update in each training, the last of which is never used. The one that
# aggregates also reads all updates, and writes the averages.

traffic = {
    name: table.groupby("hospital")[["sent", "received"]].sum()
    for name, table in {"predicted": predicted, "measured": measured}.items()
}
traffic["measured"]

# %%
# What this cannot show
# ---------------------
#
# There is no network here: a shared state travels through a file. Between hospitals the same bytes
# take time. If all of them pass, one after the other, through the line of the hospital that
# aggregates, :math:`B` bytes at :math:`b` bits a second take :math:`8 B / b` seconds, plus two
# latencies in each round:

bits = 8 * costs.loc["100 rounds", "received"]
print(f"100 rounds: {bits / 1e7:.0f} s at 10 Mbit/s, {bits / 1e9:.1f} s at 1 Gbit/s")

# %%
# Nor does the prediction know what it has not seen: a machine that slows down when it gets warm, or
# other programs beside it, memory that runs out with more tasks side by side, films that are not
# yet in the system's cache. And before the first task, functions are packed and registered, once
# for a run whatever its length:

around = whole - sum_costs(one_round)["wall"]
print(f"one round: {whole:.1f} s, of which {around:.1f} s around it")

# %%
# The results in one tidy table, as on the other pages.

from helpers.results import COLUMNS, write_results

arms = {
    ("predicted", N_ROUNDS): sum_costs(predicted),
    ("measured", N_ROUNDS): sum_costs(measured),
    ("side by side", 1): sum_costs(one_round),
    ("one after the other", 1): sum_costs(serial),
    ("in memory", 1): pd.Series({"wall": in_memory}),
}
results = pd.concat(arms, names=["arm", "round", "metric"]).rename("value").reset_index()
results = results.assign(seed=SEED, hospital="all", split="all")[[*COLUMNS]]
write_results(results, "what_local_mode_costs")

# %%
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def say_verdicts():
    exact = traffic["predicted"].equals(traffic["measured"])
    print(f"Bytes, hospital by hospital: {'exact' if exact else 'NOT exact'}.")
    error = comparison.loc["wall", "predicted"] / comparison.loc["wall", "measured"] - 1
    held = "as expected" if abs(error) <= 0.2 else "NOT as expected"
    print(f"Seconds of {N_ROUNDS} rounds: predicted {error:+.0%} off, {held} within 20 %.")
    won = seconds["one after the other"] - seconds["side by side"]
    lost = seconds["one after the other"] - seconds["in memory, no tasks"]
    print(f"Isolation costs {lost:+.1f} s a round; {CORES} tasks side by side save {won:+.1f} s.")
    every, tenth = costs["wall"].iloc[1:3]
    print(f"Evaluating every tenth of 100 rounds changes the time by {tenth / every - 1:+.0%}.")


say_verdicts()

# %%
# Time a single round before a long run. Its table says what a task costs, its timeline who waits
# for whom, and the planner what the rest will take.
#
# .. seealso::
#
#    :class:`~helpers.local_mode.Federation` holds ``max_workers``, ``use_cache`` and ``tasks``.
#    The exchanged arrays are shown in
#    :ref:`sphx_glr_auto_examples_10_training_plot_20_how_the_weights_travel.py`.
#
# References
# ----------
#
# .. footbibliography::

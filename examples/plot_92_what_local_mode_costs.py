"""
What local mode costs
=====================

In :term:`local mode` a federated run is a graph of :term:`tasks <task>`, each in a process of its
own, on a machine with a few cores. What does one round cost, and what will a long run cost, before
anybody starts it?

We will:

1. count the tasks of a run with a formula,
2. time **one** :term:`round`, task by task, and see which tasks waited for which,
3. compare it with the round without tasks, the floor, and with one task at a time, the ceiling,
4. predict the time and the traffic of a longer run from it, and compare them with measurements.

We expect the *bytes* of the prediction to be exact, since every round exchanges arrays of the
same shapes. We expect the *seconds* to be within 20 % on a machine that does nothing else.
"""

# %%
# Hospitals and algorithm
# -----------------------
#
# They are those of :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py`,
# with fewer :term:`updates <update>` in a round: here we look at the time, and not at the score.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset, set_up_hospitals
from helpers.evaluation import auc
from helpers.local_mode import start_server
from helpers.models import build_small_cnn

start_server()  # TensorFlow is imported for the tasks while the films are prepared
# sphinx_gallery_parallel = False

set_logging_level(logging.ERROR)
IMAGE_SIZE, SEED = 64, 0
N_UPDATES = 10  # to keep the run short; a hundred or more in a real study


def make_strategy():
    algo = TFFedAvgAlgo(
        model=functools.partial(build_small_cnn, IMAGE_SIZE),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=N_UPDATES, seed=SEED),
        dataset=ChestXrayDataset,
        seed=SEED,
    )
    return FedAvg(algo=algo, metric_functions={"auc": auc})


samples = set_up_hospitals("any finding vs none", seed=SEED).prepare(IMAGE_SIZE)
samples = dict(list(samples.items())[:3])  # three hospitals, to keep the run short

# %%
# The number of tasks
# -------------------
#
# SubstraFL's plan of :term:`FedAvg` :footcite:p:`mcmahan2017` gives each of :math:`K` hospitals an
# initialization and a first training. Each of :math:`N` rounds then has one :term:`aggregation` and
# :math:`K` trainings, and each of :math:`E` evaluated rounds one evaluation at each of :math:`T`
# hospitals, in total :math:`2K + N(K + 1) + E\,T`. :func:`~helpers.local_mode.count_tasks` counts
# them. If all hospitals train and test, and every round is evaluated, there are:

import pandas as pd

from helpers.display import show
from helpers.local_mode import count_tasks

totals = {
    n_hospitals: {n: sum(count_tasks(n_hospitals, n).values()) for n in (1, 4, 16, 64)}
    for n_hospitals in (2, 4, 8, 16)
}
show(pd.DataFrame(totals).T.rename_axis(index="hospitals", columns="rounds"))

# %%
# These numbers are why a task must start quickly. If each of them imported TensorFlow first, as in
# Substra's own local mode, each would cost seconds before it did anything. Here they are
# :func:`forked <helpers.local_mode.run_tasks_fast>` from a process that has imported it.
#
# The floor: one round without any task
# -------------------------------------
#
# ``simulate`` runs the same plan in this process, with nothing written, packed or forked: these are
# the costs of the training itself.

import os
import time

from helpers.local_mode import Federation, average_costs

with Federation(samples) as federation:
    began = time.perf_counter()
    _, scores_in_memory = federation.simulate(make_strategy(), num_rounds=1)
    in_memory = time.perf_counter() - began
print(f"one round in memory: {in_memory:.1f} s")

# %%
# One round, timed
# ----------------
#
# ``max_workers`` is the number of tasks that may run at the same time. ``use_cache=False`` ignores
# cached results: a task whose result is known would otherwise not run, and cost nothing.

CORES = min(2, os.cpu_count())


def run(n_rounds, max_workers=CORES):
    with Federation(samples, max_workers=max_workers, use_cache=False) as federation:
        began = time.perf_counter()
        _, scores = federation.execute(make_strategy(), num_rounds=n_rounds)
        return federation.tasks(), scores, time.perf_counter() - began


one_round, scores, whole = run(n_rounds=1)
print(f"expected tasks: {count_tasks(len(samples), 1)}")
print(f"executed tasks: {one_round['operation'].value_counts(sort=False).to_dict()}")
show(average_costs(one_round).round(2))

# %%
# The table shows the costs of each operation, in seconds and megabytes. Seconds are means: *wall*,
# elapsed time; *cpu*, processor time; *waiting*, ready, waiting for a core. The peak memory is that
# of the largest task; most of it is TensorFlow, which they share. The last two columns are sums of
# the :term:`shared states <shared state>` that were read and written.
# :func:`~helpers.plots.plot_timeline` shows when each task ran.


from helpers.plots import plot_timeline, plot_timelines

plot_timeline(one_round)
show()

# %%
# Read it from left to right along the arrows. An aggregation begins when the last update has
# arrived; the trainings of the round begin when the average is there. At this point, once in every
# round, all wait for the slowest, however many cores there are. Nothing depends on evaluations:
# they run when a core would otherwise be idle.
#
# The ceiling: one task after the other
# -------------------------------------
#
# Substra's own local mode runs them in this way. Here, however, each of them still begins with
# TensorFlow imported.

serial, serial_scores, _ = run(n_rounds=1, max_workers=1)

seconds = {
    "in memory": in_memory,
    "side by side": one_round["end"].max(),
    "one after the other": serial["end"].max(),
}
show(pd.Series(seconds, name="seconds for one round").round(1).to_frame())

# %%
# The difference between the first and the last is the overhead of isolation: every task has a
# process of its own, with its own memory and its own errors, and builds the network again. All
# three runs should have computed the same scores, but for the last digits if sums are divided among
# other threads:

for name, others in {"in memory": scores_in_memory, "side by side": scores}.items():
    both = serial_scores.merge(others, on=["round", "hospital", "metric"])
    difference = (both["value_x"] - both["value_y"]).abs().max()
    print(f"{name} and one after the other: {len(both)} scores, largest difference {difference:g}")

# %%
# The planner
# -----------
#
# The table of tasks contains all that a prediction needs.
# :func:`~helpers.local_mode.predict_tasks` writes the plan of a longer run, gives each task the
# measured duration of its operation at its hospital, and simulates the plan on a number of cores.
# **First and later trainings are predicted separately**: the first one also traces the network, and
# a long run has one of them and many of the others. One round has both:

trainings = one_round[one_round["operation"] == "train"].groupby("round")["wall"].mean()
print("first training {:.2f} s, second training {:.2f} s, on average".format(*trainings))

# %%
# The result is again a table of tasks, and :func:`~helpers.local_mode.sum_costs` sums it. So the
# planner can compare runs that nobody wants to try: more rounds, fewer evaluations, more cores,
# more hospitals (copies of those that were timed).

from helpers.local_mode import predict_tasks, sum_costs, tidy_costs

N_ROUNDS = 2  # to keep the run short; the table shows what more would cost

predict = functools.partial(predict_tasks, one_round, cores=CORES)
predicted = predict(N_ROUNDS)
plans = {
    f"{N_ROUNDS} rounds": predicted,
    "100 rounds": predict(100),
    "… evaluated every tenth": predict(100, eval_every=10),
    "… with a core for each hospital": predict(100, eval_every=10, cores=len(samples)),
    "… of 16 hospitals": predict(100, eval_every=10, n_hospitals=16),
}
costs = pd.DataFrame({name: sum_costs(plan) for name, plan in plans.items()}).T
shown = {"minutes": costs["wall"] / 60, "cores busy": costs["work"] / costs["wall"]}
shown |= {"tasks": costs["tasks"], "received, MB": costs["received"] / 1e6}
show(pd.DataFrame(shown).round(1))

# %%
# *Cores busy* is the work divided by the time. It is lower than the number of cores because of the
# points where all wait. The line with more cores is approximate: tasks side by side slow each other
# down, as they share the memory and the cache of the machine.
#
# The measured run
# ----------------

measured, *_ = run(N_ROUNDS)
runs = {"predicted": predicted, "measured": measured}
plot_timelines(runs)
show()

# %%
# Compare the *pattern* first: the same order, the same points of waiting. Bars that are longer
# below than above show where time was lost. The numbers, in seconds and bytes (each training sends
# an update; those of the last trainings are never used):

comparison = pd.DataFrame({name: sum_costs(tasks) for name, tasks in runs.items()})
error = comparison["predicted"] / comparison["measured"] - 1
written = comparison.map(lambda value: f"{value:,.{int(value % 1 > 0)}f}")
show(written.assign(error=error.map("{:+.1%}".format)))

# %%
# What this cannot show
# ---------------------
#
# There is no network here: a shared state travels through a file. Between hospitals, the same bytes
# take time. If all of them pass, one after the other, through the connection of the hospital that
# aggregates, :math:`B` bytes at :math:`b` bits a second take :math:`8 B / b` seconds, plus two
# latencies in each round. And before the first task, functions are packed and registered, which
# takes the same time for a run of any length:

bits, around = 8 * costs.loc["100 rounds", "received"], whole - seconds["side by side"]
print(f"100 rounds: {bits / 1e7:.0f} s at 10 Mbit/s, {bits / 1e9:.1f} s at 1 Gbit/s")
print(f"one round: {whole:.1f} s, of which {around:.1f} s around its tasks")

# %%
# Nor does the prediction include what was not measured: a machine that slows down when it gets hot,
# other programs, or memory that runs out with more tasks side by side.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.results import tidy_facts, write_results

every, tenth = costs["wall"].iloc[1:3]
facts = {(name, "one round, s"): value for name, value in seconds.items()} | {
    ("predicted", "relative error"): error["wall"],
    ("one after the other", "more than in memory, s"): serial["end"].max() - in_memory,
    ("side by side", "saved, s"): serial["end"].max() - one_round["end"].max(),
    ("side by side", "tasks at a time"): CORES,
    ("100 rounds", "relative change by evaluating every tenth"): tenth / every - 1,
}
tables = [tidy_costs(tasks, arm=name, seed=SEED) for name, tasks in runs.items()]
results = pd.concat([tidy_facts(facts, seed=SEED), *tables], ignore_index=True)
write_results(results, "what_local_mode_costs")


def say_verdicts(results):
    traffic = results[results["hospital"] != "all"]
    traffic = traffic.pivot_table("value", ["hospital", "metric"], "arm")
    exact = (traffic["predicted"] == traffic["measured"]).all()
    print(f"Bytes, hospital by hospital: {'exact' if exact else 'NOT exact'}.")
    value = results[results["hospital"] == "all"].set_index(["arm", "metric"])["value"]
    error = value["predicted", "relative error"]
    held = "as expected" if abs(error) <= 0.2 else "NOT as expected"
    print(f"Seconds of {N_ROUNDS} rounds: predicted {error:+.0%} off, {held} within 20 %.")
    lost = value["one after the other", "more than in memory, s"]
    saved, n = value["side by side", "saved, s"], value["side by side", "tasks at a time"]
    print(f"Isolation costs {lost:+.1f} s a round; {n:.0f} tasks side by side save {saved:+.1f} s.")
    change = value["100 rounds", "relative change by evaluating every tenth"]
    print(f"Evaluating every tenth of 100 rounds changes the time by {change:+.0%}.")


say_verdicts(results)

# %%
# Time a single round before a long run. Its table shows what a task costs, its timeline which tasks
# wait for which, and the planner how long the rest will take.
#
# References
# ----------
#
# .. footbibliography::

"""
Was it worth federating, and for whom?
======================================

A federation reports one number: the mean over its hospitals. A hospital has another question:
is the model better on *my* patients than the one that I can train myself? A mean can rise while
a hospital loses.

We will:

1. give every hospital four models: its own, trained **alone**; the **federated** one; the
   federated one **fine-tuned** on its own films; and the one trained on the **pooled** films,
2. judge all of them on each hospital's own test patients, with intervals,
3. measure differences between models on the *same* patients, which answer the question,
4. test every hospital's own model at all the others,
5. compare the gain of a hospital with its size.

*Alone* is the floor: a hospital that does not get above it has no reason to take part. *Pooled*
is the ceiling, and nobody could reach it. We expect small hospitals to gain more than large ones,
as they have fewer films of their own, and fine-tuning to add a little to the federated model.
"""

# %%
# Hospitals of unequal size
# -------------------------

from helpers.data import count_hospitals, set_up_hospitals
from helpers.display import show
from helpers.studies import study_seed

IMAGE_SIZE = 48  # pixels, to keep the run short; 224 or more in a real study
SEED = study_seed()  # 0, unless `make studies` runs this page

study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
counts = count_hospitals(study.films, study.labels)
show(
    counts.pivot_table(index="hospital", columns="split", values=["films", "patients"], sort=False)
)

# %%
# A hospital has few test patients; the intervals below show how much that matters.
#
# Four ways to a model
# --------------------
#
# All setups train the same small network with the same optimizer, number of rounds and number of
# updates per hospital; the :term:`pooled` run makes as many updates as all hospitals together. The
# round that is kept is the best on validation films: those of the hospital for its own models,
# those of all hospitals for the common ones. Test films are scored once, with the round that was
# kept. Fine-tuning starts from the federated weights, by :func:`~helpers.models.start_from`, and
# takes smaller steps in additional rounds; round 0 is the federated model itself.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.models import build_cnn, start_from

N_ROUNDS, MORE_ROUNDS = 24, 8  # the second for fine-tuning; to keep the run short
EVAL_EVERY, PATIENCE = 2, 3  # patience in evaluations
N_UPDATES = 12  # batches of 32 films in a round, at each hospital
BUILD = functools.partial(build_cnn, IMAGE_SIZE, filters=(8, 16, 32, 32))


def make_algo(model=BUILD, n_updates=N_UPDATES, learning_rate=4e-3):
    return TFFedAvgAlgo(
        model=model,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(learning_rate),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=n_updates, seed=SEED),
        dataset=ChestXrayDataset,
        seed=SEED,
    )


# %%
# Federated averaging over a single node is ordinary training at that node. A node with everybody's
# films, which no federation has, is added for the ceiling. All trainings are simulated in this
# process. SubstraFL trains once more than it averages.

import logging

import pandas as pd
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.evaluation import auc
from helpers.local_mode import Federation, train_best
from helpers.openers.chest_xray_opener import ChestXrayOpener

set_logging_level(logging.ERROR)
pool = {"train": [samples[hospital]["train"] for hospital in hospitals]}
one = ChestXrayOpener().get_data(pool["train"][:1])


def train(algo, at, valid_on=(), num_rounds=N_ROUNDS, eval_every=EVAL_EVERY):
    algo.trace(one)  # once, and not at every hospital
    strategy = FedAvg(algo, {"auc": auc})
    how = {"num_rounds": num_rounds, "eval_every": eval_every, "patience": PATIENCE}
    return train_best(federation, strategy, train_on=at, valid_on=valid_on or at, **how)


algo = make_algo()
with Federation({**samples, "pool": pool}) as federation:
    runs = {("alone", hospital): train(algo, [hospital]) for hospital in hospitals}
    runs["federated", "all"] = train(algo, hospitals)
    algo = make_algo(start_from(BUILD, runs["federated", "all"].algo.model), learning_rate=1e-3)
    for hospital in hospitals:
        runs["fine-tuned", hospital] = train(algo, [hospital], (), MORE_ROUNDS, eval_every=1)
    algo = make_algo(n_updates=N_UPDATES * len(hospitals))
    runs["pooled", "all"] = train(algo, ["pool"], valid_on=hospitals)

show(pd.DataFrame({run: vars(trained.best) for run, trained in runs.items()}).T)

# %%
# The value is the validation AUC. Where ``stopped_at`` is missing, it was still rising.
#
# Intervals, and differences on the same patients
# -----------------------------------------------
#
# Scores of single films are data of patients and do not leave the hospital. It shares **numbers
# about all of its films**: the :term:`AUC` of each model, differences between models, and their
# intervals. Films of one patient resemble each other, so the :term:`bootstrap` draws *patients*,
# each with all films.

from helpers.evaluation import tidy_gains
from helpers.results import compare_at_home, score_everywhere

MEAN = "mean of the hospitals"  # weights hospitals equally
N_RESAMPLES = 300  # to keep the run short; 2,000 in a real study

scores = score_everywhere(runs, samples, seed=SEED, n=N_RESAMPLES)
own = scores[scores["metric"] == "auc"]
ARMS = list(own["arm"].unique())
show(own.pivot(index="hospital", columns="arm", values="value")[ARMS].round(3))

# %%
# A patient who is hard for one model tends to be hard for the others. Two models are therefore
# judged on the same resampled patients, and we look at the difference.

models = {
    arm: {name: (runs.get((arm, name)) or runs[arm, "all"]).algo for name in hospitals}
    for arm in ARMS
}
over_alone = compare_at_home(models, samples, n=N_RESAMPLES)
models.pop("alone")
over_federated = compare_at_home(models, samples, against="federated", n=N_RESAMPLES)

gains = tidy_gains(over_alone, seed=SEED, rounds={})
gains = gains[(gains["metric"] == "gain") | (gains["hospital"] == MEAN)]
more = tidy_gains(over_federated, seed=SEED, rounds={})
more = more[more["metric"] == "gain"].assign(metric="gain over federated")

# %%
# Another :term:`seed` assigns other patients to the test films and draws other initial weights:
# ``make studies`` runs this page with five seeds, and their results are added to the table here.

from helpers.evaluation import count_rising
from helpers.results import tidy_facts, write_results
from helpers.studies import average_seeds, compare_seeds, join_study

films = counts[counts["split"] == "train"].set_index("hospital")["films"]
of_federated = over_alone["federated"].loc[hospitals, "gain"]
alone = scores[scores["arm"] == "alone"].groupby("metric")["value"].mean()
facts = {
    ("alone", "mean auc elsewhere"): alone["auc elsewhere"],
    ("alone", "at home less elsewhere"): alone["auc"] - alone["auc elsewhere"],
    ("federated", "rank correlation"): of_federated.corr(films[hospitals], method="spearman"),
}
rising = count_rising(trained.best for trained in runs.values())
facts |= {(arm, "runs"): number for arm, number in rising.items()}
live = pd.concat([scores, gains, more, tidy_facts(facts, seed=SEED)], ignore_index=True)
live = live.fillna({"trained_at": "all"})
named = ["arm", "trained_at", "hospital", "metric"]
used = {"pixels": IMAGE_SIZE, "updates": N_UPDATES, "patience": PATIENCE, "rounds": N_ROUNDS}
used["more rounds"] = MORE_ROUNDS
about = {"data": str(study.radiographs), "settings": used, "by": named}
seeds = join_study("was_it_worth_federating", live, **about)
results = seeds.table
write_results(results, "was_it_worth_federating")
print(seeds)
show(compare_seeds(results, "alone").round(3))

# %%
# These are means of the hospitals, with intervals of Student's t over the seeds; a single seed has
# none. Hospital by hospital:

from helpers.plots import make_panels, plot_gains, plot_intervals, plot_transfer

means = average_seeds(results, named)
views = {f"patients, seed {SEED}": live}
if len(seeds.seeds) > 1:
    views[f"{len(seeds.seeds)} seeds"] = means
PANELS = {  # title: (arms, metric)
    "AUC": (ARMS, "auc"),
    "federated − alone": (["federated"], "gain"),
    "fine-tuned − federated": (["fine-tuned"], "gain over federated"),
    "pooled − federated": (["pooled"], "gain over federated"),
}
grid = make_panels(len(PANELS) * len(views), height=2.7, n_columns=len(views), sharey=True)
for axes, (over, view) in zip(grid.reshape(len(PANELS), -1).T, views.items(), strict=True):
    at_hospitals = view[view["hospital"].isin(hospitals)]
    for ax, (title, (arms, metric)) in zip(axes, PANELS.items(), strict=True):
        shown = at_hospitals[at_hospitals["arm"].isin(arms) & (at_hospitals["metric"] == metric)]
        plot_intervals(shown, reference=0.5 if metric == "auc" else 0, ax=ax)
        ax.set(title=title, xlabel=f"over {over}", label=f"Intervals over {over}: {ax.get_label()}")
        ax.tick_params(labelleft=ax in grid[:: len(views)])
show()

# %%
# Each row is a hospital, bars are 95 % intervals. On top, bars that overlap do *not* mean that the
# models are equally good: look at the differences. Right of zero the first model of the title is
# better. Where the bar crosses zero, these patients (or seeds) do not decide. One bar in twenty
# misses zero by chance alone, and a bar over patients is about a single training.
#
# Trained here, tested there
# --------------------------
#
# On the diagonal of the table is what a hospital sees when it tests its own model. The other
# entries show what happens when that model moves to another hospital.

tested = means[means["metric"].isin(["auc", "auc elsewhere"]) & (means["arm"] != "fine-tuned")]
tested = tested.assign(origin=tested["trained_at"].where(tested["arm"] == "alone", tested["arm"]))
matrix = tested.pivot(index="origin", columns="hospital", values="value")
last = list(views.values())[-1]
gained = last[(last["metric"] == "gain") & last["hospital"].isin(hospitals)]

top, bottom = make_panels(2, height=3.8)
plot_transfer(matrix.loc[[*hospitals, "federated", "pooled"], hospitals], home=hospitals, ax=top)
top.set_title("AUC, mean of the seeds")
plot_gains(gained[gained["arm"] != "pooled"], films[hospitals], ax=bottom)
bottom.set(ylabel="AUC gained over alone", title="Gain and size")
show()

# %%
# In the table, compare the entries of a column: they are about the same patients. Below it, a
# downward slope would mean that small hospitals gain most. Four points do not make a rule.
#
# What left the hospitals
# -----------------------
#
# Weights, during the training; and for this page:

comparisons = len(over_alone) + len(over_federated)
for what, number in {
    "numbers of films and patients": counts[["films", "patients", "positive"]].size,
    "validation scores": sum(len(trained.curve) for trained in runs.values()),
    "test scores and differences, each with two limits": live["hospital"].isin(hospitals).sum(),
    "resampled differences, for intervals of means": N_RESAMPLES * len(hospitals) * comparisons,
}.items():
    print(f"{number:>5} {what}")

# %%
# No score of a single film is among them. Even so, a number about a handful of patients reveals
# much about each: a hospital with few test patients may prefer not to share it. This page cannot
# show what more rounds would change: a setup whose validation score was still rising might improve.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above. The gain is defined as on the main page: over the
# hospital's *own* model, on its *own* test films.

from helpers.evaluation import describe_change, describe_gains, describe_rising, seed_interval


def say_verdicts(results):
    for arm in ("federated", "fine-tuned"):
        print(describe_gains(results, arm))
    at_mean = results[results["hospital"] == MEAN]
    words = {"below": "worse", "above": "better"}
    for arm, rows in at_mean[at_mean["metric"] == "gain over federated"].groupby("arm"):
        first = rows.sort_values("seed")[["value", "low", "high"]].iloc[0]
        print(f"{arm} less federated, on average: {describe_change(*first, **words)}.")
        if len(rows) > 1:
            over = describe_change(*seed_interval(rows["value"]), **words)
            print(f"  Over {len(rows)} seeds: {over}.")
    mean = results.groupby("metric")["value"].mean()
    own = at_mean[(at_mean["arm"] == "alone") & (at_mean["metric"] == "auc")]["value"].mean()
    other, moved = mean["mean auc elsewhere"], mean["at home less elsewhere"]
    print(f"A hospital's own model has {own:.3f} at home and {other:.3f} elsewhere.")
    print(f"A gain over the latter would be larger by {moved:+.3f}, and is nobody's gain.")
    correlation = mean["rank correlation"]
    held = "yes" if correlation < -0.8 else "NO"
    print(f"Small hospitals gain more, as expected: {held}, rank correlation {correlation:+.2f}.")
    print(describe_rising(results))


say_verdicts(results)

# %%
# "Was it worth it" has as many answers as there are hospitals. A few numbers from everyone are
# enough to give each its own. The main page,
# :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py`, trains through real
# tasks; :func:`helpers.evaluation.bootstrap_difference` describes the intervals over patients.

r"""
What each hospital contributed
==============================

Four hospitals trained one network together. How much of it is due to each? The question decides
who is thanked, who is paid, and which hospital's films deserve a second look.

We will:

1. train every :term:`coalition` of the hospitals, and divide the common gain by **Shapley's value**
   :footcite:p:`shapley1953`,
2. compare it with the hospitals' sizes, and with what is lost if one of them stays away,
3. let one hospital join twice, and see who pays for that,
4. guess the same values from the :term:`updates <update>` of a **single run**
   :footcite:p:`song2019`, and try this on a hospital whose labels are wrong.

We expect large hospitals to contribute more than small ones; a copy to earn as much as its
original, although it adds nothing; and a hospital with wrong labels to come last, below zero. The
**floor** is the untrained network, and chance, an :term:`AUC` of one half. The **ceiling** is the
network trained on :term:`pooled` films.
"""

# %%
# Four hospitals, one of them twice
# ---------------------------------
#
# The smallest hospital joins a second time, under another name and with the same films. All
# networks are judged on the same films: those that no hospital trains on.

from helpers.data import set_up_hospitals
from helpers.display import show
from helpers.openers.chest_xray_opener import ChestXrayOpener

IMAGE_SIZE, SEED = 32, 0  # pixels, to keep the run short; 64 or more in a real study

study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = sorted(samples)


def open_films(*splits, of=hospitals):
    return ChestXrayOpener().get_data([samples[name][split] for name in of for split in splits])


films = {name: open_films("train", of=[name]) for name in hospitals}
judged = open_films("valid", "test")  # no run chooses anything on them
sizes = {name: len(own["labels"]) for name, own in films.items()}
SMALL = min(sizes, key=sizes.get)
TWIN = f"{SMALL} again"
films[TWIN] = films[SMALL]
print(sizes, "films;", len(judged["labels"]), "films to judge on")

# %%
# The value of a coalition
# ------------------------
#
# The value :math:`v(S)` of a coalition :math:`S` is the AUC of the network that its members train
# without the others. Nobody trains no network, and **the empty coalition is worth .5, which is
# chance**. :func:`~helpers.explanation.train_coalition` is federated averaging without clients and
# tasks. It keeps what was sent, and :func:`~helpers.explanation.rebuild_coalition` adds it up.

import copy

import keras
from keras import layers
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.exchange import exchanged_variables, get_parameters, set_parameters
from helpers.explanation import list_coalitions, rebuild_coalition, train_coalition

N_ROUNDS, N_UPDATES = 5, 12  # to keep the run short; in a real study, until the AUC stops rising


def build_model():
    film = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    x = layers.Rescaling(4, -2)(film)
    x = layers.Conv2D(16, 7, strides=4, activation="relu")(x)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    return keras.Model(film, layers.Dense(1)(layers.GlobalMaxPooling2D()(x)))


def make_algo(n_updates=N_UPDATES):
    algo = TFFedAvgAlgo(
        model=build_model,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(8e-3),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=n_updates, seed=SEED),
        dataset=ChestXrayDataset,
        seed=SEED,
    )
    algo.trace(judged)  # once, and not in every run
    return algo


algo = make_algo()
scorer = copy.deepcopy(algo)
network = exchanged_variables(scorer.model)
start = get_parameters(network)


def score(rounds, coalition):
    set_parameters(network, rebuild_coalition(start, rounds, coalition))
    return scorer.predict(judged)[:, 0]


# %%
# A run is repeatable: with the same films it gives the same network, to the last bit. So the copy
# in place of its original needs no run of its own. One is made all the same, to check that.


def run(coalition, films=films):
    members = {name: films[name] for name in coalition}
    return train_coalition(algo, members, num_rounds=N_ROUNDS)


players = sorted(films)  # the copy directly after its original
runs, scores = {}, {}
for coalition in list_coalitions(players)[1:]:
    same = tuple(SMALL if name == TWIN and SMALL not in coalition else name for name in coalition)
    if same not in runs:
        runs[same] = run(same)
        scores[same] = score(runs[same], same)
    scores[coalition] = scores[same]

everybody, pair = tuple(hospitals), (TWIN, hospitals[-1])
is_same = bool((score(run(pair), pair) == scores[pair]).all())
print(f"{len(scores)} coalitions, {len(runs)} runs; the copy trains like its original: {is_same}")

# %%
# Floor and ceiling. The pooled network makes as many updates as all hospitals together.

longer = make_algo(N_UPDATES * len(hospitals))
pooled = train_coalition(longer, {"pool": open_films("train")}, num_rounds=N_ROUNDS)
of_networks = {"untrained": score([], ()), "federated": scores[everybody]}
of_networks |= {"one joins twice": scores[tuple(players)], "pooled": score(pooled, ("pool",))}
aucs = {arm: auc(judged, own) for arm, own in of_networks.items()}
print({arm: round(value, 3) for arm, value in aucs.items()})

# %%
# Shapley's value
# ---------------
#
# Let the hospitals join one after another, and note by how much each raises the AUC. That depends
# on the order: who comes first adds most. Shapley's value is the mean over all orders,
#
# .. math:: \varphi_i = \sum_{S \not\ni i} \frac{|S|!\,(n - |S| - 1)!}{n!}
#           \bigl(v(S \cup \{i\}) - v(S)\bigr).
#
# It is the only division in which the parts add up to the whole, equal hospitals get equal parts,
# who adds nothing gets nothing, and two games can be added. *Leave one out* is simpler: what the
# federation loses without the hospital. Intervals are over patients: each resample of the
# :term:`bootstrap` judges all coalitions on the same ones.

import pandas as pd

from helpers.explanation import bootstrap_contributions

N_RESAMPLES = 200  # to keep the run short; 2,000 in a real study


def contribute(scores, players):
    of_players = {group: scores[group] for group in list_coalitions(players)[1:]}
    about = judged["labels"], of_players, judged["metadata"]["patient"]
    return bootstrap_contributions(auc, *about, empty=0.5, n=N_RESAMPLES)


exact = contribute(scores, hospitals)
table = exact.pivot(index="hospital", columns="arm", values="value").assign(films=sizes)
table["by size"] = (aucs["federated"] - 0.5) * table["films"] / table["films"].sum()
show(table.sort_values("films").round(3))

# %%
from helpers.plots import plot_intervals

by_size = table["by size"].rename("value").reset_index().assign(arm="by size")
compared = pd.concat([exact[exact["arm"] != "alone"], by_size])
plot_intervals(compared, reference=0).set(xlabel="AUC")
show()

# %%
# *By size* divides the gain in proportion to films. *Leave one out* is near zero where the others
# can replace a hospital: it shows whether one is needed, and its parts do not add up to the gain.
#
# Joining twice
# -------------
#
# The same division among five players. The last columns show who gets which part of the pot.

twice = contribute(scores, players)
games = {"exact": exact, "one joins twice": twice}
shares = pd.DataFrame(
    {arm: own.set_index(["arm", "hospital"])["value"]["Shapley"] for arm, own in games.items()}
)
show(shares.join((shares / shares.sum()).add_suffix(", part of the pot")).round(3))

# %%
# Symmetry is what makes the value fair, and what makes it easy to cheat: it cannot see that two
# players hold the same films. Who splits or copies a hospital should be found before anyone pays.
#
# A guess from one run
# --------------------
#
# Exact values need :math:`2^n - 1` runs, the guess needs one. The :term:`aggregation` knows every
# update of the run of all hospitals, and guesses a coalition's network by adding up those of its
# members. The same for a run in which one hospital's labels are **flipped**.

from helpers.plots import make_panels

BAD = max(sizes, key=sizes.get)
flipped = {**films[BAD], "labels": 1 - films[BAD]["labels"]}
one_run = {"one run": runs[everybody], "labels flipped": run(hospitals, films | {BAD: flipped})}
for arm, rounds in one_run.items():
    guessed = {S: score(rounds, S) for S in list_coalitions(hospitals)[1:]}
    games[arm] = contribute(guessed, hospitals)
parts = [own.rename(columns={"arm": "metric"}).assign(arm=arm) for arm, own in games.items()]
tidy = pd.concat(parts)
shapley = tidy[tidy["metric"] == "Shapley"]
top, bottom = make_panels(2, height=3.6)
plot_intervals(shapley[shapley["arm"].isin(["exact", "one run"])], reference=0, ax=top)
plot_intervals(shapley[shapley["arm"] == "labels flipped"], reference=0, ax=bottom)
bottom.set(title=f"{BAD} flips its labels, one run", xlabel="Shapley's value, AUC")
show()

# %%
# On top, both marks of a row are judged on the same films. Updates of later rounds started from
# weights that the others have changed, so that the guess gives a hospital some of their work.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.evaluation import describe_change, describe_sides
from helpers.results import tidy_facts, write_results

facts = {(arm, "auc"): value for arm, value in aucs.items()}
facts |= {(name, "films"): size for name, size in sizes.items()}
trained = {"exact": sum(map(len, list_coalitions(hospitals))), "one run": len(hospitals)}
facts |= {(arm, "trained"): number for arm, number in trained.items()}
tidy = tidy.assign(seed=SEED, round=N_ROUNDS, split="valid and test")
results = pd.concat([tidy, tidy_facts(facts, seed=SEED, round=N_ROUNDS)], ignore_index=True)
write_results(results, "what_each_hospital_contributed")


def say_verdicts(results):
    rows = results.set_index(["arm", "metric", "hospital"])[["value", "low", "high"]].sort_index()
    fact = rows["value"].xs("all", level="hospital")
    auc, films = fact.xs("auc", level="metric") - 0.5, fact.xs("films", level="metric")
    shapley = rows.xs("Shapley", level="metric")
    exact, flipped = shapley.loc["exact"], shapley.loc["labels flipped"]
    arms = ("exact", "one joins twice", "one run")
    values, pair, guessed = (shapley.loc[arm, "value"] for arm in arms)
    large, small, twin = films.idxmax(), films.idxmin(), f"{films.idxmin()} again"
    print(f"Gain over chance {auc['federated']:.3f}; the values add up to {values.sum():.3f}.")
    print(f"Floor, untrained: {auc['untrained']:+.3f}. Ceiling, pooled: {auc['pooled']:+.3f}.")
    order = values.corr(films, method="spearman")
    print(
        f"Larger hospitals contribute more: {'yes' if order > 0.99 else 'NO'}, rank correlation "
        f"{order:+.2f}.\n  {large} has {films[large] / films[small]:.1f} times the films of "
        f"{small}, and {values[large] / values[small]:.1f} times its value."
    )
    without = rows.loc[("exact", "leave one out")]
    print(f"What is lost without a hospital, against zero: {describe_sides(without)}.")
    print(f"  The losses add up to {without['value'].sum() / auc['federated']:.0%} of the gain.")
    print(f"Copy and original get the same: {'yes' if pair[small] == pair[twin] else 'NO'}.")
    once, both = values[small] / values.sum(), pair[[small, twin]].sum() / pair.sum()
    print(f"  {small} gets {once:.0%} of the pot, and {both:.0%} if it joins twice.")
    adds = rows.loc[("one joins twice", "leave one out", twin)]
    print(f"  The copy changes the AUC by {describe_change(*adds, below='worse', above='better')}.")
    less = (pair[values.index] < values).drop(small)
    print(f"  Others who get less than before: {less.sum()} of {len(less)}.")
    inside = (exact["low"] <= guessed) & (guessed <= exact["high"])
    print(
        f"One run, 1/{fact['exact', 'trained'] / fact['one run', 'trained']:.0f} of the training: "
        f"off by up to {(guessed - values).abs().max():.3f}, in the exact interval for "
        f"{inside.sum()} of {len(inside)},\n  rank correlation "
        f"{guessed.corr(values, method='spearman'):+.2f}."
    )
    last = flipped["value"].idxmin() == large
    below = describe_change(*flipped.loc[large], below="below zero", above="ABOVE ZERO")
    print(f"With flipped labels {large} is {'last' if last else 'NOT last'}, in one run: {below}.")


say_verdicts(results)

# %%
# One seed, one small network, synthetic films. Intervals cover other patients, but not other
# trainings: while this page was written, other learning rates and numbers of rounds put the
# hospitals in other orders. A value belongs to a way to train, to the others who take part, and to
# the films that judge: who has rare patients is worth little where these are not counted. It does
# not say *why* a hospital contributes, or what a fair price is. The guess needs every hospital's
# own update, which secure aggregation would hide.
#
# References
# ----------
#
# .. footbibliography::

"""
Where the network looks
=======================

Four hospitals have trained one network, and it finds most films with a :term:`finding`. Does it
look at the finding? A map of :term:`attribution` says how much each pixel contributed to the
answer. On synthetic films the place of a finding is known, so that a map can be right or wrong.

We will:

1. train a federated network, and one hospital's network for comparison,
2. draw the maps of four methods beside the films,
3. play the :term:`pointing game` :footcite:p:`zhang2018`: is a map's highest pixel in the finding?
4. repeat it with networks that know nothing.

The ceiling is the true mask of the finding, which always hits. The floor is the federated network
with **shuffled weights** :footcite:p:`adebayo2018`: its maps should hit no more often than a blind
guess. We expect the federated network to be far above it, and above the single hospital.
"""

# %%
# Two networks
# ------------
#
# The network is the one of *Your first network*. It has no normalization, and its last layer asks
# of each filter whether its pattern is anywhere on the film.

import functools
import logging

import keras
import numpy as np
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset, set_up_hospitals
from helpers.display import show
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_small_cnn

IMAGE_SIZE = 32  # pixels, to keep the run short; 224 or more in a real study
N_ROUNDS, SEED = 12, 0
set_logging_level(logging.ERROR)
study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
largest = study.films["hospital"].value_counts().idxmax()


def train(*hospitals):
    algo = TFFedAvgAlgo(
        model=functools.partial(build_small_cnn, IMAGE_SIZE),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(4e-3),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
        dataset=ChestXrayDataset,
        seed=SEED,
    )
    strategy = FedAvg(algo=algo, metric_functions={"auc": auc})
    states, scores = federation.simulate(
        strategy, train_on=hospitals, num_rounds=N_ROUNDS, eval_every=N_ROUNDS
    )
    return states.state[-1].algo.model, scores[scores["round"] == N_ROUNDS]


with Federation(samples) as federation:
    trained = {"federated": train(), "one hospital": train(largest)}
networks = {name: model for name, (model, _) in trained.items()}
scores = {name: table.set_index("hospital")["value"] for name, (_, table) in trained.items()}

import pandas as pd

print(f"One hospital is {largest}. Test AUC at each hospital:")
show(pd.DataFrame(scores).round(3))

# %%
# Films, and the truth about them
# -------------------------------
#
# We take the test films with exactly one finding that both networks call ill.
# :func:`helpers.data.read_masks` returns where findings are. Synthetic films are drawn again with
# and without the finding; NIH's films have boxes by radiologists, if ``BBox_List_2017.csv`` is in
# the folder. Maps of other collections can be seen, but not judged.

from helpers.data import read_masks
from helpers.openers.chest_xray_opener import ChestXrayOpener

test = ChestXrayOpener().get_data([folders["test"] for folders in samples.values()])
healthy = ChestXrayOpener().get_data([folders["train"] for folders in samples.values()])
healthy = np.asarray(healthy["images"])[np.asarray(healthy["labels"]) == 0]
background = healthy[np.random.default_rng(SEED).choice(len(healthy), 50, replace=False)]

films, about = np.asarray(test["images"]), test["metadata"]
chosen = ~about["findings"].str.contains("|", regex=False) & (test["labels"] == 1)
for model in networks.values():
    chosen &= model.predict(films / np.float32(255), verbose=0)[:, 0] > 0
films, about = films[chosen], about[chosen].reset_index(drop=True)
masks = read_masks(study.radiographs, about["image"], IMAGE_SIZE).get("finding")
if masks is None:
    masks = np.zeros(films.shape[:3], bool)  # nobody marked these films
about["area"] = masks.mean(axis=(1, 2))
show(about.groupby("findings")["area"].agg(["size", "mean"]).round(3))

# %%
# The last column is the share of the film that the finding covers: how often a blind guess hits.
#
# Maps
# ----
#
# Four methods, each of its own kind. *SmoothGrad* is the mean gradient over noisy copies of the
# film :footcite:p:`smilkov2017`: which pixels, made brighter, would raise the answer? *Integrated
# gradients* share the difference between the answers to this film and to the average healthy film
# among the pixels :footcite:p:`sundararajan2017`. *Occlusion* covers a square with the average
# film :footcite:p:`zeiler2014`. *Grad-CAM* shows where the last features are that speak for a
# finding :footcite:p:`selvaraju2017`; here they have 5 × 5 places.

from helpers.explanation import explain

METHODS = {
    "smoothgrad": {"nb_samples": 20},  # few, to keep the run short; 50 or more in a real study
    "integrated_gradients": {"steps": 20},  # likewise
    "occlusion": {},
    "grad_cam": {},
}


def explain_all(model):
    how = {"background": background, "seed": SEED}
    return {name: explain(model, films, name, **how, **more) for name, more in METHODS.items()}


maps = {name: explain_all(model) for name, model in networks.items()}

from helpers.plots import plot_maps

FEW = ["Cardiomegaly", "Effusion", "Pneumonia", "Pneumothorax"]
rows = [own.index[len(own) // 2] for name, own in about.groupby("findings") if name in FEW]
rows = rows or list(about.index[:4])
columns = {name.replace("_", "\n"): own[rows] for name, own in maps["federated"].items()}
plot_maps(films[rows], columns, masks=masks[rows], titles=list(about["findings"][rows]))
show()

# %%
# The outline is the true place of the finding. Orange pixels raise the answer, purple ones lower
# it. Methods disagree about one and the same network: they answer different questions.
#
# The network that knows nothing
# ------------------------------
#
# Shuffled weights are the same numbers in other places. We shuffle twice. One more map needs
# no network at all: the **difference** of a film from the average healthy film.

from helpers.explanation import pointing_game, shuffle_weights

N_SHUFFLES = 2
shuffled = [explain_all(shuffle_weights(networks["federated"], n)) for n in range(N_SHUFFLES)]
difference = np.abs(films / 255.0 - background.mean(axis=0) / 255)[..., 0]

hits = {(name, arm): pointing_game(own[name], masks) for arm, own in maps.items() for name in own}
for name in METHODS:
    of_shuffles = [pointing_game(own[name], masks) for own in shuffled]
    hits[name, "shuffled"] = np.mean(of_shuffles, axis=0)
hits["difference", "no network"] = pointing_game(difference, masks)
hits["mask", "ceiling"] = pointing_game(masks, masks)
hits["blind guess", "floor"] = np.where(masks.any(axis=(1, 2)), about["area"], np.nan)

pair = {"federated": maps["federated"], "shuffled": shuffled[0]}
columns = {
    f"{title},\n{arm}": own[name][rows[:2]]
    for name, title in {"smoothgrad": "smoothgrad", "integrated_gradients": "integrated"}.items()
    for arm, own in pair.items()
}
plot_maps(films[rows[:2]], columns, masks=masks[rows[:2]], titles=list(about["findings"][rows[:2]]))
show()

# %%
# The pointing game
# -----------------
#
# Intervals are over patients. The last column of the table is the excess of the federated network's
# hits over those of its shuffled copies, on the same films.

from helpers.evaluation import bootstrap_mean, describe_change

guess = hits["blind guess", "floor"]
for name in METHODS:
    ours, floor = hits[name, "federated"], hits[name, "shuffled"]
    hits[name, "excess over shuffled"] = ours - floor
    hits[name, "excess over one hospital"] = ours - hits[name, "one hospital"]
    hits[name, "shuffled less guess"] = floor - guess
facts = {key: bootstrap_mean(own, about["patient"]) for key, own in hits.items()}
table = pd.Series({key: interval.value for key, interval in facts.items()}).unstack()
order = ["federated", "one hospital", "shuffled", "excess over shuffled"]
show(table.loc[list(METHODS), order].round(3))

from helpers.plots import plot_intervals

drawn = pd.DataFrame(
    [
        {"hospital": name, "arm": arm, **facts[name, arm]._asdict()}
        for name in METHODS
        for arm in ("federated", "one hospital", "shuffled")
    ]
)
ax = plot_intervals(drawn, reference=facts["blind guess", "floor"].value)
ax.set(xlabel="share of films in which the highest pixel is in the finding", xlim=(0, 1))
show()

# %%
# The grey line is the blind guess. How often each finding is hit by the federated network:

by_finding = pd.DataFrame({name: hits[name, "federated"] for name in METHODS})
by_finding = by_finding.groupby(about["findings"]).mean().round(2)
show(by_finding.assign(films=about["findings"].value_counts()))

# %%
# A pneumothorax is *darker* than lung. No signed gradient can be positive there for a network that
# knows this: making its pixels brighter lowers the answer.

# %%
# Conclusion
# ----------
#
# Computed from the table of results.

from helpers.results import tidy_facts, write_results

facts["films", "all"] = len(films)
swapped = {(arm, metric): value for (metric, arm), value in facts.items()}
results = tidy_facts(swapped, seed=SEED, round=N_ROUNDS, split="test")
write_results(results, "where_the_network_looks")


def say_verdicts(results):
    table = results.dropna(subset="value").set_index(["arm", "metric"])[["value", "low", "high"]]
    print(
        f"{table['value']['all', 'films']:.0f} films with one finding that both networks call ill."
    )
    if ("floor", "blind guess") not in table.index:
        print("Nobody marked these films: the maps cannot be judged.")
        return
    guess = table.loc[("floor", "blind guess"), "value"]
    print(f"A blind guess hits in {guess:.3f} of them, the mask in 1.")
    ours, floor = table.loc["federated"], table.loc["shuffled less guess"]
    for name, (value, low, high) in ours.sort_values("value", ascending=False).iterrows():
        print(f"{name}: {value:.3f} [{low:.3f}, {high:.3f}]")
        more = table.loc[("excess over shuffled", name)]
        print(f"  more than shuffled: {describe_change(*more, below='NO: fewer', above='yes')}")
        more = table.loc[("excess over one hospital", name)]
        print(f"  more than one hospital: {describe_change(*more, below='NO: fewer', above='yes')}")
        excess = floor.loc[name]
        words = {"below": "hits LESS often than a guess", "above": "NOT at chance"}
        print(f"  shuffled less guess: {describe_change(*excess, **words)}")
    best = ours["value"].idxmax()
    word = "in at least" if ours["value"][best] >= 0.8 else "NOT in at least"
    print(f"The best method, {best}, hits {word} 80 % of the films.")
    fair = ours["value"][floor["low"].reindex(ours.index) <= 0]
    if len(fair):
        print(
            "The best method whose maps of shuffled weights hit no more often than a guess is "
            f"{fair.idxmax()}, with {fair.max():.3f}."
        )
    no_network = table.loc[("no network", "difference"), "value"]
    print(f"The difference from the average film, without any network, hits in {no_network:.3f}.")


say_verdicts(results)

# %%
# A method that compares a film with the average film starts from their difference, and on clean
# synthetic films that difference shows the finding by itself. Such a map can hit without a network
# that knows anything: only the excess over shuffled weights is the network's. A hit says nothing of
# the rest of the map either, see
# :ref:`sphx_glr_auto_examples_plot_62_can_a_heat_map_be_trusted.py`. One seed, small films, and
# films that the network calls right: where it errs, its maps may be wrong in another way.
#
# References
# ----------
#
# .. footbibliography::

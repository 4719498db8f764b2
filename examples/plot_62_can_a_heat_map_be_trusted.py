"""
Can a heat map be trusted?
==========================

A heat map always shows something. Whether it shows where the finding is, what the network used, or
just the edges of the ribs, one cannot see. It can be measured, in several ways, and they need not
agree. Which methods pass which test?

We will:

1. train a federated network, and choose films whose finding is known to the pixel,
2. judge eight methods by eight measures, with intervals over patients and seconds per film,
3. look at the methods that change most and least when the network's weights are shuffled,
4. ask whether the measures agree with each other.

Two rows bound the table. The **floor** is a map of random numbers. The **ceiling** is the true mask
of the finding: it knows the truth, but not the network. We expect gradients to be fast and noisy,
methods that perturb the film to be slow and stable, and some method to pass every test.
"""

# %%
# A network and films
# -------------------
#
# The same network and films as in :ref:`sphx_glr_auto_examples_plot_61_where_the_network_looks.py`:
# test films with one finding that the network calls ill.

import functools
import logging

import keras
import numpy as np
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset, read_masks, set_up_hospitals
from helpers.display import show
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_small_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener

IMAGE_SIZE = 32  # pixels, to keep the run short; 224 or more in a real study
N_FILMS = 20  # likewise
N_ROUNDS, SEED = 12, 0
set_logging_level(logging.ERROR)
study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
algo = TFFedAvgAlgo(
    model=functools.partial(build_small_cnn, IMAGE_SIZE),
    loss=keras.losses.BinaryCrossentropy(from_logits=True),
    optimizer=keras.optimizers.Adam(4e-3),
    index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
    dataset=ChestXrayDataset,
    seed=SEED,
)
with Federation(samples) as federation:
    strategy = FedAvg(algo=algo, metric_functions={"auc": auc})
    states, scores = federation.simulate(strategy, num_rounds=N_ROUNDS, eval_every=N_ROUNDS)
network = states.state[-1].algo.model
show(scores[scores["round"] == N_ROUNDS][["hospital", "metric", "value"]].round(3))

# %%
# Films that are compared with, and that replace pixels which are taken away, are healthy training
# films. Where nobody marked findings, the first three measures have no values.

test = ChestXrayOpener().get_data([folders["test"] for folders in samples.values()])
train = ChestXrayOpener().get_data([folders["train"] for folders in samples.values()])
rng = np.random.default_rng(SEED)
healthy = np.flatnonzero(np.asarray(train["labels"]) == 0)
background = np.asarray(train["images"][rng.choice(healthy, 50, replace=False)])

films, about = np.asarray(test["images"]), test["metadata"]
chosen = ~about["findings"].str.contains("|", regex=False) & (test["labels"] == 1)
chosen &= network.predict(films / np.float32(255), verbose=0)[:, 0] > 0
chosen = np.sort(rng.permutation(np.flatnonzero(chosen))[:N_FILMS])
films, about = films[chosen], about.iloc[chosen].reset_index(drop=True)
nothing = np.zeros(films.shape[:3], bool)
masks = read_masks(study.radiographs, about["image"], IMAGE_SIZE).get("finding", nothing)
print(f"{len(films)} films of {about['patient'].nunique()} patients")

# %%
# Eight measures
# --------------
#
# Against the truth: does the highest pixel hit the finding (*pointing game*
# :footcite:p:`zhang2018`), how much of the positive *mass* is in it, and how well do its highest
# pixels *overlap* it?
#
# Against the network: the probability should fall soon if the highest pixels are taken away first
# (*deletion*, low is good), rise soon if they come first (*insertion*, high)
# :footcite:p:`petsiuk2018`, and tiles should matter as much as the map says (*fidelity*, a rank
# correlation) :footcite:p:`bhatt2020`.
#
# Against common sense: the map should be another one if the weights are shuffled (*change of
# weights*, a rank correlation near 0) :footcite:p:`adebayo2018`, and the same if the film gets
# noise that nobody sees (*stability*, near 1).

from helpers.explanation import MEASURES, assess

METHODS = {
    "saliency": {},
    "guided_backprop": {},
    "smoothgrad": {"nb_samples": 20},  # few, to keep the run short; 50 or more in a real study
    "integrated_gradients": {"steps": 20},
    "grad_cam": {},
    "occlusion": {},
    "rise": {"nb_samples": 200},  # 4,000 or more in a real study
    "kernel_shap": {"nsamples": 200},  # 2,000 or more
}
how = {"background": background, "seed": SEED}
judged = assess(network, films, masks, about["patient"], METHODS, **how)
order = [*METHODS, "random", "mask"]
table = judged.pivot(index="method", columns="measure", values="value").loc[order, list(MEASURES)]
seconds = judged.groupby("method")["seconds"].first()
show(table.assign(**{"seconds per film": seconds}).round(3))

# %%
# Deletion and insertion are probabilities; of *random* and *mask*, which are no methods, the last
# two measures have no value. A map of RISE has an offset, the mean logit, so that its sums count
# tiles: its fidelity suffers from that. Seconds include preparing the method, once for all films;
# other pages may run beside it.

from helpers.plots import make_panels, plot_intervals

SHOWN = ("pointing game", "fidelity", "change of weights", "stability")
axes = make_panels(4, height=4, n_columns=2, sharey=True)
for ax, measure in zip(axes, SHOWN, strict=True):
    rows = judged[judged["measure"] == measure].rename(columns={"method": "hospital"})
    rows = rows.set_index("hospital").reindex(order).reset_index().assign(arm="method")
    plot_intervals(rows, reference=0, ax=ax)
    ax.set(title=measure, xlim=(-0.35, 1.05))
show()

# %%
# A good method lies right in all panels but *change of weights*, where it lies at the line.
#
# Shuffled weights
# ----------------
#
# The methods whose maps change most and least, beside the same film. If a map looks convincing with
# shuffled weights, it shows the film and not what the network learned.

from helpers.explanation import explain, shuffle_weights
from helpers.plots import plot_maps

kept = table["change of weights"].abs().dropna()
shuffled, columns = shuffle_weights(network, SEED), {}
rows = np.linspace(0, len(films) - 1, 3).astype(int)
for name in (kept.idxmin(), kept.idxmax()):
    for arm, model in (("trained", network), ("shuffled", shuffled)):
        own = explain(model, films[rows], name, **how, **METHODS[name])
        columns[name.replace("_", "\n") + f",\n{arm}"] = own
plot_maps(films[rows], columns, masks=masks[rows], titles=list(about["findings"][rows]))
show()

# %%
# Do the measures agree?
# ----------------------
#
# Rank correlations over the methods; signs are turned so that good is high in all measures.

good = table.loc[list(METHODS)].copy()
good["deletion"] *= -1
good["change of weights"] = -good["change of weights"].abs()
agreement = good.rank().corr()
show(agreement.round(2))

# %%
# Conclusion
# ----------
#
# A method passes a test if its whole interval is on the right side: of the random map's value for
# the first six measures, of one half for the last two.

from helpers.results import tidy_facts, write_results

facts = {(row.method, row.measure): (row.value, row.low, row.high) for row in judged.itertuples()}
facts |= {(name, "seconds per film"): seconds[name] for name in METHODS}
facts |= {
    ("agreement", f"{first} and {second}"): agreement.loc[first, second]
    for first, second in (("pointing game", "fidelity"), ("deletion", "insertion"))
}
results = tidy_facts(facts, seed=SEED, round=N_ROUNDS, split="test")
write_results(results, "can_a_heat_map_be_trusted")


def list_failed(table, method):
    failed = []
    for measure in table.index.get_level_values("metric").unique():
        if (method, measure) not in table.index or measure == "seconds per film":
            continue
        low, high = table.loc[(method, measure), ["low", "high"]]
        if measure in ("change of weights", "stability"):
            passed = max(-low, high) < 0.5 if measure == "change of weights" else low > 0.5
        else:
            floor = table.loc[("random", measure), "value"]
            passed = high < floor if measure == "deletion" else low > floor
        if not passed:
            failed.append(measure)
    return failed


def say_verdicts(results):
    table = results.dropna(subset="value").set_index(["arm", "metric"])[["value", "low", "high"]]
    methods = [arm for arm, metric in table.index if metric == "seconds per film"]
    failed = {name: list_failed(table, name) for name in methods}
    for name, measures in failed.items():
        print(f"{name} fails: {', '.join(measures) or 'nothing'}.")
    passed = [name for name, measures in failed.items() if not measures]
    print(f"Passing every test: {', '.join(passed) or 'NO method'}.")
    value = table["value"].unstack()
    for measure in ("pointing game", "insertion", "fidelity"):
        if measure in value:
            best = value.loc[methods, measure].idxmax()
            print(
                f"{measure}: the best method is {best}, {value.loc[best, measure]:.3f}; "
                f"random {value.loc['random', measure]:.3f}, mask {value.loc['mask', measure]:.3f}."
            )
    seconds = value.loc[methods, "seconds per film"]
    print(f"Fastest: {seconds.idxmin()}; slowest: {seconds.idxmax()}.")
    for pair, correlation in value.loc["agreement"].dropna().items():
        word = "agree" if correlation > 0.5 else "do NOT agree"
        print(f"Over the methods, {pair} {word}: {correlation:+.2f}.")


say_verdicts(results)

# %%
# A test that a method passes makes no map right: it says that maps of this method, of this network,
# on such films, are not worthless. The mask is not the best map of the network where the network
# uses more than the finding, or less. Pixels that are replaced make films that the network never
# saw, so that deletion and insertion also measure how it fails on these. One seed, one small
# network, and synthetic films, whose findings stand out more than real ones.
#
# References
# ----------
#
# .. footbibliography::

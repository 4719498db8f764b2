"""
BatchNorm across hospitals
==========================

A BatchNorm layer normalizes every feature to mean 0 and variance 1 :footcite:p:`ioffe2015`. In
training it takes both numbers from the :term:`batch`; afterwards from **moving statistics** of all
films that it has seen, see :term:`batch normalization statistics`. Two scanners differ in just
these numbers. How should they be treated when hospitals train one network together?

We will:

1. give every hospital a display curve of its own, so that their features differ,
2. list what each of five choices **sends**,
3. train the same network with each, from the same start,
4. look at the hospitals one by one, and at one that **only tests**: whose statistics does it get?

We expect a choice that keeps statistics local to serve the hospitals that train, and the hospital
that only tests, the *stranger*, only as well as the statistics that it happens to get.
:term:`Group normalization <group normalization>` has no statistics: we expect the smallest gap
between the two from it. The floor is the network that each hospital trains alone; the ceiling is
the one trained on the :term:`pooled` films.
"""

# %%
# Hospitals with scanners of their own
# ------------------------------------
#
# The films are those of the other pages. The last hospital does not train.

from helpers.data import set_up_hospitals
from helpers.display import show
from helpers.studies import study_seed

IMAGE_SIZE = 32  # pixels, to keep the run short; 224 or more in a real study
SEED = study_seed()  # 0, unless `make studies` runs this page

study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
*trainers, stranger = hospitals = list(samples)
show(study.films.groupby(["hospital", "split"]).size().unstack())

# %%
# Scanners differ already, but mildly. To see the effect in a short run we exaggerate: each hospital
# raises its pixel values to a power. The order of grey levels stays, so a reader loses nothing;
# the mean and the variance, which BatchNorm uses, change a lot. The figure shows one film of each
# hospital, as the network receives it.

import numpy as np

from helpers.data import ChestXrayDataset
from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.plots import plot_films

CURVES = dict(zip(hospitals, np.geomspace(0.4, 2.5, len(hospitals)), strict=True))


class ScannerDataset(ChestXrayDataset):
    def __init__(self, data_from_opener, is_inference):
        super().__init__(data_from_opener, is_inference)
        self._powers = data_from_opener["metadata"]["hospital"].map(CURVES).to_numpy("float32")

    def __getitem__(self, indices):
        batch = super().__getitem__(indices)
        x = batch if self._is_inference else batch[0]
        x = x ** self._powers[indices].reshape(-1, 1, 1, 1)
        return x if self._is_inference else (x, batch[1])


of_hospital = {
    hospital: ScannerDataset(ChestXrayOpener().get_data([splits["train"]]), is_inference=True)
    for hospital, splits in samples.items()
}
pixels = {hospital: dataset[np.arange(100)] for hospital, dataset in of_hospital.items()}
titles = [f"{name}\nmean {x.mean():.2f},\ndeviation {x.std():.2f}" for name, x in pixels.items()]
plot_films(np.uint8([255 * x[0] for x in pixels.values()]), titles)
show()

# %%
# Five choices
# ------------
#
# :class:`~helpers.algorithms.BatchNorm` names them. Two are SubstraFL's: ``AVERAGED`` averages
# statistics, ``STATISTICS_LOCAL`` does not. ``LOCAL`` is :term:`FedBN` :footcite:p:`li2021`, where
# nothing of these layers leaves a hospital. ``FROZEN`` does not change them after the start.
# ``GROUP`` replaces each layer by GroupNorm :footcite:p:`wu2018`, which takes mean and variance
# from the film itself.
#
# Frozen layers need initial statistics. The films of one hospital pass through the network, without
# training; all choices start there. A real study would start from a pretrained network.

import keras

from helpers.models import build_cnn, start_from


def build():
    model = build_cnn(IMAGE_SIZE, (16, 32, 32), normalization="batch")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # with Keras' 0.99 the start counts for hundreds of batches
    return model


keras.utils.set_random_seed(SEED)
first_model, draw = build(), np.random.default_rng(SEED)
films = of_hospital[trainers[0]]
for _ in range(30):
    first_model(films[draw.choice(len(films), 32)], training=True)
build_started = start_from(build, first_model)

# %%
# Each choice sends some of the network's numbers in a round, and keeps the others local:

import pandas as pd

from helpers.algorithms import BatchNorm
from helpers.exchange import get_parameters


def count_numbers(choice):
    model = choice.change(build_started)()
    sent = [value.size for value in get_parameters(choice.exchanged_variables(model)).values()]
    kept = model.count_params() - sum(sent)
    return {"tensors sent": len(sent), "numbers sent": sum(sent), "numbers kept": kept}


show(pd.DataFrame({str(choice): count_numbers(choice) for choice in BatchNorm}).T)

# %%
# The same training with each
# ---------------------------
#
# All setups have the same number of rounds and of updates per hospital, the pooled run as many
# updates as all hospitals together. The round that is kept is the best on the validation films of
# the hospitals that train. Test films are scored once, with that round: each hospital uses its own
# network, the stranger that of the **first** hospital that trains, as in SubstraFL.

import logging

from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.evaluation import auc
from helpers.local_mode import Federation, train_best

set_logging_level(logging.ERROR)
N_ROUNDS, EVAL_EVERY, PATIENCE = 20, 2, 3  # patience in evaluations; to keep the run short
N_UPDATES = 12  # batches of 16 films in a round, at each hospital

pool = {"train": [samples[hospital]["train"] for hospital in trainers]}
test = {name: ChestXrayOpener().get_data([samples[name]["test"]]) for name in hospitals}
kept, rows = {}, []  # trainings; arm, hospital, AUC


def train(arm, batch_norm, train_on=trainers, valid_on=trainers, n_updates=N_UPDATES):
    algo = TFFedAvgAlgo(
        model=build_started,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        index_generator=NpIndexGenerator(batch_size=16, num_updates=n_updates, seed=SEED),
        dataset=ScannerDataset,
        batch_norm=batch_norm,
        seed=SEED,
    )
    algo.trace(test[stranger])  # once, and not at every hospital
    strategy = FedAvg(algo=algo, metric_functions={"auc": auc})
    how = {"num_rounds": N_ROUNDS, "eval_every": EVAL_EVERY, "patience": PATIENCE}
    trained = train_best(federation, strategy, train_on=train_on, valid_on=valid_on, **how)
    kept[arm, train_on[0] if arm == "alone" else "all"] = trained
    for hospital, data in test.items():
        if arm != "alone" or hospital in (*train_on, stranger):
            algo = trained.algos.get(hospital, trained.algos[train_on[0]])
            rows.append((arm, hospital, auc(data, algo.predict(data))))


with Federation(samples | {"pool": pool}) as federation:
    for hospital in trainers:
        train("alone", "averaged", [hospital], [hospital])
    for choice in BatchNorm:
        train(str(choice), choice)
    train("pooled", "averaged", ["pool"], n_updates=N_UPDATES * len(trainers))
    train("other order", "local", trainers[::-1])

show(pd.DataFrame({run: vars(trained.best) for run, trained in kept.items()}).T)

# %%
# The value is the validation AUC. Where ``stopped_at`` is missing, it was still rising.
#
# Does order matter?
# ------------------
#
# Under FedBN scales and shifts differ from hospital to hospital, so the order of the hospitals
# decides whose layers the stranger gets. The last run is FedBN again, with another hospital first.
# At the hospitals that train, only the last digit of a sum depends on the order. Training amplifies
# it, and another round may be kept. Treat their change as the **noise** of a single run.

scores = pd.DataFrame(rows, columns=["arm", "hospital", "auc"])
table = scores.pivot_table(index="arm", columns="hospital", values="auc", sort=False)[hospitals]
moved = (table.loc["other order"] - table.loc["local"]).abs()
show(moved.to_frame("change with the order").round(3))

# %%
# Hospital by hospital
# --------------------
#
# Another :term:`seed` assigns other patients and draws other batches: ``make studies`` runs this
# page with five seeds, and their results are added here. Scores and gains over alone have intervals
# of Student's t over the seeds; a single seed has none.

from helpers.evaluation import count_rising, describe_rising
from helpers.results import tidy_values, write_results
from helpers.studies import average_seeds, compare_seeds, join_study

TRAIN, STRANGER = "those that train", "stranger"
table[TRAIN], table[STRANGER] = table[trainers].mean(axis="columns"), table[stranger]
facts = {
    "gap": table[TRAIN] - table[STRANGER],
    "change": {TRAIN: moved[trainers].max(), STRANGER: moved[stranger]},
    "runs": count_rising(trained.best for trained in kept.values()),
}
live = [tidy_values({"auc": own}, seed=SEED, hospital=name) for name, own in table.items()]
live = pd.concat([*live, tidy_values(facts, seed=SEED)], ignore_index=True)
live["round"] = live["arm"].map({a: run.best.round for (a, at), run in kept.items() if at == "all"})
used = {"pixels": IMAGE_SIZE, "updates": N_UPDATES, "patience": PATIENCE, "rounds": N_ROUNDS}
films_of = str(study.radiographs)
seeds = join_study("batch_norm_across_hospitals", live, data=films_of, settings=used)
results = seeds.table
write_results(results, "batch_norm_across_hospitals")
print(seeds)
both = results[results["hospital"].isin([TRAIN, STRANGER])]
show(compare_seeds(both, "alone", by=["hospital"]).round(3))

# %%
# Points are scores on a hospital's own test films, bars are intervals over the seeds. *Alone* shows
# each hospital's own network, and the stranger the mean of them.

from helpers.plots import plot_choices

means = average_seeds(results[results["hospital"].isin(hospitals)])
ax = plot_choices(means, ["alone", *map(str, BatchNorm), "pooled"], stranger=stranger)
ax.set_xlabel("test AUC, mean of the seeds")
show()

# %%
# With one seed, differences of a few hundredths mean nothing: a hospital has few test films. A gap
# under GroupNorm is not caused by statistics, but by contrasts *within* a film, which the curves
# change, too. This page cannot show the effect of pretraining, larger images or more rounds.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above. *Noise* is the largest change with the order.


def say_best(arm, scores):
    value, low, high = scores.loc[arm, ["value", "low", "high"]]
    return f"{arm}, {value:.3f}" + ("" if pd.isna(low) else f" [{low:.3f}, {high:.3f}]")


def say_verdicts(results):
    names, group = [str(choice) for choice in BatchNorm], str(BatchNorm.GROUP)
    means = average_seeds(results).set_index(["metric", "hospital", "arm"]).sort_index()
    trained, met = means.loc["auc"].loc[TRAIN], means.loc["auc"].loc[STRANGER]
    gap = means.loc["gap"].loc["all"]["value"][names]
    noise, moved = means.loc["change"].loc["all"]["value"][[TRAIN, STRANGER]]
    of, unseen = trained["value"][names], met["value"][names]
    alone, pooled = trained["value"][["alone", "pooled"]]
    print(f"Best for those that train: {say_best(of.idxmax(), trained)}; noise {noise:.3f}.")
    print(f"Best for the stranger: {say_best(unseen.idxmax(), met)}; ", end="")
    print(f"worst: {say_best(unseen.idxmin(), met)}.")
    held = "as expected" if gap.idxmin() == group else f"NOT as expected: {gap.idxmin()} has less"
    print(f"GroupNorm has a gap of {gap[group]:+.3f}, {held} ({gap.min():+.3f}).")
    of_choices = results[results["arm"].isin(names)]
    p = compare_seeds(of_choices, group, metric="gap")["p"].dropna()  # empty for a single seed
    print(f"  Of {len(p)} gaps with intervals {(p < 0.05).sum()} differ from it after correction.")
    below = ", ".join(name for name in names if of[name] < alone)
    above = ", ".join(name for name in names if of[name] > pooled)
    n_below = f"{(of < alone).sum()} of {len(names)} choices"
    print(f"Alone has {alone:.3f} at home and beats {n_below}: {below or 'none'}.")
    print(f"Pooled has {pooled:.3f}; above this ceiling: {above or 'none'}.")
    held = "more" if moved > noise else "NOT more"
    print(f"Another order changes FedBN at the stranger by {moved:.3f}, {held} than the noise.")
    print(describe_rising(results), f"Seeds: {results['seed'].nunique()}.")


say_verdicts(results)

# %%
# State which choice was made: *federated averaging with BatchNorm* can mean at least four things.
# SubstraFL's default averages scales and shifts and keeps statistics local. FedBN is made for
# hospitals that differ and are all known; one that joins later can estimate statistics from films
# without labels, or train for a round. GroupNorm has no statistics to decide about, so the other
# pages use it; whether it serves a stranger is another question.
#
# References
# ----------
#
# .. footbibliography::

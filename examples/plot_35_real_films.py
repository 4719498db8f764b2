"""
Real films
==========

The other pages use synthetic films, so that nothing has to be downloaded. Does what they show hold
on real ones, and is the network good enough to be compared at all?

We will train on `PneumoniaMNIST <https://medmnist.com>`__, films of children with and without
pneumonia :footcite:p:`yang2023`, or on a sample of ChestX-ray14, with what a short run on synthetic
films leaves out:

1. **augmentation**: films are shifted, turned and brightened at random while the network trains,
2. a **schedule**: the learning rate falls to zero,
3. the round that is kept is chosen on validation films.

Each hospital alone is the floor, the pooled films are the ceiling. We expect the federated network
to reach published results on these films, to be close to the ceiling, and above the floor. Run this
page with ``CHEST_XRAYS=pneumoniamnist``, which downloads 4 MB. Without real films it shows
only what was measured before.
"""

# %%
# Published results
# -----------------
#
# Test AUC on the official 624 test films of PneumoniaMNIST, from the paper of MedMNIST. The larger
# films have 224 pixels, reduced to 28 they are the ones used here.

import pandas as pd

from helpers.display import show

PUBLISHED = {
    "ResNet-18, 28 px": 0.944,
    "ResNet-50, 28 px": 0.948,
    "ResNet-18, 224 px": 0.956,
    "ResNet-50, 224 px": 0.962,
}
OFFICIAL = 5856  # films of PneumoniaMNIST
show(pd.Series(PUBLISHED, name="AUC").to_frame())

# %%
# The films
# ---------
#
# Neither collection names hospitals, so that patients (or films, where patients are not recorded)
# are assigned at random.

from helpers.data import count_hospitals, set_up_hospitals
from helpers.studies import join_study, read_studies, study_seed

SEED = study_seed()
chest_xrays = set_up_hospitals("any finding vs none", seed=SEED)
IS_REAL = not chest_xrays.radiographs.is_synthetic
counts = count_hospitals(chest_xrays.films, chest_xrays.labels)
show(
    counts.pivot_table(index="hospital", columns="split", values=["films", "positive"], sort=False)
)

# %%
# One network, trained three ways
# -------------------------------
#
# The network is that of the other pages, with :func:`~helpers.models.augment` before it. The
# schedule is part of the optimizer, as always in Keras. Everyone makes the same number of updates
# at each hospital, and the pool as many as all hospitals together.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.models import augment, build_cnn

IMAGE_SIZE = 56  # pixels; films of 28 pixels are magnified, for the network's first step of two
N_ROUNDS, N_UPDATES = 24, 30  # batches of 32 films in a round, at each hospital
RATE = 2e-3  # at the start


def make_strategy(n_updates=N_UPDATES):
    schedule = keras.optimizers.schedules.CosineDecay(RATE, n_updates * (N_ROUNDS + 1))
    algo = TFFedAvgAlgo(
        model=augment(functools.partial(build_cnn, IMAGE_SIZE)),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=1e-3),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=n_updates, seed=SEED),
        dataset=ChestXrayDataset,
        seed=SEED,
    )
    return FedAvg(algo=algo, metric_functions={"auc": auc})


# %%
# Each model scores *all* test films: for PneumoniaMNIST the official test set, on which published
# numbers are.

import logging

from substrafl.logger import set_logging_level

from helpers.local_mode import Federation, train_best
from helpers.results import COLUMNS, score_films, write_results

set_logging_level(logging.ERROR)


def measure():
    samples = chest_xrays.prepare(IMAGE_SIZE)
    hospitals = list(samples)
    pool = {"train": [own["train"] for own in samples.values()]}
    setups = {("federated", "all"): (hospitals, hospitals, N_UPDATES)}
    setups |= {("alone", name): ([name], [name], N_UPDATES) for name in hospitals}
    setups["pooled", "all"] = ["pool"], hospitals, N_UPDATES * len(hospitals)
    rows = []
    with Federation({**samples, "pool": pool}) as federation:
        for (arm, trained_at), (train_on, valid_on, n_updates) in setups.items():
            trained = train_best(
                federation,
                make_strategy(n_updates),
                num_rounds=N_ROUNDS,
                train_on=train_on,
                valid_on=valid_on,
                eval_every=2,
                patience=N_ROUNDS,  # a schedule has to be run to its end
            )
            films = score_films(trained.algo, samples, "test")
            labels = films["label"].to_numpy()
            value = auc({"labels": labels}, films["score"].to_numpy())
            row = (SEED, trained.best.round, arm, "all", "test", "auc", value)
            rows.append((*row, trained_at, len(chest_xrays.films)))
    return pd.DataFrame(rows, columns=[*COLUMNS, "trained_at", "films"])


SETTINGS = {"rounds": N_ROUNDS, "updates": N_UPDATES, "pixels": IMAGE_SIZE, "rate": RATE}
COLLECTION = "nih_sample" if chest_xrays.radiographs.layout == "nih" else "pneumoniamnist"
if IS_REAL:
    live = measure()
    data = str(chest_xrays.radiographs)
    study = join_study(f"real_films_{COLLECTION}", live, data=data, settings=SETTINGS, by=["arm"])
    print(study)
    results = study.table.assign(collection=COLLECTION)
else:
    studies = read_studies("real_films_")
    for name, study in studies.items():
        print(f"{name}: {study}\n  {study.about['data']}")
    tables = {name.removeprefix("real_films_"): study.table for name, study in studies.items()}
    results = pd.concat(
        [table.assign(collection=name) for name, table in tables.items()], ignore_index=True
    )
write_results(results, "real_films")
show(
    results.pivot_table(
        index=["collection", "arm"], columns="seed", values="value", sort=False
    ).round(3)
)

# %%
# Means and intervals
# -------------------
#
# Bars are 95 % intervals of Student's t over seeds, each of which assigns films to other hospitals
# and draws other initial weights. Small marks are the seeds, for *alone* the hospitals' mean.


from helpers.evaluation import seed_interval
from helpers.plots import describe_range, make_panels
from helpers.plots.style import ARM_STYLES

ARMS = ("alone", "federated", "pooled")
collections = list(results["collection"].unique())
for ax, name in zip(make_panels(len(collections), height=2.4), collections, strict=True):
    rows = results[results["collection"] == name]
    for place, arm in enumerate(ARMS):
        values = rows[rows["arm"] == arm].groupby("seed")["value"].mean()
        mean, low, high = seed_interval(values)
        style = {"color": ARM_STYLES[arm]["color"], "linestyle": "none"}
        ax.plot([low, high], [place, place], color=style["color"])
        ax.plot(mean, place, marker=ARM_STYLES[arm]["marker"], markersize=8, **style)
        ax.plot(values, [place] * len(values), marker="|", **style)
    ax.set_yticks(range(len(ARMS)), ARMS)
    ax.set(title=name.replace("_", " "), xlabel="test AUC", ylim=(2.5, -0.5))
    means = rows.groupby(["arm", "seed"])["value"].mean().groupby("arm").mean()
    ax.set_label(
        f"Mean test AUC of {rows['seed'].nunique()} seeds: {describe_range(means, '.3f')}."
    )
show()

# %%
# What this cannot show: hospitals whose films were assigned at random differ less than real ones,
# and a test set from the same hospital as the training films says little about others. None of it
# is a clinical result.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def say_verdicts(results):
    for name in results["collection"].unique():
        rows = results[results["collection"] == name]
        seeds = rows.pivot_table(index="seed", columns="arm", values="value")
        mean, plural = seeds.mean(), "s" * (len(seeds) > 1)
        print(
            f"{name}, {len(seeds)} seed{plural}: alone {mean['alone']:.3f}, federated "
            f"{mean['federated']:.3f}, pooled {mean['pooled']:.3f}."
        )
        for other in ("alone", "pooled"):
            gain, low, high = seed_interval(seeds["federated"] - seeds[other])
            word = "higher" if low > 0 else "LOWER" if high < 0 else "not decided"
            print(f"  Federated less {other}: {gain:+.3f} [{low:+.3f}, {high:+.3f}], {word}.")
        if name == "pneumoniamnist" and (rows["films"] == OFFICIAL).all():
            for published, value in PUBLISHED.items():
                word = "reached" if mean["federated"] >= value else "NOT reached"
                print(f"  {published}, {value:.3f}: {word}.")
        elif name == "pneumoniamnist":
            films = int(rows["films"].iloc[0])
            print(f"  {films:,} of {OFFICIAL:,} films: not comparable with published results.")


say_verdicts(results)

# %%
# References
# ----------
#
# .. footbibliography::

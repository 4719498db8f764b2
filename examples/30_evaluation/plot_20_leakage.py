"""
Leakage: what happens when films are split instead of patients
==============================================================

Many patients have several films. Assign *films* at random to train and test, and most test films
have a sister in training: the same ribs, the same heart, and usually the same answer. A network may
then pass by recognizing people. How much does its score gain, and how would one notice?

We will:

1. split the films the wrong way, and see how many test films have a sister in training,
2. build two training sets of the same size, with and without such sisters,
3. train the same network on both, and judge it on the **same** test films,
4. do the same with a classifier that does nothing but remember.

The set without sisters is the floor, and the truth: new patients have no sisters. We expect sisters
to raise the score, little in the beginning and more the longer a network has time to remember, and
most for the classifier that only remembers.
"""

# %%
# The wrong way
# -------------
#
# First the right one: whole patients, as everywhere in this project.

import numpy as np
import pandas as pd

from helpers.data import label_films, make_hospitals, read_radiographs, split_patients

TASK = "any finding vs none"
radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = make_hospitals(radiographs.table, labels, seed=0)
labels = labels[films.index]
if films["patient"].isna().any():
    raise ValueError("Expected films with patient numbers: this page is about them.")

# %%
# And the wrong one. It happens easily: it is enough that the csv has lost its column of patients.
# Then each film counts as a patient of its own, and no check can know better.

anonymous = split_patients(films.assign(patient=None), labels=labels, seed=0)


def share_with_sister(split):
    trained = set(films["patient"][split == "train"])
    return films["patient"][split == "test"].isin(trained).mean()


for name, split in {"by patient": films["split"], "by film": anonymous["split"]}.items():
    print(
        f"split {name}: {share_with_sister(split):.0%} of the test films have a sister in training"
    )

# %%
# Where the patients are known, the project refuses such a split:

from helpers.data import check_no_leak

try:
    check_no_leak(films.assign(split=anonymous["split"]))
except ValueError as error:
    print(error)

# %%
# Two training sets, one test
# ---------------------------
#
# The two splits above have different test films, so that comparing their scores would compare luck.
# Instead we take the split by patient, and let the validation patients test, too. Of every such
# patient with several films, half are test films, and the others are their **sisters**. The *leaky*
# training set takes the sisters in, in exchange for as many films of training patients; the
# *honest* one does not. Both have the same number of films and are judged by the same ones.

rng = np.random.default_rng(0)
order = films.sample(frac=1, random_state=0)
place = order.groupby("patient").cumcount()[films.index]
size = films.groupby("patient")["image"].transform("size")
several = (films["split"] != "train") & (size > 1)
is_test, is_sister = several & (place < size // 2), several & (place >= size // 2)
honest = films.index[films["split"] == "train"]
leaky = np.r_[rng.permutation(honest)[is_sister.sum() :], films.index[is_sister]]
print(f"{len(honest):,} films to train on; {is_sister.sum():,} of them are exchanged for sisters")
print(f"{is_test.sum():,} test films of {films['patient'][is_test].nunique():,} patients")

# %%
# The leaky set must come without patients, or it is refused; we keep those of the test films for
# later. All hospitals' films are taken together: the mistake needs no federation.

from helpers.data import prepare_samples

IMAGE_SIZE = 64  # pixels


def prepare(train):
    table = films.loc[[*train, *films.index[is_test]]].assign(patient=None, hospital="all")
    table["split"] = np.r_[["train"] * len(train), ["test"] * is_test.sum()]
    return prepare_samples(radiographs, table, labels[table.index], size=IMAGE_SIZE, task=TASK)[
        "all"
    ]


samples = {"honest": prepare(honest), "leaky": prepare(leaky)}
patients = films["patient"][is_test].to_numpy()

# %%
# The same network on both
# ------------------------
#
# Training at one node, with the scores of every round kept.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import SingleOrganization

from helpers.algorithms import TFSingleOrganizationAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener

set_logging_level(logging.ERROR)
SEEDS = (0, 1, 2)
N_ROUNDS, N_UPDATES = 6, 60  # to keep the run short; longer trainings remember more
test = ChestXrayOpener().get_data([samples["honest"]["test"]])
logits = {}  # (arm, seed, round) -> one for each test film

with Federation(samples) as federation:
    for seed in SEEDS:
        algo = TFSingleOrganizationAlgo(
            model=functools.partial(build_cnn, IMAGE_SIZE),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(2e-3),
            index_generator=NpIndexGenerator(batch_size=32, num_updates=N_UPDATES, seed=seed),
            dataset=ChestXrayDataset,
            seed=seed,
        )
        for arm in samples:
            states, _ = federation.simulate(
                SingleOrganization(algo=algo, metric_functions={"auc": auc}),
                train_on=[arm],
                test_on=[arm],
                num_rounds=N_ROUNDS,
                eval_every=N_ROUNDS,
            )
            for state, number in zip(states.state, states.round_idx, strict=True):
                logits[arm, seed, number] = state.algo.predict(test)[:, 0]

# %%
from helpers.results import COLUMNS, write_results

results = pd.DataFrame(
    [
        (seed, number, arm, "all", "test", "auc", auc(test, rows))
        for (arm, seed, number), rows in logits.items()
    ],
    columns=COLUMNS,
)
write_results(results, "leakage")

# %%
# A classifier that only remembers
# --------------------------------
#
# For comparison, the five nearest training films vote, in 60 principal components of a small copy
# of the film. This learns nothing about disease, yet it can look up a person.

from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.data import resize_image


def open_small(folder):
    data = ChestXrayOpener().get_data([folder])
    small = [resize_image(film[..., 0], 32) for film in data["images"]]
    return np.stack(small).reshape(len(small), -1) / 255, data["labels"]


remembered = {}
for arm, splits in samples.items():
    x, y = open_small(splits["train"])
    components = min(60, len(x) - 1)
    memory = make_pipeline(
        StandardScaler(),
        PCA(components, whiten=True, random_state=0),
        KNeighborsClassifier(min(5, len(x)), weights="distance"),
    ).fit(x, y)
    remembered[arm] = memory.predict_proba(open_small(splits["test"])[0])[:, 1]

# %%
# Does it look up people? For each test film, is the nearest film of the leaky training set one of
# the same patient?

nearest = memory[-1].kneighbors(memory[:-1].transform(open_small(samples["leaky"]["test"])[0]), 1)
trained = ChestXrayOpener().get_data([samples["leaky"]["train"]])["metadata"]["image"]
names = films.set_index("image")["patient"]
found = names[trained.iloc[nearest[1][:, 0]]].to_numpy() == patients
shares = names[trained].value_counts(normalize=True).reindex(patients)
print(f"nearest film is of the same patient: {found.mean():.0%}")
print(f"by chance it would be:               {shares.mean():.1%}")

# %%
# What leakage gains
# ------------------
#
# Both models of a pair are scored on the same test films, so that differences are paired. Their
# intervals are drawn over patients, and over the seeds of the network.

import matplotlib.pyplot as plt

from helpers.evaluation import bootstrap_difference

rounds = sorted(results["round"].unique())
gains = {
    number: bootstrap_difference(
        auc,
        test["labels"],
        *(np.stack([logits[arm, seed, number] for seed in SEEDS]) for arm in ("leaky", "honest")),
        patients,
        n=500,
    )
    for number in rounds
    if number > 0
}
by_heart = bootstrap_difference(
    auc, test["labels"], remembered["leaky"], remembered["honest"], patients, n=500
)

_, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
curves = results.pivot_table(index="round", columns="arm", values="value")
for arm, color in (("honest", "black"), ("leaky", "#D55E00")):
    left.plot(curves.index * N_UPDATES, curves[arm], color=color, marker="o", label=arm)
left.axhline(0.5, color="0.8", linewidth=1, zorder=0)
left.set(xlabel="updates", ylabel="test AUC, mean of the seeds")
left.legend()
updates = np.array(list(gains)) * N_UPDATES
values, low, high = np.array(list(gains.values())).T
right.fill_between(updates, low, high, color="#D55E00", alpha=0.2, linewidth=0)
right.plot(updates, values, color="#D55E00", marker="o", label="network")
right.errorbar(
    updates.max() * 1.1, by_heart.value,
    [[by_heart.value - by_heart.low], [by_heart.high - by_heart.value]],
    color="0.3", marker="s", label="nearest films",
)  # fmt: skip
right.axhline(0, color="0.4", linewidth=1, zorder=0)
right.set(xlabel="updates", ylabel="AUC gained by leakage")
right.legend()
plt.show()

# %%
# The distance between the curves, with its 95 % interval, is on the right. Where the interval
# contains zero, these patients and seeds do not decide whether leakage inflated the score.
#
# Why it may be little, and why that is no comfort
# ------------------------------------------------
#
# A sister helps in two ways. She looks similar, and she mostly has the same label: in these films,
# how often?

pairs = films.assign(label=labels).sort_values(["patient", "follow_up"])
same_patient = pairs["patient"].eq(pairs["patient"].shift())
agree = (pairs["label"] == pairs["label"].shift())[same_patient].mean()
p = labels.mean()
print(f"two films of a patient in a row have the same label: {agree:.0%}")
print(f"two films of any patients:                           {p**2 + (1 - p) ** 2:.0%}")

# %%
# Larger networks, longer training and more films per patient all give leakage more to work with.
# The size of the error is not known beforehand, and it cannot be seen in a score that contains it:
# only a split by patient shows it. So we exclude it, whether or not it mattered here.
#
# Answers leak on other roads, too: a marker on the film, a machine used for the ill only, or a
# threshold chosen on the test films.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def say_verdicts():
    arms = {
        "network, first round": gains[min(gains)],
        "network, last round": gains[max(gains)],
        "nearest films": by_heart,
    }
    for name, gain in arms.items():
        word = "undecided, the interval contains 0"
        if gain.low > 0:
            word = "leakage inflates the score"
        elif gain.high < 0:
            word = "the leaky set is WORSE, against expectation"
        print(f"{name}: {gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}], {word}.")
    values = [gain.value for gain in arms.values()]
    print(f"More in the last round than in the first: {'yes' if values[1] > values[0] else 'NO'}.")
    print(
        f"Most where films are only remembered: {'yes' if values[2] > max(values[:2]) else 'NO'}."
    )


say_verdicts()

# %%
# :func:`~helpers.data.split_patients` moves whole patients, and
# :func:`~helpers.data.check_no_leak` refuses what is torn. Both can only work with a column of
# patients: whoever anonymizes films should replace the patients' numbers, not remove them.

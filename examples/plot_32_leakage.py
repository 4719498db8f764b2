"""
Leakage: what happens when films are split instead of patients
==============================================================

Many patients have several films. If *films* are assigned at random to training and test, most test
films have **siblings** in training, that is, other films of the same patient: the same ribs, the
same heart, and usually the same answer. A network may then pass the test by recognizing people.
This is one kind of :term:`leakage`. How much does it raise the score, and how would one notice?

We will:

1. split the films the wrong way, and count the test films with siblings in training,
2. build two training sets of the same size, with and without such siblings,
3. train the same network on both, and score both on the **same** test films,
4. do the same with a classifier that only memorizes.

The set without siblings is the floor, and the truth: new patients have no siblings in training. We
expect siblings to raise the score, little in the beginning and more the longer the network trains,
and most for the classifier that only memorizes.
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
# And the wrong one. It happens easily: it is enough that the CSV file has lost its column of
# patients. Then each film counts as a patient of its own, and no check can find the mistake.

anonymous = split_patients(films.assign(patient=None), labels=labels, seed=0)


def share_with_siblings(split):
    trained = set(films["patient"][split == "train"])
    return films["patient"][split == "test"].isin(trained).mean()


for name, split in {"by patient": films["split"], "by film": anonymous["split"]}.items():
    print(f"split {name}: {share_with_siblings(split):.0%} of test films have siblings in training")

# %%
# Where the patients are known, the project refuses such a :term:`split`:

from helpers.data import check_no_leak

try:
    check_no_leak(films.assign(split=anonymous["split"]))
except ValueError as error:
    print(error)

# %%
# Two training sets, one test set
# -------------------------------
#
# The two splits above have different test films, so a comparison of their scores would depend on
# chance. Instead, we take the split by patient, and test on the validation patients, too. Of every
# such patient with several films, half of the films are test films, and the others are siblings.
# The *leaky* training set contains the siblings, in exchange for as many films of training
# patients; the *honest* one does not. Both have the same number of films and the same test films.

rng = np.random.default_rng(0)
order = films.sample(frac=1, random_state=0)
place = order.groupby("patient").cumcount()[films.index]
size = films.groupby("patient")["image"].transform("size")
several = (films["split"] != "train") & (size > 1)
is_test, is_sibling = several & (place < size // 2), several & (place >= size // 2)
honest = films.index[films["split"] == "train"]
leaky = np.r_[rng.permutation(honest)[is_sibling.sum() :], films.index[is_sibling]]
print(f"{len(honest):,} training films; in the leaky set {is_sibling.sum():,} of them are siblings")
print(f"{is_test.sum():,} test films of {films['patient'][is_test].nunique():,} patients")

# %%
# The leaky set must come without patients, or it is refused; we keep those of the test films for
# later. We take the films of all hospitals together: the mistake needs no federation.

from helpers.data import prepare_samples

IMAGE_SIZE = 48  # pixels, to keep the run short


def prepare(train):
    table = films.loc[[*train, *films.index[is_test]]].assign(patient=None, hospital="all")
    table["split"] = np.r_[["train"] * len(train), ["test"] * is_test.sum()]
    samples = prepare_samples(radiographs, table, labels[table.index], size=IMAGE_SIZE, task=TASK)
    return samples["all"]


samples = {"honest": prepare(honest), "leaky": prepare(leaky)}
patients = films["patient"][is_test].to_numpy()

# %%
# The same network on both
# ------------------------
#
# We train at one :term:`node`, with three :term:`seeds <seed>`, and score test films every round.

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
N_ROUNDS, N_UPDATES = 6, 60  # to keep the run short; longer trainings memorize more
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
        algo.trace(test)  # once, and not in both runs
        for arm in samples:
            strategy = SingleOrganization(algo=algo, metric_functions={"auc": auc})
            states, _ = federation.simulate(
                strategy, train_on=[arm], test_on=[arm], num_rounds=N_ROUNDS, eval_every=N_ROUNDS
            )
            for (_, number), trained in federation.algos(states).items():
                logits[arm, seed, number] = trained.predict(test)[:, 0]

# %%
# A classifier that only memorizes
# --------------------------------
#
# For comparison, the five nearest training films vote, in 60 principal components of a small copy
# of the film. This learns nothing about disease, but it can look up a person.

from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from helpers.data import resize_image


def open_small(folder):
    data = ChestXrayOpener().get_data([folder])
    small = [resize_image(film[..., 0], 32) for film in data["images"]]
    return np.stack(small).reshape(len(small), -1) / 255, data["labels"]


votes = {}
for arm, splits in samples.items():
    x, y = open_small(splits["train"])
    memory = make_pipeline(
        StandardScaler(),
        PCA(min(60, len(x) - 1), whiten=True, random_state=0),
        KNeighborsClassifier(min(5, len(x)), weights="distance"),
    ).fit(x, y)
    votes[arm] = memory.predict_proba(open_small(splits["test"])[0])[:, 1]

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
# Both models of a pair are scored on the same test films, so the differences are paired. Their
# intervals come from a :term:`bootstrap` over patients and over the seeds of the network.

from helpers.evaluation import bootstrap_difference
from helpers.results import tidy_facts, write_results

measure = functools.partial(bootstrap_difference, auc, test["labels"], patients=patients, n=500)
tables = []
for number in range(1, N_ROUNDS + 1):
    scores = {arm: np.stack([logits[arm, seed, number] for seed in SEEDS]) for arm in samples}
    for arm, rows in scores.items():
        for seed, row in zip(SEEDS, rows, strict=True):
            facts = {(arm, "auc"): auc(test, row)}
            tables.append(tidy_facts(facts, seed=seed, round=number, split="test"))
    facts = {("network", "auc gained"): measure(scores["leaky"], scores["honest"])}
    if number == N_ROUNDS:
        facts["nearest films", "auc gained"] = measure(votes["leaky"], votes["honest"])
    tables.append(tidy_facts(facts, seed=SEEDS[0], round=number, split="test"))
results = pd.concat(tables, ignore_index=True)

# %%

from helpers.display import show
from helpers.plots import describe_lines, describe_range, make_panels

top, bottom = make_panels(2, height=3.4, sharex=True)
curves = results[results["metric"] == "auc"].groupby(["arm", "round"])["value"].mean()
for arm, style in (("honest", "ko-"), ("leaky", "C3^--")):
    top.plot(curves[arm].index * N_UPDATES, curves[arm], style, label=arm)
top.axhline(0.5, color="0.8", linewidth=1, zorder=0)
top.set_ylabel("test AUC, mean of the seeds")
gains = results[results["metric"] == "auc gained"]
for arm, shift, style in (("network", 0, "C3^-"), ("nearest films", 30, "ks")):
    rows = gains[gains["arm"] == arm]
    bars = [rows["value"] - rows["low"], rows["high"] - rows["value"]]
    bottom.errorbar(rows["round"] * N_UPDATES + shift, rows["value"], bars, fmt=style, label=arm)
bottom.axhline(0, color="0.4", linewidth=1, zorder=0)
gained = gains[gains["round"] == N_ROUNDS].set_index("arm")["value"]
bottom.set(xlabel="updates", ylabel="AUC gained by leakage")
bottom.set_label(f"AUC gained by leakage at the end: {describe_range(gained, '+.2f')}.")
describe_lines(top).legend()
bottom.legend(loc="upper left")
show()

# %%
# The lower panel shows the distance between the curves, with its 95 % interval. Where the interval
# contains zero, these patients and seeds do not decide whether leakage raised the :term:`AUC`.
#
# Why it may be little, and why that is no comfort
# ------------------------------------------------
#
# A sibling helps in two ways. It looks similar, and it usually has the same label. How often?

pairs = films.assign(label=labels).sort_values(["patient", "follow_up"])
same_patient = pairs["patient"].eq(pairs["patient"].shift())
agree = (pairs["label"] == pairs["label"].shift())[same_patient].mean()
p = labels.mean()
print(f"two successive films of a patient have the same label: {agree:.0%}")
print(f"two films of any patients have the same label:         {p**2 + (1 - p) ** 2:.0%}")

# %%
# Larger networks, longer training and more films per patient can make leakage worse, and a score
# that contains the error does not show it. So we exclude it, whether or not it mattered here.
# Answers leak in other ways, too: a marker on the film, a machine used for sick patients only, or a
# threshold chosen on the test films.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

write_results(results, "leakage")


def say_verdicts(results):
    gains = results[results["metric"] == "auc gained"]
    network = gains[gains["arm"] == "network"].sort_values("round")
    rows = {
        "network, first round": network.iloc[0],
        "network, last round": network.iloc[-1],
        "nearest films": gains[gains["arm"] == "nearest films"].iloc[0],
    }
    for name, gain in rows.items():
        word = "undecided, the interval contains 0"
        if gain["low"] > 0:
            word = "leakage raises the score"
        elif gain["high"] < 0:
            word = "the leaky set is WORSE, against expectation"
        print(f"{name}: {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}], {word}.")
    first, last, nearest = (gain["value"] for gain in rows.values())
    print(f"More in the last round than in the first: {'yes' if last > first else 'NO'}.")
    print(
        f"Most for the classifier that memorizes: {'yes' if nearest > max(first, last) else 'NO'}."
    )


say_verdicts(results)

# %%
# :func:`~helpers.data.split_patients` moves whole patients, and :func:`~helpers.data.check_no_leak`
# refuses splits that separate their films. Both need a column of patients: if you anonymize films,
# replace the patients' numbers; do not remove them.

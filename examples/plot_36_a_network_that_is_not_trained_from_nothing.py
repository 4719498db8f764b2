"""
Start from a network that knows other films
===========================================

With few films, most people start from a network that was trained on something else: they keep its
first stages and train the last ones :footcite:p:`raghu2019`. How is that done in a federation, and
does it help here?

We will:

1. train a small MobileNet on films of **other patients**, and save it as a file,
2. build it with a new last layer for our hospitals, at 224 pixels,
3. federate it **from nothing**, **frozen** (only the last layer trains), and **fine-tuned** (the
   last stages train, too); the floor is chance, the ceiling fine-tuning on :term:`pooled` films.

We expect both starts from the file to be above the start from nothing after the same few rounds,
and fine-tuning to be near the ceiling.
"""

# %%
# Two hospitals, and other patients
# ---------------------------------
#
# The file is made from films of patients of neither hospital.

from helpers.data import set_up_hospitals
from helpers.display import show
from helpers.studies import study_seed

IMAGE_SIZE = 224  # pixels, the size that these networks were designed for
SEED = study_seed()  # 0, unless `make studies` runs this page
N_FILMS = {"train": 120, "valid": 8, "test": 60}  # of a hospital, to keep the run short

study = set_up_hospitals("any finding vs none", seed=SEED)
hospitals = sorted(study.films["hospital"].unique())[:2]
films = study.films[study.films["hospital"].isin(hospitals)]
place = films.groupby(["hospital", "split"]).cumcount()
films = films[place < films["split"].map(N_FILMS)]
samples = study.prepare(IMAGE_SIZE, films=films)

ours = study.films["hospital"].isin(hospitals)
others = study.films[~ours].assign(hospital="elsewhere", split="train").head(400)
elsewhere = study.prepare(IMAGE_SIZE, films=others)
show(films.groupby(["hospital", "split"]).size().unstack())

# %%
# A file of weights
# -----------------
#
# :func:`~helpers.models.build_backbone` takes a network of ``keras.applications`` by its name. It
# repeats a film to three channels, brings it to the range that the network expects, and adds a new
# last layer. BatchNorm's moving statistics start at 0 and 1: a short training needs a smaller
# momentum than Keras' 0.99.

import logging
from pathlib import Path
from tempfile import TemporaryDirectory

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_backbone, freeze_layers, start_from
from helpers.openers.chest_xray_opener import ChestXrayOpener

set_logging_level(logging.ERROR)
N_ROUNDS, MORE_ROUNDS = 2, 6  # the second for the file; to keep the run short
N_UPDATES = 4  # batches of 8 films in a round, at each hospital


def build(weights=None):
    model = build_backbone("MobileNet", IMAGE_SIZE, weights=weights, alpha=0.125)  # an eighth
    for layer in model.get_layer("backbone").layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8
    return model


def make_algo(model):
    return TFFedAvgAlgo(
        model=model,
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(3e-3),
        index_generator=NpIndexGenerator(batch_size=8, num_updates=N_UPDATES, seed=SEED),
        dataset=ChestXrayDataset,
        seed=SEED,
    )


def train(algo, train_on, num_rounds=N_ROUNDS):
    algo.trace(one)  # once, and not at every hospital
    how = {"num_rounds": num_rounds, "eval_every": num_rounds, "split": "valid"}
    strategy = FedAvg(algo, {"auc": auc})
    states, _ = federation.simulate(strategy, train_on=train_on, test_on=hospitals[:1], **how)
    return states.state[-1].algo


one = ChestXrayOpener().get_data([elsewhere["elsewhere"]["train"]])
pool = {"pool": {"train": [samples[hospital]["train"] for hospital in hospitals]}}
nothing = make_algo(build)
with Federation(samples | elsewhere, fast=False) as federation, TemporaryDirectory() as folder:
    file = Path(folder, "mobilenet.weights.h5")
    known = train(nothing, ["elsewhere"], MORE_ROUNDS).model
    known.get_layer("backbone").save_weights(file)
    started = start_from(build, build(file))
    runs = {"from nothing": train(nothing, hospitals)}

# %%
# With ``fast=False`` no process is started for tasks: a simulation needs none. No download, either.
# For the weights of ImageNet, write a file on a machine with a network:
# ``keras.applications.MobileNet(include_top=False).save("mobilenet.keras")``.
#
# Three federations
# -----------------
#
# The weights given to :func:`~helpers.models.start_from` travel with the algorithm; no hospital
# needs the file. :func:`~helpers.models.freeze_layers` names layers that are not trained. They are
# not sent, either, and their BatchNorm keeps the statistics of the file. The pooled films take as
# many updates as both hospitals together.

from helpers.exchange import exchanged_variables

frozen = freeze_layers(started, "backbone")
tuned = freeze_layers(started, "conv1*", "conv_*_?", "conv_*_?_*", "conv_*_1[01]*")
with Federation(samples | pool, fast=False) as federation:
    runs["frozen"] = train(make_algo(frozen), hospitals)
    algo = make_algo(tuned)
    runs["fine-tuned"] = train(algo, hospitals)
    runs["pooled"] = train(algo, ["pool"], len(hospitals) * N_ROUNDS)

sent = {arm: len(exchanged_variables(algo.model)) for arm, algo in runs.items()}
print("Tensors that travel:", ", ".join(f"{arm} {number}" for arm, number in sent.items()))

# %%
# What it helped
# --------------
#
# Scores are of the test films of both hospitals. Intervals draw patients, each with all films, and
# the gain over the start from nothing is measured on the same patients.

from helpers.evaluation import bootstrap_difference, bootstrap_patients
from helpers.plots import plot_intervals
from helpers.results import score_films, tidy_facts, write_results

test = {arm: score_films(algo, samples, "test") for arm, algo in runs.items()}
first, options = test["from nothing"], {"n": 300, "seed": SEED}  # 2,000 in a real study
facts = {}
for arm, scored in test.items():
    labels, scores, patients = (scored[name] for name in ("label", "score", "patient"))
    facts[arm, "auc"] = bootstrap_patients(auc, labels, scores, patients, **options)
    than = bootstrap_difference(auc, labels, scores, first["score"], patients, **options)
    facts[arm, "gain over nothing"] = than
results = tidy_facts(facts, seed=SEED, round=N_ROUNDS, split="test")
write_results(results, "a_network_that_is_not_trained_from_nothing")
of_auc = results[results["metric"] == "auc"]
show(of_auc.set_index("arm")[["value", "low", "high"]].round(3))

# %%

ax = plot_intervals(of_auc.assign(hospital=of_auc["arm"], arm="AUC"), reference=0.5)
ax.set_xlabel("test AUC")
show()

# %%
# The line is chance. One seed and few films: look at the intervals before the points. The frozen
# network can only be as good as the features that the file brings.
#
# Conclusion
# ----------
#
# These sentences are made from the numbers above.

from helpers.evaluation import Interval, describe_change, side_of


def say_verdicts(results):
    found = results.set_index(["metric", "arm"])[["value", "low", "high"]]
    for arm in ("frozen", "fine-tuned"):
        gain = found.loc["gain over nothing", arm]
        change = describe_change(*gain, below="worse", above="better")
        chance = side_of(Interval(*found.loc["auc", arm]), 0.5)
        print(f"{arm}, over the start from nothing: {change}; chance: {chance}.")
    gap = found.loc[("auc", "fine-tuned"), "value"] - found.loc[("auc", "pooled"), "value"]
    word = "not below" if gap >= 0 else "below"
    print(f"Fine-tuned together, {gap:+.3f} from the pooled films: {word} the ceiling.")


say_verdicts(results)

# %%
# The file of this page knows a few hundred films, that of ImageNet a million photographs. A real
# study tries both, and a start from nothing with enough rounds: this run is far too short for such
# a network. A file may also bring a shortcut, or know films that are tested later.
#
# References
# ----------
#
# .. footbibliography::

r"""
What an update reveals of its films
===================================

:ref:`sphx_glr_auto_examples_plot_43_smaller_updates_and_a_curious_aggregator.py` reads a film from
the update of a dense network by one division. Our network is convolutional, and its updates are
made of many films. What can an aggregation read from those, what protects the films, and does the
finished network remember whom it was trained on?

We will:

1. **invert** updates of 1, 8 and 32 films, of 1 and 20 steps: search for films that explain them,
2. do so where the update is sent in full, as ``Int8``, with **noise**, and under **masks**,
3. invert a network that is easier to invert, in order to see whether the search works at all,
4. tell training films from test films by their loss: **membership inference**.

We expect a single film to be found, a batch of films less so, and nothing under noise or masks. The
floor is another patient's film, and for membership chance, an :term:`AUC` of one half; the ceiling
is the film itself.
"""

# %%
# The films of a hospital
# -----------------------
#
# The network is that of the page above. Labels are known to the attacker, who also has films of
# another hospital, and starts from their mean. Both help the attack.

import functools
import logging

import keras
import numpy as np
from substrafl.logger import set_logging_level

from helpers.data import label_films, make_hospitals, prepare_samples, read_radiographs
from helpers.models import build_small_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener

set_logging_level(logging.ERROR)
TASK = "any finding vs none"
IMAGE_SIZE = 32  # pixels, to keep the run short; 64 or more in a real study
SEED = 0
build = functools.partial(build_small_cnn, IMAGE_SIZE, (16, 32, 64))
loss = keras.losses.BinaryCrossentropy(from_logits=True)

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = make_hospitals(radiographs.table, labels, by="iid", n_hospitals=5, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=IMAGE_SIZE, task=TASK)
hospital, elsewhere = list(samples)[:2]
opened = {name: ChestXrayOpener().get_data([samples[name]["train"]]) for name in samples}
scaled = {name: np.asarray(data["images"], np.float32) / 255 for name, data in opened.items()}
mean = scaled[elsewhere].mean(axis=0)

# %%
# What is sent
# ------------
#
# ``send`` lets the algorithm train on the first films of the hospital, as a task does, and returns
# its update. :class:`~helpers.exchange.Int8` is what a compressing algorithm sends.
# :class:`~helpers.algorithms.DPSGD` clips and adds noise; its strength here is what
# :ref:`sphx_glr_auto_examples_plot_44_privacy_by_noise.py` calls 0.5. The masks are those of
# :ref:`sphx_glr_auto_examples_plot_45_an_aggregation_that_sees_only_sums.py`.

import os

from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import DPSGD, PoissonIndexGenerator, TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.exchange import FixedPoint, Int8, Masker, public_key


def make_algo(build, n_films, n_steps, noise=None, rate=0.1):
    how = {"index_generator": NpIndexGenerator(n_films, n_steps, seed=SEED)}
    if noise is not None:
        how = {
            "index_generator": PoissonIndexGenerator(n_films, n_steps, seed=SEED),
            "privacy": DPSGD(clip_norm=1.0, noise_multiplier=noise, seed=SEED),
        }
    optimizer = keras.optimizers.SGD(rate)
    return TFFedAvgAlgo(build, loss, optimizer, dataset=ChestXrayDataset, seed=SEED, **how)


def send(algo, n_films):
    subset = {key: opened[hospital][key][:n_films] for key in ("images", "labels")}
    # `_skip` is SubstraFL's word for: now, not as a task.
    return algo.train(data_from_opener=subset, shared_state=None, _skip=True).parameters_update


def mask(update, n_films):
    """Mask as one of three hospitals; return what the aggregation would take for the update."""
    keys = [os.urandom(32) for _ in range(3)]
    masker = Masker(keys[0], [public_key(key) for key in keys[1:]], plan=b"page")
    code = FixedPoint(4.0 * 1_000, n_parties=3, bits=32)
    messages = (masker.mask(code.encode(n_films * t), str(n)) for n, t in enumerate(update))
    return [message.view(np.int32) * code.step / n_films for message in messages]


# %%
# The attack
# ----------
#
# :func:`~helpers.attacks.invert_updates` searches for films whose gradient points where the update
# points :footcite:p:`geiping2020`, with a fixed budget. All chest X-rays are alike, so what is
# compared is how a film *departs from the mean film*: a correlation of 1 is the film itself, and 0
# means nothing of it was found.

import pandas as pd

from helpers.attacks import compare_films, invert_updates
from helpers.display import show

WAYS = ("in full", "Int8", "noise", "masks")
OTHER = "another patient's film"
EVALUATIONS = 30  # of the gradient; attacks in the literature take thousands


def overhear(build, n_films, n_steps, ways=WAYS):
    """Return what the aggregation receives for an update, by the way it is sent."""
    plain = send(make_algo(build, n_films, n_steps), n_films)
    sent = {"in full": plain, "masks": mask(plain, n_films)}
    if "Int8" in ways:
        short = Int8().compress(dict(enumerate(plain)))[0].values()
        sent["Int8"] = [np.asarray(tensor) for tensor in short]
    if "noise" in ways:
        sent["noise"] = send(make_algo(build, n_films, n_steps, noise=0.5), n_films)
    return {way: sent[way] for way in ways}


def attack(build, n_films, sent):
    """Return the films found from each update that was sent."""
    dither = 0.02 * np.random.default_rng(SEED).normal(size=(n_films, *mean.shape))
    start = np.clip(mean + dither, 0, 1)  # films that began as equal would stay equal
    model = make_algo(build, n_films, 1).model
    y = opened[hospital]["labels"][:n_films, None]
    found = invert_updates(model, loss, list(sent.values()), y, start, evaluations=EVALUATIONS)
    return dict(zip(sent, found, strict=True))


patients = opened[hospital]["metadata"]["patient"].to_numpy()
strangers = scaled[hospital][~np.isin(patients, patients[:32])]


def compare(found, n_films):
    """Return the mean correlation of the films found, and that of other patients' films."""
    films = found | {OTHER: strangers[:n_films]}
    truth = scaled[hospital][:n_films]
    return {way: compare_films(one, truth, mean).mean() for way, one in films.items()}


inverted, alike = {}, {}
for n_films in (1, 8, 32):
    sent = {
        (n_steps, way): update
        for n_steps in (1, 20)
        for way, update in overhear(build, n_films, n_steps).items()
    }
    found = attack(build, n_films, sent)
    for n_steps in (1, 20):
        inverted[n_films, n_steps] = {way: found[n_steps, way] for way in WAYS}
        alike[n_films, n_steps] = compare(inverted[n_films, n_steps], n_films)
alike = pd.DataFrame(alike).rename_axis(columns=["films", "steps"])
show(alike.round(2))

# %%
# Of many films found and many true ones each is compared with the one that it fits best: the more
# films, the better do other patients' fit by chance, and the higher is the floor.
#
# Does the search work at all?
# ----------------------------
#
# Our network has kinks, in ReLU and in the maximum over all places; the search wants smooth
# functions. As a control, here is one of the same size without kinks: with tanh and a mean.


def build_smooth():
    inputs = keras.Input((IMAGE_SIZE, IMAGE_SIZE, 1))
    x = keras.layers.Rescaling(4, -2)(inputs)
    for channels, stride in ((16, 2), (32, 2), (64, 1)):
        x = keras.layers.Conv2D(channels, 3, stride, activation="tanh")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(1)(x))


from helpers.plots import plot_films

control = {}
for n_films in (1, 8):
    sent = overhear(build_smooth, n_films, 1, ways=("in full", "masks"))
    found = attack(build_smooth, n_films, sent)
    control[n_films, 1] = compare(found, n_films)
    if n_films == 1:
        smooth = found
control = pd.DataFrame(control).rename_axis(columns=["films", "steps"])
show(control.round(2))

# %%

pictures = {"the film": scaled[hospital][0], "the mean film": mean, OTHER: strangers[0]}
pictures |= {f"our network,\n{way}": inverted[1, 1][way][0] for way in WAYS}
pictures |= {f"smooth network,\n{way}": film[0] for way, film in smooth.items()}
axes = plot_films([np.uint8(255 * film) for film in pictures.values()], list(pictures), n_columns=3)
said = [f"{way} {alike.loc[way, (1, 1)]:.2f}" for way in WAYS]
said += [f"smooth network, {way} {control.loc[way, (1, 1)]:.2f}" for way in smooth]
axes[0].figure.set_label(f"A film, and what is found from its update: {', '.join(said)}.")
show()

# %%
# What the smooth network gives away, ours does not give to *this* search. That is no protection: a
# search with more patience, or another objective, may succeed where this one ends. Noise and masks
# do not depend on the attacker's patience.
#
# Whom the network was trained on
# -------------------------------
#
# Masks hide updates, not the finished network, which all hospitals hold. A network that has
# memorized a film has a small loss there :footcite:p:`yeom2018`. We compare training films and test
# films of one hospital, for a network that it trained alone, for one that it trained far too long,
# and for federated ones without and with noise. The intervals are over patients.

from helpers.attacks import film_losses
from helpers.evaluation import auc, bootstrap_patients
from helpers.local_mode import train_and_score

N_ROUNDS = 6  # to keep the run short, as are three hospitals
three = list(samples)[:3]
ARMS = {
    "alone": (make_algo(build, 32, 20, rate=0.2), [hospital]),
    "alone, ten times as long": (make_algo(build, 32, 200, rate=0.2), [hospital]),
    "federated": (make_algo(build, 32, 20, rate=0.2), three),
    "federated, noise": (make_algo(build, 32, 20, noise=0.5, rate=0.2), three),
}
members, scores = {}, {}
for arm, (algo, trained_on) in ARMS.items():
    own = {name: samples[name] for name in trained_on}
    scored = train_and_score(algo, own, num_rounds=N_ROUNDS, splits=["train", "test"])
    here = pd.concat([rows[rows["hospital"] == hospital] for rows in scored.values()])
    member = (here["split"] == "train").to_numpy(int)
    losses = film_losses(here["score"], here["label"])
    members[arm] = bootstrap_patients(auc, member, -losses, here["patient"])
    tested = here[here["split"] == "test"]
    scores[arm] = auc(tested["label"], tested["score"])
told = pd.DataFrame(members, index=["membership AUC", "low", "high"]).T
show(told.assign(**{"test AUC": scores}).round(3))

# %%
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.results import tidy_values, write_results

measured = {
    f"correlation, {network}, {n_films} films, {n_steps} steps": table[n_films, n_steps]
    for network, table in (("ours", alike), ("smooth", control))
    for n_films, n_steps in table
}
measured |= {
    f"membership {name}": {arm: getattr(members[arm], name) for arm in ARMS}
    for name in ("value", "low", "high")
}
measured["auc"] = scores
results = tidy_values(measured, seed=SEED, round=N_ROUNDS, hospital=hospital, split="train")
write_results(results, "what_an_update_reveals")


def say_verdicts(results):
    table = results.set_index(["metric", "arm"])["value"]
    for network in ("ours", "smooth"):
        found = table[f"correlation, {network}, 1 films, 1 steps"]
        for way in [way for way in WAYS if way in found]:
            more = "more" if found[way] > found[OTHER] else "NOT more"
            print(
                f"One film, {network}, {way}: {found[way]:.2f}, {more} than another film "
                f"({found[OTHER]:.2f})."
            )
    cases = [name for name in table.index.levels[0] if name.startswith("correlation, ours")]
    for way in WAYS:
        n_found = sum(table[case][way] > table[case][OTHER] for case in cases)
        print(f"Our network, {way}: above the floor in {n_found} of {len(cases)} cases.")
    for arm, value in table["membership value"].items():
        low, high = table["membership low", arm], table["membership high", arm]
        told = "training films are told apart" if low > 0.5 else "training films are NOT told apart"
        print(f"{arm}: membership AUC {value:.2f} [{low:.2f}, {high:.2f}]; {told}.")


say_verdicts(results)

# %%
# One seed, one hospital, one attack. What is not found here may be found by others; what is found,
# is found. The noise of this page is chosen to show an effect, and says nothing about ε: see
# :ref:`sphx_glr_auto_examples_plot_44_privacy_by_noise.py`.
#
# References
# ----------
#
# .. footbibliography::

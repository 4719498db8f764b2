r"""
Smaller updates and a curious aggregator
========================================

The :term:`aggregation` sees every :term:`update` in order to average them. What does an honest
update reveal about the films behind it? Updates can also be compressed for transmission. Does
sending less hide more, and what does it cost in accuracy?

We will:

1. reconstruct a film from the update of a single film, and from one of eight films,
2. reconstruct it from **compressed** updates,
3. train with compressed updates, and compare bytes and :term:`AUC`.

We expect the film to come back exactly from its own update, and blurred from an update of eight
films. We expect compression to save most of the bytes, to cost little accuracy, and to protect
nothing. The floor for a resemblance is another patient's film; the ceiling for the AUC is the run
that sends all numbers in full. A loss of less than .02 is *small*.
"""

# %%
# Five hospitals
# --------------
#
# They are those of :ref:`sphx_glr_auto_examples_plot_42_hostile_hospitals.py`: patients
# assigned at random, all of them honest.

from helpers.data import (
    assign_hospitals,
    label_films,
    prepare_samples,
    read_radiographs,
    split_patients,
)

TASK = "any finding vs none"
IMAGE_SIZE = 32  # pixels, to keep the run short; 64 or more in a real study
SEED = 0

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = assign_hospitals(radiographs.table[labels.notna()], by="iid", n_hospitals=5, seed=SEED)
films = split_patients(films, labels=labels, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=IMAGE_SIZE, task=TASK)
hospitals = list(samples)

# %%
# A curious aggregator
# --------------------
#
# Take a network that begins with a dense layer, :math:`z = Wx + b`. For one film the gradients are
# :math:`\partial L / \partial W = \delta x^\top` and :math:`\partial L / \partial b = \delta`.
# Dividing the first by the second gives the film. The update of a batch holds sums of these.

import keras
import numpy as np

from helpers.exchange import exchanged_variables, get_parameters
from helpers.openers.chest_xray_opener import ChestXrayOpener

data = ChestXrayOpener().get_data([samples[hospitals[2]]["train"]])
x = np.asarray(data["images"][:8], np.float32) / 255
y = np.asarray(data["labels"][:8], np.float32)[:, None]
RATE = 0.1


def train_once(images, targets):
    """Make one update of plain gradient descent; return what would be sent."""
    keras.utils.set_random_seed(SEED)
    inputs = keras.Input(x.shape[1:])
    z = keras.layers.Dense(8, name="first")(keras.layers.Flatten()(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1, name="last")(z))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(RATE), loss)
    before = get_parameters(exchanged_variables(model))
    model.train_on_batch(images, targets)
    after = get_parameters(exchanged_variables(model))
    return {name: after[name] - before[name] for name in before}


def read_film(update):
    """Divide the update of a weight by that of its bias, at the unit that moved most."""
    unit = np.argmax(np.abs(update["first/bias"]))
    film = update["first/kernel"][:, unit] / update["first/bias"][unit]
    return film.reshape(x.shape[1:])


# %%
# :class:`~helpers.exchange.Float16` sends half of the bytes of each number,
# :class:`~helpers.exchange.Int8` a quarter, and :class:`~helpers.exchange.TopK` only the largest
# numbers of each tensor, with their places. Here is what can be read from each.


from helpers.display import show
from helpers.exchange import Float16, Int8, TopK
from helpers.plots import describe_range, plot_films

COMPRESSORS = {"float16": Float16(), "int8": Int8(), "top 1 %": TopK(share=0.01)}

one, eight = train_once(x[:1], y[:1]), train_once(x, y)
readings = {"its update": read_film(one)}
for name, compressor in COMPRESSORS.items():
    readings[f"its update, {name}"] = read_film(compressor.compress(one)[0])
readings["an update of eight films"] = read_film(eight)

titles = ["the film", *(f"from {name}".replace(", ", ",\n") for name in readings)]
titles[-1] = "from an update\nof eight films"
shown = [np.uint8(255 * np.clip(film, 0, 1)) for film in (x[0], *readings.values())]
axes = plot_films(shown, titles, n_columns=3)
off = {f"from {name}": 255 * np.abs(film - x[0]).mean() for name, film in readings.items()}
said = f"A film and what is read: mean error of grey levels {describe_range(off, '.1f')}."
axes[0].figure.set_label(said)
show()

# %%
# The last picture still looks like a chest because it is a weighted sum of eight chests, which have
# ribs and heart in the same places: what is common remains, and what belongs to one patient is
# blurred. The correlations measure how much.
#
# The label leaks, too. The bias of the last layer moves by minus the learning rate times the mean
# of :math:`p - y`: for one film it rises if the label is 1, and falls if it is 0.

import pandas as pd

patients = data["metadata"]["patient"].to_numpy()[:8]
readings["another patient's film"] = x[np.flatnonzero(patients != patients[0])[0]]
resemblance = {
    name: np.corrcoef(film.ravel(), x[0].ravel())[0, 1] for name, film in readings.items()
}
grey_levels = 255 * np.abs(readings["its update"] - x[0]).max()
moved = float(one["last/bias"][0])
print(f"largest difference of a grey level: {grey_levels:.2f} of 255")
print(f"label {y[0, 0]:.0f}; the last bias moved by {moved:+.4f}")
show(pd.Series(resemblance, name="correlation with the film").round(3).to_frame())

# %%
# Many updates, another optimizer and convolutions make this harder, and there are attacks that
# succeed all the same :footcite:p:`zhu2019`, see
# :ref:`sphx_glr_auto_examples_plot_46_what_an_update_reveals.py`. No check helps, because nothing
# is wrong with the update. What helps is noise, or :ref:`an aggregation that only ever sees sums
# <sphx_glr_auto_examples_plot_45_an_aggregation_that_sees_only_sums.py>`.
#
# What compression costs
# ----------------------
#
# ``Int8`` and ``TopK`` remember what they have not sent, and add it to the next update
# :footcite:p:`seide2014,karimireddy2019`. We train in full and with each of the three. Models are
# scored on the test films of all hospitals together: *everyone* only tests.

import functools
import logging

from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_small_cnn
from helpers.results import tidy_scores

set_logging_level(logging.ERROR)
N_ROUNDS = 8  # in a real study, train until the AUC no longer rises


def make_algo(compression=None):
    return TFFedAvgAlgo(
        model=functools.partial(build_small_cnn, IMAGE_SIZE, (16, 32, 64)),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
        dataset=ChestXrayDataset,
        seed=SEED,
        compression=compression,
    )


everyone = {"test": [samples[hospital]["test"] for hospital in hospitals]}
runs = []
with Federation(samples | {"everyone": everyone}) as federation:
    for arm, compressor in ({"float32": None} | COMPRESSORS).items():
        algo = make_algo(compressor)
        algo.trace(data)  # once, and not at every hospital
        _, scores = federation.simulate(
            FedAvg(algo, {"auc": auc}),
            train_on=hospitals,
            test_on=["everyone"],
            num_rounds=N_ROUNDS,
            eval_every=N_ROUNDS,
        )
        runs.append(tidy_scores(scores, arm=arm, seed=SEED))

# %%
# The bytes are those of one packed update, manifest included. They are only what a hospital
# *sends*: the average comes back in full.

from substrafl.strategies.schemas import FedAvgSharedState

from helpers.exchange import pack_state

rng = np.random.default_rng(SEED)
update = {
    name: rng.normal(scale=1e-3, size=tensor.shape).astype(np.float32)
    for name, tensor in get_parameters(exchanged_variables(make_algo().model)).items()
}
n_bytes = {"raw arrays": sum(tensor.nbytes for tensor in update.values())}
for arm, compressor in ({"float32": None} | COMPRESSORS).items():
    sent = compressor.compress(update)[0] if compressor else update
    state = FedAvgSharedState(n_samples=200, parameters_update=list(sent.values()))
    packed = pack_state(state, names=list(update), organization=hospitals[2], round=3)
    n_bytes[arm] = len(packed)

last = pd.concat(runs, ignore_index=True)
last = last[last["round"] == N_ROUNDS]
comparison = pd.Series(n_bytes, name="bytes").to_frame()
comparison["auc"] = last.set_index("arm")["value"]
comparison["share of raw"] = comparison["bytes"] / n_bytes["raw arrays"]
comparison["against float32"] = comparison["auc"] - comparison.loc["float32", "auc"]
show(comparison.round(4))

# %%

from helpers.results import tidy_values, write_results

measured = {
    "correlation with the film": resemblance,
    "largest difference in grey levels of 255": {"its update": grey_levels},
    "change of the last bias": {"its update": moved},
    "label": {"the film": y[0, 0]},
    "bytes": n_bytes,
    "share of the raw bytes": comparison["share of raw"],
    "AUC against float32": comparison["against float32"].drop("raw arrays"),
}
rows = tidy_values(measured, seed=SEED, round=N_ROUNDS, hospital="everyone")
results = pd.concat([*runs, rows], ignore_index=True)
write_results(results, "smaller_updates_and_a_curious_aggregator")

# %%
# Conclusion
# ----------
#
# These sentences are computed from the table of results.


def say_verdicts(results):
    last = results[results["round"] == N_ROUNDS]
    table = last.set_index(["metric", "arm"])["value"]
    off = table["largest difference in grey levels of 255", "its update"]
    print(f"A film from its own update: off by at most {off:.2f} of 255 grey levels.")
    moved, label = table["change of the last bias", "its update"], table["label", "the film"]
    right = "right" if (moved > 0) == (label == 1) else "WRONG"
    print(f"Its label: {label:.0f}; the last bias moved by {moved:+.4f}, which is {right}.")
    alike = table["correlation with the film"]
    other = alike["another patient's film"]
    for name, value in alike.drop("another patient's film").items():
        side = "more" if value > other else "NOT more"
        print(f"Read from {name}: correlation {value:.3f}, {side} than another film ({other:.3f}).")
    for arm, change in table["AUC against float32"].drop("float32").items():
        share, loss = table["share of the raw bytes", arm], "small" if change > -0.02 else "LARGE"
        print(f"{arm}: {share:.1%} of the bytes, AUC {change:+.3f}, {loss}; expected: small.")


say_verdicts(results)

# %%
# One seed: differences of a few hundredths mean nothing. A low correlation is no protection: the
# values that *top 1 %* sends are exact. One film in an update of one step, with a dense first
# layer, is the easiest case for a curious aggregator.
# :ref:`sphx_glr_auto_examples_plot_44_privacy_by_noise.py` shows what a bound on what
# an update reveals costs.
#
# References
# ----------
#
# .. footbibliography::

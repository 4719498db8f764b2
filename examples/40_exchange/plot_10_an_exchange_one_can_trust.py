"""
An exchange one can trust
=========================

Films stay where they are. What leaves a hospital is an *update*: the difference that a round of
training made to the weights. That is not yet a reason to trust it. The update may be broken, or
meant to do harm; the file that brings it may be no update at all; and whoever averages may look
at it more closely than agreed.

We will:

1. look at what travels: a **pickle**, as in SubstraFL, or arrays with a manifest,
2. send a **pickle that does something** in place of arrays,
3. let a **faulty** hospital send what cannot be right: NaN, or tensors of another shape,
4. let a **hostile** one send what could be right, with its sign flipped or multiplied by 100,
5. be **curious** and read a film out of an update,
6. make the updates smaller, and see what that costs.

We expect the checks to stop what is *impossible*, such as NaN, and what is *far too large*, and to
pass what is *plausible but hostile*: for that there are robust averages. We expect neither to help
against curiosity.
"""

# %%
# Five hospitals
# --------------
#
# Robust averages need several hospitals, so here the patients are assigned to five of equal size,
# at random. One of them will be the culprit. Five is the least for multi-Krum, which needs :math:`n
# \ge 2f + 3` hospitals if :math:`f` may be hostile. The floor is an AUC of one half; the ceiling is
# the run in which everyone is honest.

import pandas as pd

from helpers.data import (
    assign_hospitals,
    label_films,
    prepare_samples,
    read_radiographs,
    split_patients,
)

TASK = "any finding vs none"
IMAGE_SIZE = 32  # pixels, to see many runs on one page; 64 and more in a real study
SEED = 0

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = assign_hospitals(radiographs.table[labels.notna()], by="iid", n_hospitals=5, seed=SEED)
films = split_patients(films, labels=labels, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=IMAGE_SIZE, task=TASK)
hospitals = list(samples)
CULPRIT = hospitals[2]
films.groupby(["hospital", "split"]).size().unstack()

# %%
# The algorithm is that of
# :ref:`sphx_glr_auto_examples_10_training_plot_10_federated_chest_xrays.py`. The culprit is made by
# a strategy that :class:`wraps <helpers.strategies.WrappedStrategy>` another one, sees what each
# hospital is about to send, and changes it at one of them: every tensor, and the number of films
# that it claims to have trained on.

import functools

import keras
import numpy as np
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.models import build_cnn
from helpers.strategies import WrappedStrategy


class Participant(TFFedAvgAlgo):
    def __init__(self, compression=None):
        super().__init__(
            model=functools.partial(build_cnn, IMAGE_SIZE),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(2e-3),
            index_generator=NpIndexGenerator(batch_size=32, num_updates=20, seed=SEED),
            dataset=ChestXrayDataset,
            seed=SEED,
            compression=compression,
        )


WAYS = {  # what is made of each tensor, and how many films are claimed for one that is there
    "nothing": (lambda tensor: tensor, 1),
    "NaN": (lambda tensor: tensor * np.float32("nan"), 1),
    "another shape": (lambda tensor: tensor[..., None], 1),
    "sign-flipped": (lambda tensor: -tensor, 4),
    "times 100": (lambda tensor: 100 * tensor, 1),
}


class Spoiled(WrappedStrategy):
    def __init__(self, strategy, spoil):
        super().__init__(strategy)
        self.spoil, self.claim = WAYS[spoil]

    def update_train_node(self, node, operation, **settings):
        local_state, sent = super().update_train_node(node, operation, **settings)
        if node.organization_id == CULPRITS_ID:
            sent.parameters_update = [self.spoil(tensor) for tensor in sent.parameters_update]
            sent.n_samples *= self.claim
        return local_state, sent


# %%
# What travels
# ------------
#
# One update, as it is, and its tensors by name.

import pickle

from substrafl.strategies.schemas import FedAvgSharedState

from helpers.exchange import exchanged_variables, get_parameters, pack_state, unpack_state

rng = np.random.default_rng(SEED)
update = {
    name: rng.normal(scale=1e-3, size=tensor.shape).astype(np.float32)
    for name, tensor in get_parameters(exchanged_variables(Participant().model)).items()
}
state = FedAvgSharedState(n_samples=200, parameters_update=list(update.values()))

packed = pack_state(state, names=list(update), organization=CULPRIT, round=3)
raw = sum(tensor.nbytes for tensor in update.values())
print(f"raw arrays {raw:,} bytes, pickled {len(pickle.dumps(state)) / raw:.4f} of that, ", end="")
print(f"packed {len(packed) / raw:.4f}")

# %%
# :func:`~helpers.exchange.pack_state` writes safetensors: plain arrays with a header. In the
# header is a manifest, which the reader checks before it uses anything.

_, manifest = unpack_state(packed, origin=CULPRIT)
print(manifest.state, manifest.counts, "round", manifest.round, "from", manifest.organization)
pd.DataFrame({"shape": manifest.shapes, "dtype": manifest.dtypes}, index=manifest.names).head(4)

# %%
# A pickle in place of arrays
# ---------------------------
#
# A pickle is a small program. Whoever loads one runs it, and who averages loads what all hospitals
# have sent. This one makes a folder; it could do anything that its reader may do.

import os
import tempfile
from pathlib import Path

from helpers.exchange import UpdateError


class Bomb:
    def __init__(self, folder):
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


with tempfile.TemporaryDirectory() as folder:
    loot = Path(folder) / "was_here"
    bomb = pickle.dumps(Bomb(loot))
    try:
        unpack_state(bomb, origin=CULPRIT)
    except UpdateError as error:
        print(error)
    print("after unpack_state, the folder is there:", loot.exists())
    pickle.loads(bomb)
    print("after pickle.loads, the folder is there:", loot.exists())

# %%
# The reader never opens a pickle. A file that was cut short or altered on its way is refused as
# well: the manifest holds a checksum. That is no signature: whoever *wants* to deceive computes a
# new one.

for what, damaged in {"cut short": packed[:-9], "altered": packed[:-1] + b"!"}.items():
    try:
        unpack_state(damaged, origin=CULPRIT)
    except UpdateError as error:
        print(f"{what}: {error.reason}")

# %%
# A faulty hospital
# -----------------
#
# :class:`~helpers.strategies.SafeExchange` wraps a strategy, any strategy, so that all of its
# shared states are packed, and checked when they are read. By default the run stops, and the error
# names the reason. (To judge a model we take the test films of all hospitals together, as if
# *everyone* were one more hospital that only tests.)

import logging

from substrafl.logger import set_logging_level
from substrafl.strategies import FedAvg

from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.strategies import FedMedian, FedTrimmedMean, MultiKrum, SafeExchange

set_logging_level(logging.ERROR)
N_ROUNDS = 8  # enough to tell collapse from success; go on while the AUC rises in a real study
METRICS = {"auc": auc}

participant = Participant()
everyone = {"test": [samples[hospital]["test"] for hospital in hospitals]}
federation = Federation(samples | {"everyone": everyone})
CULPRITS_ID = federation.train_nodes(CULPRIT)[0].organization_id
for spoil in ("NaN", "another shape"):
    strategy = Spoiled(SafeExchange(FedAvg(participant, METRICS)), spoil)
    try:
        federation.simulate(strategy, train_on=hospitals[1:4], test_on=["everyone"], num_rounds=1)
    except UpdateError as error:
        print(f"{error}\nIs it the culprit ({CULPRITS_ID})? {error.organization == CULPRITS_ID}")

# %%
# With ``on_fault="skip"`` the average is that of the others, and the run goes on; the reason is
# in the log of the task, and, for real tasks, in :func:`~helpers.strategies.find_refused`.
#
# A hostile hospital
# ------------------
#
# Someone who wants to do harm sends numbers of the right shape. Federated averaging weighs an
# update by its number of films, and that number is a *claim*: who claims as many as the four others
# together and flips the sign takes back, on average, what they have learned. That update, and 100
# times the honest one, meet plain averaging; plain averaging with the checks, going on without what
# they refuse; and three robust averages, which ask nobody for a number of films: median
# :footcite:p:`yin2018`, trimmed mean, and multi-Krum :footcite:p:`blanchard2017`.

from helpers.results import tidy_scores

ARMS = {
    "average": FedAvg,
    "average, checked": lambda *args: SafeExchange(FedAvg(*args), on_fault="skip"),
    "median": FedMedian,
    "trimmed mean": FedTrimmedMean,
    "multi-Krum": MultiKrum,
}


def run(arm, make=FedAvg, spoil="nothing", participant=participant):
    _, scores = federation.simulate(
        Spoiled(make(participant, METRICS), spoil),
        train_on=hospitals,
        test_on=["everyone"],
        num_rounds=N_ROUNDS,
        eval_every=N_ROUNDS,
    )
    return tidy_scores(scores, arm=arm, seed=SEED, culprit_sends=spoil)


logging.getLogger("helpers").setLevel(logging.ERROR)  # no warning in every round
results = [run("average")]
for spoil in ("sign-flipped", "times 100"):
    results += [run(arm, make, spoil=spoil) for arm, make in ARMS.items()]

# %%
# The last round, on the test films of all hospitals. We call it a collapse when less than half
# of what the honest run has learned is left, and call it harmless within .02 of the honest run.


def last(results):
    table = pd.concat(results, ignore_index=True)
    table = table[table["round"] == N_ROUNDS]
    return table.pivot_table(index="arm", columns="culprit_sends", values="value", sort=False)


scores = last(results)
honest = scores.loc["average", "nothing"]
print(f"honest run: {honest:.3f}")


def judge(score):
    if score >= honest - 0.02:
        return "harmless"
    return "collapse" if score - 0.5 < (honest - 0.5) / 2 else "harm"


attacks = scores.drop(columns="nothing")
attacks.round(3).astype(str) + "  " + attacks.map(judge)

# %%

import matplotlib.pyplot as plt

_, ax = plt.subplots(figsize=(7, 3.6), layout="constrained")
attacks.plot.barh(ax=ax, width=0.7, color=["0.35", "tab:red"])
ax.axvline(honest, color="black", linewidth=1, linestyle="--", label="everyone honest")
ax.invert_yaxis()
ax.set(xlabel="test AUC, films of all hospitals", ylabel="", xlim=(0.4, 1))
place = {"loc": "upper left", "bbox_to_anchor": (1, 1)}
ax.legend(title="the culprit's update", fontsize=8, title_fontsize=8, **place)
plt.show()

# %%
# The check of the norms can see an update that is 100 times as long as the others. A flipped one is
# as long as an honest one, and passes every check. The robust averages need not *recognize*
# anything: they bound what a single hospital can move. Median and trimmed mean ask for a majority
# of honest hospitals, Krum for :math:`n \ge 2f + 3`, and all of them for hospitals that resemble
# each other: one that is different because its patients are is treated like a hostile one. This is
# one seed, with patients assigned at random, which is the easiest case.
#
# A curious aggregator
# --------------------
#
# The aggregation must see the updates in order to average them. What do they reveal? Take a network
# that begins with a dense layer, :math:`z = Wx + b`. For one film the gradients are :math:`\partial
# L / \partial W = \delta x^\top` and :math:`\partial L / \partial b = \delta`: divide one by the
# other, and there is the film. The update of a batch sends sums of these.

from helpers.openers.chest_xray_opener import ChestXrayOpener

data = ChestXrayOpener().get_data([samples[CULPRIT]["train"]])
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
# The label leaks, too: the bias of the last layer moves by minus the rate times the mean of
# :math:`p - y`. With one film its sign is the label.

from helpers.exchange import Int8
from helpers.plots import plot_films

one, eight = train_once(x[:1], y[:1]), train_once(x, y)
compressed, _ = Int8().compress(one)
shown = {
    "the film": x[0],
    "from its update": read_film(one),
    "from its update,\nint8": read_film(compressed),
    "from an update\nof eight films": read_film(eight),
}
plot_films([np.uint8(255 * np.clip(film, 0, 1)) for film in shown.values()], list(shown))
plt.show()
difference = np.abs(read_film(one) - x[0]).max()
print(f"largest difference of a grey level: {255 * difference:.2f} of 255")
print(f"label {y[0, 0]:.0f}; the last bias moved by {one['last/bias'][0]:+.4f}")

# %%
# The fourth picture still looks like a chest because it is a weighted sum of eight chests, which
# have ribs and heart at the same places: what is common remains, and what is one patient's own is
# blurred. How much, the correlations below say. Many updates, another optimizer and convolutions
# make it harder, and there are attacks that do well all the same :footcite:p:`zhu2019`. No check of
# this page helps, because nothing is wrong with the update. What helps is to send less, to add
# noise, or an aggregation that only ever sees sums.

resemblance = {
    name: np.corrcoef(film.ravel(), x[0].ravel())[0, 1] for name, film in list(shown.items())[1:]
}
resemblance["another patient's film"] = np.corrcoef(x[1].ravel(), x[0].ravel())[0, 1]
pd.Series(resemblance, name="correlation with the film").round(3).to_frame()

# %%
# Smaller updates
# ---------------
#
# :class:`~helpers.exchange.Float16` sends half of each number, :class:`~helpers.exchange.Int8` a
# quarter, and :class:`~helpers.exchange.TopK` only the largest values. The latter two remember
# what they have not sent, and add it to the next update :footcite:p:`seide2014,karimireddy2019`.

from helpers.exchange import Float16, TopK

COMPRESSORS = {"float16": Float16(), "int8": Int8(), "top 1 %": TopK(share=0.01)}
sizes = {"float32": len(packed)}
small = []
for arm, compressor in COMPRESSORS.items():
    sent, _ = compressor.compress(update)
    compact = FedAvgSharedState(n_samples=200, parameters_update=list(sent.values()))
    sizes[arm] = len(pack_state(compact, names=list(update), organization=CULPRIT, round=3))
    small.append(run(arm, participant=Participant(compression=compressor)))

comparison = pd.DataFrame({"bytes": sizes})
comparison["share of raw"] = comparison["bytes"] / raw
comparison["auc"] = last(small)["nothing"].reindex(comparison.index)
comparison.loc["float32", "auc"] = honest
comparison["against float32"] = comparison["auc"] - honest
comparison.round(4)

# %%

# These are bytes of whole files, manifest included, and only of what hospitals *send*: the average
# comes back in full.

from helpers.results import write_results

federation.close()
write_results(pd.concat([*results, *small], ignore_index=True), "an_exchange_one_can_trust")

# %%
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def say_verdicts():
    for spoil in attacks:
        for arm, score in attacks[spoil].items():
            print(f"{spoil}, {arm}: {score:.3f} against {honest:.3f}, {judge(score)}.")
    flipped = attacks["sign-flipped"]
    passes = abs(flipped["average, checked"] - flipped["average"]) < 0.005
    print(f"The checks {'pass' if passes else 'do NOT pass'} the flipped update; expected: pass.")
    large = judge(attacks.loc["average, checked", "times 100"]) == "harmless"
    print(f"The checks {'stop' if large else 'do NOT stop'} the one times 100; expected: stop.")
    for arm, row in comparison.drop(index="float32").iterrows():
        print(f"{arm}: {row['share of raw']:.1%} of the bytes, AUC {row['against float32']:+.3f}.")


say_verdicts()

# %%
# One seed, so that differences of a few hundredths mean nothing. What stops what, by construction:
#
# ========================  ======================  ==============  ===============
# \                         packed, not pickled     checked         robust average
# ========================  ======================  ==============  ===============
# a pickle as update        yes                     –               no
# damage on the way         yes                     –               no
# NaN, other tensors        no                      yes             no
# far too large             no                      yes             yes
# plausible but hostile     no                      no              yes, of few
# a curious aggregator      no                      no              no
# a pickle as local state   no                      no              no
# the code of the tasks     no                      no              no
# ========================  ======================  ==============  ===============
#
# The last two rows are the largest remaining risk. A hospital that tests without training loads the
# :term:`local state` of one that trains, a pickle, possibly a malicious one: let those test who
# train, as then each loads its own. And the *functions* that the tasks run still travel as
# cloudpickle, as everywhere in SubstraFL: who may register one decides what all hospitals run. That
# is what Substra's permissions are for.
#
# .. seealso::
#
#    :ref:`sphx_glr_auto_examples_10_training_plot_20_how_the_weights_travel.py` follows the
#    weights through an honest round.
#
# References
# ----------
#
# .. footbibliography::

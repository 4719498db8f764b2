"""
How the weights travel
======================

A federated run can finish, draw its curves and be worth nothing: every task succeeds, but the
average never reaches the network, which stays as it was. How can one *see* that the weights travel?

We will:

1. train for a few rounds through real tasks, and keep everything that was exchanged,
2. follow one round tensor by tensor: before, each hospital's update, their average, after,
3. watch each hospital leave the global model while it trains, and come back, and ask how much of
   that is :term:`drift`,
4. build a network that is never updated, see what it looks like, and which check catches it.

We expect each tensor after a round to be, to the last digit of single precision, the tensor
before plus the average of the updates weighted by films, and all hospitals to hold the same
weights at the end of a task. For the broken network, we expect weights that never change.
"""

# %%
# Hospitals and algorithm
# -----------------------
#
# The hospitals, the network and the algorithm are those of
# :ref:`sphx_glr_auto_examples_10_training_plot_10_federated_chest_xrays.py`, in short.

from helpers.data import set_up_hospitals
from helpers.local_mode import start_server

start_server()  # TensorFlow is imported for the tasks while the films are prepared

TASK = "any finding vs none"
IMAGE_SIZE = 64
SEED = 0

study = set_up_hospitals(TASK, seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
films = study.films
n_films = films[films["split"] == "train"]["hospital"].value_counts()[hospitals]
n_films

# %%
# One thing is added: the training loop notes after every update how far the weights have moved
# from where the round began. What an algorithm keeps from one task to the next belongs in its
# *local state*: two hooks of :class:`~helpers.algorithms.TFFedAvgAlgo` write and read it.

import functools

import keras
import numpy as np
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.exchange import exchanged_variables, get_parameters, subtract_parameters
from helpers.models import build_cnn


def length(parameters):
    """Euclidean length of all tensors taken together."""
    return float(np.sqrt(sum(np.sum(np.square(value)) for value in parameters.values())))


class WatchedAlgo(TFFedAvgAlgo):
    def __init__(self):
        super().__init__(
            model=functools.partial(build_cnn, IMAGE_SIZE),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(2e-3),
            index_generator=NpIndexGenerator(batch_size=32, num_updates=15, seed=SEED),
            dataset=ChestXrayDataset,
            seed=SEED,
        )
        self.distances = []

    def _local_train(self, train_dataset):
        start = get_parameters(exchanged_variables(self.model))
        self.distances.append(0.0)
        for indices in self._index_generator:
            self._update_weights(train_dataset[indices])
            drift = subtract_parameters(get_parameters(exchanged_variables(self.model)), start)
            self.distances.append(length(drift))

    def _get_state_to_save(self):
        return super()._get_state_to_save() | {"distances": self.distances}

    def _update_from_checkpoint(self, path):
        checkpoint = super()._update_from_checkpoint(path)
        self.distances = checkpoint.pop("distances")
        return checkpoint


# %%
# ``execute`` runs real tasks. Nothing of one task is left in memory when the next begins, so that
# whatever we find afterwards has travelled through files.

import logging

from substrafl.logger import set_logging_level
from substrafl.model_loading import download_algo_state, download_train_shared_state
from substrafl.strategies import FedAvg

from helpers.evaluation import auc
from helpers.local_mode import Federation

set_logging_level(logging.ERROR)
N_ROUNDS = 4

federation = Federation(samples)
compute_plan, scores = federation.execute(
    FedAvg(algo=WatchedAlgo(), metric_functions={"auc": auc}), num_rounds=N_ROUNDS
)
algos, sent = {}, {}
for hospital, client in federation.clients.items():
    for number in range(N_ROUNDS + 1):
        algos[hospital, number] = download_algo_state(client, compute_plan.key, number)
        sent[hospital, number] = download_train_shared_state(client, compute_plan.key, number)

# %%
# A round, tensor by tensor
# -------------------------
#
# In SubstraFL's count, the task of round :math:`r` first adds the average of what was sent in
# round :math:`r - 1`, then trains, sends its update, and **sets the weights back**. So the local
# state of round :math:`r` is the global model of round :math:`r`, and we can redo the sum:
#
# .. math:: w_r = w_{r-1} + \sum_k \frac{n_k}{n} \Delta^k_{r-1}
#
# Each row is one tensor of the network, with the lengths of its parts in the first round. The
# last column is the largest difference between the weights that were *found* and the sum by hand.

import pandas as pd

weights = {key: get_parameters(exchanged_variables(algo.model)) for key, algo in algos.items()}
first = hospitals[0]


def follow(tensor, number):
    position = list(weights[first, 0]).index(tensor)
    updates = {h: sent[h, number - 1].parameters_update[position] for h in hospitals}
    average = sum(n_films[h] / n_films.sum() * updates[h] for h in hospitals)
    before, after = weights[first, number - 1][tensor], weights[first, number][tensor]
    row = {"before": np.linalg.norm(before)}
    row |= {f"update of {h}": np.linalg.norm(update) for h, update in updates.items()}
    row |= {"average": np.linalg.norm(average), "after": np.linalg.norm(after)}
    return row | {"difference": np.abs(after - (before + average)).max()}


rounds = {tensor: follow(tensor, 1) for tensor in weights[first, 0]}
tensors = pd.DataFrame(rounds).T.round(3)
tensors.assign(difference=[f"{row['difference']:.0e}" for row in rounds.values()])

# %%
# The average is never longer than the longest update: where hospitals disagree, their updates
# cancel. A row in which *before* and *after* were equal would be a part of the network that nobody
# trains. The same for all rounds, and all hospitals against each other:

largest = max(
    follow(tensor, number)["difference"] for tensor in rounds for number in range(1, N_ROUNDS + 1)
)
print(f"largest difference from the weighted mean by hand: {largest:.1e}")

different = sum(
    not np.array_equal(weights[hospital, number][tensor], weights[first, number][tensor])
    for hospital, number in weights
    for tensor in rounds
)
print(f"tensors in which a hospital differs from {first} at the end of a task: {different}")

# %%
# One kernel seen
# ---------------
#
# The filters of the first layer are 3 × 3 pixels: small enough to look at. Each row is the first
# eight filters at one moment of the first round: before, what each hospital wanted to change, the
# average of these, and after. Changes have a scale of their own.

import matplotlib.pyplot as plt

kernel = next(iter(rounds))
position = 0
moments = {
    "before": weights[first, 0][kernel],
    **{f"update of\n{h}": sent[h, 0].parameters_update[position] for h in hospitals},
    "average": weights[first, 1][kernel] - weights[first, 0][kernel],
    "after": weights[first, 1][kernel],
}
_, axes = plt.subplots(len(moments), 8, figsize=(7, 5.6), layout="constrained")
scale = {"weights": np.abs(moments["before"]).max(), "changes": np.abs(moments["average"]).max()}
for row, (name, values) in zip(axes, moments.items(), strict=True):
    limit = scale["weights" if name in ("before", "after") else "changes"]
    for number, ax in enumerate(row):
        ax.imshow(values[:, :, 0, number], cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
    row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
plt.show()

# %%
# Where the hospitals want the same, the average has the same color; where they differ, it is paler.
# *After* looks much like *before*: one round moves the filters by little.
#
# Away and back
# -------------
#
# While a hospital trains, its weights leave the global model. When the task ends they are set
# back, and the next task adds the same average everywhere. Drawn over all updates, the distance
# to the global model of the moment is a sawtooth.

from helpers.plots import hospital_colors

colors = hospital_colors(hospitals)
_, ax = plt.subplots(figsize=(8, 4), layout="constrained")
for hospital in hospitals:
    distances = algos[hospital, N_ROUNDS].distances
    ax.plot(
        np.linspace(0, N_ROUNDS + 1, len(distances), endpoint=False),
        distances,
        color=colors[hospital],
        label=hospital,
    )
steps = [
    length(subtract_parameters(weights[first, number], weights[first, number - 1]))
    for number in range(1, N_ROUNDS + 1)
]
ax.plot(range(1, N_ROUNDS + 1), steps, "ks", label="step of the global model")
ax.set(xlabel="local training of round", ylabel="distance from the global model")
ax.legend(fontsize=8)
plt.show()

# %%
# Every tooth begins at zero: nobody carries a private model into the next round. The black
# squares are the steps that the global model made, below the tips of the teeth as far as updates
# that point in different directions cancel. The tooth after the last round is never used:
# SubstraFL computes it, and no average follows.
#
# How much of it is drift?
# ------------------------
#
# That hospitals differ, and pull the network in different directions, is called drift
# :footcite:p:`karimireddy2020`. But the gap in the figure is not drift alone. Each update is made
# of a few batches drawn at random, and the **noise of batches cancels as well**, also between
# hospitals whose films are alike. To see how much, we give the same patients to the same hospitals
# at random, and train again.

import itertools

from helpers.data import shuffle_hospitals

at_random = shuffle_hospitals(films, seed=SEED)
n_random = at_random[at_random["split"] == "train"]["hospital"].value_counts()[hospitals]
iid = study.prepare(IMAGE_SIZE, films=at_random)
with Federation({hospital: iid[hospital] for hospital in hospitals}) as iid_federation:
    states, _ = iid_federation.simulate(
        FedAvg(algo=WatchedAlgo(), metric_functions={"auc": auc}), num_rounds=N_ROUNDS
    )
workers = dict(zip(dict.fromkeys(states.worker), hospitals, strict=True))  # in the same order
iid_algos = {
    (workers[worker], number): state.algo
    for worker, number, state in zip(states.worker, states.round_idx, states.state, strict=True)
}


def share_cancelled(algos, n_films):
    """Share of the updates' mean length that is missing from the global step, mean of rounds."""
    teeth = [np.reshape(algos[h, N_ROUNDS].distances, (N_ROUNDS + 1, -1)) for h in hospitals]
    lengths = np.average([tooth[:N_ROUNDS, -1] for tooth in teeth], axis=0, weights=n_films)
    found = [algos[first, number].model for number in range(N_ROUNDS + 1)]
    models = [get_parameters(exchanged_variables(model)) for model in found]
    steps = [length(subtract_parameters(b, a)) for a, b in itertools.pairwise(models)]
    return float(np.mean(1 - steps / lengths))


cancelled = {
    "their own patients": share_cancelled(algos, n_films),
    "patients at random": share_cancelled(iid_algos, n_random),
}
pd.Series(cancelled, name="share of the updates that cancels").round(3).to_frame()

# %%
# The second row is noise of batches, and of who the patients happen to be. Only what the first row
# has beyond it can be put down to differences between hospitals. It is one seed and one way to deal
# the patients, so that a small difference means nothing.
#
# A network that is never updated
# -------------------------------
#
# Now the mistake. This algorithm receives the average and forgets to add it. All tasks run, all
# shapes fit, and what it sends is a perfectly good update. It happened in the first attempt at this
# project.

from substrafl.remote import remote_data


class ForgetfulAlgo(WatchedAlgo):
    @remote_data
    def train(self, data_from_opener, shared_state=None):
        return super().train(data_from_opener=data_from_opener, shared_state=None, _skip=True)


states, forgetful_scores = federation.simulate(
    FedAvg(algo=ForgetfulAlgo(), metric_functions={"auc": auc}), num_rounds=N_ROUNDS
)
forgetful = {
    (worker, number): get_parameters(exchanged_variables(state.algo.model))
    for worker, number, state in zip(states.worker, states.round_idx, states.state, strict=True)
}

# %%
# From the outside one sees this:

_, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
right_way = [
    length(subtract_parameters(weights[first, n], weights[first, 0])) for n in range(N_ROUNDS + 1)
]
worker = states.worker[0]
wrong_way = [
    length(subtract_parameters(forgetful[worker, n], forgetful[worker, 0]))
    for n in range(N_ROUNDS + 1)
]
left.plot(right_way, "ks-", label="averages are added")
left.plot(wrong_way, "o--", color="#D55E00", label="averages are forgotten")
left.set(xlabel="round", ylabel="distance from the first weights")
for table, style in ((scores, "s-"), (forgetful_scores, "o--")):
    curve = table.groupby("round")["value"].mean()
    right.plot(curve, style, color="#D55E00" if "o" in style else "black")
right.axhline(0.5, color="0.8", zorder=0)
right.set(xlabel="round", ylabel="test AUC, mean of the hospitals")
for ax in (left, right):
    ax.xaxis.get_major_locator().set_params(integer=True)
left.legend()
plt.show()

# %%
# A flat curve on the right could have other reasons: a rate too low, labels without meaning. The
# left one cannot. And one line finds it without a curve: *which tensors are bit for bit what they
# were a round ago?*


def unchanged(before, after):
    return [name for name in before if np.array_equal(before[name], after[name])]


print("averages added:    ", unchanged(weights[first, 0], weights[first, 1]))
print("averages forgotten:", unchanged(forgetful[worker, 0], forgetful[worker, 1])[:3], "…")

# %%
# Which tests would *not* have found it? Getting and setting weights works, and so does averaging.
# The update that is sent is right, with its names and shapes. Even the hospitals agree,
# since all of them keep the same first weights. Only a test of the whole chain, with real tasks,
# sees it. It is the first test of this project, ``tests/end_to_end/test_weights_travel.py``.

federation.close()

# %%
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def say_verdicts():
    scale = max(np.abs(value).max() for value in weights[first, N_ROUNDS].values())
    exact = largest <= 4 * np.finfo(np.float32).eps * max(scale, 1)
    print(f"A round is {'' if exact else 'NOT '}the weighted mean by hand ({largest:.0e}).")
    print(f"Hospitals that disagree at the end of a task, in tensors: {different}.")
    both = list(cancelled.values())
    print(f"{both[0]:.0%} of the updates cancels; with patients at random it is {both[1]:.0%}.")
    if both[0] > both[1]:
        print(f"Noise of batches explains {both[1] / both[0]:.0%} of it, drift at most the rest.")
    else:
        print("Nothing is left to be explained by drift.")
    kept = len(unchanged(forgetful[worker, 0], forgetful[worker, N_ROUNDS]))
    print(f"Averages forgotten: {kept} of {len(rounds)} tensors never change.")


say_verdicts()

# %%
# What travels is a list of arrays, and a round is a weighted sum that can be checked with a few
# lines. That the hospitals' weights agree at the end of a task, and differ from the round before,
# are the two facts to check in any federated run.
#
# .. seealso::
#
#    :func:`helpers.exchange.check_parameters` is the check that each task makes on what it
#    receives: names, shapes, types and finite values. Federated averaging is described in
#    :footcite:t:`mcmahan2017`, and drift, with a remedy, in :footcite:t:`karimireddy2020`.
#
# References
# ----------
#
# .. footbibliography::

"""
How the weights travel
======================

A federated run can finish, draw its curves and still be useless: every :term:`task` succeeds, but
the average never reaches the network. How can one *see* that the weights travel?

We will:

1. train for a few :term:`rounds <round>` through real tasks, and keep everything that is exchanged,
2. follow one round tensor by tensor: before, each hospital's :term:`update`, their average, after,
3. measure how far each hospital moves from the global model, and how much of that is :term:`drift`,
4. build a network that is never updated, and find a check that catches it.

We expect each tensor after a round to equal, to the last digit of single precision, the tensor
before plus the average of the updates weighted by films. We expect all hospitals to hold the same
weights at the end of a task. For the broken network, we expect weights that never change.
"""

# %%
# Hospitals and algorithm
# -----------------------
#
# The hospitals and the algorithm are those of
# :ref:`sphx_glr_auto_examples_plot_11_federated_chest_xrays.py`, with the smaller network of
# :ref:`sphx_glr_auto_examples_plot_01_your_first_network.py`, whose tensors fit in one table.

from helpers.data import set_up_hospitals
from helpers.display import show
from helpers.local_mode import start_server

start_server()  # TensorFlow is imported for the tasks while the films are prepared

IMAGE_SIZE, SEED = 32, 0

study = set_up_hospitals("any finding vs none", seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
first = hospitals[0]
films = study.films
n_films = films[films["split"] == "train"]["hospital"].value_counts()[hospitals]
show(n_films)

# %%
# We add one thing: :class:`~helpers.algorithms.WatchedFedAvgAlgo` records after every update how
# far the weights have moved since the round began. What an :term:`algorithm` keeps from one task to
# the next, such as these distances, belongs in its :term:`local state`. ``execute`` runs real
# tasks: nothing stays in memory between two of them, so all that we find has gone through files.

import functools
import logging

import keras
from substrafl.index_generator import NpIndexGenerator
from substrafl.logger import set_logging_level
from substrafl.model_loading import download_algo_state, download_train_shared_state
from substrafl.strategies import FedAvg

from helpers.algorithms import WatchedFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.evaluation import auc
from helpers.local_mode import Federation
from helpers.models import build_small_cnn

set_logging_level(logging.ERROR)
N_ROUNDS = 4
settings = {
    "model": functools.partial(build_small_cnn, IMAGE_SIZE),
    "loss": keras.losses.BinaryCrossentropy(from_logits=True),
    "optimizer": keras.optimizers.Adam(2e-3),
    "index_generator": NpIndexGenerator(batch_size=32, num_updates=15, seed=SEED),
    "dataset": ChestXrayDataset,
    "seed": SEED,
}


def make_strategy(kind=WatchedFedAvgAlgo):
    return FedAvg(algo=kind(**settings), metric_functions={"auc": auc})


federation = Federation(samples)
compute_plan, scores = federation.execute(make_strategy(), num_rounds=N_ROUNDS)
algos, sent = {}, {}
for hospital, client in federation.clients.items():
    for number in range(N_ROUNDS + 1):
        algos[hospital, number] = download_algo_state(client, compute_plan.key, number)
        sent[hospital, number] = download_train_shared_state(client, compute_plan.key, number)

# %%
# A round, tensor by tensor
# -------------------------
#
# In SubstraFL's numbering, the training task of round :math:`r` first adds the average of what was
# sent in round :math:`r - 1`. It then trains, sends its update, and **sets the weights back**. The
# local state of round :math:`r` is therefore the global model of round :math:`r`, and we can repeat
# the sum, in which hospital :math:`k` has :math:`n_k` of the :math:`n` films:
#
# .. math:: w_r = w_{r-1} + \sum_k \frac{n_k}{n} \Delta^k_{r-1}
#
# Each row is one tensor of the network, with the Euclidean norms of the parts of this sum in the
# first round; the columns between *before* and *average* are the updates. The last column is the
# largest difference between the downloaded weights and the sum.

import numpy as np
import pandas as pd

from helpers.exchange import exchanged_variables, get_parameters, step_norms, unchanged_parameters


def weights_of(algos):
    return {key: get_parameters(exchanged_variables(algo.model)) for key, algo in algos.items()}


weights = weights_of(algos)


def follow(tensor, number):
    position = list(weights[first, 0]).index(tensor)
    updates = {h: sent[h, number - 1].parameters_update[position] for h in hospitals}
    average = sum(n_films[h] / n_films.sum() * updates[h] for h in hospitals)
    before, after = weights[first, number - 1][tensor], weights[first, number][tensor]
    parts = {"before": before, **updates, "average": average, "after": after}
    difference = np.abs(after - (before + average)).max()
    return {name: np.linalg.norm(part) for name, part in parts.items()} | {"difference": difference}


rounds = {tensor: follow(tensor, 1) for tensor in weights[first, 0]}
differences = [f"{row['difference']:.0e}" for row in rounds.values()]
show(pd.DataFrame(rounds).T.round(3).assign(difference=differences))

# %%
# The average is never longer than the longest update: where hospitals disagree, their updates
# cancel. If *after* were bit for bit *before*, that part of the network would not be trained. The
# same check for all rounds, and a comparison of all hospitals:

largest = max(follow(t, r)["difference"] for t in rounds for r in range(1, N_ROUNDS + 1))
print(f"largest difference between the weights and the sum: {largest:.1e}")

different = sum(
    len(rounds) - len(unchanged_parameters(weights[first, number], weights[hospital, number]))
    for hospital, number in weights
)
print(f"tensors in which a hospital differs from {first} at the end of a task: {different}")

# %%
# The distance from the global model
# ----------------------------------
#
# While a hospital trains, its weights move away from the global model. When the task ends they are
# set back, and the next task adds the same average everywhere. In the picture, all weights of a
# model are one point, projected on the plane on which the points of this run lie farthest apart.

from helpers.plots import animate_weights, plot_distances

updates = {h: [sent[h, r].parameters_update for r in range(N_ROUNDS)] for h in hospitals}
show(animate_weights([weights[first, r].values() for r in range(N_ROUNDS + 1)], updates))

# %%
# Colored lines are updates, and squares the global model. The plane hides a part of each length;
# the whole distance from the current global model, over all updates, is a sawtooth:


def steps_of(weights):
    return step_norms([weights[first, number] for number in range(N_ROUNDS + 1)])


distances = {hospital: algos[hospital, N_ROUNDS].distances for hospital in hospitals}
plot_distances(distances, steps_of(weights))
show()

# %%
# Every tooth starts at zero: no hospital carries its own model into the next round. The squares are
# the steps of the global model. They lie below the tips to the extent that updates in different
# directions cancel. The last tooth is never used: no average follows.
#
# How much of it is drift?
# ------------------------
#
# Hospitals differ, and pull the network in different directions. This is called drift
# :footcite:p:`karimireddy2020`. But the gap in the figure is not drift alone. Each update is made
# of a few random :term:`batches <batch>`, and the **noise of batches cancels as well**. To see how
# much, we assign the patients to the hospitals at random (:term:`IID`), and train again.

from helpers.data import shuffle_hospitals

shuffled = shuffle_hospitals(films, seed=SEED)
n_shuffled = shuffled[shuffled["split"] == "train"]["hospital"].value_counts()[hospitals]
iid = study.prepare(IMAGE_SIZE, films=shuffled)
with Federation({hospital: iid[hospital] for hospital in hospitals}) as iid_federation:
    states, _ = iid_federation.simulate(make_strategy(), num_rounds=N_ROUNDS)
    iid_algos = iid_federation.algos(states)


def share_cancelled(algos, n_films):
    """Share of the updates' mean length that is missing from the global step, mean of rounds."""
    teeth = [np.reshape(algos[h, N_ROUNDS].distances, (N_ROUNDS + 1, -1)) for h in hospitals]
    lengths = np.average([tooth[:N_ROUNDS, -1] for tooth in teeth], axis=0, weights=n_films)
    return float(np.mean(1 - steps_of(weights_of(algos)) / lengths))


own, random = share_cancelled(algos, n_films), share_cancelled(iid_algos, n_shuffled)
print(f"share of the updates that cancels, own patients:       {own:.3f}")
print(f"share of the updates that cancels, patients at random: {random:.3f}")

# %%
# The second number is due to the noise of batches and to chance. Only the excess of the first can
# be due to differences between hospitals; with one :term:`seed`, a small excess means nothing.
#
# A network that is never updated
# -------------------------------
#
# This mistake was made in the first attempt at this project: the algorithm receives the average and
# forgets to add it. All tasks run, all shapes fit, and the updates that it sends are correct.

from substrafl.remote import remote_data


class ForgetfulAlgo(WatchedFedAvgAlgo):
    @remote_data
    def train(self, data_from_opener, shared_state=None):
        return super().train(data_from_opener=data_from_opener, shared_state=None, _skip=True)


states, forgetful_scores = federation.simulate(make_strategy(ForgetfulAlgo), num_rounds=N_ROUNDS)
forgetful = weights_of(federation.algos(states))
federation.close()

seen = {}
for name, found, table in (("added", weights, scores), ("forgotten", forgetful, forgetful_scores)):
    models = [[found[first, 0], found[first, number]] for number in range(N_ROUNDS + 1)]
    seen[name, "distance from the start"] = [step_norms(pair)[0] for pair in models]
    seen[name, "test AUC, mean"] = table.groupby("round")["value"].mean()
show(pd.DataFrame(seen).rename_axis("round").round(3))

# %%
# An :term:`AUC` that does not rise could have other causes, such as a low learning rate. Weights
# that do not move could not. One call finds them: *which tensors are bit for bit what they were?*

print("averages added:    ", unchanged_parameters(weights[first, 0], weights[first, 1]))
kept = unchanged_parameters(forgetful[first, 0], forgetful[first, N_ROUNDS])
print("averages forgotten:", kept[:3], "…")

# %%
# Getting, setting and averaging weights works here, and even the hospitals agree. Only a test of
# the whole chain finds the mistake: our first, ``tests/end_to_end/test_weights_travel.py``.
#
# Conclusion
# ----------
#
# These sentences are computed from the table of results.

from helpers.results import tidy_facts, tidy_scores, write_results

facts = {
    ("added", "largest difference from the sum"): largest,
    ("added", "largest weight"): max(abs(v).max() for v in weights[first, N_ROUNDS].values()),
    ("added", "tensors that differ between hospitals"): different,
    ("added", "share that cancels"): own,
    ("patients at random", "share that cancels"): random,
    ("patients at random", "part of what cancels"): random / own,
    ("forgotten", "tensors"): len(rounds),
    ("forgotten", "tensors that never change"): len(kept),
}
tables = [tidy_scores(scores, arm="added", seed=SEED), tidy_facts(facts, seed=SEED)]
results = pd.concat([*tables, tidy_scores(forgetful_scores, arm="forgotten", seed=SEED)])
write_results(results, "how_the_weights_travel")


def say_verdicts(results):
    value = results.groupby(["arm", "metric"])["value"].max()
    largest = value["added", "largest difference from the sum"]
    allowed = 4 * np.finfo(np.float32).eps * max(value["added", "largest weight"], 1)
    print(f"A round is {'' if largest <= allowed else 'NOT '}the weighted mean ({largest:.0e}).")
    different = value["added", "tensors that differ between hospitals"]
    print(f"Tensors in which hospitals differ at the end of a task: {different:.0f}.")
    own, random = (value[arm, "share that cancels"] for arm in ("added", "patients at random"))
    part = value["patients at random", "part of what cancels"]
    print(f"{own:.0%} of the updates cancels; with patients at random it is {random:.0%}.")
    if own > random:
        print(f"Noise of batches explains {part:.0%} of it, drift at most the rest.")
    else:
        print("Nothing is left that drift could explain.")
    kept, n = value["forgotten", "tensors that never change"], value["forgotten", "tensors"]
    print(f"When averages are forgotten, {kept:.0f} of {n:.0f} tensors never change.")


say_verdicts(results)

# %%
# In any federated run, check two facts: the hospitals' weights agree at the end of a task, and they
# differ from those of the round before.
#
# .. seealso::
#
#    :func:`helpers.exchange.check_parameters`, which each task calls; :footcite:t:`mcmahan2017`.
#
# References
# ----------
#
# .. footbibliography::

"""
Federated chest X-rays
======================

Several hospitals want one network that recognizes abnormal chest X-rays. None of them may show
its films to the others. Can they train it together all the same, and does it pay?

We will:

1. take radiographs that lie in several hospitals,
2. write down a Keras network and how a hospital trains it,
3. let the hospitals train it with **federated averaging**, every step in a process of its own,
4. train the same network at each hospital **alone**, and on the **pooled** films, which nobody
   could do in reality,
5. compare, download the model and look at what it says about a few films.

We expect the federation to end up clearly above what a single hospital reaches, which is the
floor that it has to beat, and close to the pooled films, which are its ceiling. If it does not
beat the floor, there is no reason to federate.

In the flow of this project this is the long arrow from *samples* to *results*: samples → opener
→ algorithm → exchange → strategy → results → page.
"""

# %%
# The radiographs of the hospitals
# --------------------------------
#
# Without further ado these are synthetic films, made by a phantom and written to disk as the NIH
# writes theirs. To see this page on your own films, set the environment variable
# ``CHEST_XRAYS`` to their folder before you run it.

from helpers.data import (
    count_hospitals,
    label_films,
    make_hospitals,
    prepare_samples,
    read_radiographs,
)
from helpers.local_mode import start_server

start_server()  # TensorFlow is imported for the tasks while the films are prepared
# sphinx_gallery_parallel = False

TASK = "any finding vs none"
IMAGE_SIZE = 64  # pixels; enough to learn something in minutes. 224 or more in earnest.
SEED = 0

radiographs = read_radiographs()
labels = label_films(radiographs.table, TASK)
films = make_hospitals(radiographs.table, labels, seed=SEED)
samples = prepare_samples(radiographs, films, labels, size=IMAGE_SIZE, task=TASK)
hospitals = list(samples)
count_hospitals(films, labels)

# %%
# Every hospital has films to train on, to validate with and to test with, and no patient is in
# two of them. How that is done, and what differs between the hospitals, is the subject of
# :ref:`sphx_glr_auto_examples_20_data_plot_20_radiographs_to_hospitals.py`.
#
# The network
# -----------
#
# A small convolutional network. It uses :term:`group normalization`, which behaves the same at
# every hospital; its one output is a logit: positive means *abnormal, more likely than not*.

import pandas as pd

from helpers.models import build_cnn

model = build_cnn(IMAGE_SIZE)
print(f"{model.count_params():,} weights")
pd.DataFrame(
    {
        layer.name: {"output": layer.output.shape[1:], "weights": layer.count_params()}
        for layer in model.layers
        if layer.count_params()
    }
).T

# %%
# Chance is where every model starts, and the number to keep in mind: an AUC of one half. We ask
# for two scores, computed where the films are: the :term:`AUC`, which needs no threshold, and the
# balanced accuracy at probability one half. A metric is a function of what the opener returned
# and what the model predicted.

from helpers.evaluation import auc, balanced_accuracy

METRICS = {"auc": auc, "balanced_accuracy": balanced_accuracy}

# %%
# How a hospital trains
# ---------------------
#
# In SubstraFL this is the *algorithm*. Ours inherits from
# :class:`~helpers.algorithms.TFFedAvgAlgo`, which does for Keras what ``TorchFedAvgAlgo`` does
# for PyTorch: add the average that arrives, train for a number of
# batches, share the difference, and set the weights back. What is left to say is said in
# ``__init__``, because every task builds the algorithm anew. The model, too, is a *function* that
# builds it.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset

N_UPDATES = 20  # batches of 32 films in a round, at each hospital


class ChestXrayAlgo(TFFedAvgAlgo):
    def __init__(self, n_updates=N_UPDATES):
        super().__init__(
            model=functools.partial(build_cnn, IMAGE_SIZE),
            loss=keras.losses.BinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(2e-3),
            index_generator=NpIndexGenerator(batch_size=32, num_updates=n_updates, seed=SEED),
            dataset=ChestXrayDataset,
            seed=SEED,
        )


# %%
# :class:`~helpers.data.ChestXrayDataset` turns what the opener returns into batches, and the
# index generator remembers which films come next, from one round to the next.
#
# How the hospitals work together
# -------------------------------
#
# The *strategy* says what is averaged and when. SubstraFL's ``FedAvg`` weights each hospital by
# its number of films :footcite:p:`mcmahan2017`.

from substrafl.strategies import FedAvg

strategy = FedAvg(algo=ChestXrayAlgo(), metric_functions=METRICS)

# %%
# A client for each hospital
# --------------------------
#
# Everything that a hospital does in a Substra network goes through its *client*. On a real
# network each would be somewhere else; in :term:`local mode` all of them are on this machine,
# and Substra starts a Python for every task. As each of these would import TensorFlow first, we
# let our clients :func:`fork <helpers.local_mode.run_tasks_fast>` their tasks from a process
# that has done so already. Delete that line and all results stay the same, only later.
#
# The line does one more thing: what a task has computed is kept. When this page is stopped, and
# run again, it goes on where it was. With ``CHEST_XRAYS_NO_CACHE=1`` before the command, it starts
# from the beginning.

import logging

import substra
from substrafl.logger import set_logging_level

from helpers.local_mode import run_tasks_fast

set_logging_level(logging.ERROR)
clients = {
    hospital: substra.Client(client_name=hospital, backend_type="subprocess")
    for hospital in hospitals
}
run_tasks_fast(clients)
organizations = {
    hospital: client.organization_info().organization_id for hospital, client in clients.items()
}
organizations

# %%
# Each hospital registers two kinds of things. A *dataset* is, in Substra, the **opener**: the
# script that knows how to read the films, with the permission who may use it. *Data samples* are
# the folders with the films themselves. Only the path is registered: the films stay where they
# are.

from pathlib import Path

from substra.sdk.schemas import DataSampleSpec, DatasetSpec, Permissions

from helpers.openers import chest_xray_opener

OPENER = Path(chest_xray_opener.__file__)
partners = Permissions(public=False, authorized_ids=list(organizations.values()))

datasets, sample_keys = {}, {}
for hospital, client in clients.items():
    datasets[hospital] = client.add_dataset(
        DatasetSpec(
            name=f"Chest X-rays of {hospital}",
            data_opener=OPENER,
            description=OPENER.with_name("description.md"),
            permissions=partners,
            logs_permission=partners,
        )
    )
    for split, folder in samples[hospital].items():
        sample_keys[hospital, split] = client.add_data_sample(
            DataSampleSpec(path=folder, data_manager_keys=[datasets[hospital]])
        )

# %%
# Who trains, who averages, who tests
# -----------------------------------
#
# *Nodes* give the organizations their parts. Here every hospital trains and tests, and the first
# one also averages: it sees updates, never films.

from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.nodes import AggregationNode, TestDataNode, TrainDataNode

train_nodes = {
    hospital: TrainDataNode(
        organizations[hospital], datasets[hospital], [sample_keys[hospital, "train"]]
    )
    for hospital in hospitals
}
test_nodes = [
    TestDataNode(organizations[hospital], datasets[hospital], [sample_keys[hospital, "test"]])
    for hospital in hospitals
]
aggregation_node = AggregationNode(organizations[hospitals[0]])

# %%
# Evaluation happens every other round, before the first one included.

N_ROUNDS = 12  # enough to see it; go on while the validation AUC rises in earnest
EVALUATE_EVERY = 2


def evaluation():
    return EvaluationStrategy(test_data_nodes=test_nodes, eval_frequency=EVALUATE_EVERY)


# %%
# The federated run
# -----------------
#
# ``Dependency`` names what the tasks need: the package ``helpers`` travels with the algorithm.

from substrafl.dependency import Dependency
from substrafl.experiment import execute_experiment

import helpers

compute_plan = execute_experiment(
    client=clients[hospitals[0]],
    strategy=strategy,
    train_data_nodes=list(train_nodes.values()),
    evaluation_strategy=evaluation(),
    aggregation_node=aggregation_node,
    num_rounds=N_ROUNDS,
    experiment_folder="local-worker/experiments",
    dependencies=Dependency(local_code=[Path(helpers.__file__).parent]),
    clean_models=False,
)

# %%
# That was a graph of many tasks. Their number can be derived. Each of the :math:`K` hospitals
# begins with an initialization and a first training. Each of the :math:`N` rounds then has one
# aggregation and :math:`K` trainings. And each of :math:`E` evaluated rounds has one test at each
# of :math:`T` hospitals:
#
# .. math:: 2K + N(K + 1) + E\,T

K = T = len(hospitals)
E = 1 + N_ROUNDS // EVALUATE_EVERY  # and round 0
n_tasks = 2 * K + N_ROUNDS * (K + 1) + E * T
print(f"expected {n_tasks} tasks; the compute plan counts {compute_plan.task_count}")

# %%
# The scores are collected from the compute plan. We keep them in one tidy table, with a row for
# each score.

from helpers.results import tidy_scores

names = {organization: hospital for hospital, organization in organizations.items()}


def collect(performances):
    return pd.DataFrame(
        {
            "round": performances.round_idx,
            "hospital": [names[worker] for worker in performances.worker],
            "metric": performances.identifier,
            "value": performances.performance,
        }
    )


performances = clients[hospitals[0]].get_performances(compute_plan.key)
results = [tidy_scores(collect(performances), arm="federated", seed=SEED, trained_at="all")]

# %%
# Floor and ceiling
# -----------------
#
# To compare, we need the same network at each hospital **alone**, and on the **pooled** films.
# Federated averaging over a single node *is* ordinary training at that node, so that nothing but
# the nodes has to change. ``simulate_experiment`` computes the same numbers in this process,
# without tasks; a test of this project compares the two bit by bit. They agree because both compute
# with equally many threads, on which the last digits of a sum depend.

from substrafl.experiment import simulate_experiment


def train_at(node, n_updates=N_UPDATES):
    performances, _, _ = simulate_experiment(
        client=clients[hospitals[0]],
        strategy=FedAvg(algo=ChestXrayAlgo(n_updates), metric_functions=METRICS),
        train_data_nodes=[node],
        evaluation_strategy=evaluation(),
        aggregation_node=aggregation_node,
        num_rounds=N_ROUNDS,
        experiment_folder="local-worker/experiments",
    )
    return collect(performances)


for hospital, node in train_nodes.items():
    scores = train_at(node)
    results.append(tidy_scores(scores, arm="alone", seed=SEED, trained_at=hospital))

# %%
# For the pooled run one node gets the samples of all hospitals; the opener reads all the folders
# that it is given. To be fair, it makes as many updates in a round as all hospitals together.

pool = TrainDataNode(
    organizations[hospitals[0]],
    datasets[hospitals[0]],
    [sample_keys[hospital, "train"] for hospital in hospitals],
)
scores = train_at(pool, n_updates=N_UPDATES * len(hospitals))
results.append(tidy_scores(scores, arm="pooled", seed=SEED, trained_at="all"))

# %%
# Did it pay?
# -----------

import matplotlib.pyplot as plt

from helpers.plots import plot_hospitals, plot_rounds
from helpers.results import compare_arms, write_results

results = pd.concat(results, ignore_index=True)
write_results(results, "federated_chest_xrays")

_, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
plot_rounds(results, ax=left).set_title("All hospitals' test films, round by round")
plot_hospitals(results, ax=right).set_title("The last round, hospital by hospital")
plt.show()

# %%
# On the left, each curve is one way to train, scored on the test films of *all* hospitals. Look at
# the distance between the colored curves, each the model of a hospital that trained alone, and
# the black one: that is what a hospital gains when its model meets films of the others. On the
# right, every hospital is judged on its *own* test films: the open circle is the model that it
# could make by itself.

table = compare_arms(results)
table.round(3)

# %%
# The last column summarizes each row. In numbers:

mean = table["mean"]
alone = mean.loc["alone"].mean()
federated, pooled = mean.loc["federated"].item(), mean.loc["pooled"].item()
print(f"mean of the single hospitals  {alone:.3f}")
print(f"federated                     {federated:.3f}  ({federated - alone:+.3f})")
print(f"pooled                        {pooled:.3f}  ({pooled - alone:+.3f})")

# %%
# What this cannot show: it is one seed, one split and a few hundred test films, so that
# differences of a few hundredths between two hospitals mean nothing. It was also run for a fixed
# number of rounds. And AUC says how well films are *ranked*, not whether a probability can be
# believed.
#
# The model, and a few films
# --------------------------
#
# Any hospital can download the model of a round. It arrives inside the algorithm, with the state
# that it had there.

from substrafl.model_loading import download_algo_state

algo = download_algo_state(
    client=clients[hospitals[0]], compute_plan_key=compute_plan.key, round_idx=N_ROUNDS
)
model = algo.model

# %%
# Six films that it never saw: for each answer the three of which it is most certain, with what
# the film's label says. The network is given pixels between 0 and 1 and returns a logit.

import numpy as np

from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.plots import plot_films

test = ChestXrayOpener().get_data([samples[hospital]["test"] for hospital in hospitals])
probabilities = 1 / (1 + np.exp(-algo.predict(test)[:, 0]))
order = np.argsort(probabilities)
shown = np.concatenate([order[:3], order[-3:]])
titles = [
    f"p = {probability:.2f}\n{findings}"
    for probability, findings in zip(
        probabilities[shown], test["metadata"]["findings"].iloc[shown], strict=True
    )
]
plot_films(test["images"][shown], titles)
plt.show()

# %%
# These are the easy ones, by construction. Nothing here says how the network would do on films
# of another kind, and none of it is a clinical result.
#
# From this machine to a network
# ------------------------------
#
# On a deployed Substra network the films are where they were, and so are algorithm, strategy and
# opener. Two places change. A client connects to its organization, and the fast tasks go::
#
#     clients = {
#         hospital: substra.Client(
#             client_name=hospital,
#             backend_type="remote",
#             url=urls[hospital],
#             token=tokens[hospital],
#         )
#         for hospital in hospitals
#     }
#
# And the tasks need to know what to install, as they run in containers elsewhere::
#
#     Dependency(
#         local_code=[Path(helpers.__file__).parent],
#         pypi_dependencies=["tensorflow", "keras", "pandas", "scikit-learn"],
#     )
#
# Here we are done: the clients may go, and with them what they kept on this disk.

from helpers.local_mode import remove_local_files

remove_local_files(*clients.values())

# %%
# Conclusion
# ----------
#
# Hospitals that shared nothing but weights trained one Keras network. The figure and the table
# tell how much of the way from *alone* to *pooled* they went in these few rounds. That the
# weights really travelled, tensor by tensor, is what
# :ref:`sphx_glr_auto_examples_30_training_plot_20_how_the_weights_travel.py` shows.
#
# .. seealso::
#
#    :class:`helpers.local_mode.Federation` does the registering of this page in one line; the
#    other pages use it.
#
# References
# ----------
#
# .. footbibliography::

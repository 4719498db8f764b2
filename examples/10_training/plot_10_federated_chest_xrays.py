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

We expect each hospital to be served better by the federated model than by its own: that is the
floor. The pooled films are the ceiling. A hospital that does not get above its floor has no reason
to federate.
"""

# %%
# The radiographs of the hospitals
# --------------------------------
#
# By default these are synthetic films, made by a phantom and written to disk as the NIH writes
# theirs. To see this page on your own films, set the environment variable ``CHEST_XRAYS`` to their
# folder before you run it.

from helpers.data import count_hospitals, set_up_hospitals
from helpers.local_mode import start_server

start_server()  # TensorFlow is imported for the tasks while the films are prepared
# sphinx_gallery_parallel = False

TASK = "any finding vs none"
IMAGE_SIZE = 64  # pixels, to keep the run short; 224 or more in a real study
SEED = 0

study = set_up_hospitals(TASK, seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
count_hospitals(study.films, study.labels)

# %%
# Every hospital has films to train on, to validate with and to test with, and no patient is in
# two of them; see
# :ref:`sphx_glr_auto_examples_20_data_plot_20_radiographs_to_hospitals.py`.
#
# The network
# -----------
#
# A small convolutional network. It uses :term:`group normalization`, which keeps no statistics of
# the films; its one output is a logit: positive means *abnormal, more likely than not*.

import pandas as pd

from helpers.models import build_cnn

model = build_cnn(IMAGE_SIZE)
print(f"{model.count_params():,} weights")

# %%
# The score is the :term:`AUC`, computed where the films are. It needs no threshold, and is one half
# for a network that cannot tell the films apart. A metric is a function of what the opener returned
# and what the model predicted.

from helpers.evaluation import auc

METRICS = {"auc": auc}

# %%
# How a hospital trains
# ---------------------
#
# In SubstraFL this is the *algorithm*. Ours inherits from
# :class:`~helpers.algorithms.TFFedAvgAlgo`, which does for Keras what ``TorchFedAvgAlgo`` does for
# PyTorch: add the average that arrives, train for a number of batches, share the difference, and
# set the weights back. Every task builds the algorithm again, by ``__init__``; the model, too, is a
# *function* that builds it. :class:`~helpers.data.ChestXrayDataset` makes batches, and the index
# generator remembers which films come next, from one round to the next.

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
# Everything that a hospital does in a Substra network goes through its *client*. On a real network
# each would be somewhere else; in :term:`local mode` all of them are on this machine, and Substra
# starts a Python for every task. To save each of these the import of TensorFlow, our clients
# :func:`fork <helpers.local_mode.run_tasks_fast>` their tasks from a process that has done it.
# Results are cached as well: a page that was stopped goes on where it was, unless
# ``CHEST_XRAYS_NO_CACHE=1`` is set. Without that line all results are the same.

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
# one also averages: it sees updates, never films. Evaluation happens every other round.

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
N_ROUNDS = 12  # to keep the run short; go on while the validation AUC rises in a real study
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
# That was a graph of many tasks. Each of the :math:`K` hospitals begins with an initialization and
# a first training. Each of the :math:`N` rounds then has one aggregation and :math:`K` trainings,
# and each of :math:`E` evaluated rounds has one test at each of :math:`T` hospitals:
#
# .. math:: 2K + N(K + 1) + E\,T

K = T = len(hospitals)
E = 1 + N_ROUNDS // EVALUATE_EVERY  # and round 0
n_tasks = 2 * K + N_ROUNDS * (K + 1) + E * T
print(f"expected {n_tasks} tasks; the compute plan counts {compute_plan.task_count}")

# %%
# Any hospital can download the model of a round; it arrives inside the algorithm. The scores come
# from the compute plan, and are kept in one tidy table.

from substrafl.model_loading import download_algo_state

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
federated = download_algo_state(
    client=clients[hospitals[0]], compute_plan_key=compute_plan.key, round_idx=N_ROUNDS
)

# %%
# Floor and ceiling
# -----------------
#
# The same network is trained at each hospital **alone**, and on the **pooled** films. Federated
# averaging over a single node *is* ordinary training at that node, so that only the nodes change.
# ``simulate_experiment`` computes the same numbers in this process, without tasks; a test of this
# project compares the two bit by bit. The pooled run gets the samples of all hospitals at one node,
# and makes as many updates in a round as all hospitals together.

from substrafl.experiment import simulate_experiment


def train_at(node, n_updates=N_UPDATES):
    performances, states, _ = simulate_experiment(
        client=clients[hospitals[0]],
        strategy=FedAvg(algo=ChestXrayAlgo(n_updates), metric_functions=METRICS),
        train_data_nodes=[node],
        evaluation_strategy=evaluation(),
        aggregation_node=aggregation_node,
        num_rounds=N_ROUNDS,
        experiment_folder="local-worker/experiments",
    )
    return collect(performances), states.state[-1].algo


alone = {}
for hospital, node in train_nodes.items():
    scores, alone[hospital] = train_at(node)
    results.append(tidy_scores(scores, arm="alone", seed=SEED, trained_at=hospital))

pool = TrainDataNode(
    organizations[hospitals[0]],
    datasets[hospitals[0]],
    [sample_keys[hospital, "train"] for hospital in hospitals],
)
scores, pooled = train_at(pool, n_updates=N_UPDATES * len(hospitals))
results.append(tidy_scores(scores, arm="pooled", seed=SEED, trained_at="all"))

# %%
# Did it pay?
# -----------

import matplotlib.pyplot as plt

from helpers.plots import plot_hospitals, plot_rounds
from helpers.results import write_results

results = pd.concat(results, ignore_index=True)
write_results(results, "federated_chest_xrays")

_, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
plot_rounds(results, ax=left).set_title("All hospitals' test films, round by round")
plot_hospitals(results, ax=right).set_title("The last round, hospital by hospital")
plt.show()

# %%
# On the left, each curve is one way to train, scored on the test films of *all* hospitals: what a
# model is worth when it meets films of the others. On the right, every hospital is judged on its
# **own** test films, which is what it has to decide by: the open circle is the model that it can
# make by itself. The gain is the difference between the two, on the same patients, with a 95 %
# interval over patients.

from helpers.evaluation import describe_gains, gain_at_home
from helpers.openers.chest_xray_opener import ChestXrayOpener

test = {name: ChestXrayOpener().get_data([samples[name]["test"]]) for name in hospitals}
patients = {name: data["metadata"]["patient"] for name, data in test.items()}
logits = {
    "alone": {name: alone[name].predict(data)[:, 0] for name, data in test.items()},
    "federated": {name: federated.predict(data)[:, 0] for name, data in test.items()},
    "pooled": {name: pooled.predict(data)[:, 0] for name, data in test.items()},
}
gains = {
    arm: gain_at_home(auc, test, logits[arm], logits["alone"], patients)
    for arm in ("federated", "pooled")
}
gains["federated"].round(3)

# %%
# What this cannot show: it is one seed, one split and a fixed number of rounds, and the intervals
# cover other test patients, not other trainings.
# :ref:`sphx_glr_auto_examples_30_evaluation_plot_10_was_it_worth_federating.py` trains with several
# seeds. AUC says how well films are *ranked*, not whether a probability can be believed.
#
# The model, and a few films
# --------------------------
#
# Six films that it never saw: for each answer the three of which it is most certain, with what
# the film's label says.

import numpy as np

from helpers.plots import plot_films

everyone = ChestXrayOpener().get_data([samples[hospital]["test"] for hospital in hospitals])
probabilities = 1 / (1 + np.exp(-federated.predict(everyone)[:, 0]))
order = np.argsort(probabilities)
shown = np.concatenate([order[:3], order[-3:]])
titles = [
    f"p = {probability:.2f}\n{findings}"
    for probability, findings in zip(
        probabilities[shown], everyone["metadata"]["findings"].iloc[shown], strict=True
    )
]
plot_films(everyone["images"][shown], titles)
plt.show()

# %%
# These are the easy ones, by construction, and none of it is a clinical result.
#
# From this machine to a network
# ------------------------------
#
# On a deployed Substra network the films are where they were, and so are algorithm, strategy and
# opener. Clients connect to their organizations, and ``run_tasks_fast`` goes::
#
#     substra.Client(client_name=hospital, backend_type="remote", url=url, token=token)
#
# Tasks run in containers, which need to know what to install::
#
#     Dependency(
#         local_code=[Path(helpers.__file__).parent],
#         pypi_dependencies=["tensorflow", "keras", "pandas", "scikit-learn", "pillow",
#                            "safetensors", "platformdirs", "fairlearn"],
#     )
#
# Here the clients may go, with what they kept on this disk.

from helpers.local_mode import remove_local_files

remove_local_files(*clients.values())

# %%
# Conclusion
# ----------
#
# These sentences are made from the numbers above.

for arm, table in gains.items():
    print(describe_gains(table, arm))

# %%
# A gain over the mean of single hospitals on the films of *others*, as in the figure's left half,
# is another number, and nobody's gain: no hospital has to use a foreign model at home. That the
# weights really travelled is what
# :ref:`sphx_glr_auto_examples_10_training_plot_20_how_the_weights_travel.py` shows.
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

"""
Train one network across four hospitals
=======================================

Several hospitals want one network that recognizes abnormal chest X-rays. None of them may show its
films to the others. Can they train it together all the same, and does it pay?

We will let them train a Keras network with **federated averaging**, every step in a process of its
own, until the validation score no longer rises. Then we compare it, on test films, with the same
network trained at each hospital **alone**, the floor, and on the **pooled** films, the ceiling,
which nobody could do in reality. We expect each hospital to be served better by the federated model
than by its own. A hospital that does not get above its floor has no reason to federate.
"""

# %%
# The radiographs of the hospitals
# --------------------------------
#
# By default these are synthetic films. ``CHEST_XRAYS=/path`` puts this page on your own, and
# ``CHEST_XRAYS_TASK="Effusion, Edema"`` on findings of your choice. Every hospital has films to
# train on, to validate with and to test with, and no patient is in two of them; see
# :ref:`sphx_glr_auto_examples_plot_22_radiographs_to_hospitals.py`.

from helpers.data import count_hospitals, set_up_hospitals
from helpers.display import show
from helpers.studies import study_seed

IMAGE_SIZE = 48  # pixels, to keep the run short; 224 or more in a real study
SEED = study_seed()  # 0, unless `make studies` runs this page
study = set_up_hospitals(seed=SEED)
samples = study.prepare(IMAGE_SIZE)
hospitals = list(samples)
show(count_hospitals(study.films, study.labels))

# %%
# How a hospital trains
# ---------------------
#
# The network is small and convolutional. Its output is a :term:`logit`: positive means *abnormal,
# more likely than not*. In the loss a finding counts only where it is known. In SubstraFL the
# training is an *algorithm*. Ours inherits from :class:`~helpers.algorithms.TFFedAvgAlgo`: it adds
# the average, trains for a number of batches, shares the difference, and sets the weights back.

import functools

import keras
from substrafl.index_generator import NpIndexGenerator

from helpers.algorithms import TFFedAvgAlgo
from helpers.data import ChestXrayDataset
from helpers.losses import MaskedBinaryCrossentropy
from helpers.models import augment, build_cnn

N_UPDATES = 40  # batches of 32 films in a round, at each hospital
build = functools.partial(build_cnn, IMAGE_SIZE, n_outputs=len(study.findings))
if not study.radiographs.is_synthetic:
    build = augment(build)  # real films differ in position, brightness and contrast


class ChestXrayAlgo(TFFedAvgAlgo):
    def __init__(self, n_updates=N_UPDATES):
        super().__init__(
            model=build,
            loss=MaskedBinaryCrossentropy(from_logits=True),
            optimizer=keras.optimizers.Adam(2e-3),
            index_generator=NpIndexGenerator(batch_size=32, num_updates=n_updates, seed=SEED),
            dataset=ChestXrayDataset,
            seed=SEED,
        )


# %%
# The *strategy* says what is averaged and when. SubstraFL's ``FedAvg`` weights each hospital by its
# number of films :footcite:p:`mcmahan2017`. The score is the :term:`AUC`, computed where the films
# are. It is one half for a network that cannot tell normal and abnormal films apart.

from substrafl.strategies import FedAvg

from helpers.evaluation import auc

strategy = FedAvg(algo=ChestXrayAlgo(), metric_functions={"auc": auc})

# %%
# A client for each hospital
# --------------------------
#
# Everything that a hospital does in a Substra network goes through its *client*. In :term:`local
# mode` all clients are on this machine, and Substra starts a Python for every task. Ours
# :func:`fork <helpers.local_mode.run_tasks_fast>` their tasks from a process that has imported
# TensorFlow, and cache the results: a page that was stopped goes on where it was, unless
# ``CHEST_XRAYS_NO_CACHE=1`` is set. Without ``run_tasks_fast`` all results are the same.

import logging
from pathlib import Path

import substra
from substra.sdk.schemas import DataSampleSpec, DatasetSpec, Permissions
from substrafl.logger import set_logging_level

from helpers.local_mode import run_tasks_fast
from helpers.openers import chest_xray_opener

set_logging_level(logging.ERROR)
clients = {
    hospital: substra.Client(client_name=hospital, backend_type="subprocess")
    for hospital in hospitals
}
run_tasks_fast(clients)
names = {client.organization_info().organization_id: name for name, client in clients.items()}
organizations = {hospital: organization for organization, hospital in names.items()}
lead = clients[hospitals[0]]

# %%
# Each hospital registers a *dataset*, in Substra the **opener**: the script that reads the films,
# with the permission who may use it. *Data samples* are the folders with the films. Only the path
# is registered: the films stay where they are. *Nodes* then say who does what: every hospital
# trains and evaluates, and the first one also averages. It sees updates, never films.

from substrafl.nodes import AggregationNode, TestDataNode, TrainDataNode

OPENER = Path(chest_xray_opener.__file__)
partners = Permissions(public=False, authorized_ids=list(organizations.values()))

train_nodes, valid_nodes = {}, {}
for hospital, client in clients.items():
    dataset = client.add_dataset(
        DatasetSpec(
            name=f"Chest X-rays of {hospital}",
            data_opener=OPENER,
            description=OPENER.with_name("description.md"),
            permissions=partners,
            logs_permission=partners,
        )
    )
    keys = {
        split: client.add_data_sample(DataSampleSpec(path=folder, data_manager_keys=[dataset]))
        for split, folder in samples[hospital].items()
    }
    train_nodes[hospital] = TrainDataNode(organizations[hospital], dataset, [keys["train"]])
    valid_nodes[hospital] = TestDataNode(organizations[hospital], dataset, [keys["valid"]])

# %%
# The federated run
# -----------------
#
# While it trains, the network is evaluated on *validation* films, every other round. ``Dependency``
# names what the tasks need: the package ``helpers`` travels along.

from substrafl.dependency import Dependency
from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.experiment import execute_experiment

import helpers
from helpers.results import tidy_performances


def arrange(train_at, valid_at):
    return {
        "client": lead,
        "train_data_nodes": train_at,
        "evaluation_strategy": EvaluationStrategy(valid_at, eval_frequency=2),
        "aggregation_node": AggregationNode(organizations[hospitals[0]]),
        "experiment_folder": "local-worker/experiments",
        "clean_models": False,
    }


def train_federated(num_rounds):
    compute_plan = execute_experiment(
        strategy=strategy,
        dependencies=Dependency(local_code=[Path(helpers.__file__).parent]),
        num_rounds=num_rounds,
        **arrange(list(train_nodes.values()), list(valid_nodes.values())),
    )
    return compute_plan, tidy_performances(lead.get_performances(compute_plan.key), names)


# %%
# How many rounds? Until the hospitals' mean validation AUC has not risen in two evaluations; the
# best round is kept. A compute plan cannot grow, but a longer one continues a shorter one, as
# finished tasks are cached. Any hospital can download the model of a round, inside the algorithm.

from substrafl.model_loading import download_algo_state

from helpers.evaluation import find_best_round, train_until_best

PATIENCE = 2  # evaluations
compute_plan, curve, best = train_until_best(
    train_federated, step=6, max_rounds=24, patience=PATIENCE
)
federated = download_algo_state(lead, compute_plan.key, round_idx=best.round)
n_rounds = int(curve["round"].max())
print(f"{n_rounds} rounds, {compute_plan.task_count} tasks; {best}")

# %%
# Floor and ceiling
# -----------------
#
# Federated averaging over a single node *is* ordinary training there. So for each hospital
# **alone**, and for the **pooled** films, only the nodes change. ``simulate_experiment`` computes
# the same numbers without tasks; a test compares the two bit by bit. Everyone has as many rounds
# and updates, the pool those of all hospitals, and keeps the best round on its validation films.

from substrafl.experiment import simulate_experiment

curves, stops = {("federated", "all"): curve}, {("federated", "all"): best}


def train_at(node, arm, trained_at, valid_at, n_updates=N_UPDATES):
    performances, states, _ = simulate_experiment(
        strategy=FedAvg(algo=ChestXrayAlgo(n_updates), metric_functions={"auc": auc}),
        num_rounds=n_rounds,
        **arrange([node], valid_at),
    )
    curves[arm, trained_at] = tidy_performances(performances, names)
    stop = stops[arm, trained_at] = find_best_round(curves[arm, trained_at], patience=PATIENCE)
    return states.state[states.round_idx.index(stop.round)].algo


alone = {
    hospital: train_at(node, "alone", hospital, [valid_nodes[hospital]])
    for hospital, node in train_nodes.items()
}
everything = [key for node in train_nodes.values() for key in node.data_sample_keys]
first = train_nodes[hospitals[0]]
pool = TrainDataNode(first.organization_id, first.data_manager_key, everything)
pooled = train_at(pool, "pooled", "all", list(valid_nodes.values()), N_UPDATES * len(hospitals))

# %%
# Did it pay?
# -----------
#
# Every hospital is judged on its **own** test films. The gain is the difference to the model that
# it can make by itself, with a 95 % interval over patients. Another seed draws other test patients
# and initial weights: ``make studies`` runs this page with more, and their results are added here.

from helpers.evaluation import describe_gains, tidy_gains
from helpers.results import compare_at_home, score_findings, write_results
from helpers.studies import join_study

gains = compare_at_home({"alone": alone, "federated": federated, "pooled": pooled}, samples)
live = tidy_gains(gains, seed=SEED, rounds={arm: stops[arm, "all"].round for arm in gains})
SETTINGS = {"pixels": IMAGE_SIZE, "updates": N_UPDATES, "patience": PATIENCE}
seeds = join_study("federated_chest_xrays", live, data=str(study), settings=SETTINGS)
results = seeds.table
write_results(results, "federated_chest_xrays")
print(seeds)
show(gains["federated"].round(3))
if len(study.findings) > 1:  # above is their mean
    show(score_findings(federated, samples).round(3))

# %%

from helpers.plots import make_panels, plot_hospitals, plot_most_certain, plot_rounds

top, bottom = make_panels(2, height=4.2)
plot_rounds(curves, stops, ax=top).set_title("Validation films, and the rounds that are kept")
plot_hospitals(results, ax=bottom).set_title("Gained over alone, on own test films")
show()

# %%
# Above, marks are the rounds that are kept. Below, bars are 95 % intervals over the test patients
# of this run, and small marks are other seeds. Next are the test films of whose (first) answer the
# federated model is most certain: easy ones, by construction, and no clinical result.

from helpers.openers.chest_xray_opener import ChestXrayOpener

everyone = ChestXrayOpener().get_data([samples[hospital]["test"] for hospital in hospitals])
plot_most_certain(everyone, federated.predict(everyone)[:, 0])
show()

# %%
# Conclusion
# ----------
#
# These sentences are made from the numbers above.


def say_verdicts(results):
    for arm in ("federated", "pooled"):
        print(describe_gains(results, arm))


say_verdicts(results)

# %%
# :ref:`sphx_glr_auto_examples_plot_12_how_the_weights_travel.py` shows that the weights travelled.
# Other pages register everything in one line, with :class:`helpers.local_mode.Federation`. For a
# deployed network see :doc:`/deployed`. The saved model runs :doc:`in your browser </try_it>`.

from helpers.local_mode import remove_local_files

federated.model.save("results/federated_chest_xrays.keras")
remove_local_files(*clients.values())

# %%
# References
# ----------
#
# .. footbibliography::

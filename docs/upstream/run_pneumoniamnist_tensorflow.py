# The notebook for Substra's documentation, as a script: a cell begins with "# %%".
# `make upstream` makes the notebook from it, and runs it.

# %% [markdown]
# # Using TensorFlow FedAvg on PneumoniaMNIST
#
# This example trains a Keras model with the Federated Averaging strategy on
# [PneumoniaMNIST](https://medmnist.com), chest X-rays of 28x28 pixels. The question to a film is
# whether it shows pneumonia.
#
# It is the twin of the example that uses PyTorch on MNIST. It has the same sections in the same
# order, and SubstraFL's interface for TensorFlow in place of the one for PyTorch.
#
# The example does not use a deployed platform of Substra and runs in local mode.
#
# To run it, you need the folder `tensorflow_fedavg_assets` beside this notebook. It holds a
# *requirements.txt* file: `pip install -r tensorflow_fedavg_assets/requirements.txt` installs all
# libraries.

# %% [markdown]
# ## Setup
#
# Three organizations take part. Two of them are hospitals and provide data, the third one provides
# the algorithm.

# %%
from substra import Client

client_0 = Client(client_name="org-1")
client_1 = Client(client_name="org-2")
client_2 = Client(client_name="org-3")

# %% [markdown]
# Every task runs in a Python process of its own on this machine. Other values of `backend_type`
# run it elsewhere: `docker` in local containers, `remote` on a deployed platform.

# %%
clients = {
    client.organization_info().organization_id: client for client in (client_0, client_1, client_2)
}

ORGS_ID = list(clients)
ALGO_ORG_ID = ORGS_ID[0]  # the first organization provides the algorithm
DATA_PROVIDER_ORGS_ID = ORGS_ID[1:]  # the others provide the data

# %% [markdown]
# ## Data and metrics
#
# ### Data preparation
#
# This section downloads PneumoniaMNIST, unless the environment variable `PNEUMONIAMNIST` names a
# file that is there already. Each hospital gets half of the films for training and half of those
# for testing.

# %%
import pathlib

from tensorflow_fedavg_assets.dataset.pneumoniamnist_dataset import setup_pneumoniamnist

data_path = pathlib.Path.cwd() / "tmp" / "data_pneumoniamnist"

setup_pneumoniamnist(data_path, len(DATA_PROVIDER_ORGS_ID))

# %% [markdown]
# ### Dataset registration
#
# A [Dataset](https://docs.substra.org/en/stable/documentation/concepts.html#dataset) is an
# **opener**, the script that loads the data from files, and a description. The data themselves are
# **datasamples**: folders that stay with their organization.
#
# [Permissions](https://docs.substra.org/en/stable/documentation/concepts.html#permissions) say
# which organizations may use an asset.

# %%
from substra.sdk.schemas import DataSampleSpec, DatasetSpec, Permissions

assets_directory = pathlib.Path.cwd() / "tensorflow_fedavg_assets"
dataset_keys = {}
train_datasample_keys = {}
test_datasample_keys = {}

for i, org_id in enumerate(DATA_PROVIDER_ORGS_ID):
    client = clients[org_id]
    permissions = Permissions(public=False, authorized_ids=[ALGO_ORG_ID])

    dataset = DatasetSpec(
        name="PneumoniaMNIST",
        type="npy",
        data_opener=assets_directory / "dataset" / "pneumoniamnist_opener.py",
        description=assets_directory / "dataset" / "description.md",
        permissions=permissions,
        logs_permission=permissions,
    )
    dataset_keys[org_id] = client.add_dataset(dataset)

    for part, keys in (("train", train_datasample_keys), ("test", test_datasample_keys)):
        data_sample = DataSampleSpec(
            data_manager_keys=[dataset_keys[org_id]],
            path=data_path / f"org_{i + 1}" / part,
        )
        keys[org_id] = client.add_data_sample(data_sample)

# %% [markdown]
# ### Metrics definition
#
# A metric is a function of the data, as the opener returns them, and of the predictions,
# as the algorithm returns them: here one probability of pneumonia for each film.

# %%
from sklearn.metrics import accuracy_score, roc_auc_score


def accuracy(data_from_opener, predictions):
    return accuracy_score(data_from_opener["labels"], predictions[:, 0] > 0.5)


def roc_auc(data_from_opener, predictions):
    return roc_auc_score(data_from_opener["labels"], predictions[:, 0])


# %% [markdown]
# ## Machine learning components definition
#
# This section uses SubstraFL's interface for TensorFlow. You will:
#
# - register a model and its dependencies;
# - choose the federated learning strategy;
# - choose where to train, to aggregate and to test;
# - run the computations.

# %% [markdown]
# ### Model definition
#
# The model is a small convolutional network. SubstraFL is given the **function that builds it**,
# not a model: every organization builds its own.

# %%
import keras
from keras import layers

SEED = 42


def build_cnn():
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 5, activation="relu"),
            layers.Conv2D(32, 5),
            layers.MaxPooling2D(2),
            layers.ReLU(),
            layers.Dropout(0.5),
            layers.Conv2D(64, 5),
            layers.MaxPooling2D(2),
            layers.ReLU(),
            layers.Dropout(0.5),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dropout(0.5),
            layers.Dense(1, activation="sigmoid"),
        ]
    )


optimizer = keras.optimizers.Adam(learning_rate=0.001)
loss = keras.losses.BinaryCrossentropy()

# %% [markdown]
# ### Specifying on how much data to train
#
# The `index_generator` says how many films a batch has, and how many batches (`num_updates`) a
# round has. See
# [Index Generator](https://docs.substra.org/en/stable/substrafl_doc/substrafl_overview.html#index-generator).

# %%
from substrafl.index_generator import NpIndexGenerator

# Number of model updates between each FL strategy aggregation.
NUM_UPDATES = 50

# Number of samples per update.
BATCH_SIZE = 32

index_generator = NpIndexGenerator(batch_size=BATCH_SIZE, num_updates=NUM_UPDATES)

# %% [markdown]
# ### TensorFlow Dataset definition
#
# The dataset prepares the data. Its `__init__` must take `data_from_opener` and `is_inference`. Its
# `__getitem__` is given **an array of indices** and returns one batch: `(inputs, outputs)`, or only
# the inputs if `is_inference` is true.

# %%
import numpy as np


class TFDataset:
    def __init__(self, data_from_opener, is_inference):
        self.x = data_from_opener["images"]
        self.y = data_from_opener["labels"]
        self.is_inference = is_inference

    def __getitem__(self, idx):
        x = self.x[idx].astype(np.float32) / 255

        if self.is_inference:
            return x
        return x, self.y[idx, None].astype(np.float32)

    def __len__(self):
        return len(self.x)


# %% [markdown]
# ### SubstraFL algo definition
#
# A SubstraFL algorithm gathers all the elements that run locally at each organization. It is the
# only SubstraFL object that is specific to a framework.
#
# The dataset is passed **as a class**: it is instantiated where the data are.

# %%
from substrafl.algorithms.tensorflow import TFFedAvgAlgo


class TFCNN(TFFedAvgAlgo):
    def __init__(self):
        super().__init__(
            model=build_cnn,
            loss=loss,
            optimizer=optimizer,
            index_generator=index_generator,
            dataset=TFDataset,
            seed=SEED,
            disable_gpu=True,
        )


# %% [markdown]
# ### Federated Learning strategies
#
# A strategy says how to train one model on the data of many. Federated Averaging trains at every
# organization, averages the updates of the weights, and applies the average at every organization.

# %%
from substrafl.strategies import FedAvg

strategy = FedAvg(algo=TFCNN(), metric_functions={"Accuracy": accuracy, "ROC AUC": roc_auc})

# %% [markdown]
# ### Where to train, where to aggregate
#
# A [TrainDataNode](https://docs.substra.org/en/stable/substrafl_doc/api/nodes.html#traindatanode)
# names data to train on. The
# [AggregationNode](https://docs.substra.org/en/stable/substrafl_doc/api/nodes.html#aggregationnode)
# names the organization that averages.

# %%
from substrafl.nodes import AggregationNode, TrainDataNode

aggregation_node = AggregationNode(ALGO_ORG_ID)

train_data_nodes = [
    TrainDataNode(
        organization_id=org_id,
        data_manager_key=dataset_keys[org_id],
        data_sample_keys=[train_datasample_keys[org_id]],
    )
    for org_id in DATA_PROVIDER_ORGS_ID
]

# %% [markdown]
# ### Where and when to test
#
# A [TestDataNode](https://docs.substra.org/en/stable/substrafl_doc/api/nodes.html#testdatanode)
# names data to test on. The
# [Evaluation Strategy](https://docs.substra.org/en/stable/substrafl_doc/api/evaluation_strategy.html)
# says in which rounds.

# %%
from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.nodes import TestDataNode

test_data_nodes = [
    TestDataNode(
        organization_id=org_id,
        data_manager_key=dataset_keys[org_id],
        data_sample_keys=[test_datasample_keys[org_id]],
    )
    for org_id in DATA_PROVIDER_ORGS_ID
]

# Test at the end of every round
my_eval_strategy = EvaluationStrategy(test_data_nodes=test_data_nodes, eval_frequency=1)

# %% [markdown]
# ## Running the experiment
#
# The [Dependency](https://docs.substra.org/en/stable/substrafl_doc/api/dependency.html) names the
# libraries that every organization installs. In local mode, where tasks run in this Python, nothing
# is installed.

# %%
from substrafl.dependency import Dependency

requirements = (assets_directory / "requirements.txt").read_text().splitlines()
dependencies = Dependency(pypi_dependencies=requirements)

# %% [markdown]
# All objects are there, and the experiment can start.

# %%
import logging

import substrafl
from substrafl.experiment import execute_experiment

substrafl.set_logging_level(loglevel=logging.ERROR)

# A round is defined by a local training step followed by an aggregation operation
NUM_ROUNDS = 3

compute_plan = execute_experiment(
    client=clients[ALGO_ORG_ID],
    strategy=strategy,
    train_data_nodes=train_data_nodes,
    evaluation_strategy=my_eval_strategy,
    aggregation_node=aggregation_node,
    num_rounds=NUM_ROUNDS,
    experiment_folder=str(pathlib.Path.cwd() / "tmp" / "experiment_summaries"),
    dependencies=dependencies,
    clean_models=False,
    name="PneumoniaMNIST documentation example",
)

# %% [markdown]
# The number of tasks follows from the numbers of organizations and rounds:
#
# - each of the 2 hospitals begins with 1 training and 1 evaluation: 4 tasks;
# - each of the 3 rounds has 1 aggregation, and at each of the 2 hospitals 1 training and
#   1 evaluation: 3 * (1 + 2 * 2) = 15 tasks;
# - after the last round each of the 2 hospitals applies the last average: 2 tasks.

# %%
print(f"Tasks in the compute plan: {compute_plan.task_count}")

# %% [markdown]
# ## Explore the results

# %%
# The results are available once the compute plan is completed
print(client_0.wait_compute_plan(compute_plan.key).status)

# %% [markdown]
# ### List results

# %%
import pandas as pd

performances_df = pd.DataFrame(client_0.get_performances(compute_plan.key).model_dump())
print(performances_df[["worker", "round_idx", "identifier", "performance"]])

# %% [markdown]
# ### Plot results

# %%
import matplotlib.pyplot as plt

fig, axs = plt.subplots(1, 2, figsize=(12, 6))
fig.suptitle("Test dataset results")

for ax, identifier in zip(axs, ["Accuracy", "ROC AUC"], strict=True):
    ax.set(title=identifier, xlabel="Rounds", ylabel="Score")
    for org_id in DATA_PROVIDER_ORGS_ID:
        chosen = (performances_df["worker"] == org_id) & (
            performances_df["identifier"] == identifier
        )
        ax.plot("round_idx", "performance", data=performances_df[chosen], label=org_id)

axs[1].legend(loc="lower right")
plt.show()

# %% [markdown]
# Round 0 is the model before any training. More films show pneumonia than not: a model that calls
# every film pneumonia already has a good accuracy. The area under the ROC curve does not depend on
# that, so read it first.

# %% [markdown]
# ### Download a model
#
# The trained model can be downloaded from any organization and any round. Without a `round_idx` the
# last round is taken.

# %%
from substrafl.model_loading import download_algo_state

algo = download_algo_state(
    client=clients[DATA_PROVIDER_ORGS_ID[0]],
    compute_plan_key=compute_plan.key,
    round_idx=None,
)

print(type(algo.model).__name__, algo.model.count_params())

"""Every algorithm and strategy runs from its function archives, where nothing else is."""

import functools
import importlib.metadata
import inspect
import platform
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from substrafl.algorithms.algo import Algo
from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.index_generator import NpIndexGenerator
from substrafl.strategies import FedAvg, FedPCA, NewtonRaphson, Scaffold, SingleOrganization

import helpers
from helpers import algorithms, strategies
from helpers.data import ChestXrayDataset
from helpers.deployment import PACKAGES
from helpers.evaluation import auc
from helpers.exchange import Int8
from helpers.models import build_small_cnn
from helpers.openers.chest_xray_opener import ChestXrayOpener


class SmallFilms(ChestXrayDataset):
    """The same films, with every eighth pixel: Newton's method and components need few."""

    def __getitem__(self, indices):
        batch = super().__getitem__(indices)
        if self._is_inference:
            return batch[:, ::8, ::8]
        return batch[0][:, ::8, ::8], batch[1]


def build_network():
    return build_small_cnn(64)  # the side of the opener's fake films


def build_linear():
    return keras.Sequential([keras.Input((8, 8, 1)), layers.Flatten(), layers.Dense(1)])


def total(data_from_opener, predictions):
    return float(np.sum(predictions, dtype=np.float64))


LOSS = keras.losses.BinaryCrossentropy(from_logits=True)


def settings(**changes):
    return {
        "model": build_linear,
        "loss": LOSS,
        "optimizer": keras.optimizers.SGD(0.01),
        "index_generator": NpIndexGenerator(batch_size=4, num_updates=2, seed=0),
        "dataset": SmallFilms,
        "seed": 0,
    } | changes


METRICS = {"auc": auc, "total": total}


def federated(strategy=FedAvg, algo="TFFedAvgAlgo", **changes):
    return strategy(algo=getattr(algorithms, algo)(**settings(**changes)), metric_functions=METRICS)


def newton():
    settings = {"batch_size": 4, "dataset": SmallFilms, "l2_coeff": 0.1, "seed": 0}
    algo = algorithms.TFNewtonRaphsonAlgo(build_linear, LOSS, **settings)
    return NewtonRaphson(algo, damping_factor=0.8, metric_functions=METRICS)


def components():
    return FedPCA(algorithms.TFFedPCAAlgo(SmallFilms, 64, 1, seed=1), METRICS)


def private():
    privacy = algorithms.DPSGD(1.0, 1.0, seed=0)
    return federated(privacy=privacy, index_generator=algorithms.PoissonIndexGenerator(4, 2, 0))


def checked():
    average = federated(compression=Int8(), server_optimizer=algorithms.FedAdam(), proximal_mu=0.1)
    return strategies.SafeExchange(average)


# By the public classes that take part.
EXPERIMENTS = {
    "TFScaffoldAlgo": lambda: federated(Scaffold, "TFScaffoldAlgo"),
    "TFNewtonRaphsonAlgo": newton,
    "TFFedPCAAlgo": components,
    "TFSingleOrganizationAlgo": lambda: federated(SingleOrganization, "TFSingleOrganizationAlgo"),
    "TFCyclicAlgo CyclicTransfer": lambda: federated(strategies.CyclicTransfer, "TFCyclicAlgo"),
    "WatchedFedAvgAlgo Metered": lambda: strategies.Metered(
        federated(algo="WatchedFedAvgAlgo"), strategies.Traffic()
    ),
    "FedMedian": lambda: federated(strategies.FedMedian),
    "FedTrimmedMean": lambda: federated(strategies.FedTrimmedMean),
    "MultiKrum": lambda: federated(functools.partial(strategies.MultiKrum, n_hostile=0)),
    "Participation WrappedStrategy": lambda: strategies.WrappedStrategy(
        strategies.Participation(federated(), 0.5)
    ),
    "SafeExchange FedAdam": checked,
    "SecureAggregation": lambda: strategies.SecureAggregation(federated()),
    "TFFedAvgAlgo DPSGD": private,
}
HOSPITALS = {"FedTrimmedMean": 3, "MultiKrum": 3, "SecureAggregation": 3}
ROUNDS = {"TFFedPCAAlgo": 3}


def test_no_algorithm_and_no_strategy_is_left_out():
    public = {
        name
        for module, base in ((algorithms, Algo), (strategies, ComputePlanBuilder))
        for name, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, base) and not inspect.isabstract(value)
    }
    assert public <= set(" ".join(EXPERIMENTS).split())


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_function_runs_from_its_archive(register, run_plan, forked, name):
    client = register(
        EXPERIMENTS[name](), num_rounds=ROUNDS.get(name, 1), n_hospitals=HOSPITALS.get(name, 1)
    )
    ran, scores = run_plan(client, forked)
    assert len(ran) == len(client.plan.tasks)
    assert {"initialize", "train", "evaluate"} <= set(ran)
    assert set(scores) == set(METRICS)
    assert np.isfinite(list(scores.values())).all()


@pytest.fixture
def archived(register, tmp_path, open_image):
    """Unpack the archive of a function as its Dockerfile says."""
    client = register(federated(model=build_network, dataset=ChestXrayDataset))
    key = client.plan.tasks[0].function_key
    return client, open_image(client.archives[key], tmp_path / "image")


def test_an_archive_has_the_whole_package_and_the_python_of_here(archived):
    client, image = archived
    package = Path(helpers.__file__).parent
    ours, theirs = (
        {path.relative_to(root) for path in root.rglob("*.*") if "__pycache__" not in path.parts}
        for root in (package, image.folder / "helpers")
    )
    assert theirs == ours  # SubstraFL leaves out tables, images and folders of some names
    assert image.python == ".".join(platform.python_version_tuple()[:2])
    assert max(path.stat().st_size for path in client.archives.values()) < 1_000_000


@pytest.mark.slow
def test_the_environment_of_a_task_has_the_versions_of_here_and_not_this_package(
    archived, install, start
):
    _, image = archived
    python = install(image)
    names = sorted({*PACKAGES, "substra", "substrafl", "substratools"})
    code = "import importlib.metadata as m; print([m.version(name) for name in {}])"
    found = start(python, python.parent, ["-c", code.format(names)])
    assert found.stdout.strip() == str([importlib.metadata.version(name) for name in names])
    alone = start(python, python.parent, ["-c", "import helpers"])
    assert "No module named 'helpers'" in alone.stderr
    code = "import helpers; print(helpers.__file__)"
    found = start(python, image.folder, ["-c", code])
    assert found.stdout.strip() == str(image.folder / "helpers" / "__init__.py")


@pytest.mark.slow
def test_a_new_python_for_each_task_computes_the_numbers_of_here(archived, run_plan, start):
    def run(python, folder, arguments):
        ended = start(python, folder, arguments)
        assert not ended.returncode, ended.stderr[-4000:]

    ran, scores = run_plan(archived[0], run)
    assert ran == ["initialize", "train", "avg_shared_states", "train", "evaluate"]
    strategy = federated(model=build_network, dataset=ChestXrayDataset)
    data = ChestXrayOpener().fake_data(8)
    state = strategy.algo.train(data_from_opener=data, _skip=True)
    state = strategy.avg_shared_states(shared_states=[state], _skip=True)
    strategy.algo.train(data_from_opener=data, shared_state=state, _skip=True)
    assert scores == strategy.evaluate(data_from_opener=data, _skip=True)

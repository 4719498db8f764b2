"""Tracking: what was logged is what MLflow, TensorBoard and a loaded model return."""

import os
import sys
import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

mlflow = pytest.importorskip("mlflow")

from helpers.models import build_small_cnn  # noqa: E402
from helpers.tracking import load_tracked_model, track  # noqa: E402

SCORES = pd.DataFrame(
    {
        "round": [0, 0, 1, 1],
        "hospital": ["A", "B"] * 2,
        "metric": "auc",
        "value": [0.1, 0.3, 0.7, 0.8],
    }
)
TASKS = pd.DataFrame(
    {
        "operation": ["train", "train", "aggregate", "train"],
        "hospital": ["A", "B", "A", "A"],
        "round": [0, 0, 1, 1],
        "wall": [1.0, 2.0, 0.5, 3.0],
        "sent": [10, 20, 5, 10],
        "received": [0, 0, 30, 5],
    }
)
LOGGED = {
    "test auc/A": [(0, 0.1), (1, 0.7)],
    "test auc/B": [(0, 0.3), (1, 0.8)],
    "test auc/mean": [(0, 0.2), (1, 0.75)],
    "seconds/A": [(0, 1.0), (1, 3.0)],
    "seconds/aggregation": [(1, 0.5)],
    "sent bytes/A": [(0, 10), (1, 10)],
    "received bytes/aggregation": [(1, 30)],
    "epsilon": [(0, 1.5)],
}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """One run with everything in it: the run, its model, its folder."""
    folder, model = tmp_path_factory.mktemp("a folder"), build_small_cnn(8, (2, 2))
    settings = {"rounds": 1, "optimizer": {"learning_rate": 0.1}, "on": ["A", "B"], "none": None}
    figure, _ = plt.subplots()
    with track("FedAvg", settings, folder=folder) as run:
        run.log(SCORES, tasks=TASKS, values={"epsilon": 1.5}, figures={"curve": figure})
        with warnings.catch_warnings():  # Keras reads variables in NumPy's old way
            warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
            run.log(model=model)
    plt.close(figure)
    return run, model, folder


@pytest.mark.parametrize(("name", "values"), LOGGED.items())
def test_mlflow_has_every_number_by_round(tracked, name, values):
    run, _, _ = tracked
    history = run.client.get_metric_history(run.run_id, name)
    assert [one.step for one in history] == [step for step, _ in values]
    assert [one.value for one in history] == pytest.approx([value for _, value in values])


def test_tensorboard_has_every_number_by_round(tracked):
    _, _, folder = tracked
    (events,) = (folder / "tensorboard").iterdir()
    read = EventAccumulator(str(events), {"tensors": 0}).Reload()
    for name, values in LOGGED.items():
        found = read.Tensors(name)
        assert [one.step for one in found] == [step for step, _ in values], name
        numbers = [tf.make_ndarray(one.tensor_proto) for one in found]
        np.testing.assert_allclose(numbers, [value for _, value in values], rtol=1e-6)
    assert len(read.Tensors("curve")) == 1


def test_a_run_has_its_settings_its_files_and_its_end(tracked):
    run, _, _ = tracked
    kept = run.client.get_run(run.run_id)
    wanted = {"rounds": "1", "optimizer.learning_rate": "0.1", "on": "['A', 'B']", "none": "None"}
    assert kept.data.params == wanted
    assert (kept.info.run_name, kept.info.status) == ("FedAvg", "FINISHED")
    files = {file.path for file in run.client.list_artifacts(run.run_id)}
    assert files == {"curve.png", "model.keras", "tasks.csv"}


def test_the_model_comes_back_bit_by_bit(tracked, rng):
    run, model, folder = tracked
    loaded = load_tracked_model(run.run_id, folder)
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    films = rng.random((3, 8, 8, 1), dtype="float32")
    np.testing.assert_array_equal(model(films), loaded(films))


def test_a_run_that_fails_is_marked_and_has_no_model(tracked):
    _, _, folder = tracked
    with pytest.raises(ZeroDivisionError), track("broken", folder=folder) as run:
        raise ZeroDivisionError
    assert run.client.get_run(run.run_id).info.status == "FAILED"
    with pytest.raises(ValueError, match=f"Expected a run that has logged a model.*{run.run_id}"):
        load_tracked_model(run.run_id, folder)


def test_more_numbers_than_mlflow_takes_at_once(tracked):
    _, _, folder = tracked
    with track("many", folder=folder) as run:
        run.log(values={f"n{number}": number for number in range(1001)})
    assert len(run.client.get_run(run.run_id).data.metrics) == 1001


def test_nothing_is_left_behind_in_mlflow(tracked, tmp_path, monkeypatch):
    assert mlflow.active_run() is None
    monkeypatch.chdir(tmp_path)
    assert str(tracked[2]) not in mlflow.get_tracking_uri()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_without_mlflow_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with (
        pytest.raises(ImportError, match=r'pip install "federated-chest-xrays\[tracking\]"'),
        track("none", folder=tmp_path),
    ):
        pass

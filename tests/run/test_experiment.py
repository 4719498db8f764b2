"""A run: the main page's settings give the main page's numbers, and the folder says all of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest

pytest.importorskip("hydra")

from helpers.data import make_radiographs
from helpers.evaluation import auc
from helpers.local_mode import remove_local_files
from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.run import compose_settings, run_experiment

PAGE = Path(__file__).parents[2] / "examples" / "plot_11_federated_chest_xrays.py"
REDUCED = {
    "IMAGE_SIZE = 48": "IMAGE_SIZE = 32",
    "N_UPDATES = 40": "N_UPDATES = 3",
    "step=6, max_rounds=24": "step=2, max_rounds=2",
}
OVERRIDES = ["image_size=32", "updates=3", "step=2", "rounds=2"]
KERAS_WARNING = "ignore:__array__ implementation:DeprecationWarning"  # of model.save, with NumPy 2
SMALL = ["model=small_cnn", "model.filters=[2,2]", "rounds=3", "updates=2", "batch_size=4"]

COLUMNS = ["hospital", "split", "patient", "label", "logit", "sex", "age", "view"]


def _read(folder, name):
    return pd.read_csv(folder / f"{name}.csv")


def _sorted(scores):
    keys = ["round", "hospital", "metric"]
    return scores.sort_values(keys)[[*keys, "value"]].reset_index(drop=True)


@pytest.mark.slow
@pytest.mark.filterwarnings(KERAS_WARNING)
def test_the_main_pages_settings_give_its_numbers(tmp_path, monkeypatch):
    films = make_radiographs(tmp_path / "films", n_films=900, size=32)
    monkeypatch.setenv("CHEST_XRAYS", str(films))
    monkeypatch.chdir(tmp_path)
    script, _, _ = PAGE.read_text("utf-8").partition("# Floor and ceiling\n")
    for ours, reduced in REDUCED.items():
        assert script.count(ours) == 1
        script = script.replace(ours, reduced)
    page = {"__name__": "__main__"}  # so that its algorithm travels by value, as in a script
    exec(compile(script, PAGE.name, "exec"), page)
    remove_local_files(*page["clients"].values())

    for tasks, folder in ((True, Path("tasks")), (False, Path("simulated"))):
        own = [*OVERRIDES, f"tasks={tasks}", f"folder={folder}"]
        run_experiment(compose_settings(["+page=federated_chest_xrays", *own]))
        pd.testing.assert_frame_equal(
            _sorted(_read(folder, "scores")), _sorted(page["curve"]), check_exact=True
        )
        model = keras.models.load_model(folder / "model.keras")
        kept = page["federated"].model.get_weights()
        for ours, theirs in zip(model.get_weights(), kept, strict=True):
            np.testing.assert_array_equal(ours, theirs)
        about = json.loads((folder / "run.json").read_text("utf-8"))
        assert (about["best_round"], about["synthetic"]) == (page["best"].round, True)
    through_tasks, simulated = (
        json.loads(Path(folder, "run.json").read_text("utf-8"))["bytes"]
        for folder in ("tasks", "simulated")
    )
    n_bytes = 4 * page["federated"].model.count_params()
    for found in (through_tasks, simulated):
        assert n_bytes < found["sent_per_hospital_and_round"] < 1.1 * n_bytes


def test_a_run_has_one_label(tmp_path, monkeypatch):
    films = make_radiographs(tmp_path / "films", n_films=60, size=32)
    monkeypatch.setenv("CHEST_XRAYS", str(films))
    with pytest.raises(ValueError, match="labels of one finding"):
        run_experiment(compose_settings(["task='Effusion, Pneumonia'", f"folder={tmp_path}/run"]))
    folder = tmp_path / "samples" / "A" / "train"
    folder.mkdir(parents=True)
    about = {"source": "films", "findings": ["Effusion", "Pneumonia"]}
    (folder / "sample.json").write_text(json.dumps(about), "utf-8")
    with pytest.raises(ValueError, match="samples with one label"):
        run_experiment(compose_settings([f"samples={tmp_path}/samples", f"folder={tmp_path}/run"]))


@pytest.fixture(scope="module")
def swept(tiny_samples, tmp_path_factory):
    """Two seeds, side by side, tracked from the first: the folder of all."""
    folder = tmp_path_factory.mktemp("sweep")
    samples = next(iter(tiny_samples.values()))["train"].parents[1]
    where = [f"samples={samples}", f"folder={folder}/runs", f"tracking_folder={folder}/tracking"]
    command = [sys.executable, "-m", "helpers.run", "-m", "seed=0,1", "image_size=8", *SMALL]
    done = subprocess.run(
        [*command, "tracking=true", *where],
        env=os.environ | {"PYTHONPATH": str(PAGE.parents[1]), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("The run is in ") == 2
    return folder


@pytest.mark.slow
def test_a_run_folder_says_what_the_model_is(swept, tiny_samples):
    folder = swept / "runs" / "seed=1"
    about = json.loads((folder / "run.json").read_text("utf-8"))
    assert (about["seed"], about["algorithm"], about["strategy"]) == (1, "TFFedAvgAlgo", "FedAvg")
    assert about["rounds"] == 3
    assert about["settings"]["model"]["filters"] == [2, 2]
    assert about["hospitals"]["A"]["train"] == {"films": 24, "patients": 0, "ill": 12}
    predictions, scores = _read(folder, "predictions"), _read(folder, "scores")
    assert list(predictions) == COLUMNS
    model = keras.models.load_model(folder / "model.keras")
    for hospital, splits in tiny_samples.items():
        for split in ("valid", "test"):
            is_here = (predictions["hospital"] == hospital) & (predictions["split"] == split)
            rows = predictions[is_here]
            opened = ChestXrayOpener().get_data([splits[split]])
            films = np.asarray(opened["images"], "float32") / 255
            np.testing.assert_allclose(rows["logit"], model(films)[:, 0], rtol=1e-5, atol=1e-6)
            np.testing.assert_array_equal(rows["label"], opened["labels"])
            if split == "valid":
                kept = scores["round"] == about["best_round"]
                value = scores[kept].set_index("hospital").loc[hospital, "value"]
                assert value == auc(rows["label"].to_numpy(), rows["logit"].to_numpy())


@pytest.mark.slow
def test_runs_side_by_side_are_tracked_with_their_models(swept):
    pytest.importorskip("mlflow")
    from helpers.tracking import load_tracked_model, track

    with track("a look", folder=swept / "tracking") as look:
        found = look.client.search_runs([look.client.get_run(look.run_id).info.experiment_id])
    runs = {run.data.params["seed"]: run for run in found if run.info.run_name == "run"}
    assert sorted(runs) == ["0", "1"]
    for seed, run in runs.items():
        folder = swept / "runs" / f"seed={seed}"
        scores = _read(folder, "scores")
        history = look.client.get_metric_history(run.info.run_id, "valid auc/A")
        assert [one.value for one in history] == list(scores.query("hospital == 'A'")["value"])
        ours = keras.models.load_model(folder / "model.keras")
        theirs = load_tracked_model(run.info.run_id, swept / "tracking")
        for one, other in zip(ours.get_weights(), theirs.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)

"""The flagship page on one's own films: only ``CHEST_XRAYS`` is set, and at most the task.

Three collections go through tasks. For the others the federated run is simulated, too, which gives
the same numbers: ``tests/run/test_experiment.py`` compares them on this page.
"""

import os
import re
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from tests.data.collections import COLLECTIONS, write_plain_label

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "examples" / "plot_11_federated_chest_xrays.py").read_text("utf-8")
REDUCED = {
    "IMAGE_SIZE = 48": "IMAGE_SIZE = 16",
    "build_cnn, IMAGE_SIZE,": "build_cnn, IMAGE_SIZE, (8,),",
    "build = augment(build)": "pass",
    "keras.optimizers.Adam(2e-3)": "keras.optimizers.SGD(0.1)",  # which is traced faster
}
SHORT = {
    "N_UPDATES = 40": "N_UPDATES = 1",
    "eval_frequency=2": "eval_frequency=1",
    "step=6, max_rounds=24": "step=1, max_rounds=1",
    '"pooled": pooled}, samples)': '"pooled": pooled}, samples, n=100)',
}
SIMULATED = {
    "import execute_experiment": "import simulate_experiment",
    "compute_plan = execute_experiment(": "scores, states, _ = simulate_experiment(",
    "        dependencies=Dependency(local_code=[Path(helpers.__file__).parent]),\n": "",
    "return compute_plan, tidy_performances(lead.get_performances(compute_plan.key), names)": (
        "return states, tidy_performances(scores, names)"
    ),
    "download_algo_state(lead, compute_plan.key, round_idx=best.round)": (
        "compute_plan.state[compute_plan.round_idx.index(best.round)].algo"
    ),
    "{compute_plan.task_count}": "simulated",
}
BACKBONE = {  # the lines of docs/own_data.rst
    "IMAGE_SIZE = 48": "IMAGE_SIZE = 224",
    "from helpers.models import augment, build_cnn": (
        "from helpers.models import augment, build_backbone"
    ),
    "build = functools.partial(build_cnn, IMAGE_SIZE, n_outputs=len(study.findings))": """\
build = functools.partial(
    build_backbone, "MobileNetV2", IMAGE_SIZE, alpha=0.35, n_outputs=len(study.findings)
)""",
}
THROUGH_TASKS = ("CheXpert", "DICOM", "folder per hospital")
NAMED = {
    "folder per hospital": ["north", "south", "west"],
    "several paths": ["north", "south", "west"],
    "site column": ["Site 0", "Site 1", "Site 2"],
}
OURS = ["hospital_1", "hospital_2", "hospital_3"]
pytestmark = [
    pytest.mark.slow,
    # Of model.save, with NumPy 2.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def _write_dicom(folder, size):
    pytest.importorskip("pydicom")
    from tests.data.dicom_collection import write_dicom

    return str(write_dicom(folder, size=size))


def _write_kaggle_pneumonia(folder, size):
    from tests.data.kaggle_collection import write_kaggle_pneumonia

    return str(write_kaggle_pneumonia(folder, size=size))


ALL = COLLECTIONS | {
    "DICOM": (_write_dicom, None),
    "Kaggle's pneumonia films": (_write_kaggle_pneumonia, None),
}


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """Return a function that runs the page with changed lines; it returns the page's names."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CHEST_XRAYS_HOSPITALS", raising=False)

    def run(films, task, changes):
        monkeypatch.setenv("CHEST_XRAYS", films)
        monkeypatch.setenv("CHEST_XRAYS_TASK", task or "")
        script = PAGE
        for ours, changed in changes.items():
            assert script.count(ours) == 1, ours
            script = script.replace(ours, changed)
        page = {"__name__": "__main__"}  # so that its algorithm travels by value, as in a script
        exec(compile(script, "page.py", "exec"), page)
        return page

    yield run
    plt.close("all")


def _check_results(page, hospitals, printed):
    """The table has floor, federated and ceiling for every hospital; the verdicts are said."""
    results = pd.read_csv("results/federated_chest_xrays.csv")
    assert list(page["samples"]) == hospitals
    scores = results[results["metric"] == "auc"].pivot(
        index="hospital", columns="arm", values="value"
    )
    assert list(scores) == ["alone", "federated", "pooled"]
    assert set(scores.index) == {*hospitals, "mean of the hospitals"}
    assert np.isfinite(scores).all(axis=None)
    assert ((scores >= 0) & (scores <= 1)).all(axis=None)
    gains = results[results["metric"] == "gain"]
    assert len(gains) == 2 * (len(hospitals) + 1)
    assert gains[["value", "low", "high"]].notna().all(axis=None)
    for arm in ("federated", "pooled"):
        assert re.search(rf"alone [\d.]+, {arm} [\d.]+, [+-][\d.]+ \[.*\]: \w+", printed)
    assert Path("results/federated_chest_xrays.keras").is_file()


@pytest.mark.parametrize("name", ALL)
def test_the_page_runs_on(name, run_page, tmp_path, capsys):
    write, task = ALL[name]
    changes = REDUCED | SHORT | (SIMULATED if name not in THROUGH_TASKS else {})
    page = run_page(write(tmp_path / "films", size=16), task, changes)
    _check_results(page, NAMED.get(name, OURS), capsys.readouterr().out)
    if name == "14 findings":  # a score for each where it can be measured
        found = page["score_findings"](page["federated"], page["samples"])
        assert found.shape[1] >= 14
        assert np.isfinite(found.to_numpy(float)).mean() > 0.9


@pytest.mark.stress  # tracing so deep a network for each of four runs takes two minutes
def test_the_page_runs_on_mobilenetv2_at_224_px(run_page, tmp_path, capsys):
    """The lines that the documentation names are changed, and the rest is made small."""
    documented = (ROOT / "docs" / "own_data.rst").read_text("utf-8")
    for line in BACKBONE.values():
        assert textwrap.indent(line, "   ") in documented
    for seed, hospital in enumerate(("east", "west")):
        write_plain_label(tmp_path / hospital, patients=36, size=16, seed=seed)
    films = os.pathsep.join(str(tmp_path / hospital) for hospital in ("east", "west"))
    few = {"batch_size=32": "batch_size=4", "build = augment(build)": "pass"}
    page = run_page(films, None, BACKBONE | SHORT | SIMULATED | few)
    _check_results(page, ["east", "west"], capsys.readouterr().out)
    assert page["federated"].model.input_shape == (None, 224, 224, 1)
    assert page["federated"].model.get_layer("backbone").count_params() > 300_000

"""The benchmark: arithmetic, films, choice of arms; its times are no business of a test."""

import importlib.util
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from string import Template

import matplotlib as mpl
import numpy as np
import pytest

mpl.use("Agg")

import matplotlib.pyplot as plt

from helpers.studies import describe_machine

DOCS = Path(__file__).parents[2] / "docs"
TINY = {"updates": 1, "rounds": 1, "batch": 2, "size": 64, "films": 4, "test_films": 2}


@pytest.fixture
def work(tool):
    return tool("work")


@pytest.fixture
def runs(tool):
    return tool("runs")


@pytest.fixture
def scaling(tool):
    return tool("scaling")


@pytest.fixture
def tiny(work):
    return work.Work(**TINY)


@pytest.fixture
def page():
    """Return what the extension that fills the page defines."""
    return runpy.run_path(str(DOCS / "benchmark_page.py"))


@pytest.fixture
def report(tool, work):
    """Two arms measured, on a machine of which little is known, and one point of scaling."""
    machine = {"cores": 2, "system": "X", "cpu": None, "memory": None}
    report = tool("report").Report(work.Work(), machine, {"keras": "3"})
    for seconds in (10.0, 12.0, 50.0):
        report.add("bare_loop", {"seconds": seconds, "compute_s": seconds - 8})
    for seconds in (30.0, 24.0, 18.0):
        report.add("ours", {"seconds": seconds, "n_tasks": 21, "train_s": seconds / 10})
        report.add("imports", {"seconds": 9.5})
    report.add("flower", {"seconds": 36.0, "trainings": 8})
    return report


@pytest.fixture
def fake_python(tmp_path):
    """A Python that claims to have Flower, and fails when it is to run anything."""
    path = tmp_path / "python"
    has_flower = '[ "$1" = -c ] && echo \'{"flwr": "1"}\' && exit'
    path.write_text(f'#!/bin/sh\n{has_flower}\necho "Ray is lost" >&2\nexit 3\n')
    path.chmod(0o755)
    return str(path)


def test_ratios_are_those_of_the_medians(report):
    assert report.summarize()["ratios"] == {
        "ours_over_bare_loop": 2.0,
        "simulate_over_bare_loop": None,
        "stock_over_ours": None,
        "torch_stock_over_ours": None,
        "flower_over_ours": 1.5,
        "task_overhead_s": 0.5,  # (24 - 9.5 - 4) / 21
    }


def test_overhead_needs_ours_the_loop_and_the_imports(report):
    report.imports.clear()
    assert report.summarize()["ratios"]["task_overhead_s"] is None


def test_every_sample_is_written(report, tmp_path):
    report.add_point("hospitals", 2, report.base_point())
    report.write(tmp_path / "docs" / "local_mode.json")
    report.write(tmp_path / "docs" / "local_mode.json")
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["local_mode.json"]
    written = json.loads((tmp_path / "docs" / "local_mode.json").read_text("utf-8"))
    assert written["seconds"] == {
        "bare_loop": [10.0, 12.0, 50.0],
        "ours": [30.0, 24.0, 18.0],
        "flower": [36.0],
    }
    assert written["imports"] == [9.5] * 3
    assert written["compute"] == [2.0, 4.0, 42.0]
    assert written["n_tasks"] == 21
    (point,) = written["scaling"]["hospitals"]
    assert (point["value"], point["task_overhead_s"], point["train_s"]) == (2, 0.5, 2.4)


def test_machine_and_versions_are_named(tool):
    machine = describe_machine()
    assert machine["cores"] >= 1
    assert set(machine) == {"cores", "system", "cpu", "memory"}
    versions = tool("report").describe_versions({"bare_loop": sys.executable})
    assert set(versions) == {"python", "tensorflow", "keras", "numpy", "substra", "substrafl"}


def test_long_points_are_measured_once_and_short_ones_again(work, scaling):
    def count(seconds):
        arms = []

        def run(arm, point):
            arms.append((arm, point.rounds))
            return {"seconds": seconds, "compute_s": 1.0, "n_tasks": 86, "train_s": 0.5}

        point = scaling.measure_point(run, work.Work(rounds=16), repeats=3)
        assert point["seconds"] == [seconds] * (len(arms) // 2)
        assert set(arms) == {("ours", 16), ("bare_loop", 16)}
        return len(point["compute"])

    assert count(5.0) == 3
    assert count(20.0) == 2
    assert count(60.0) == 1


def test_known_samples_are_not_measured_again(report, work, scaling):
    point = report.base_point()
    assert scaling.measure_point(None, work.Work(), repeats=3, known=point) is point


def test_scaling_changes_one_thing_at_a_time(work, scaling):
    from helpers.models import build_cnn

    points = scaling.plan_scaling(work.Work())
    assert list(points["hospitals"]) == [2, 4, 8, 16]
    assert list(points["rounds"]) == [1, 4, 16]
    assert list(points["films"]) == [500, 5_000, 50_000]
    assert points["hospitals"][2] == points["films"][500] == work.Work()
    assert points["rounds"][16] == work.Work(rounds=16)
    for parameters, point in points["parameters"].items():
        assert build_cnn(point.size, point.filters).count_params() == parameters


def test_work_survives_the_command_line(work):
    changed = work.Work(rounds=16, filters=(16, 32))
    assert work.Work.from_json(changed.to_json()) == changed
    assert work.Work.from_json('{"rounds": 16}') == work.Work(rounds=16)
    with pytest.raises(ValueError, match=r"(?s)Expected a JSON object.*Received \{\"round\": 1\}"):
        work.Work.from_json('{"round": 1}')


def test_hospitals_have_the_films_that_the_work_promises(tmp_path, work, tiny):
    work.prepare_films(tmp_path, [tiny, work.Work(hospitals=3, films=4, test_films=2)])
    folder = work.films_folder(tmp_path, tiny)
    assert len(work.find_samples(folder, 8)) == 3
    samples = work.find_samples(folder, 2)
    assert list(samples) == ["hospital_01", "hospital_02"]
    for splits in samples.values():
        for split, n_films in (("train", 4), ("test", 2)):
            about = json.loads((splits[split] / "sample.json").read_text("utf-8"))
            assert about["shape"] == [n_films, 64, 64, 1]
            assert about["n_positive"] == n_films / 2


def test_arms_are_chosen_by_what_is_installed(runs, fake_python, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "FLOWER", tmp_path / "none")
    has_torch = importlib.util.find_spec("torch") is not None
    arms = runs.choose_arms(flower=fake_python)
    assert list(arms) == [arm for arm in runs.ARMS if arm != "torch_stock" or has_torch]
    assert arms["flower"] == fake_python
    assert arms["ours"] == sys.executable
    assert list(runs.choose_arms(["ours", "bare_loop"])) == ["bare_loop", "ours"]
    with pytest.raises(ValueError, match=r"Expected arms of bare_loop, .*Received theirs\."):
        runs.choose_arms(["theirs"])
    with pytest.raises(ValueError, match=r"Expected a Python with flwr.*requirements-flower\.txt"):
        runs.choose_arms(flower=tmp_path / "none")
    if importlib.util.find_spec("flwr") is None:
        with pytest.raises(ValueError, match=r"none for flower\. Make its environment"):
            runs.choose_arms(["flower"])


def test_an_arm_is_a_process_of_its_own_that_says_what_it_did(runs, work, tiny, tmp_path):
    work.prepare_films(tmp_path, [tiny])
    opened = runs.run_arm("opener", tiny, tmp_path)
    assert opened["seconds"] > opened["opener_s"] > 0
    assert set(opened) == {"seconds", "opener_s", "opener_memory", "process_memory"}


def test_a_failing_arm_is_named_with_what_it_printed(runs, tiny, tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)the arm 'opener' to run.*status 1.*Traceback"):
        runs.run_arm("opener", tiny, tmp_path)


@pytest.mark.slow
def test_results_of_finished_arms_survive_a_failing_one(tool, tiny, fake_python, tmp_path):
    output = tmp_path / "results.json"
    options = ["--output", str(output), "--repeats", "1", "--no-scaling", "--work", tiny.to_json()]
    with pytest.raises(SystemExit, match=r"(?s)the arm 'flower' to run.*status 3.*Ray is lost"):
        tool("measure").main([*options, "--arms", "bare_loop", "flower", "--flower", fake_python])
    written = json.loads(output.read_text("utf-8"))
    assert list(written["seconds"]) == ["bare_loop"]
    assert 0 < written["compute"][0] < written["seconds"]["bare_loop"][0]
    assert set(written["ratios"].values()) == {None}


def test_flowers_client_reads_the_films_that_the_opener_reads(tool, tiny_samples):
    from helpers.openers.chest_xray_opener import ChestXrayOpener

    images, labels = tool("flower_twin").read_films(tiny_samples["A"]["train"])
    data = ChestXrayOpener().get_data([tiny_samples["A"]["train"]])
    np.testing.assert_array_equal(images, data["images"])
    np.testing.assert_array_equal(labels[:, 0], data["labels"])


SUBSTRA = ["substra", "substrafl", "safetensors"]


@pytest.mark.parametrize(
    ("imports", "absent"),
    [
        # The bare loop is the floor, and Flower's environment has little besides Keras.
        ("bare_loop, helpers.data, helpers.models, helpers.openers.chest_xray_opener", SUBSTRA),
        (
            "flower_twin, helpers.models",
            [*SUBSTRA, "substratools", "pandas", "pydantic", "PIL", "sklearn"],
        ),
    ],
)
def test_arms_without_substra_need_nothing_of_it(imports, absent):
    program = f"import sys, keras; sys.modules.update(dict.fromkeys({absent})); import {imports}"
    path = [str(DOCS.parent), str(DOCS / "benchmark")]
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr


def test_the_torch_twin_has_as_many_parameters(tool, work):
    pytest.importorskip("torch", reason="PyTorch is not installed: no twin")
    from helpers.models import build_cnn

    base = work.Work()
    twin = tool("torch_twin").build_algorithm(base).model
    count = build_cnn(base.size, base.filters).count_params()
    assert sum(parameter.numel() for parameter in twin.parameters()) == count


def test_the_growth_of_masks_is_a_ratio_of_what_one_more_hospital_costs(page):
    cases = [
        {"weights": n, "hospitals": k, "seconds": n * (5 + k) * 1e-3, "bytes_over_float32": 1.0}
        for n in (1, 10)
        for k in (4, 16, 64)
    ]
    words = page["describe_masking"]({"measured_on": "a day", "cases": cases})
    assert words["masking_linear"] == "1.00, 1.00"
    assert words["masking_bytes"] == "1.00"
    assert "   * - 10\n     - 0.09 s\n     - 0.21 s\n     - 0.69 s" in words["masking"]


def test_a_masked_message_has_the_bytes_of_float32(tool):
    seconds, nbytes = tool("masking").measure_message(1000, 4)
    assert seconds >= 0
    assert nbytes == 4000


def test_figures_show_what_was_measured(report, page):
    report.add_point("rounds", 1, report.base_point())
    report.add_point("films", 500, report.base_point() | {"opener_memory": 1_000_000})
    summary = report.summarize()
    arms = page["plot_arms"](summary)
    labels = [label.get_text() for label in arms.get_yticklabels()]
    assert labels == ["bare Keras loop", "forked tasks (ours)", "Flower's simulation"]
    assert [bar.get_width() for bar in arms.patches] == [12.0, 24.0, 36.0]
    panels = page["plot_scaling"](summary)
    points = [ax.lines[-1].get_xydata().tolist() for ax in panels]
    assert points == [[], [[1.0, 0.5]], [[500.0, 1.0]], []]
    ((_, seconds),) = panels[1].lines[0].get_xydata()
    assert seconds == pytest.approx((24 - 9.5) / 21)
    plt.close("all")


def test_the_page_takes_its_numbers_from_the_report(report, page):
    source = Template((DOCS / "benchmark" / "index.rst").read_text("utf-8"))
    service = json.loads((DOCS / "benchmark" / "service.json").read_text("utf-8"))
    masking = json.loads((DOCS / "benchmark" / "masking.json").read_text("utf-8"))
    words = page["describe"](report.summarize()) | page["describe_service"](service)
    words |= page["describe_masking"](masking)
    text = source.substitute(words)
    assert f"{service['films_a_core_and_second']['64']:,} films of 64 × 64" in text
    assert "$ make benchmark" in text
    assert "A message has 1.00 times the bytes of float32." in text
    assert "Ours took 2.00 times as long as the bare loop" in text
    assert "In memory\n" in text
    assert "with PyTorch – times, and Flower's simulation 1.50 times" in text
    assert "   * - bare Keras loop\n     - 12.0\n     - 10.0, 12.0, 50.0\n     - 0.50\n" in text
    assert "   * - not measured\n" in text

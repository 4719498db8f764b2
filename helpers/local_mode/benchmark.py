"""Benchmark: what the federation costs beside a bare Keras loop, whole processes, one machine.

The same work each time (2 hospitals, 3 rounds, 20 updates of 32 films of 64 pixels, the pages'
network) as a bare loop in one process, through ``simulate_experiment``, through real tasks that
are forked, and, when asked for, through Substra's stock tasks. Run it with ``make benchmark``.
"""

import argparse
import functools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

HOSPITALS, ROUNDS, UPDATES, BATCH, SIZE, FILMS = 2, 3, 20, 32, 64, 500
ARMS = ("bare_loop", "simulate", "ours", "stock")


def main(arguments=None):
    """Run the benchmark from the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--output", type=Path, default=Path("results", "local_mode.json"))
    parser.add_argument("--repeats", type=int, default=3, help="counted runs of each arm")
    parser.add_argument("--stock", action="store_true", help="run Substra's stock tasks too: slow")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--samples", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.arm:
        _run(options.arm, options.samples)
        return
    arms = ARMS if options.stock else ARMS[:-1]
    seconds = {arm: [] for arm in arms}
    # In turn, so that a machine that slows down slows all of them.
    with tempfile.TemporaryDirectory() as folder:
        _write_samples(Path(folder))
        for _ in tqdm(range(options.repeats), desc="benchmark", disable=None):
            for arm in arms:
                seconds[arm].append(_time(arm, Path(folder, "samples")))
    report = summarize(seconds)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(report["ratios"], indent=2))
    print(f"Written to {options.output}.")


def summarize(seconds):
    """Boil the samples down to medians and ratios.

    Parameters
    ----------
    seconds : dict of str to list of float
        Whole-process wall times of each arm, in seconds.

    Returns
    -------
    dict
        ``machine``, ``versions``, ``seconds`` (every sample) and ``ratios`` of the medians; a
        ratio is None where an arm was not run.
    """
    median = {arm: statistics.median(values) for arm, values in seconds.items()}

    def ratio(above, below):
        return round(median[above] / median[below], 3) if above in median else None

    return {
        "machine": {"cores": os.cpu_count(), "system": platform.system()},
        "versions": {
            name: version(name) for name in ("tensorflow", "keras", "substra", "substrafl")
        }
        | {"python": platform.python_version()},
        "seconds": seconds,
        "ratios": {
            "simulate_over_bare_loop": ratio("simulate", "bare_loop"),
            "ours_over_bare_loop": ratio("ours", "bare_loop"),
            "stock_over_ours": ratio("stock", "ours"),
        },
    }


def _time(arm, folder):
    """Run one arm in a process of its own; return its wall time in seconds."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "helpers.local_mode.benchmark", "--arm", arm]
    command += ["--samples", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"Expected the arm {arm!r} to run. Received:\n{ended.stderr}")
    return round(time.perf_counter() - start, 3)


def _run(arm, folder):
    """Do the work of one arm; imports are part of what is measured, preparing the films is not."""
    samples = {
        hospital.name: {split: hospital / split for split in ("train", "test")}
        for hospital in sorted(folder.iterdir())
    }
    if arm == "bare_loop":
        _loop(samples)
    else:
        _federate(samples, arm)


def _write_samples(folder):
    """Prepare films of noise: the time does not depend on what they show."""
    from helpers.data import label_films, prepare_samples, read_radiographs

    rng = np.random.default_rng(0)
    n = HOSPITALS * FILMS
    films = rng.integers(0, 256, (n, SIZE, SIZE), dtype=np.uint8)
    labels = (np.arange(n) % 2).astype(np.uint8)[:, None]
    arrays = {f"{split}_images": films for split in ("train", "test")}
    arrays |= {f"{split}_labels": labels for split in ("train", "test")}
    arrays |= {"val_images": films[:4], "val_labels": labels[:4]}  # the layout asks for them
    np.savez(folder / "pneumoniamnist_64.npz", **arrays)
    radiographs = read_radiographs(folder / "pneumoniamnist_64.npz", check_images=False)
    names = [f"hospital_{number % HOSPITALS + 1}" for number in range(len(radiographs.table))]
    table = radiographs.table.assign(hospital=names)
    positive = label_films(table, "any finding vs none")
    return prepare_samples(radiographs, table, positive, size=SIZE, folder=folder / "samples")


def _loop(samples):
    """Train at every hospital in turn, as plain as Keras allows, and test."""
    import keras

    from helpers.data import ChestXrayDataset
    from helpers.models import build_cnn
    from helpers.openers.chest_xray_opener import ChestXrayOpener

    opener, rng = ChestXrayOpener(), np.random.default_rng(0)
    for splits in samples.values():
        model = build_cnn(SIZE)
        loss = keras.losses.BinaryCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(2e-3), loss, jit_compile=False)
        train = ChestXrayDataset(opener.get_data([splits["train"]]), is_inference=False)
        test = ChestXrayDataset(opener.get_data([splits["test"]]), is_inference=True)
        for _ in range(ROUNDS + 1):
            for _ in range(UPDATES):
                model.train_on_batch(*train[rng.integers(0, len(train), BATCH)])
            model.predict_on_batch(test[np.arange(len(test))])


def _federate(samples, arm):
    """Train by federated averaging: in memory, in forked tasks, or in stock tasks."""
    import keras
    from substrafl.index_generator import NpIndexGenerator
    from substrafl.strategies import FedAvg

    from helpers.algorithms import TFFedAvgAlgo
    from helpers.data import ChestXrayDataset
    from helpers.evaluation import auc
    from helpers.local_mode import Federation
    from helpers.models import build_cnn

    algo = TFFedAvgAlgo(
        model=functools.partial(build_cnn, SIZE),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(2e-3),
        index_generator=NpIndexGenerator(batch_size=BATCH, num_updates=UPDATES),
        dataset=ChestXrayDataset,
        seed=0,
    )
    strategy = FedAvg(algo=algo, metric_functions={"auc": auc})
    with Federation(samples, fast=arm == "ours", fresh=True) as federation:
        run = federation.simulate if arm == "simulate" else federation.execute
        run(strategy, num_rounds=ROUNDS)


if __name__ == "__main__":
    main()

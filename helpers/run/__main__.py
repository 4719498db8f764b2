"""The command ``python -m helpers.run``."""

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from omegaconf import OmegaConf
from substrafl.logger import set_logging_level

from helpers.run import compose_settings, list_sweep, run_experiment
from helpers.run.settings import CONF


def main(arguments: Sequence[str] | None = None) -> None:
    """Run once, or with ``-m`` once for each combination of values, in processes side by side.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.
    """
    groups = {path.name: sorted(path.glob("*.yaml")) for path in sorted(CONF.iterdir())}
    lines = [
        f"{name}: {', '.join(p.stem for p in paths)}" for name, paths in groups.items() if paths
    ]
    parser = argparse.ArgumentParser(
        prog="python -m helpers.run",
        description="Train one network across hospitals: strategy=fed_prox, rounds=4, +page=…",
        epilog="\n  ".join(["choices:", *lines]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="as Hydra reads them")
    parser.add_argument("-m", "--multirun", action="store_true", help="seed=0,1,2 are three runs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side")
    parser.add_argument("--cfg", choices=["job"], help="print the settings and run nothing")
    options = parser.parse_intermixed_args(arguments)
    try:
        if options.multirun:
            _sweep(list_sweep(options.settings), max(1, options.jobs))
            return
        settings = compose_settings(options.settings)
        if options.cfg:
            print(OmegaConf.to_yaml(settings).rstrip())
            return
        set_logging_level(logging.ERROR)
        print(run_experiment(settings).round(3).to_string())
        print(f"The run is in {settings.folder}.")
    except (ImportError, TypeError, ValueError) as error:
        sys.exit(str(error))


def _sweep(runs, jobs):
    """Run each in a process of its own, and print what it printed; refuse before the first runs."""
    for overrides in runs:
        compose_settings(overrides)

    def run(overrides):
        command = [sys.executable, "-m", "helpers.run", *overrides]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    with ThreadPoolExecutor(jobs) as pool:
        done = list(pool.map(run, runs))
    for overrides, result in zip(runs, done, strict=True):
        print(*overrides, f"\n{result.stdout}")
    if failed := [result.stderr for result in done if result.returncode]:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()

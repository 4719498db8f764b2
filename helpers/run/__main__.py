"""The command ``python -m helpers.run``."""

import argparse
import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from helpers.run.settings import GROUPS, compose_settings, list_choices, list_sweep


def main(arguments: Sequence[str] | None = None) -> None:
    """Run once, or with ``-m`` once for each combination of values.

    Parameters
    ----------
    arguments : sequence of str, optional
        Default: those of the process.
    """
    choices = "\n".join(f"  {group}: {', '.join(list_choices(group))}" for group in GROUPS)
    parser = argparse.ArgumentParser(
        prog="python -m helpers.run",
        description="Train one network across hospitals, as the settings say.",
        epilog=f"choices, such as strategy=fed_prox or +page=...:\n{choices}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="as Hydra reads them")
    parser.add_argument("-m", "--multirun", action="store_true", help="seed=0,1,2 are three runs")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side")
    parser.add_argument("--cfg", choices=["job"], help="print the settings and do nothing")
    options = parser.parse_intermixed_args(arguments)
    try:
        if options.multirun:
            sys.exit(_sweep(list_sweep(options.settings), options.jobs))
        settings = compose_settings(options.settings)
        if options.cfg:
            from omegaconf import OmegaConf

            print(OmegaConf.to_yaml(settings).rstrip())
            return
        from substrafl.logger import set_logging_level

        from helpers.run.experiment import run_experiment

        set_logging_level(logging.ERROR)
        print(run_experiment(settings).round(3).to_string())
        print(f"The run is in {settings.folder}.")
    except (ImportError, TypeError, ValueError) as error:
        sys.exit(str(error))


def _sweep(runs, jobs):
    """Run each in a process of its own, print what it prints; return 1 if one fails."""
    for overrides in runs:
        compose_settings(overrides)  # all are checked before the first one starts
    command = [sys.executable, "-m", "helpers.run"]
    failed = 0
    with ThreadPoolExecutor(max(1, jobs)) as pool:
        done = pool.map(
            lambda run: subprocess.run([*command, *run], capture_output=True, text=True), runs
        )
        for overrides, result in zip(runs, done, strict=True):
            print(f"{' '.join(overrides)}\n{result.stdout}", end="")
            if result.returncode:
                print(result.stderr, file=sys.stderr)
                failed = 1
    return failed


if __name__ == "__main__":
    main()

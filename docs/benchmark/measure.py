"""Measure what the federation costs beside a bare Keras loop: whole processes, one machine.

``python docs/benchmark/measure.py`` has the same work done by several *arms*, each a script in this
folder that runs as a process of its own and is timed from outside.
"""

import argparse
import functools
import json
import os
import sys
import tempfile
from pathlib import Path

from report import Report, describe_versions
from runs import ARMS, choose_arms, run_arm, warm_up
from scaling import measure_point, plan_scaling
from tqdm.auto import tqdm
from work import Work, prepare_films

from helpers.studies import describe_machine


def main(arguments: list[str] | None = None) -> None:
    """Run the benchmark from the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    """
    options = _parse(arguments)
    try:
        pythons = choose_arms(options.arms, flower=options.flower)
        report = Report(options.work, describe_machine(), describe_versions(pythons))
        _measure(options, pythons, report)
    except (RuntimeError, ValueError) as error:
        sys.exit(str(error))
    print(json.dumps(report.summarize()["ratios"], indent=2))
    print(f"Written to {os.path.relpath(options.output)}.")


def _parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Time the federation beside a bare Keras loop and others, on this machine.",
    )
    parser.add_argument("--output", type=Path, default=Path(__file__).with_name("local_mode.json"))
    parser.add_argument("--repeats", type=int, default=3, help="counted runs of each arm (3)")
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, help="default: those whose packages are installed"
    )
    parser.add_argument(
        "--scaling",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure how the cost grows",
    )
    parser.add_argument("--flower", metavar="PYTHON", help="a Python that has Flower")
    parser.add_argument("--work", type=Work.from_json, default=Work(), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.repeats < 1:
        parser.error("--repeats must be 1 or more")
    return options


def _measure(options, pythons, report):
    """Fill the report; it is written after each repeat and point, so that no sample is lost."""
    points = plan_scaling(options.work) if options.scaling else {}
    works = [work for values in points.values() for work in values.values()]
    # The overhead of a task needs the bare loop, ours, and the imports of ours.
    arms = ["imports", *pythons] if "ours" in pythons or points else list(pythons)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as films:
        prepare_films(films, [options.work, *works])
        run = functools.partial(run_arm, films=films)
        warm_up(pythons)
        steps = options.repeats * len(arms) + len(works)
        with tqdm(total=steps, unit="run", disable=None) as bar:
            # In turn, so that a machine that slows down slows all of them.
            for _ in range(options.repeats):
                for arm in arms:
                    bar.set_description(arm.replace("_", " "))
                    python = pythons.get(arm, sys.executable)
                    try:
                        report.add(arm, run(arm, options.work, python=python))
                    finally:
                        report.write(options.output)
                    bar.update()
            for name, values in points.items():
                for value, work in values.items():
                    bar.set_description(f"{value:,} {name}")
                    known = report.base_point() if work == options.work else None
                    point = measure_point(run, work, repeats=options.repeats, known=known)
                    if name == "films":
                        opener = run("opener", work)
                        point = point | {key: opener[key] for key in opener if key != "seconds"}
                    report.add_point(name, value, point)
                    report.write(options.output)
                    bar.update()


if __name__ == "__main__":
    main()

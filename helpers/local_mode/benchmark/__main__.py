"""Command line of the benchmark: ``python -m helpers.local_mode.benchmark``, ``make benchmark``."""

import argparse
import functools
import json
import sys
import tempfile
from pathlib import Path

from tqdm.auto import tqdm

from helpers.local_mode.benchmark.report import Report, describe_machine, describe_versions
from helpers.local_mode.benchmark.runs import ARMS, choose_arms, run_arm, warm_up
from helpers.local_mode.benchmark.scaling import measure_point, plan_scaling
from helpers.local_mode.benchmark.work import Work, prepare_films


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
    print(f"Written to {options.output}.")


def _parse(arguments):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.local_mode.benchmark",
        description="Time the federation beside a bare Keras loop and others, on this machine.",
    )
    parser.add_argument("--output", type=Path, default=Path("docs", "benchmark", "local_mode.json"))
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

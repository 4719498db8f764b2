"""Scaling: how the cost of our tasks grows with hospitals, rounds, films and model."""

import dataclasses
import statistics
from collections.abc import Callable

from work import Work

# The last two blocks are widened: parameters grow, and the films pass them as 2×2 and 1×1 places.
FILTERS = {
    98_297: (16, 32, 64, 64, 40, 40),
    974_977: (16, 32, 64, 64, 288, 288),
    9_943_209: (16, 32, 64, 64, 1016, 1016),
}
# A point is repeated until its runs have taken so long: short runs are the noisy ones.
ENOUGH = 25.0  # seconds


def plan_scaling(base: Work) -> dict[str, dict[int, Work]]:
    """List the points at which the cost is measured, one thing changed at a time.

    Parameters
    ----------
    base : Work
        The work that the arms do.

    Returns
    -------
    dict of str to dict of int to Work
        ``hospitals`` (2 to 16), ``rounds`` (1 to 16), ``films`` to train on at each hospital (500
        to 50,000) and ``parameters`` of the model (about 0.1 to 10 million).
    """
    change = dataclasses.replace
    return {
        "hospitals": {n: change(base, hospitals=n) for n in (2, 4, 8, 16)},
        "rounds": {n: change(base, rounds=n) for n in (1, 4, 16)},
        "films": {n: change(base, films=n) for n in (500, 5_000, 50_000)},
        "parameters": {n: change(base, filters=filters) for n, filters in FILTERS.items()},
    }


def measure_point(
    run: Callable[[str, Work], dict[str, float]],
    work: Work,
    *,
    repeats: int,
    known: dict | None = None,
) -> dict:
    """Measure one point: ours, and the bare loop with the same hospitals, rounds and model.

    Parameters
    ----------
    run : callable
        ``run(arm, work)`` returns what :func:`~runs.run_arm` does.
    work : Work
        The point.
    repeats : int
        Runs of each arm at most; fewer once they have taken :data:`ENOUGH` seconds.
    known : dict, optional
        Samples of the same work that are there already: ``seconds``, ``compute``, ``n_tasks`` and
        ``train_s``.

    Returns
    -------
    dict
        ``seconds`` of ours and ``compute`` of the bare loop (every sample), ``n_tasks``, and
        ``train_s``, the median wall time of a training task.
    """
    if known is not None:
        return known
    ours = _repeat(lambda: run("ours", work), repeats)
    loops = _repeat(lambda: run("bare_loop", work), repeats)
    return {
        "seconds": [sample["seconds"] for sample in ours],
        "compute": [sample["compute_s"] for sample in loops],
        "n_tasks": ours[0]["n_tasks"],
        "train_s": statistics.median(sample["train_s"] for sample in ours),
    }


def task_overhead(
    seconds: list[float], imports: list[float], compute: list[float], n_tasks: int
) -> float:
    """Work out what a task costs beyond the work that is done in it.

    Parameters
    ----------
    seconds : list of float
        Whole processes of ours.
    imports : list of float
        Whole processes that import what ours imports, and end.
    compute : list of float
        The bare loop's own compute, without its imports, for the same work.
    n_tasks : int
        Tasks of the compute plan.

    Returns
    -------
    float
        (ours - imports - compute) / number of tasks, of the medians, in seconds. It is negative
        where tasks that run side by side save more than they cost.
    """
    median = statistics.median
    return round((median(seconds) - median(imports) - median(compute)) / n_tasks, 4)


def _repeat(run, repeats):
    """Run until there are enough samples, or enough seconds were spent on them."""
    samples = [run()]
    while len(samples) < repeats and sum(sample["seconds"] for sample in samples) < ENOUGH:
        samples.append(run())
    return samples

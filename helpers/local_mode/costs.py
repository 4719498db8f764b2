"""Costs of local mode: the tasks of a plan counted, and a longer run predicted from a short one.

The plan is that of SubstraFL's ``FedAvg``, which ``Scaffold`` shares. A predicted run is a table
of tasks like that of a measured one, so that the same functions sum and draw both.
"""

import heapq
from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.data.arguments import check_integer
from helpers.results import tidy_scores


class _Task(NamedTuple):
    round: int
    hospital: str
    operation: str
    parents: tuple = ()  # numbers of the tasks that must have ended
    shared: tuple = ()  # those whose shared state it reads


def count_tasks(
    n_hospitals: int, n_rounds: int, *, n_test_hospitals: int | None = None, eval_every: int = 1
) -> dict[str, int]:
    """Count the tasks of a federated run.

    With K hospitals that train, R rounds, and E evaluated rounds at T hospitals these are K
    initializations, K (R + 1) trainings, R aggregations and E T evaluations. The additional
    training of each hospital is what the first round averages.

    Parameters
    ----------
    n_hospitals : int
        Hospitals that train, 1 or more.
    n_rounds : int
        Rounds, 1 or more.
    n_test_hospitals : int, optional
        Hospitals that evaluate, 0 or more; as many as train by default.
    eval_every : int, default=1
        Evaluate every so many rounds; round 0 (before training) and the last one always.

    Returns
    -------
    dict of str to int
        The counts of ``"initialize"``, ``"train"``, ``"aggregate"`` and ``"evaluate"``.

    Raises
    ------
    TypeError
        If a count is not a whole number.
    ValueError
        If a count is too small, or ``eval_every`` larger than ``n_rounds``.

    Examples
    --------
    >>> count_tasks(2, 3)
    {'initialize': 2, 'train': 8, 'aggregate': 3, 'evaluate': 8}
    >>> count_tasks(2, 3, eval_every=2)["evaluate"]  # after rounds 0, 2 and 3
    6
    """
    _check(n_hospitals=n_hospitals, n_rounds=n_rounds, eval_every=eval_every)
    n_test_hospitals = n_hospitals if n_test_hospitals is None else n_test_hospitals
    check_integer("n_test_hospitals", n_test_hospitals, 0)
    return {
        "initialize": n_hospitals,
        "train": n_hospitals * (n_rounds + 1),
        "aggregate": n_rounds,
        "evaluate": n_test_hospitals * len(_evaluated(n_rounds, eval_every)),
    }


def predict_tasks(
    tasks: pd.DataFrame,
    n_rounds: int,
    *,
    cores: int,
    n_hospitals: int | None = None,
    eval_every: int = 1,
) -> pd.DataFrame:
    """Predict a run, task by task, from a measured one; a single round is enough.

    The first task of an operation at a hospital is assumed to take as long as the measured first
    one: a first training also traces the network, which later ones reuse. The later ones are
    assumed to take the average time of the measured later ones. The plan is then simulated by the
    rule of the real runner: a task whose parents have ended starts as soon as a core is free, and
    one on which no other task depends, such as an evaluation, only if no other could start.

    Parameters
    ----------
    tasks : pandas.DataFrame
        As :meth:`helpers.local_mode.Federation.tasks` returns it, measured with as many tasks
        side by side as the run to predict will have, since they slow each other down. Cached
        tasks are not used: they took no time.
    n_rounds : int
        Rounds of the run to predict, 1 or more.
    cores : int
        Tasks that run side by side, 1 or more.
    n_hospitals : int, optional
        Hospitals that train; those of ``tasks`` by default. Additional ones are predicted as copies
        of the measured ones in turn; if there are fewer, they are the first ones. An aggregation is
        assumed to take as long as the measured ones. If an operation was measured only once, its
        first and later tasks are assumed to take equally long.
    eval_every : int, default=1
        As in :func:`count_tasks`. Without an evaluation in ``tasks`` none is predicted.

    Returns
    -------
    pandas.DataFrame
        The same columns, in seconds and bytes; ``task`` is the operation, round and hospital.
        Bytes follow from the plan: who reads whose shared state.

    Raises
    ------
    TypeError
        If a count is not a whole number.
    ValueError
        If an argument is too small, or a hospital's operation was not measured.
    """
    n_trained = tasks.loc[tasks["operation"] == "train", "hospital"].nunique()
    n_hospitals = n_trained if n_hospitals is None else n_hospitals
    _check(n_rounds=n_rounds, cores=cores, n_hospitals=n_hospitals, eval_every=eval_every)
    names = {
        operation: list(rows["hospital"].unique()) for operation, rows in tasks.groupby("operation")
    }
    missing = {"initialize", "train", "aggregate"} - set(names)
    if missing:
        raise ValueError(f"Expected a measured run of FedAvg. Received no {sorted(missing)} task.")
    measured = {}  # hospital of the predicted run -> the measured one that it is like
    for number in range(n_hospitals):
        copy, position = divmod(number, n_trained)
        name = names["train"][position]
        measured[f"{name} {copy + 1}" if copy else name] = name
    trains, tested = list(measured), names.get("evaluate", [])
    measured |= {name: name for name in [*tested, *names["aggregate"]]}
    tests = [name for name in trains if measured[name] in tested]
    tests += [name for name in tested if name not in names["train"]]

    plan = _plan(trains, tests, names["aggregate"][0], n_rounds, eval_every)
    means = _average(tasks)
    keys = [(task.operation, measured[task.hospital]) for task in plan]
    unknown = sorted(set(keys) - {key[:2] for key in means.index})
    if unknown:
        raise ValueError(
            f"Expected measured tasks of each hospital. Received none that ran of {unknown}: "
            "time a round of the same hospitals with use_cache=False, so that nothing is cached."
        )
    is_first = _is_first(pd.DataFrame(plan))
    keys = [(*key, first) for key, first in zip(keys, is_first, strict=True)]
    costs = means.loc[keys].reset_index(drop=True)
    return _tabulate(plan, costs, *_schedule(plan, costs["wall"].tolist(), cores))


def sum_costs(tasks: pd.DataFrame) -> pd.Series:
    """Sum the costs of a run, measured or predicted.

    Parameters
    ----------
    tasks : pandas.DataFrame
        As :meth:`helpers.local_mode.Federation.tasks` or :func:`predict_tasks` returns it.

    Returns
    -------
    pandas.Series
        ``tasks``, their number; ``wall``, seconds from the plan's start to the last task's end;
        ``work``, the seconds of all tasks added up; ``cpu``, their processor seconds;
        ``peak_memory``, bytes of the largest; ``sent`` and ``received``, bytes of the shared
        states that were written and read.
    """
    return pd.Series(
        {
            "tasks": len(tasks),
            "wall": tasks["end"].max(),
            "work": tasks["wall"].sum(),
            "cpu": tasks["cpu"].sum(min_count=1),
            "peak_memory": tasks["peak_memory"].max(),
            "sent": tasks["sent"].sum(),
            "received": tasks["received"].sum(),
        }
    )


def tidy_costs(tasks: pd.DataFrame, *, arm: str, seed: int) -> pd.DataFrame:
    """Put the costs of a run into the columns of a tidy table.

    Parameters
    ----------
    tasks : pandas.DataFrame
        As :meth:`helpers.local_mode.Federation.tasks` or :func:`predict_tasks` returns it.
    arm : str
        Name of the run.
    seed : int
        Seed of the run.

    Returns
    -------
    pandas.DataFrame
        The columns of ``helpers.results.COLUMNS``: what :func:`sum_costs` returns, with the units
        in the metric's name, for the hospital ``"all"``; and of each hospital the bytes that were
        sent and received.
    """
    units = {"wall": "s", "work": "s", "cpu": "s"} | dict.fromkeys(
        ("peak_memory", "sent", "received"), "bytes"
    )
    sums = {("all", name): value for name, value in sum_costs(tasks).items()}
    traffic = tasks.groupby("hospital", sort=False)[["sent", "received"]].sum()
    sums |= traffic.stack().to_dict()
    last = tasks["round"].max()
    rows = [
        (last, hospital, f"{name}, {units[name]}" if name in units else name, float(value))
        for (hospital, name), value in sums.items()
    ]
    table = pd.DataFrame(rows, columns=["round", "hospital", "metric", "value"])
    return tidy_scores(table, arm=arm, seed=seed, split="all")


def average_costs(tasks: pd.DataFrame) -> pd.DataFrame:
    """Average the costs of the tasks of each operation.

    Parameters
    ----------
    tasks : pandas.DataFrame
        As :meth:`helpers.local_mode.Federation.tasks` or :func:`predict_tasks` returns it.

    Returns
    -------
    pandas.DataFrame
        A row for each operation: the number of ``tasks``; means in seconds of ``wall``, ``cpu`` and
        ``waiting``, the time a task was ready and waited for a core; in megabytes the largest
        ``peak_memory``, and the sums of ``received`` and ``sent``.
    """
    groups = tasks.assign(waiting=tasks["start"] - tasks["ready"]).groupby("operation", sort=False)
    averages = groups.agg({"task": "size", "wall": "mean", "cpu": "mean", "waiting": "mean"})
    shared = groups[["received", "sent"]].sum() / 1e6
    return averages.rename(columns={"task": "tasks"}).join(
        [groups["peak_memory"].max() / 1e6, shared]
    )


def _is_first(tasks):
    """Return for each task whether it is the first of its operation at its hospital."""
    return tasks["round"] == tasks.groupby(["operation", "hospital"])["round"].transform("min")


def _average(tasks):
    """Average what tasks cost by operation, hospital, and whether it was the first such task."""
    ran = tasks.assign(first=_is_first(tasks))[~tasks["cached"].astype(bool)]
    means = ran.groupby(["operation", "hospital", "first"])
    means = means[["wall", "cpu", "peak_memory", "sent"]].mean().unstack("first")
    for column in {name for name, _ in means}:  # if there is only one kind, it is used for both
        both = means[column].reindex(columns=[False, True])
        for first in (False, True):
            means[column, first] = both[first].fillna(both[not first])
    return means.stack("first", future_stack=True)


def _evaluated(n_rounds, eval_every):
    """List the rounds after which SubstraFL evaluates: every so many, and the last one."""
    return sorted({*range(0, n_rounds + 1, eval_every), n_rounds})


def _plan(trains, tests, aggregator, n_rounds, eval_every):
    """List the tasks of FedAvg round by round, each after its parents."""
    plan = []

    def add(*task):
        plan.append(_Task(*task))
        return len(plan) - 1

    models = {name: add(0, name, "initialize") for name in trains}
    for number in range(n_rounds + 1):
        sent = tuple(models.values())
        mean = (add(number, aggregator, "aggregate", sent, sent),) if number else ()
        trained = {name: add(number, name, "train", (models[name], *mean), mean) for name in trains}
        if number in _evaluated(n_rounds, eval_every):
            seen = trained if number else models  # round 0 is the model before any training
            for name in tests:  # a hospital that only tests takes the first one's model
                add(number, name, "evaluate", (seen.get(name, seen[trains[0]]),))
        models = trained
    return plan


def _schedule(plan, durations, cores):
    """Simulate the plan; return when each task is ready and starts, and what it waited for."""
    children = [[] for _ in plan]
    for number, task in enumerate(plan):
        for parent in task.parents:
            children[parent].append(number)
    missing = [len(task.parents) for task in plan]
    ready, start, waited_for = [0.0] * len(plan), [0.0] * len(plan), [None] * len(plan)

    def place(number):  # as in the runner: what others wait for comes first
        return not children[number], number

    waiting = [place(number) for number, count in enumerate(missing) if count == 0]
    heapq.heapify(waiting)
    running, now = [], 0.0
    while waiting or running:
        while waiting and len(running) < cores:
            _, number = heapq.heappop(waiting)
            start[number] = now
            heapq.heappush(running, (now + durations[number], number))
        now, ended = heapq.heappop(running)
        for child in children[ended]:
            missing[child] -= 1
            if missing[child] == 0:
                ready[child], waited_for[child] = now, ended
                heapq.heappush(waiting, place(child))
    return ready, start, waited_for


def _tabulate(plan, costs, ready, start, waited_for):
    """Put the tasks into a table like that of measured ones."""
    keys = [f"{task.operation} {task.round} {task.hospital}" for task in plan]
    ranks, sent = [], costs["sent"].round().astype(int).tolist()
    for task in plan:
        ranks.append(1 + max((ranks[parent] for parent in task.parents), default=-1))
    return pd.DataFrame(
        {
            "task": keys,
            "round": [task.round for task in plan],
            "hospital": [task.hospital for task in plan],
            "operation": [task.operation for task in plan],
            "rank": ranks,
            "cached": False,
            "ready": ready,
            "start": start,
            "end": np.array(start) + costs["wall"],
            "wall": costs["wall"],
            "cpu": costs["cpu"],
            "peak_memory": costs["peak_memory"],
            "received": [sum(sent[writer] for writer in task.shared) for task in plan],
            "sent": sent,
            "waited_for": ["" if parent is None else keys[parent] for parent in waited_for],
        }
    )


def _check(*, eval_every, n_rounds, **counts):
    """Refuse counts below 1, and values that SubstraFL would refuse."""
    for name, count in (counts | {"n_rounds": n_rounds}).items():
        check_integer(name, count, 1)
    check_integer("eval_every", eval_every, 1, n_rounds)

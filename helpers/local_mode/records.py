"""Records of the tasks of a compute plan: where and when they ran, and their costs."""

import dataclasses
import math
from collections.abc import Iterable

import pandas as pd
from substra.sdk.models import Task
from substra.sdk.schemas import AssetKind
from substrafl.schemas import TaskType

OPERATIONS = {
    TaskType.INITIALIZATION: "initialize",
    TaskType.TRAIN: "train",
    TaskType.AGGREGATE: "aggregate",
}


@dataclasses.dataclass
class TaskRecord:
    """One task; times are seconds since the plan's start, see :func:`tabulate_tasks`."""

    task: str
    round: int
    hospital: str
    operation: str
    rank: int
    cached: bool = False
    ready: float = math.nan
    start: float = math.nan
    end: float = math.nan
    cpu: float = math.nan
    peak_memory: float = math.nan
    received: int = 0
    sent: int = 0
    waited_for: str = ""

    def __str__(self) -> str:
        """Name the task in readable form."""
        return f"{self.operation} at {self.hospital}, round {self.round}"


def record_task(task: Task, hospitals: dict[str, str]) -> TaskRecord:
    """Begin the record of one of Substra's tasks.

    Parameters
    ----------
    task : substra.sdk.models.Task
        The task.
    hospitals : dict of str to str
        Name of the hospital, by its organization's identifier.

    Returns
    -------
    TaskRecord
        A record without measurements.
    """
    return TaskRecord(
        task=task.key,
        round=int(task.metadata.get("round_idx", 0)),
        hospital=hospitals.get(task.worker, task.worker),
        operation=OPERATIONS.get(task.tag) or _name_untagged(task.function),
        rank=task.rank,
    )


def _name_untagged(function):
    """Name an operation without a tag from SubstraFL: if it measures a performance, evaluate."""
    measures = any(output.kind == AssetKind.performance for output in function.outputs)
    return "evaluate" if measures else function.name


def tabulate_tasks(records: Iterable[TaskRecord]) -> pd.DataFrame:
    """Put the records of a compute plan into a table.

    Parameters
    ----------
    records : iterable of TaskRecord
        In the plan's order.

    Returns
    -------
    pandas.DataFrame
        One row per task: ``task`` (Substra's key), ``round``, ``hospital``, ``operation``
        ("initialize", "train", "aggregate", "evaluate"), ``rank``, ``cached`` (the result was
        stored by an earlier run); in seconds since the plan's start ``ready`` (all parents have
        ended), ``start`` and ``end``; ``wall`` and ``cpu`` in seconds; ``peak_memory`` in bytes,
        the largest resident memory of the task's process, including the libraries that it shares
        with other tasks; ``received`` and ``sent``, the bytes of shared states; ``waited_for``,
        the key of the parent that ended last. NaN where nothing was measured.
    """
    columns = [field.name for field in dataclasses.fields(TaskRecord)]
    table = pd.DataFrame([dataclasses.asdict(record) for record in records], columns=columns)
    table.insert(columns.index("cpu"), "wall", table["end"] - table["start"])
    return table

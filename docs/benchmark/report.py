"""Report: every sample of a benchmark, what they boil down to, and where they were measured."""

import dataclasses
import datetime
import json
import platform
import statistics
import sys
from pathlib import Path

from runs import NEEDS_FLOWER, read_versions
from scaling import task_overhead

# Name of a ratio: the arm above, the arm below.
RATIOS = {
    "ours_over_bare_loop": ("ours", "bare_loop"),
    "simulate_over_bare_loop": ("simulate", "bare_loop"),
    "stock_over_ours": ("stock", "ours"),
    "torch_stock_over_ours": ("torch_stock", "ours"),
    "flower_over_ours": ("flower", "ours"),
}
_PACKAGES = ("tensorflow", "keras", "numpy", "substra", "substrafl")


def describe_versions(pythons: dict[str, str]) -> dict:
    """Tell which versions the arms ran with.

    Parameters
    ----------
    pythons : dict of str to str
        Arm and the Python that runs it.

    Returns
    -------
    dict
        Package to version; Flower's environment below ``flower``.
    """
    versions = {"python": platform.python_version()} | read_versions(sys.executable, _PACKAGES)
    if "torch_stock" in pythons:
        versions |= read_versions(pythons["torch_stock"], ("torch",))
    if "flower" in pythons:
        versions["flower"] = read_versions(pythons["flower"], NEEDS_FLOWER)
    return versions


@dataclasses.dataclass
class Report:
    """The samples of one benchmark, filled while it runs.

    Parameters
    ----------
    work : Work
        What every arm does.
    machine, versions : dict
        As :func:`helpers.studies.describe_machine` and :func:`describe_versions` return them.
    """

    work: object
    machine: dict
    versions: dict
    seconds: dict = dataclasses.field(default_factory=dict)
    imports: list = dataclasses.field(default_factory=list)
    compute: list = dataclasses.field(default_factory=list)
    train: list = dataclasses.field(default_factory=list)
    n_tasks: int | None = None
    scaling: dict = dataclasses.field(default_factory=dict)

    def add(self, arm: str, sample: dict) -> None:
        """Add one run of an arm.

        Parameters
        ----------
        arm : str
            The arm, or ``"imports"``.
        sample : dict
            What :func:`~runs.run_arm` returned.
        """
        if arm == "imports":
            self.imports.append(sample["seconds"])
            return
        self.seconds.setdefault(arm, []).append(sample["seconds"])
        if arm == "bare_loop":
            self.compute.append(round(sample["compute_s"], 3))
        if arm == "ours":
            self.n_tasks = sample["n_tasks"]
            self.train.append(sample["train_s"])

    def base_point(self) -> dict | None:
        """Return the arms' own samples as a point of the scaling.

        Returns
        -------
        dict or None
            None if ours or the bare loop was not run.
        """
        if not self.compute or not self.train:
            return None
        return {
            "seconds": self.seconds["ours"],
            "compute": self.compute,
            "n_tasks": self.n_tasks,
            "train_s": statistics.median(self.train),
        }

    def add_point(self, name: str, value: int, point: dict) -> None:
        """Add one point of the scaling.

        Parameters
        ----------
        name : str
            What was changed.
        value : int
            Its value.
        point : dict
            What :func:`~scaling.measure_point` returned, and more.
        """
        overhead = task_overhead(point["seconds"], self.imports, point["compute"], point["n_tasks"])
        entry = {"value": value, "task_overhead_s": overhead} | point
        self.scaling.setdefault(name, []).append(entry)

    def summarize(self) -> dict:
        """Boil the samples down.

        Returns
        -------
        dict
            ``measured_on`` (today), ``machine``, ``versions``, ``work``, ``n_tasks``, ``seconds``
            of whole processes, ``imports`` and ``compute`` (every sample), ``ratios`` of the
            medians with ``task_overhead_s`` (None where an arm was not run), and ``scaling``.
        """
        median = {arm: statistics.median(values) for arm, values in self.seconds.items() if values}
        ratios = {
            name: round(median[above] / median[below], 3)
            if above in median and below in median
            else None
            for name, (above, below) in RATIOS.items()
        }
        ratios["task_overhead_s"] = (
            task_overhead(self.seconds["ours"], self.imports, self.compute, self.n_tasks)
            if self.base_point() and self.imports
            else None
        )
        return {
            "measured_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "machine": self.machine,
            "versions": self.versions,
            "work": dataclasses.asdict(self.work),
            "n_tasks": self.n_tasks,
            "ratios": ratios,
            "seconds": self.seconds,
            "imports": self.imports,
            "compute": self.compute,
            "scaling": self.scaling,
        }

    def write(self, path: str | Path) -> None:
        """Write the summary as JSON; what is there is replaced once the new file is whole.

        Parameters
        ----------
        path : path
            The file.
        """
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}")
        partial.write_text(json.dumps(self.summarize(), indent=2) + "\n", encoding="utf-8")
        partial.replace(path)

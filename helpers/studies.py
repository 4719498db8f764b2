"""Studies: pages that were run with several seeds, and the seed that a build repeats.

A page runs with seed 0 whenever the site is built. ``make studies`` runs the same page with more
seeds, and keeps their table in ``docs/studies``. The page shows that table, after it has checked
that what it computed itself agrees with it.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from helpers.evaluation.intervals import seed_interval
from helpers.fairness.audit import correct_holm

FOLDER = Path(__file__).parents[1] / "docs" / "studies"
LEVEL = 0.99  # of the interval in which a build has to find its own result
_FOLDER, _SEED = "CHEST_XRAYS_STUDY", "CHEST_XRAYS_SEED"
_PACKAGES = ("tensorflow", "keras", "numpy", "substra", "substrafl")


@dataclass(frozen=True)
class Study:
    """A table over several seeds, and where it comes from.

    Parameters
    ----------
    table : pandas.DataFrame
        A tidy table, see :mod:`helpers.results`.
    about : dict
        ``measured_on``, ``machine``, ``versions``, ``minutes``, ``data`` and ``settings``; empty
        for results of this run alone.
    """

    table: pd.DataFrame
    about: dict[str, Any]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the table."""
        return sorted(int(seed) for seed in self.table["seed"].unique())

    def __str__(self) -> str:
        """Say how many seeds, and where and when they were run."""
        if not self.about:
            return f"This run alone, {_count(len(self.seeds), 'seed')}."
        versions = ", ".join(f"{name} {number}" for name, number in self.about["versions"].items())
        machine = self.about["machine"]
        return (
            f"Study of {_count(len(self.seeds), 'seed')}, {self.about['measured_on']}, "
            f"{self.about['minutes']:.0f} minutes on {machine['cores']} cores "
            f"({machine['system']}); {versions}."
        )


def is_study() -> bool:
    """Return whether ``make studies`` runs this page.

    Returns
    -------
    bool
        Whether the environment variable ``CHEST_XRAYS_STUDY`` names a folder.
    """
    return bool(os.environ.get(_FOLDER, "").strip())


def study_seed() -> int:
    """Return the seed of this run: ``CHEST_XRAYS_SEED``, by default 0.

    Returns
    -------
    int
        At least 0.

    Raises
    ------
    ValueError
        If the environment variable is something else.
    """
    text = os.environ.get(_SEED, "").strip() or "0"
    if not text.isdecimal():
        raise ValueError(
            f"Expected {_SEED} to be a whole number of at least 0. Received {text!r}. Unset it to "
            "run with seed 0."
        )
    return int(text)


def read_study(page: str, data: str) -> Study | None:
    """Read the study of a page.

    Parameters
    ----------
    page : str
        Name of the page: that of its script without ``plot_NN_``.
    data : str
        What the films are, as in :func:`join_study`.

    Returns
    -------
    Study or None
        None if there is no study of these films, or if this run is a part of a new one.
    """
    path = FOLDER / f"{page}.json"
    if is_study() or not path.is_file():
        return None
    about = json.loads(path.read_text("utf-8"))
    return Study(_read(path.with_suffix(".csv")), about) if about["data"] == data else None


def read_studies(prefix: str) -> dict[str, Study]:
    """Read all studies whose names begin alike, such as one page's studies of several collections.

    Parameters
    ----------
    prefix : str
        Beginning of their names.

    Returns
    -------
    dict of str to Study
        In alphabetical order.
    """
    paths = sorted(FOLDER.glob(f"{prefix}*.json"))
    return {
        path.stem: Study(_read(path.with_suffix(".csv")), json.loads(path.read_text("utf-8")))
        for path in paths
    }


def join_study(
    page: str,
    live: pd.DataFrame,
    *,
    data: str,
    settings: dict[str, Any],
    by: Sequence[str] = ("arm", "hospital", "metric"),
) -> Study:
    """Compare this run's results with the study that is kept, and add the study's other results.

    Parameters
    ----------
    page : str
        Name of the page: that of its script without ``plot_NN_``.
    live : pandas.DataFrame
        What this run computed: a tidy table with ``seed`` and ``value``.
    data : str
        What the films are, such as ``str(radiographs)``. A study of other films is not shown.
    settings : dict
        Numbers of rounds, rates and so on. A study with other settings is refused.
    by : sequence of str, default=("arm", "hospital", "metric")
        Columns that name a quantity. In each of them the mean of this run's rows must lie in the
        interval that the study's seeds predict for one more seed.

    Returns
    -------
    Study
        This run's rows, with those of the kept study that this run did not compute, in the study's
        order of quantities; this run's alone if it is a part of a new study, or if no study of the
        same films is kept.

    Raises
    ------
    ValueError
        If the study has other settings, lacks a quantity, or this run disagrees with it.
    """
    settings = json.loads(json.dumps(settings))
    if is_study():
        path = Path(os.environ[_FOLDER]) / f"{page}.{study_seed()}.csv"
        live.to_csv(path, index=False)
        _write_json(path.with_suffix(".json"), {"data": data, "settings": settings})
        return Study(live, {})
    study = read_study(page, data)
    if study is None:
        return Study(live, {})
    if study.about["settings"] != settings:
        raise ValueError(
            f"Expected the settings of the study of {page!r}, {study.about['settings']}. Received "
            f"{settings}. Run 'make studies' after a change of settings."
        )
    compared = compare_with_study(live, study.table, by)
    if not compared["within"].all():
        raise ValueError(
            f"Expected this run within the {LEVEL:.0%} prediction interval of the study of "
            f"{page!r}. Received:\n{compared[~compared['within']].to_string()}\nRun 'make studies' "
            "if the change is meant."
        )
    keys = [*by, "seed"]
    here = pd.MultiIndex.from_frame(live[keys])
    others = study.table[~pd.MultiIndex.from_frame(study.table[keys]).isin(here)]
    joined = pd.concat([live, others], ignore_index=True)
    order = pd.MultiIndex.from_frame(study.table[list(by)]).unique()
    positions = order.get_indexer(pd.MultiIndex.from_frame(joined[list(by)]))
    joined = joined.iloc[np.argsort(positions, kind="stable")].reset_index(drop=True)
    return Study(joined, study.about)


def compare_with_study(
    live: pd.DataFrame, study: pd.DataFrame, by: Sequence[str], *, level: float = LEVEL
) -> pd.DataFrame:
    r"""Compare results of a run with what a study predicts for one more seed.

    With :math:`n` seeds of mean :math:`m` and standard deviation :math:`s` the next one lies, for
    normally distributed results, within
    :math:`m \pm t_{n-1}\, s \sqrt{1 + 1/n}` with the chosen probability.

    Parameters
    ----------
    live, study : pandas.DataFrame
        Tidy tables with ``seed``, ``value`` and the columns of ``by``.
    by : sequence of str
        Columns that name a quantity; rows that agree in them and in the seed are averaged.
    level : float in (0, 1), default=0.99
        The probability.

    Returns
    -------
    pandas.DataFrame
        Indexed by quantity: ``live``, ``low``, ``high`` and ``within``.

    Raises
    ------
    ValueError
        If the study lacks a quantity or has a single seed.
    """
    by = list(by)
    ours = live.groupby(by)["value"].mean()
    seeds = study.groupby([*by, "seed"])["value"].mean().groupby(by)
    table = pd.DataFrame(
        {"live": ours, "mean": seeds.mean(), "std": seeds.std(), "n": seeds.size()}
    )
    table = table.loc[ours.index]
    absent = table.index[table["n"].isna() | (table["n"] < 2)]
    if len(absent):
        raise ValueError(
            f"Expected at least two seeds of each quantity in the study. Received fewer of "
            f"{list(absent)}. Run 'make studies' again."
        )
    half = stats.t.ppf((1 + level) / 2, table["n"] - 1) * table["std"] * np.sqrt(1 + 1 / table["n"])
    low, high = table["mean"] - half, table["mean"] + half
    # A quantity without any spread, such as a number of bytes, has to be met but for rounding.
    slack = 1e-9 * table["mean"].abs()
    within = table["live"].between(low - slack, high + slack)
    return pd.DataFrame({"live": table["live"], "low": low, "high": high, "within": within})


def average_seeds(
    results: pd.DataFrame, by: Sequence[str] = ("arm", "hospital", "metric")
) -> pd.DataFrame:
    """Average each quantity over the seeds, with its interval.

    Parameters
    ----------
    results : pandas.DataFrame
        A tidy table.
    by : sequence of str, default=("arm", "hospital", "metric")
        Columns that name a quantity.

    Returns
    -------
    pandas.DataFrame
        The columns of ``by``, in the order of the table; ``value``, ``low`` and ``high`` of
        :func:`helpers.evaluation.seed_interval`, NaN for a single seed.

    Examples
    --------
    >>> scores = pd.DataFrame({"seed": [0, 1], "arm": "alone", "value": [0.7, 0.8]})
    >>> print(average_seeds(scores, ["arm"]).round(2).to_string(index=False))
      arm  value  low  high
    alone   0.75 0.11  1.39
    """
    by = list(by)
    groups = results.groupby(by, sort=False)["value"]
    rows = [(*names, *seed_interval(values)) for names, values in groups]
    return pd.DataFrame(rows, columns=[*by, "value", "low", "high"])


def compare_seeds(
    results: pd.DataFrame, baseline: str, *, by: Sequence[str] = (), metric: str = "auc"
) -> pd.DataFrame:
    """Compare arms over the seeds, each with a baseline of the same seed.

    Parameters
    ----------
    results : pandas.DataFrame
        A tidy table. Rows that agree in ``by``, ``arm`` and ``seed`` are averaged.
    baseline : str
        The arm that others are compared with.
    by : sequence of str
        Columns within which arms are compared, such as ``["skew"]``.
    metric : str, default="auc"
        Which metric.

    Returns
    -------
    pandas.DataFrame
        Indexed by ``by`` and ``arm``: the mean ``score`` with its limits ``score low`` and ``score
        high``; the mean ``gain`` over the baseline with ``low`` and ``high``, 95 % intervals of
        Student's t over paired seeds; and ``p``, of the paired t-test, by Holm's correction for all
        rows. What has no baseline, or a single seed, is NaN.

    Raises
    ------
    ValueError
        If the baseline or the metric is missing.
    """
    rows = results[results["metric"] == metric]
    scores = rows.groupby([*by, "arm", "seed"], sort=False)["value"].mean().unstack("seed")
    arms = scores.index.get_level_values("arm")
    if baseline not in arms:
        raise ValueError(
            f"Expected the arm {baseline!r} with the metric {metric!r}. Received the arms "
            f"{list(arms.unique())}."
        )
    base = scores[arms == baseline]
    if by:
        base = base.droplevel("arm").reindex(scores.index.droplevel("arm"))
    gains = (scores - base.to_numpy())[arms != baseline]
    names = ["score", "score low", "score high"], ["gain", "low", "high"]
    means, differences = (
        pd.DataFrame([seed_interval(row) for row in part.to_numpy()], part.index).set_axis(
            columns, axis="columns"
        )
        for part, columns in zip((scores, gains), names, strict=True)
    )
    differences["p"] = np.nan
    if scores.shape[1] > 1:
        p_values = stats.ttest_1samp(gains.to_numpy(), 0, axis=1).pvalue
        differences["p"] = correct_holm(p_values)
    return means.join(differences)


def describe_machine() -> dict[str, Any]:
    """Say what is known of this machine without asking for anything personal.

    Returns
    -------
    dict
        ``cores`` that this process may use, ``system``, ``cpu`` (None where it cannot be read) and
        ``memory`` in bytes (None likewise).
    """
    usable = getattr(os, "sched_getaffinity", None)
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows; a name that this system lacks
        memory = None
    return {
        "cores": len(usable(0)) if usable else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _read_cpu(),
        "memory": memory,
    }


def gather_study(page: str, folder: str | Path, *, minutes: float) -> Study:
    """Put the tables of all seeds together, and keep them with where they come from.

    Parameters
    ----------
    page : str
        Name of the page.
    folder : path
        Where :func:`join_study` wrote one table for each seed.
    minutes : float
        What all runs took.

    Returns
    -------
    Study
        What was written to ``docs/studies``.

    Raises
    ------
    ValueError
        If there is no table, or the runs had different films or settings.
    """
    paths = sorted(Path(folder).glob(f"{page}.*.csv"))
    runs = [json.loads(path.with_suffix(".json").read_text("utf-8")) for path in paths]
    if not runs or any(run != runs[0] for run in runs):
        raise ValueError(
            f"Expected tables of {page!r} with the same films and settings. Received {runs}."
        )
    versions = {"python": platform.python_version()}
    versions |= {name: importlib.metadata.version(name) for name in _PACKAGES}
    about = {
        "measured_on": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": describe_machine(),
        "versions": versions,
        "minutes": round(minutes, 1),
    } | runs[0]
    table = pd.concat([_read(path) for path in paths], ignore_index=True)
    FOLDER.mkdir(parents=True, exist_ok=True)
    table.to_csv(FOLDER / f"{page}.csv", index=False)
    _write_json(FOLDER / f"{page}.json", about)
    return Study(table, about)


def _read(path):
    return pd.read_csv(path)


def _write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _count(number, noun):
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _read_cpu():
    """Read the processor's name."""
    try:
        found = re.search(
            r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text("utf-8"), re.MULTILINE
        )
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor() or None

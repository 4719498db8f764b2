"""Results: one tidy table of scores, with the same columns on every page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.openers.chest_xray_opener import ChestXrayOpener

COLUMNS = ("seed", "round", "arm", "hospital", "split", "metric", "value")


def tidy_scores(
    scores: pd.DataFrame, *, arm: str, seed: int, split: str = "test", **more: Any
) -> pd.DataFrame:
    """Add the columns to an experiment's scores that the experiment itself does not know.

    Parameters
    ----------
    scores : pandas.DataFrame
        Columns ``round``, ``hospital``, ``metric`` and ``value``.
    arm : str
        What is compared: ``"alone"``, ``"federated"``, ``"pooled"``, the name of a strategy …
    seed : int
        Seed of the run.
    split : str, default="test"
        The split that was evaluated.
    **more
        Further columns with one value each, for example ``trained_at="Northfield"``.

    Returns
    -------
    pandas.DataFrame
        The columns of ``COLUMNS``, then those of ``more``.

    Raises
    ------
    ValueError
        If a column is missing from ``scores``.

    Examples
    --------
    >>> import pandas as pd
    >>> scores = pd.DataFrame({"round": [0], "hospital": ["A"], "metric": ["auc"], "value": [0.5]})
    >>> print(tidy_scores(scores, arm="federated", seed=3).to_string(index=False))
     seed  round       arm hospital split metric  value
        3      0 federated        A  test    auc    0.5
    """
    missing = [name for name in ("round", "hospital", "metric", "value") if name not in scores]
    if missing:
        raise ValueError(f"Expected the columns {missing} in scores. Received {list(scores)}.")
    table = scores.assign(seed=seed, arm=arm, split=split, **more)
    return table[[*COLUMNS, *more]].reset_index(drop=True)


def tidy_values(
    values: Mapping[str, Mapping[str, float] | pd.Series],
    *,
    seed: int,
    round: int = 0,
    hospital: str = "all",
    split: str = "test",
) -> pd.DataFrame:
    """Put numbers that a page has computed into rows of its table of results.

    Parameters
    ----------
    values : dict of str to (dict of str to float, or pandas.Series)
        Metric, arm and number.
    seed : int
        Seed of the run.
    round : int, default=0
        Round that the numbers belong to.
    hospital : str, default="all"
        Hospital that they belong to.
    split : str, default="test"
        Split that they were measured on.

    Returns
    -------
    pandas.DataFrame
        The columns of ``COLUMNS``.

    Examples
    --------
    >>> print(tidy_values({"bytes": {"int8": 61, "float16": 122}}, seed=0).to_string(index=False))
     seed  round     arm hospital split metric  value
        0      0    int8      all  test  bytes   61.0
        0      0 float16      all  test  bytes  122.0
    """
    rows = [
        (seed, round, arm, hospital, split, metric, float(value))
        for metric, of_arms in values.items()
        for arm, value in of_arms.items()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def score_films(algo: Any, samples: Mapping[str, Mapping[str, Path]], split: str) -> pd.DataFrame:
    """Score all films of a split with a trained network, hospital by hospital.

    Parameters
    ----------
    algo : helpers.algorithms.TFAlgo
        A trained algorithm, such as that in a state of a simulation.
    samples : dict of str to dict of str to path
        Hospital, split and folder, as :func:`helpers.data.prepare_samples` returns them.
    split : str
        Such as ``"valid"`` or ``"test"``.

    Returns
    -------
    pandas.DataFrame
        The films' metadata, with the network's first output as ``score``.
    """
    opened = ChestXrayOpener().get_data([own[split] for own in samples.values()])
    return opened["metadata"].assign(score=algo.predict(opened)[:, 0])


def write_results(results: pd.DataFrame, page: str) -> Path:
    """Write a page's results to ``results/<page>.csv`` under the current folder.

    Parameters
    ----------
    results : pandas.DataFrame
        A tidy table with at least the columns of ``COLUMNS``.
    page : str
        Name of the page: that of its script without ``plot_NN_``.

    Returns
    -------
    pathlib.Path
        The file, relative to the current folder.

    Raises
    ------
    ValueError
        If a column is missing.
    """
    missing = [name for name in COLUMNS if name not in results]
    if missing:
        raise ValueError(f"Expected the columns {missing} in results. Received {list(results)}.")
    path = Path("results") / f"{page}.csv"
    path.parent.mkdir(exist_ok=True)
    results.to_csv(path, index=False)
    return path


def compare_arms(results: pd.DataFrame, *, metric: str = "auc") -> pd.DataFrame:
    """Tabulate the last round: one row for each arm, one column for each test hospital.

    Parameters
    ----------
    results : pandas.DataFrame
        A tidy table; with a column ``trained_at`` each training hospital gets a row of its own.
    metric : str, default="auc"
        Which metric.

    Returns
    -------
    pandas.DataFrame
        Mean over seeds, with a last column ``mean`` over the hospitals.
    """
    last = results[(results["metric"] == metric) & (results["round"] == results["round"].max())]
    rows = ["arm", "trained_at"] if "trained_at" in last else ["arm"]
    table = last.pivot_table(index=rows, columns="hospital", values="value", sort=False)
    table.columns.name = None
    return table.assign(mean=table.mean(axis="columns"))

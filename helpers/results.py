"""Results: one tidy table of scores, the same columns on every page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from substra.sdk.models import Performances

from helpers.data.dataset import choose_finding, name_findings
from helpers.evaluation import auc, bootstrap_patients, gain_at_home, metrics_per_finding
from helpers.openers.chest_xray_opener import ChestXrayOpener

COLUMNS = ("seed", "round", "arm", "hospital", "split", "metric", "value")


def tidy_scores(
    scores: pd.DataFrame, *, arm: str, seed: int, split: str = "test", **more: Any
) -> pd.DataFrame:
    """Add to an experiment's scores what the experiment itself does not know.

    Parameters
    ----------
    scores : pandas.DataFrame
        Columns ``round``, ``hospital``, ``metric`` and ``value``.
    arm : str
        What is compared: ``"alone"``, ``"federated"``, ``"pooled"``, a strategy's name …
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


def tidy_performances(performances: Performances, names: Mapping[str, str]) -> pd.DataFrame:
    """Put the performances of a compute plan, or of a simulation, into a table.

    Parameters
    ----------
    performances : substra.sdk.models.Performances
        As ``client.get_performances`` and SubstraFL's ``simulate_experiment`` return them.
    names : dict of str to str
        Organization id and the hospital's name.

    Returns
    -------
    pandas.DataFrame
        Columns ``round``, ``hospital``, ``metric`` and ``value``.
    """
    return pd.DataFrame(
        {
            "round": performances.round_idx,
            "hospital": [names[organization] for organization in performances.worker],
            "metric": performances.identifier,
            "value": performances.performance,
        }
    )


def tidy_facts(
    facts: Mapping[tuple[str, str], float | tuple[float, float, float]],
    *,
    seed: int,
    round: int = 0,
    hospital: str = "all",
    split: str = "all",
) -> pd.DataFrame:
    """Put single numbers, with or without intervals, into the columns of a tidy table.

    Parameters
    ----------
    facts : dict of (str, str) to float or (float, float, float)
        Arm and metric, then the value, or the value with its limits, such as an
        :class:`helpers.evaluation.Interval`. What has no arm of its own has ``"all"``.
    seed : int
        Seed of the numbers.
    round : int, default=0
        Round after which they were measured.
    hospital, split : str, default="all"
        Where they were measured.

    Returns
    -------
    pandas.DataFrame
        The columns of ``COLUMNS``; then ``low`` and ``high`` if a fact has limits, NaN where one
        has none.

    Examples
    --------
    >>> facts = {("all", "films"): 12, ("noise", "share"): (0.5, 0.25, 0.75)}
    >>> tidy_facts(facts, seed=0)[["arm", "metric", "value", "low", "high"]]
         arm metric  value   low  high
    0    all  films   12.0   NaN   NaN
    1  noise  share    0.5  0.25  0.75
    """
    limits = {key: np.ravel(fact).astype(float) for key, fact in facts.items()}
    rows = [
        (seed, round, arm, hospital, split, metric, *fact, *[np.nan] * (3 - len(fact)))
        for (arm, metric), fact in limits.items()
    ]
    table = pd.DataFrame(rows, columns=[*COLUMNS, "low", "high"])
    return table if any(len(fact) > 1 for fact in limits.values()) else table[[*COLUMNS]]


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
    facts = {(arm, metric): n for metric, of_arms in values.items() for arm, n in of_arms.items()}
    return tidy_facts(facts, seed=seed, round=round, hospital=hospital, split=split)


def score_films(
    algo: Any,
    samples: Mapping[str, Mapping[str, Path]],
    split: str,
    *,
    finding: str | None = None,
) -> pd.DataFrame:
    """Let a trained network score all films of a split, hospital by hospital.

    Parameters
    ----------
    algo : helpers.algorithms.TFAlgo
        A trained algorithm, such as a state of a simulation holds it.
    samples : dict of str to dict of str to path
        Hospital, split and folder, as :func:`helpers.data.prepare_samples` returns them.
    split : str
        Such as ``"valid"`` or ``"test"``.
    finding : str, optional
        Which of several findings; then only films where it is known.

    Returns
    -------
    pandas.DataFrame
        The films' metadata with ``label``, and the network's output as ``score``.

    Raises
    ------
    ValueError
        If there are several findings and none of them is chosen.
    """
    opened = ChestXrayOpener().get_data([own[split] for own in samples.values()])
    place = 0
    if names := name_findings(opened):
        opened = choose_finding(opened, finding)
        place = names.index(finding)
    return opened["metadata"].assign(score=algo.predict(opened)[:, place])


def score_findings(
    algo: Any, samples: Mapping[str, Mapping[str, Path]], split: str = "test"
) -> pd.DataFrame:
    """Measure the AUC of each finding at each hospital.

    Parameters
    ----------
    algo : helpers.algorithms.TFAlgo
        A trained algorithm with an output for each finding.
    samples : dict of str to dict of str to path
        Hospital, split and folder, as :func:`helpers.data.prepare_samples` returns them.
    split : str, default="test"
        The split.

    Returns
    -------
    pandas.DataFrame
        A row for each hospital, a column for each finding; NaN where all known labels are the same.
        Without columns if the samples have one label.
    """
    rows = {}
    for hospital, own in samples.items():
        data = ChestXrayOpener().get_data([own[split]])
        names, logits = name_findings(data), algo.predict(data)
        metrics = list(metrics_per_finding(auc, names).values())[1:]
        rows[hospital] = [measure(data, logits) for measure in metrics]
    return pd.DataFrame.from_dict(rows, orient="index", columns=names)


def _score(algo, data):
    """Score films: shape (n,) for one label, (n, k) for those of k findings."""
    scores = algo.predict(data)
    return scores[:, 0] if np.ndim(data["labels"]) < 2 else scores


def score_everywhere(
    runs: Mapping[tuple[str, str], Any],
    samples: Mapping[str, Mapping[str, Path]],
    *,
    seed: int,
    **options: Any,
) -> pd.DataFrame:
    """Score models on the test films of all hospitals, with intervals over patients.

    Parameters
    ----------
    runs : dict of (str, str) to helpers.local_mode.Trained
        Arm, the hospital that trained it or ``"all"``, and the training.
    samples : dict of str to dict of str to path
        Hospital, split and folder, as :func:`helpers.data.prepare_samples` returns them.
    seed : int
        Seed of the runs.
    **options
        ``n`` and ``level`` of :func:`helpers.evaluation.bootstrap_patients`.

    Returns
    -------
    pandas.DataFrame
        The columns of ``COLUMNS``, ``low``, ``high`` and ``trained_at``. The metric is ``"auc"``
        for a common model and at the hospital that trained it, elsewhere ``"auc elsewhere"``.
    """
    rows = []
    for hospital, own in samples.items():
        data = ChestXrayOpener().get_data([own["test"]])
        for (arm, trained_at), trained in runs.items():
            scores, patients = _score(trained.algo, data), data["metadata"]["patient"]
            interval = bootstrap_patients(auc, data, scores, patients, **options)
            metric = "auc" if trained_at in ("all", hospital) else "auc elsewhere"
            about = (seed, trained.best.round, arm, hospital, "test", metric)
            rows.append((*about, *interval, trained_at))
    return pd.DataFrame(rows, columns=[*COLUMNS, "low", "high", "trained_at"])


def compare_at_home(
    models: Mapping[str, Any],
    samples: Mapping[str, Mapping[str, Path]],
    *,
    against: str = "alone",
    **options: Any,
) -> dict[str, pd.DataFrame]:
    """Measure what models gain over those that the hospitals train alone, on their own test films.

    Parameters
    ----------
    models : dict of str to helpers.algorithms.TFAlgo or dict of str to helpers.algorithms.TFAlgo
        What a model is called, and the trained algorithm, or one for each hospital.
    samples : dict of str to dict of str to path
        Hospital, split and folder, as :func:`helpers.data.prepare_samples` returns them.
    against : str, default="alone"
        The model that the others are compared with.
    **options
        ``n``, ``seed`` and ``level`` of :func:`helpers.evaluation.gain_at_home`.

    Returns
    -------
    dict of str to pandas.DataFrame
        For each model but ``against`` what :func:`helpers.evaluation.gain_at_home` returns, of
        the AUC, or its mean over the findings.

    Raises
    ------
    KeyError
        If there is no model ``against``, or none of a hospital.
    """
    test = {name: ChestXrayOpener().get_data([own["test"]]) for name, own in samples.items()}
    patients = {name: data["metadata"]["patient"] for name, data in test.items()}
    scores = {
        arm: {
            name: _score(algo[name] if isinstance(algo, Mapping) else algo, data)
            for name, data in test.items()
        }
        for arm, algo in models.items()
    }
    theirs = scores.pop(against)
    return {
        arm: gain_at_home(auc, test, ours, theirs, patients, **options)
        for arm, ours in scores.items()
    }


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

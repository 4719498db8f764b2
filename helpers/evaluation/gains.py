"""Gains from federating: at each hospital, on its own test films, over its own model."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from helpers.data.arguments import check_integer
from helpers.evaluation.intervals import interval_of, resample_patients, seed_interval
from helpers.evaluation.metrics import check_length, labels_of, split_seeds

MEAN = "mean of the hospitals"


def gain_at_home(
    metric: Callable[..., float],
    labels: Mapping[str, ArrayLike],
    ours: Mapping[str, ArrayLike],
    theirs: Mapping[str, ArrayLike],
    patients: Mapping[str, ArrayLike],
    *,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Measure what a model gains over another one at every hospital, and on average.

    Every hospital is judged on **its own** test films, and compared with what it had before:
    ``theirs`` is the model that it trained alone. (On films of *other* hospitals such models score
    lower, so that a gain over them is larger, but no hospital would use them there.) Each resample
    draws patients within each hospital, the same ones for both models, and seeds.

    Parameters
    ----------
    metric : callable
        ``metric(labels, scores)``, such as :func:`helpers.evaluation.auc`.
    labels : dict of str to array, shape (n_films,), or (n_films, k) for k findings
        Hospital and the labels of its test films, or what the opener returned.
    ours, theirs : dict of str to array, shape as the labels', or with a first axis for seeds
        Scores of the two models, by hospital; of several seeds one row each.
    patients : dict of str to array, shape (n_films,)
        Patient of each film.
    n : int, default=1000
        Number of resamples.
    seed : int, default=0
        Seed of the resamples.
    level : float in (0, 1), default=0.95
        Share of the resamples between the limits.

    Returns
    -------
    pandas.DataFrame
        Indexed by hospital, with a last row ``"mean of the hospitals"``, which weights hospitals
        equally: ``ours``, ``theirs``, ``gain`` with its ``low`` and ``high``, and ``verdict``:
        ``"gains"``, ``"loses"``, or ``"undecided"`` if the interval contains 0.

    Raises
    ------
    ValueError
        If lengths differ, a score is not finite, or ``n`` is not positive.

    Examples
    --------
    >>> from helpers.evaluation import auc
    >>> labels, patients = {"A": [0, 0, 1, 1] * 5}, {"A": range(20)}
    >>> ours, theirs = {"A": [0.1, 0.2, 0.8, 0.9] * 5}, {"A": [0.9, 0.8, 0.2, 0.1] * 5}
    >>> gain_at_home(auc, labels, ours, theirs, patients, n=50)["verdict"].tolist()
    ['gains', 'gains']
    """
    check_integer("n", n, 1)
    rows, draws, drawn_seeds = {}, [], None
    for number, (hospital, truth) in enumerate(labels.items()):
        truth = labels_of(truth, several=True)
        models = [
            split_seeds(scores[hospital], truth, name)
            for name, scores in {"ours": ours, "theirs": theirs}.items()
        ]
        for model in models:
            check_length(model[0], "score", truth, f"labels of {hospital}")
        check_length(patients[hospital], "patient", truth, f"labels of {hospital}")
        if drawn_seeds is None:  # the same draw of seeds at all hospitals
            n_seeds = len(models[0])
            drawn_seeds = np.random.default_rng([seed, 1]).integers(n_seeds, size=(n, n_seeds))
        values = [np.mean([metric(truth, row) for row in model]) for model in models]
        rows[hospital] = values
        of_hospital = []
        resamples = resample_patients(patients[hospital], n=n, seed=seed + number)
        for films, chosen in zip(resamples, drawn_seeds, strict=True):
            means = []
            for model in models:
                of_seed = {row: metric(truth[films], model[row, films]) for row in set(chosen)}
                means.append(np.mean([of_seed[row] for row in chosen]))
            of_hospital.append(means[0] - means[1])
        draws.append(of_hospital)
    rows[MEAN] = np.mean(list(rows.values()), axis=0)
    draws.append(np.mean(draws, axis=0))
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["ours", "theirs"])
    table["gain"] = table["ours"] - table["theirs"]
    limits = [
        interval_of(gain, drawn, level=level)
        for gain, drawn in zip(table["gain"], draws, strict=True)
    ]
    table["low"] = [interval.low for interval in limits]
    table["high"] = [interval.high for interval in limits]
    table["verdict"] = np.select(
        [table["low"] > 0, table["high"] < 0], ["gains", "loses"], "undecided"
    )
    return table


def tidy_gains(
    gains: Mapping[str, pd.DataFrame], *, seed: int, rounds: Mapping[str, int], metric: str = "auc"
) -> pd.DataFrame:
    """Put what :func:`gain_at_home` found into a tidy table of results.

    Parameters
    ----------
    gains : dict of str to pandas.DataFrame
        What a model is called, and its gains over the hospitals' own models, ``"alone"``.
    seed : int
        Seed of the run.
    rounds : dict of str to int
        The round that was kept of each model.
    metric : str, default="auc"
        Name of the score.

    Returns
    -------
    pandas.DataFrame
        The columns of a page's results, ``low`` and ``high``: a score of each model
        and hospital, and the metric ``"gain"`` with its limits.
    """
    parts = []
    for arm, table in gains.items():
        columns = {"alone": "theirs"} if not parts else {}
        for name, column in {**columns, arm: "ours"}.items():
            scores = table[[column]].set_axis(["value"], axis="columns")
            parts.append(scores.assign(arm=name, metric=metric))
        limits = table[["gain", "low", "high"]].rename(columns={"gain": "value"})
        parts.append(limits.assign(arm=arm, metric="gain"))
    tidy = pd.concat(parts).rename_axis("hospital").reset_index()
    tidy = tidy[["arm", "hospital", "metric", "value", "low", "high"]]
    tidy.insert(0, "seed", seed)
    tidy.insert(1, "round", tidy["arm"].map(rounds))
    tidy.insert(4, "split", "test")
    return tidy


def describe_gains(results: pd.DataFrame, arm: str = "federated", *, metric: str = "auc") -> str:
    """Say in sentences what a model gains over the hospitals' own, also for whom it does not pay.

    Parameters
    ----------
    results : pandas.DataFrame
        As :func:`tidy_gains` returns it, of one seed or several. Hospitals are judged by the
        intervals of the first seed.
    arm : str, default="federated"
        The model.
    metric : str, default="auc"
        Name of the score.

    Returns
    -------
    str
        A line for the mean, one for each verdict with its hospitals, and with several seeds one for
        the interval of Student's t over them.
    """
    ours = results[results["arm"].isin([arm, "alone"])]
    first = ours[ours["seed"] == ours["seed"].min()]
    scores = first[(first["metric"] == metric) & (first["hospital"] == MEAN)].set_index("arm")
    gains = first[first["metric"] == "gain"].set_index("hospital")
    mean, own = gains.loc[MEAN], gains.drop(index=MEAN)
    lines = [
        f"On a hospital's own test films, mean of the hospitals: "
        f"alone {scores['value']['alone']:.3f}, {arm} {scores['value'][arm]:.3f}, "
        f"{_format(mean['value'], mean['low'], mean['high'])}."
    ]
    for words, those in {
        "Better than alone": own["low"] > 0,
        "Undecided, the interval contains 0": (own["low"] <= 0) & (own["high"] >= 0),
        "Worse than alone": own["high"] < 0,
    }.items():
        names = ", ".join(f"{name} ({gain:+.3f})" for name, gain in own["value"][those].items())
        lines.append(f"{words}: {names or 'nobody'}.")
    lost = own.index[own["value"] < 0]
    lines.append(f"It did not pay, as a point estimate, for: {', '.join(lost) or 'nobody'}.")
    of_seeds = ours[(ours["metric"] == "gain") & (ours["hospital"] == MEAN)]["value"]
    if len(of_seeds) > 1:
        interval = _format(*seed_interval(of_seeds))
        lines.append(f"Over {len(of_seeds)} seeds, each with other test patients: {interval}.")
    return "\n".join(lines)


def _format(value, low, high):
    """Say a difference, its interval, and what it is."""
    word = "a gain" if low > 0 else "A LOSS" if high < 0 else "undecided"
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]: {word}"

"""Early stopping: the round whose model is kept, chosen by the hospitals' validation films."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from helpers.data.arguments import check_integer


@dataclass(frozen=True)
class BestRound:
    """The round whose model is kept, as :func:`find_best_round` returns it.

    Parameters
    ----------
    round : int
        The round with the highest mean score; the first of several.
    value : float
        That score.
    stopped_at : int or None
        The round at which patience ran out. None if it did not: more rounds might score higher.
    """

    round: int
    value: float
    stopped_at: int | None

    def __str__(self) -> str:
        """Say what was chosen, and whether training was long enough for it."""
        end = (
            "it was still rising when the rounds ended"
            if self.stopped_at is None
            else f"patience ran out in round {self.stopped_at}"
        )
        return f"best in round {self.round}, {self.value:.3f}; {end}"


def find_best_round(
    curve: pd.DataFrame,
    *,
    metric: str = "auc",
    patience: int = 3,
    min_delta: float = 0.0,
    weights: Mapping[str, float] | None = None,
) -> BestRound:
    """Choose the round whose model is kept, as Keras' ``EarlyStopping`` does for one hospital.

    Every hospital scores its own **validation** films and shares one number for each evaluated
    round. The rule is applied to their mean. Scores after the round at which patience ran out are
    not looked at, so that the choice is the same as if training had stopped there.

    Parameters
    ----------
    curve : pandas.DataFrame
        Scores: columns ``round``, ``hospital``, ``metric`` and ``value``; higher is better. Such as
        ``federation.simulate(..., split="valid")`` returns them.
    metric : str, default="auc"
        Which metric.
    patience : int, default=3
        Number of *evaluations* in a row without a rise after which training stops; at least 1.
    min_delta : float, default=0.0
        What counts as a rise: more than this above the best so far. At least 0.
    weights : dict of str to float, optional
        Weight of each hospital in the mean, such as its number of validation films; by default
        all count the same.

    Returns
    -------
    BestRound
        Round, score, and where training stops.

    Raises
    ------
    ValueError
        If the metric was not evaluated, a score is not finite, a hospital has no score in a round
        or no weight, or ``patience`` or ``min_delta`` is out of range.

    Examples
    --------
    >>> import pandas as pd
    >>> curve = pd.DataFrame({"round": [0, 2, 4, 6], "hospital": "A", "metric": "auc",
    ...                       "value": [0.5, 0.8, 0.7, 0.9]})
    >>> print(find_best_round(curve, patience=1))
    best in round 2, 0.800; patience ran out in round 4
    >>> print(find_best_round(curve, patience=2))
    best in round 6, 0.900; it was still rising when the rounds ended
    """
    check_integer("patience", patience, 1)
    if not min_delta >= 0:
        raise ValueError(f"Expected min_delta of at least 0. Received {min_delta}.")
    best, waited = None, 0
    means = _mean_by_round(curve, metric, weights)
    for number, value in means.items():
        if best is None or value > best[1] + min_delta:
            best, waited = (number, value), 0
            continue
        waited += 1
        if waited == patience:
            return BestRound(int(best[0]), float(best[1]), int(number))
    return BestRound(int(best[0]), float(best[1]), None)


def count_rising(stops: Iterable[BestRound]) -> dict[str, int]:
    """Count runs, and those that were too short for their patience to run out.

    Parameters
    ----------
    stops : iterable of BestRound
        One for each run.

    Returns
    -------
    dict of str to int
        ``"all"`` runs, and those that were ``"still rising"``.

    Examples
    --------
    >>> count_rising([BestRound(4, 0.8, 10), BestRound(12, 0.9, None)])
    {'all': 2, 'still rising': 1}
    """
    rising = [stop.stopped_at is None for stop in stops]
    return {"all": len(rising), "still rising": sum(rising)}


def describe_rising(results: pd.DataFrame) -> str:
    """Say how many runs were still rising when the rounds ended, for a verdict.

    Parameters
    ----------
    results : pandas.DataFrame
        A tidy table whose rows of the metric ``"runs"`` are those of :func:`count_rising`, by arm;
        seeds are added.

    Returns
    -------
    str
        A sentence.

    Examples
    --------
    >>> counts = {"arm": ["all", "still rising"], "metric": "runs", "value": [2, 1]}
    >>> describe_rising(pd.DataFrame(counts))
    'Validation AUC still rose when the rounds ended: 1 of 2 runs.'
    """
    runs = results[results["metric"] == "runs"].groupby("arm")["value"].sum()
    return (
        "Validation AUC still rose when the rounds ended: "
        f"{runs['still rising']:.0f} of {runs['all']:.0f} runs."
    )


def train_until_best(
    train: Callable[[int], tuple[Any, pd.DataFrame]],
    *,
    step: int,
    max_rounds: int,
    **rule: Any,
) -> tuple[Any, pd.DataFrame, BestRound]:
    """Train longer and longer until the validation score no longer rises.

    A compute plan is drawn before it runs, so that a strategy cannot stop in its middle. Instead,
    a longer plan is started. In :term:`local mode` it continues the shorter one, as finished tasks
    are cached.

    Parameters
    ----------
    train : callable
        ``train(num_rounds)`` returns anything, such as the compute plan, and the scores of the
        validation films, such as ``lambda n: federation.execute(strategy, num_rounds=n,
        split="valid")``.
    step : int
        Rounds that are added each time, at least 1.
    max_rounds : int
        Where to stop in any case.
    **rule
        ``metric``, ``patience``, ``min_delta`` and ``weights`` of :func:`find_best_round`.

    Returns
    -------
    result : object
        What the last call of ``train`` returned first.
    curve : pandas.DataFrame
        What it returned second.
    best : BestRound
        The round to keep.

    Raises
    ------
    TypeError, ValueError
        If a number of rounds is not a whole number or too small; as :func:`find_best_round` does.
    """
    max_rounds = check_integer("max_rounds", max_rounds, 1)
    num_rounds = 0
    step = check_integer("step", step, 1)
    while True:
        num_rounds = min(num_rounds + step, max_rounds)
        result, curve = train(num_rounds)
        best = find_best_round(curve, **rule)
        if best.stopped_at is not None or num_rounds == max_rounds:
            return result, curve, best


def _mean_by_round(curve, metric, weights):
    """Mean over the hospitals for each round, in the order of rounds; refuse what is missing."""
    table = curve[curve["metric"] == metric]
    if table.empty:
        raise ValueError(
            f"Expected scores of the metric {metric!r}. Received "
            f"{sorted(curve['metric'].unique())}. Name one of these with metric=."
        )
    values = table.pivot(index="round", columns="hospital", values="value").sort_index()
    wrong = values.index[~np.isfinite(values).all(axis="columns")]
    if len(wrong):
        hospitals = values.columns[~np.isfinite(values.loc[wrong[0]])]
        raise ValueError(
            f"Expected a finite {metric} of every hospital in every evaluated round. Received none "
            f"of {', '.join(hospitals)} in round {wrong[0]}. A hospital needs validation films of "
            "both classes."
        )
    if weights is None:
        return values.mean(axis="columns")
    missing = [name for name in values.columns if name not in weights]
    if missing:
        raise ValueError(f"Expected a weight for each hospital. Received none for {missing}.")
    shares = pd.Series({name: float(weights[name]) for name in values.columns})
    if not (np.isfinite(shares).all() and (shares >= 0).all() and shares.sum() > 0):
        raise ValueError(
            "Expected finite weights of at least 0, one of them above 0. Received "
            f"{shares.to_dict()}."
        )
    return values @ (shares / shares.sum())

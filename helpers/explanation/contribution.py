"""Contribution: what each hospital adds to a common network, by Shapley's value.

A *coalition* is a group of hospitals that train together, and its value is a score of their
network. Shapley's value [1]_ of a hospital is what it adds to those who came before it, averaged
over all orders in which the hospitals could join.

.. [1] L. S. Shapley, "A value for n-person games", Contributions to the Theory of Games II, 1953.
"""

import copy
import itertools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from substrafl.algorithms.algo import Algo
from substrafl.strategies import FedAvg
from substrafl.strategies.schemas import FedAvgSharedState

from helpers.data.arguments import check_integer
from helpers.evaluation.intervals import interval_of, resample_patients
from helpers.evaluation.metrics import Labels, check_finite, check_length, labels_of
from helpers.exchange.weights import Parameters, name_parameters, weighted_sum_parameters

MAX_PLAYERS = 12  # 4,096 coalitions
Coalition = tuple[Hashable, ...]


def list_coalitions(players: Sequence[Hashable]) -> list[Coalition]:
    """List all groups of players, from nobody to everybody.

    Parameters
    ----------
    players : sequence of hashable
        Names of 1 to 12 players, such as hospitals, each once.

    Returns
    -------
    list of tuple
        All :math:`2^n` coalitions, small ones first. Within each, players keep their order.

    Raises
    ------
    TypeError
        If ``players`` is a single text.
    ValueError
        If there is no player, one is named twice, or there are more than 12.

    Examples
    --------
    >>> list_coalitions(["A", "B"])
    [(), ('A',), ('B',), ('A', 'B')]
    """
    if isinstance(players, str):
        raise TypeError(
            f"Expected players as a list of names. Received {players!r}. Put it into a list."
        )
    players = list(players)
    if len(set(players)) < len(players):
        raise ValueError(f"Expected each player once. Received {players}. Name a copy differently.")
    if not 1 <= len(players) <= MAX_PLAYERS:
        raise ValueError(
            f"Expected 1 to {MAX_PLAYERS} players, as n of them form 2^n coalitions. Received "
            f"{len(players)}. Let small hospitals play as one."
        )
    sizes = range(len(players) + 1)
    return [group for size in sizes for group in itertools.combinations(players, size)]


def shapley_values(
    players: Sequence[Hashable], value: Callable[[Coalition], float]
) -> dict[Hashable, float]:
    r"""Divide the value of all players together among them, by Shapley's value.

    Player :math:`i` of :math:`n` gets the mean of what it adds to each coalition :math:`S`,
    weighted by the share of the orders in which exactly :math:`S` comes before it (Shapley 1953):

    .. math:: \varphi_i = \sum_{S \not\ni i} \frac{|S|!\,(n - |S| - 1)!}{n!}
              \bigl(v(S \cup \{i\}) - v(S)\bigr).

    Parameters
    ----------
    players : sequence of hashable
        Names of 1 to 12 players, each once.
    value : callable
        ``value(coalition)`` returns a finite number. It is called once for each coalition of
        :func:`list_coalitions`, which includes ``()``. A dictionary's ``__getitem__`` will do.

    Returns
    -------
    dict of hashable to float
        The value of each player. Sums are exact and rounded once, at the end: the values add up to
        ``value(players) - value(())`` to the last digit of a float, and two players who add the
        same to every coalition get identical numbers.

    Raises
    ------
    TypeError, ValueError
        As :func:`list_coalitions`, or if a value is not a finite number.

    Examples
    --------
    A left glove is worth nothing without a right one, of which there are two:

    >>> values = shapley_values(["left", "right", "right 2"], lambda group: float(
    ...     "left" in group and len(group) > 1))
    >>> {name: round(share, 3) for name, share in values.items()}
    {'left': 0.667, 'right': 0.167, 'right 2': 0.167}
    """
    values = _evaluate(list_coalitions(players), value)
    n, shares = len(players), {}
    for player in players:
        total = sum(
            math.factorial(len(group) - 1)
            * math.factorial(n - len(group))
            * (worth - values[_without(group, player)])
            for group, worth in values.items()
            if player in group
        )
        shares[player] = float(total / math.factorial(n))
    return shares


def leave_one_out(
    players: Sequence[Hashable], value: Callable[[Coalition], float]
) -> dict[Hashable, float]:
    """Measure what is lost if one player stays away and all others take part.

    Parameters
    ----------
    players, value
        As in :func:`shapley_values`; only the coalitions of all, and of all but one, are valued.

    Returns
    -------
    dict of hashable to float
        The loss of each player. Unlike Shapley's values they do not add up to anything: of two
        players who can replace each other, neither is missed.

    Raises
    ------
    TypeError, ValueError
        As :func:`shapley_values`.

    Examples
    --------
    >>> leave_one_out(["A", "copy of A"], lambda group: float(len(group) > 0))
    {'A': 0.0, 'copy of A': 0.0}
    """
    everybody = list_coalitions(players)[-1]
    groups = [everybody, *(_without(everybody, player) for player in players)]
    values = _evaluate(groups, value)
    return {
        player: float(values[everybody] - values[_without(everybody, player)]) for player in players
    }


def bootstrap_contributions(
    metric: Callable[..., float],
    labels: Labels,
    scores: Mapping[Coalition, ArrayLike],
    patients: ArrayLike,
    *,
    empty: float = 0.5,
    n: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """Measure what players contribute to a score of films, with intervals over patients.

    Every resample values all coalitions on the same patients.

    Parameters
    ----------
    metric : callable
        ``metric(labels, scores)``, such as :func:`helpers.evaluation.auc`.
    labels : array, shape (n_films,)
        0 or 1.
    scores : dict of tuple to array, shape (n_films,)
        Each coalition of :func:`list_coalitions` but the empty one, and the scores of its network
        on the same films.
    patients : array, shape (n_films,)
        Patient of each film.
    empty : float, default=0.5
        Value of the empty coalition: the metric without any network, which is chance for an AUC.
    n : int, default=500
        Number of resamples.
    seed : int, default=0
        Seed of the resamples.
    level : float in (0, 1), default=0.95
        Share of the resamples between the limits.

    Returns
    -------
    pandas.DataFrame
        Columns ``arm``, ``hospital``, ``value``, ``low`` and ``high``. The arms are ``"Shapley"``;
        ``"leave one out"``; and ``"alone"``, what the player reaches by itself, above ``empty``.

    Raises
    ------
    ValueError
        If a coalition is missing, the lengths differ, or a score is not finite.
    """
    labels = labels_of(labels)
    check_length(np.ravel(np.asarray(patients, dtype=object)), "patient", labels, "labels")
    players = max(scores, key=len, default=())
    groups = list_coalitions(players)[1:]
    missing = [group for group in groups if group not in scores]
    if missing:
        raise ValueError(
            f"Expected scores of all {len(groups)} coalitions of {list(players)}, each in this "
            f"order. Received none of {missing[:3]}{' …' if missing[3:] else ''}."
        )
    table = {group: np.ravel(check_finite(scores[group], "score")) for group in groups}
    for group in groups:
        check_length(table[group], "score", labels, f"labels, of {group}")

    def contribute(films):
        values = {group: metric(labels[films], table[group][films]) for group in groups}
        value = ({(): empty} | values).__getitem__
        parts = {"Shapley": shapley_values, "leave one out": leave_one_out}
        found = {arm: measure(players, value) for arm, measure in parts.items()}
        found["alone"] = {player: value((player,)) - empty for player in players}
        return [share for of_arm in found.values() for share in of_arm.values()], found

    whole, found = contribute(np.arange(len(labels)))
    draws = np.full((n, len(whole)), np.nan)
    for number, films in enumerate(resample_patients(patients, n=n, seed=seed)):
        if len(np.unique(labels[films])) == 2:
            draws[number], _ = contribute(films)
    names = [(arm, player) for arm, of_arm in found.items() for player in of_arm]
    rows = [
        (*name, *interval_of(value, draws[:, column], level=level))
        for column, (name, value) in enumerate(zip(names, whole, strict=True))
    ]
    return pd.DataFrame(rows, columns=["arm", "hospital", "value", "low", "high"])


def train_coalition(
    algo: Algo, films: Mapping[Hashable, Any], *, num_rounds: int
) -> list[dict[Hashable, FedAvgSharedState]]:
    """Train with federated averaging in this process, and keep what every hospital sends.

    For many short runs: there is no client and no task, nothing is evaluated, and no training is
    left unused. The numbers are those of :meth:`helpers.local_mode.Federation.simulate`. If
    ``algo`` was traced ahead, see :meth:`helpers.algorithms.TFAlgo.trace`, no run has to.

    Parameters
    ----------
    algo : helpers.algorithms.TFFedAvgAlgo
        The algorithm. Copies are trained; it stays as it is, and holds the weights of the start.
    films : dict of hashable to dict
        The members, and what the opener's ``get_data`` returns of their training films.
    num_rounds : int
        Number of rounds, at least 1.

    Returns
    -------
    list of dict of hashable to substrafl.strategies.schemas.FedAvgSharedState
        For each round, hospital and update; :func:`rebuild_coalition` makes weights of them.

    Raises
    ------
    TypeError, ValueError
        If ``num_rounds`` is not a whole number of at least 1, or nobody takes part.
    """
    check_integer("num_rounds", num_rounds, 1)
    if not films:
        raise ValueError("Expected films of at least one hospital. Received none.")
    strategy, average, rounds = FedAvg(algo=algo), None, []
    algos = {member: copy.deepcopy(algo) for member in films}
    for _ in range(num_rounds):
        sent = {
            member: own.train(data_from_opener=films[member], shared_state=average, _skip=True)
            for member, own in algos.items()
        }
        average = strategy.avg_shared_states(shared_states=list(sent.values()), _skip=True)
        rounds.append(sent)
    return rounds


def rebuild_coalition(
    start: Parameters,
    rounds: Sequence[Mapping[Hashable, FedAvgSharedState]],
    coalition: Coalition,
) -> Parameters:
    r"""Make the weights of a coalition from what its members sent, in their own run or another.

    In round :math:`t` hospital :math:`k`, with :math:`n_k` films, sent the update
    :math:`\Delta^k_t`. The averages of the members are added up:

    .. math:: w_S = w_0 + \sum_t \sum_{k \in S} \frac{n_k}{\sum_{j \in S} n_j} \Delta^k_t.

    If exactly the members have trained, this is federated averaging, and the network of their run.
    If others took part, it is the *one-round reconstruction* of Song et al. 2019 [1]_, a guess of
    that network without its run: exact for one round, while later updates started from weights
    that the others have changed. With ``rounds=[rounds[t]]`` and the weights of round :math:`t` as
    ``start`` it is their *multi-round reconstruction*.

    Parameters
    ----------
    start : dict of str to numpy.ndarray
        Weights before the first round, as :func:`helpers.exchange.get_parameters` returns them.
    rounds : sequence of dict of hashable to substrafl.strategies.schemas.FedAvgSharedState
        As :func:`train_coalition` returns them. Statistics of BatchNorm that are not exchanged, and
        a server optimizer, are not part of it.
    coalition : tuple of hashable
        The members; without any the result is ``start``.

    Returns
    -------
    dict of str to numpy.ndarray
        The weights.

    Raises
    ------
    ValueError
        If a member sent nothing in one of the rounds, or an update does not fit ``start``.

    References
    ----------
    .. [1] T. Song, Y. Tong and S. Wei, "Profit allocation for federated learning", IEEE
       International Conference on Big Data, 2019.
    """
    weights = weighted_sum_parameters([start], [1])
    for number, sent in enumerate(rounds):
        absent = [member for member in coalition if member not in sent]
        if absent:
            raise ValueError(
                f"Expected updates of {list(coalition)} in round {number}. Received none of "
                f"{absent}, but of {list(sent)}. Record a run in which all take part."
            )
        n_films = sum(sent[member].n_samples for member in coalition)
        steps = [
            name_parameters(sent[member].parameters_update, start, origin=f"the update of {member}")
            for member in coalition
        ]
        shares = [sent[member].n_samples / n_films for member in coalition]
        weights = weighted_sum_parameters([weights, *steps], [1, *shares])
    return weights


def _evaluate(groups, value):
    """Value each coalition once, as an exact fraction; refuse what is not a finite number."""
    values = {}
    for group in groups:
        worth = value(group)
        try:
            values[group] = Fraction(float(worth))
        except (TypeError, ValueError, OverflowError):
            raise ValueError(
                f"Expected a finite number as the value of {group}. Received {worth!r}."
            ) from None
    return values


def _without(group, player):
    """Return a coalition without one of its players."""
    return tuple(other for other in group if other != player)

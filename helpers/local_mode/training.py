"""Training: one network across the hospitals, and the round that is kept, in one call."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from substrafl.algorithms.algo import Algo
from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.strategies import FedAvg

from helpers.evaluation import BestRound, auc, find_best_round
from helpers.local_mode.federation import Federation
from helpers.openers.chest_xray_opener import ChestXrayOpener
from helpers.results import score_films


def train_and_score(
    algo: Algo,
    samples: Mapping[str, Mapping[str, Path]],
    *,
    num_rounds: int,
    splits: Sequence[str] = ("valid", "test"),
) -> dict[str, pd.DataFrame]:
    """Train with federated averaging in this process, and score films with the last network.

    Parameters
    ----------
    algo : helpers.algorithms.TFFedAvgAlgo
        The algorithm; the given object is not trained.
    samples : dict of str to dict of str to path
        Hospital, split and folder, as :func:`helpers.data.prepare_samples` returns them.
    num_rounds : int
        Number of rounds, at least 1.
    splits : sequence of str, default=("valid", "test")
        Which films are scored.

    Returns
    -------
    dict of str to pandas.DataFrame
        Split and its films, see :func:`helpers.results.score_films`. After the last round all
        hospitals hold the same network.

    Raises
    ------
    TypeError, ValueError
        As :meth:`helpers.local_mode.Federation.simulate` does.
    """
    first = next(iter(samples.values()))["train"]
    algo.trace(ChestXrayOpener().get_data([first]))  # once, and not at every hospital
    with Federation(samples) as federation:
        states, _ = federation.simulate(
            FedAvg(algo=algo, metric_functions={"auc": auc}),
            num_rounds=num_rounds,
            eval_every=num_rounds,
        )
    trained = states.state[-1].algo
    return {split: score_films(trained, samples, split) for split in splits}


@dataclass(frozen=True)
class Trained:
    """A training whose best round was kept, as :func:`train_best` returns it.

    Parameters
    ----------
    algos : dict of str to substrafl.algorithms.Algo
        Hospital that trained and its algorithm after the best round, with the model.
    curve : pandas.DataFrame
        Validation scores: columns ``round``, ``hospital``, ``metric``, ``value``.
    best : BestRound
        Which round was kept.
    """

    algos: dict[str, Algo]
    curve: pd.DataFrame
    best: BestRound

    @property
    def algo(self) -> Algo:
        """Algorithm of the first hospital; after federated averaging all hold the same model."""
        return next(iter(self.algos.values()))


def train_best(
    federation: Federation,
    strategy: ComputePlanBuilder,
    *,
    num_rounds: int,
    train_on: Sequence[str] = (),
    valid_on: Sequence[str] = (),
    eval_every: int = 1,
    patience: int = 3,
) -> Trained:
    """Train in this process, and keep the round that does best on validation films.

    All rounds are run, so that different setups get the same budget; the choice is the one of
    :func:`helpers.evaluation.find_best_round`, as if training had stopped when patience ran out.

    Parameters
    ----------
    federation : Federation
        The hospitals.
    strategy : substrafl.strategies.Strategy
        The strategy with its algorithm. The first of its metrics decides; higher is better.
    num_rounds : int
        Number of rounds, at least 1.
    train_on, valid_on : sequence of str
        Hospitals that train, and whose validation films decide; empty means all.
    eval_every : int, default=1
        Evaluate every so many rounds.
    patience : int, default=3
        Evaluations in a row without a rise after which training would stop.

    Returns
    -------
    Trained
        Models of the best round, and the validation scores of all rounds.

    Raises
    ------
    TypeError, ValueError
        As :meth:`helpers.local_mode.Federation.simulate` and
        :func:`helpers.evaluation.find_best_round` do.
    """
    states, curve = federation.simulate(
        strategy,
        train_on=train_on,
        test_on=valid_on,
        split="valid",
        num_rounds=num_rounds,
        eval_every=eval_every,
    )
    metric = next(iter(strategy.metric_functions))
    best = find_best_round(curve, metric=metric, patience=patience)
    algos = federation.algos(states).items()
    return Trained({name: algo for (name, idx), algo in algos if idx == best.round}, curve, best)

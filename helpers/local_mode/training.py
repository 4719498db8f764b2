"""Training: one network across the hospitals, and its scores for their films, in one call."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
from substrafl.algorithms.algo import Algo
from substrafl.strategies import FedAvg

from helpers.evaluation import auc
from helpers.local_mode.federation import Federation
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
    with Federation(samples) as federation:
        states, _ = federation.simulate(
            FedAvg(algo=algo, metric_functions={"auc": auc}),
            num_rounds=num_rounds,
            eval_every=num_rounds,
        )
    trained = states.state[-1].algo
    return {split: score_films(trained, samples, split) for split in splits}

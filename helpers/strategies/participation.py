"""Participation: hospitals that sit out a round.

Not every hospital can train in every round: a machine may be busy, or a night too short. One that
sits out still receives the average, so that all hospitals have the same model after each round.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.nodes import AggregationNodeProtocol, TrainDataNodeProtocol
from substrafl.nodes.references.local_state import LocalStateRef
from substrafl.remote.operations import RemoteDataOperation, RemoteOperation

from helpers.compatibility import change_remote
from helpers.strategies.wrapping import WrappedStrategy

_SITS_OUT = object()  # in place of what a hospital would have sent


def draw_participants(
    n_hospitals: int, fraction: float, *, seed: int = 0, round_idx: int = 0
) -> list[int]:
    r"""Draw the hospitals that train in a round.

    :math:`m = \max(1, \mathrm{round}(C K))` of :math:`K` hospitals are drawn without replacement
    (McMahan et al. 2017, Algorithm 1, where :math:`C` is the fraction), a half being rounded to the
    even number. Each round is drawn independently, from a generator seeded with seed and round.

    Parameters
    ----------
    n_hospitals : int
        :math:`K`, at least 1.
    fraction : float in (0, 1]
        :math:`C`.
    seed : int, default=0
        Seed, of 0 or more.
    round_idx : int, default=0
        The round in which they train.

    Returns
    -------
    list of int
        Their places in the order of the hospitals, ascending.

    Raises
    ------
    ValueError
        If ``fraction`` is out of range.

    Examples
    --------
    >>> [draw_participants(4, 0.5, seed=1, round_idx=round_idx) for round_idx in range(3)]
    [[1, 2], [1, 3], [1, 3]]
    """
    if not 0 < fraction <= 1:
        raise ValueError(
            f"Expected a fraction in (0, 1]. Received {fraction}: with 1 all hospitals take part, "
            "and one always does."
        )
    size = max(1, round(fraction * n_hospitals))
    rng = np.random.default_rng((seed, round_idx))
    return sorted(rng.choice(n_hospitals, size, replace=False).tolist())


class Participation(WrappedStrategy):
    """Let only a part of the hospitals train in each round.

    A hospital that sits out does not train and sends nothing, and the average is that of the
    others, weighted by *their* films. It still receives each average: its model, and the state of
    a server optimizer, stay in step, while its optimizer and its index generator pause. This models
    a hospital that cannot *train* for a while. One that cannot be reached would miss the averages
    too, and would have to catch up.

    With :class:`~helpers.strategies.SafeExchange` and
    :class:`~helpers.strategies.SecureAggregation`, this strategy goes inside:
    ``SafeExchange(Participation(FedAvg(…), 0.5))``.

    SubstraFL trains once before the first average and once after the last one. The first average is
    over those drawn for round 0, and the training of those drawn for the last round is not used.

    Parameters
    ----------
    strategy : substrafl.strategies.FedAvg
        SubstraFL's, or another one that averages the updates of an algorithm with ``receive``, such
        as :class:`helpers.algorithms.TFFedAvgAlgo`: ``FedMedian``, or one that is wrapped already.
    fraction : float in (0, 1]
        Share of the hospitals that train, see
        :func:`~helpers.strategies.participation.draw_participants`.
    seed : int, default=0
        Seed of the draws.

    Raises
    ------
    ValueError
        If ``fraction`` is out of range, or ``SecureAggregation`` is inside.
    TypeError
        If the algorithm has no ``receive``, so that a hospital could not sit out.

    Examples
    --------
    ::

        Participation(FedAvg(algo=algo, metric_functions=METRICS), fraction=0.5)
    """

    def __init__(self, strategy: ComputePlanBuilder, fraction: float, seed: int = 0) -> None:
        super().__init__(strategy)
        draw_participants(1, fraction, seed=seed)  # refuses an invalid fraction
        if getattr(strategy, "sees_only_sums", False):
            raise ValueError(
                "Expected SecureAggregation outside: SecureAggregation(Participation(…)). Received "
                "it inside: it must know who trains, for whom masks are made."
            )
        if not hasattr(strategy.algo, "receive"):
            raise TypeError(
                "Expected an algorithm that can receive an average without training, such as "
                f"TFFedAvgAlgo. Received {type(strategy.algo).__name__}, without the method "
                "receive."
            )
        self._fraction = fraction
        self._seed = seed

    def list_participants(self, organizations: Sequence[str], round_idx: int) -> tuple[str, ...]:
        """List the hospitals that train in a round; see the base class."""
        drawn = draw_participants(
            len(organizations), self._fraction, seed=self._seed, round_idx=round_idx
        )
        inside = super().list_participants(organizations, round_idx)
        return tuple(organizations[place] for place in drawn if organizations[place] in inside)

    def update_train_node(
        self, node: TrainDataNodeProtocol, operation: RemoteDataOperation, **settings: Any
    ) -> tuple[LocalStateRef, Any]:
        """Let a hospital train, or only receive; see the base class."""
        participants = self.list_participants(self.organizations, settings["round_idx"])
        if node.organization_id in participants:
            return super().update_train_node(node, operation, **settings)
        # The same operation, whatever another wrapper has changed in it, but with another method.
        title = f"Receiving with {type(self.algo).__name__}"
        change_remote(operation, method="receive", title=title)
        local_state, _ = super().update_train_node(node, operation, **settings)
        return local_state, _SITS_OUT

    def update_aggregation_node(
        self, node: AggregationNodeProtocol, operation: RemoteOperation, **settings: Any
    ) -> Any:
        """Exclude the hospitals that sat out from the average; see the base class."""
        operation.shared_states = [
            state for state in operation.shared_states if state is not _SITS_OUT
        ]
        return super().update_aggregation_node(node, operation, **settings)

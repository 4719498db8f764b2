"""Recording: what hospitals send in a simulation, kept for a later look."""

from collections.abc import Sequence
from typing import Any, Self

from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.nodes import TrainDataNodeProtocol
from substrafl.nodes.references.local_state import LocalStateRef
from substrafl.remote.operations import RemoteDataOperation

from helpers.strategies.wrapping import WrappedStrategy, is_simulated


class Updates:
    """What hospitals sent, round by round.

    SubstraFL copies a strategy before it runs it. A copy of this object is the object itself, so
    that what the copy of the strategy records is seen by the caller.
    """

    def __init__(self) -> None:
        self._rounds: dict[int, list] = {}

    def __deepcopy__(self, memo: dict) -> Self:
        """Return the object itself."""
        return self

    def add(self, round_idx: int, state: Any) -> None:
        """Add what the next hospital sent.

        Parameters
        ----------
        round_idx : int
            The round.
        state : object
            Its shared state.
        """
        self._rounds.setdefault(round_idx, []).append(state)

    def by_round(self, hospitals: Sequence[str]) -> list[dict[str, Any]]:
        """Sort what was sent by round and hospital.

        Parameters
        ----------
        hospitals : sequence of str
            The hospitals that trained, in their order.

        Returns
        -------
        list of dict of str to object
            For each local training, hospital and shared state. SubstraFL trains once more than it
            averages: the last entry was never used.

        Raises
        ------
        ValueError
            If other hospitals have trained.
        """
        counts = {len(states) for states in self._rounds.values()}
        if counts != {len(hospitals)}:
            raise ValueError(
                f"Expected the hospitals that trained, in their order. Received {len(hospitals)}; "
                f"in a round {sorted(counts)} have sent something. Record one run only."
            )
        return [dict(zip(hospitals, states, strict=True)) for states in self._rounds.values()]


class Recorded(WrappedStrategy):
    """Keep what hospitals send while a strategy is simulated.

    Parameters
    ----------
    strategy : substrafl.compute_plan_builder.ComputePlanBuilder
        The strategy.
    updates : Updates
        Where it is kept.

    Raises
    ------
    TypeError
        When it is run by real tasks, whose shared states stay in files: see
        ``download_train_shared_state`` of SubstraFL.

    Examples
    --------
    Run it, then ask ``updates``::

        updates = Updates()
        federation.simulate(Recorded(FedAvg(algo=algo), updates), num_rounds=5)
        updates.by_round(hospitals)
    """

    def __init__(self, strategy: ComputePlanBuilder, updates: Updates) -> None:
        super().__init__(strategy)
        self._updates = updates

    def update_train_node(
        self, node: TrainDataNodeProtocol, operation: RemoteDataOperation, **settings: Any
    ) -> tuple[LocalStateRef, Any]:
        """Keep what a hospital sends.

        Parameters
        ----------
        node, operation, **settings
            As in :class:`WrappedStrategy`.

        Returns
        -------
        local_state, shared_state
            As there.
        """
        if not is_simulated(node):
            raise TypeError(
                "Expected a simulation. Received real tasks: download their shared states with "
                "substrafl.model_loading.download_train_shared_state."
            )
        local_state, sent = super().update_train_node(node, operation, **settings)
        self._updates.add(settings["round_idx"], sent)
        return local_state, sent

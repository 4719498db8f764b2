"""Metering: the bytes that the operations of a simulated strategy read from each other."""

import pickle
from typing import Any, Self

from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.nodes import AggregationNodeProtocol, TrainDataNodeProtocol
from substrafl.nodes.references.local_state import LocalStateRef
from substrafl.remote.operations import RemoteDataOperation, RemoteOperation

from helpers.strategies.wrapping import WrappedStrategy


class Traffic:
    """Bytes that were read, round by round.

    SubstraFL copies a strategy before it runs it. A copy of this object is the object itself, so
    that what the copy of the strategy counts is seen by the caller.
    """

    def __init__(self) -> None:
        self._rounds: dict[tuple[int, str], int] = {}

    def __deepcopy__(self, memo: dict) -> Self:
        """Return the object itself."""
        return self

    def add(self, round_idx: int, state: Any, reader: str = "hospital") -> None:
        """Add the pickled size of a shared state.

        Parameters
        ----------
        round_idx : int
            The round.
        state : object
            What was read.
        reader : {"hospital", "aggregation"}, default="hospital"
            Who read it.
        """
        place = round_idx, reader
        self._rounds[place] = self._rounds.get(place, 0) + len(pickle.dumps(state))

    def count(self, until: int | None = None, reader: str | None = None) -> int:
        """Count the bytes.

        Parameters
        ----------
        until : int, optional
            The last round that counts; by default all count.
        reader : {"hospital", "aggregation"}, optional
            Who read what counts; by default both. What the aggregation reads, hospitals have sent.

        Returns
        -------
        int
            Bytes, over all hospitals and the aggregation.
        """
        return sum(
            n
            for (idx, by), n in self._rounds.items()
            if (until is None or idx <= until) and reader in (None, by)
        )


class Metered(WrappedStrategy):
    """Count what the operations of a strategy read while it is simulated.

    Each shared state is counted with its pickled size, once for every operation that reads it. So
    the number is measured, and not derived from the number of weights.

    Parameters
    ----------
    strategy : substrafl.compute_plan_builder.ComputePlanBuilder
        The strategy.
    traffic : Traffic
        Where the bytes are counted.

    Examples
    --------
    Run it, then ask ``traffic``::

        traffic = Traffic()
        federation.simulate(Metered(FedAvg(algo=algo), traffic), num_rounds=5)
        traffic.count()
    """

    def __init__(self, strategy: ComputePlanBuilder, traffic: Traffic) -> None:
        super().__init__(strategy)
        self._traffic = traffic

    def update_train_node(
        self, node: TrainDataNodeProtocol, operation: RemoteDataOperation, **settings: Any
    ) -> tuple[LocalStateRef, Any]:
        """Count what a hospital reads.

        Parameters
        ----------
        node, operation, **settings
            As in :class:`WrappedStrategy`.

        Returns
        -------
        local_state, shared_state
            As there.
        """
        if operation.shared_state is not None:
            self._traffic.add(settings["round_idx"], operation.shared_state)
        return super().update_train_node(node, operation, **settings)

    def update_aggregation_node(
        self, node: AggregationNodeProtocol, operation: RemoteOperation, **settings: Any
    ) -> Any:
        """Count what the aggregation reads.

        Parameters
        ----------
        node, operation, **settings
            As in :class:`WrappedStrategy`.

        Returns
        -------
        shared_state
            As there.
        """
        for state in operation.shared_states:
            self._traffic.add(settings["round_idx"], state, "aggregation")
        return super().update_aggregation_node(node, operation, **settings)

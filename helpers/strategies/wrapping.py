"""Wrapped strategy: a strategy that can change every task of another one, whatever that one does.

A SubstraFL strategy passes its operations to nodes: real ones record them as tasks, simulated ones
run them at once. A wrapping strategy passes proxies of these nodes to the strategy inside it, and
so sees, and may change, every operation and its result. Nothing of the strategy inside is copied
or overridden: any strategy can be wrapped, even a wrapping one.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.nodes import (
    AggregationNodeProtocol,
    SimuAggregationNode,
    SimuTrainDataNode,
    TrainDataNodeProtocol,
)
from substrafl.nodes.references.local_state import LocalStateRef
from substrafl.remote.operations import RemoteDataOperation, RemoteOperation

# A node of tasks, a node of a simulation, or a proxy of either.
Node = TrainDataNodeProtocol | AggregationNodeProtocol


class WrappedStrategy(ComputePlanBuilder):
    """Base of the strategies that wrap another one.

    A child class overrides :meth:`update_train_node`, :meth:`update_aggregation_node` or both, and
    calls ``super()`` to run the operation. Everything else, such as ``name``, ``algo``,
    ``metric_functions``, ``evaluate`` or ``avg_shared_states``, is that of the strategy inside.
    The class itself changes nothing.

    Tasks are created by the strategy inside and are unaware of the wrapper: what a hook changes
    must be part of the operation that it passes on.

    Parameters
    ----------
    strategy : substrafl.compute_plan_builder.ComputePlanBuilder
        The strategy to wrap: SubstraFL's, ours, or one that is wrapped already.

    Attributes
    ----------
    organizations : tuple of str
        Organization ids of the training nodes in their order, once the plan is being built; empty
        before.

    Raises
    ------
    TypeError
        If ``strategy`` is something else, such as a class.

    Examples
    --------
    Count what the hospitals do::

        class Counted(WrappedStrategy):
            def update_train_node(self, node, operation, **settings):
                print(f"round {settings['round_idx']}: a task at {node.organization_id}")
                return super().update_train_node(node, operation, **settings)
    """

    def __init__(self, strategy: ComputePlanBuilder) -> None:
        super().__init__(strategy)
        if not isinstance(strategy, ComputePlanBuilder):
            raise TypeError(
                "Expected a strategy to wrap, such as FedAvg(algo=…). Received "
                f"{type(strategy).__name__}."
            )
        self._strategy = strategy
        self.organizations = ()

    @property
    def wrapped(self) -> ComputePlanBuilder:
        """The strategy inside."""
        return self._strategy

    def __getattr__(self, name: str) -> Any:
        """Look up everything else in the strategy inside."""
        # Copying and unpickling look attributes up before the strategy inside exists.
        if name.startswith("__") or "_strategy" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._strategy, name)

    def list_participants(self, organizations: Sequence[str], round_idx: int) -> tuple[str, ...]:
        """List the hospitals that train in a round; known before the plan is built.

        Parameters
        ----------
        organizations : sequence of str
            Organization ids of all training nodes, in their order.
        round_idx : int
            The round; the training before the first average is round 0.

        Returns
        -------
        tuple of str
            Those that train, in the same order: by default all.
        """
        if isinstance(self._strategy, WrappedStrategy):
            return self._strategy.list_participants(organizations, round_idx)
        return tuple(organizations)

    def update_train_node(
        self, node: TrainDataNodeProtocol, operation: RemoteDataOperation, **settings: Any
    ) -> tuple[LocalStateRef, Any]:
        """Run an operation at a training hospital.

        Parameters
        ----------
        node : TrainDataNode, SimuTrainDataNode or WrappedNode
            Where it runs; it has an ``organization_id``.
        operation : substrafl.remote.operations.RemoteDataOperation
            The operation. It is new in every call, and a child class may change it.
        **settings
            What the strategy inside passes to ``node.update_states`` besides: ``local_state``,
            ``round_idx``, ``authorized_ids``, ``aggregation_id``, ``clean_models``.

        Returns
        -------
        local_state : substrafl.nodes.references.local_state.LocalStateRef
            Refers to what stays at the hospital.
        shared_state : substrafl.nodes.references.shared_state.SharedStateRef or object
            Refers to what is sent; in a simulation it is what is sent.
        """
        return node.update_states(operation, **settings)

    def update_aggregation_node(
        self, node: AggregationNodeProtocol, operation: RemoteOperation, **settings: Any
    ) -> Any:
        """Run an operation at the aggregating organization.

        Parameters
        ----------
        node : AggregationNode, SimuAggregationNode or WrappedNode
            Where it runs.
        operation : substrafl.remote.operations.RemoteOperation
            The operation; its ``shared_states`` are what :meth:`update_train_node` returned, in
            the order of the strategy inside.
        **settings
            What the strategy inside passes to ``node.update_states`` besides: ``round_idx``,
            ``authorized_ids``, ``clean_models``.

        Returns
        -------
        substrafl.nodes.references.shared_state.SharedStateRef or object
            Refers to what is sent to the hospitals; in a simulation it is what is sent.
        """
        return node.update_states(operation, **settings)

    def build_compute_plan(
        self,
        train_data_nodes: list[TrainDataNodeProtocol],
        aggregation_node: AggregationNodeProtocol | None,
        evaluation_strategy: EvaluationStrategy | None,
        num_rounds: int,
        clean_models: bool = True,
    ) -> None:
        """Let the strategy inside build its plan on proxies of the nodes.

        Parameters
        ----------
        train_data_nodes : list of TrainDataNode
            The hospitals that train.
        aggregation_node : AggregationNode or None
            Where updates are averaged.
        evaluation_strategy : substrafl.evaluation_strategy.EvaluationStrategy or None
            Passed on unchanged.
        num_rounds : int
            Number of rounds.
        clean_models : bool, default=True
            As in SubstraFL.
        """
        self.organizations = tuple(node.organization_id for node in train_data_nodes)
        if aggregation_node is not None:
            aggregation_node = WrappedNode(aggregation_node, self.update_aggregation_node)
        self._strategy.build_compute_plan(
            train_data_nodes=[
                WrappedNode(node, self.update_train_node) for node in train_data_nodes
            ],
            aggregation_node=aggregation_node,
            evaluation_strategy=evaluation_strategy,
            num_rounds=num_rounds,
            clean_models=clean_models,
        )

    def save_local_state(self, path: Path) -> None:
        """Save the local state of the strategy inside.

        Parameters
        ----------
        path : pathlib.Path
            The file to write.
        """
        self._strategy.save_local_state(path)

    def load_local_state(self, path: Path) -> Self:
        """Load the local state of the strategy inside.

        Parameters
        ----------
        path : pathlib.Path
            The file to read.

        Returns
        -------
        WrappedStrategy
            The strategy itself.
        """
        self._strategy = self._strategy.load_local_state(path)
        return self


class WrappedNode:
    """Proxy of a node: every operation goes through a hook, everything else is the node's own.

    Parameters
    ----------
    node : TrainDataNode, AggregationNode, one of their simulations, or a WrappedNode
        The node that it wraps.
    update : callable
        Called as ``update(node, operation, **settings)`` in place of ``node.update_states``.
    """

    def __init__(self, node: Node, update: Callable) -> None:
        self.wrapped = node
        self._update = update

    def __getattr__(self, name: str) -> Any:
        """Look up everything else in the node."""
        if name.startswith("__") or "wrapped" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.wrapped, name)

    def update_states(
        self, operation: RemoteOperation | RemoteDataOperation, **settings: Any
    ) -> Any:
        """Run an operation.

        Parameters
        ----------
        operation : substrafl.remote.operations.RemoteOperation
            Or RemoteDataOperation: the operation.
        **settings
            As the node takes them.

        Returns
        -------
        object
            What the hook returns.
        """
        return self._update(self.wrapped, operation, **settings)


def is_simulated(node: Node) -> bool:
    """Return whether a node runs operations at once, in this process, instead of recording tasks.

    Parameters
    ----------
    node : TrainDataNode, AggregationNode, one of their simulations, or a WrappedNode
        The node.

    Returns
    -------
    bool
        Whether it belongs to ``simulate_experiment``.
    """
    while isinstance(node, WrappedNode):
        node = node.wrapped
    return isinstance(node, SimuTrainDataNode | SimuAggregationNode)

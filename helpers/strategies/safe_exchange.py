"""Safe exchange: any strategy, with shared states sent as checked arrays and not as pickles."""

import dataclasses
import logging
import math
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import substra
from substra.sdk.models import ComputeTaskStatus
from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.nodes import AggregationNodeProtocol, TrainDataNodeProtocol
from substrafl.nodes.references.local_state import LocalStateRef
from substrafl.nodes.schemas import InputIdentifiers, OutputIdentifiers
from substrafl.remote.operations import RemoteDataOperation, RemoteOperation
from substrafl.remote.substratools_methods import RemoteMethod
from substrafl.schemas import TaskType

from helpers.compatibility import change_remote
from helpers.exchange import Fault, Limits, UpdateError, find_faults, pack_state, unpack_state
from helpers.exchange.faults import escape
from helpers.strategies.cyclic import CyclicState
from helpers.strategies.wrapping import WrappedStrategy, is_simulated

_logger = logging.getLogger(__name__)


class SafeExchange(WrappedStrategy):
    """Pack and check everything that the hospitals and the aggregation of a strategy exchange.

    Shared states are written by :func:`helpers.exchange.pack_state`, and read by
    :func:`helpers.exchange.unpack_state` and :func:`helpers.exchange.find_faults`: no shared state
    is unpickled, and impossible states are refused with hospital, tensor and reason. The numbers
    stay the same, bit for bit. ``simulate`` does the same as ``execute``.

    Nothing is hidden from the aggregator. Two things still travel as pickles, as everywhere in
    SubstraFL: the *functions*, and the *local state* of a training hospital, which a hospital that
    only tests loads to have a model. Where that is too much trust, let every hospital that tests
    train, too: it then loads its own.

    Parameters
    ----------
    strategy : substrafl.strategies.Strategy
        SubstraFL's, ours, or one that is wrapped already.
    on_fault : {"stop", "skip"}, default="stop"
        What the aggregation does with a refused state: stop the run, or continue without it. The
        task's log and :func:`find_refused` list what was skipped. When nothing is left, or a
        hospital refuses what the aggregation sends, the run stops in any case.
    max_norm_ratio, max_norm, max_sample_ratio
        See :class:`helpers.exchange.Limits`.
    state_classes : sequence of type, default=()
        Classes of states that are accepted besides SubstraFL's and this package's.

    Raises
    ------
    ValueError
        If ``on_fault`` is unknown, a limit is out of range, or one that compares hospitals is given
        with :class:`~helpers.strategies.SecureAggregation`, whose messages only make sense added.
    helpers.exchange.UpdateError
        When the strategy runs: in a simulation as it is, in a task within the task's error.

    Notes
    -----
    Each hospital writes its organization id into what it sends. A name is a claim: the plan fixes
    whose states an aggregation receives, and a state with another name is refused. Training is one
    function for each hospital, and aggregating one for each set of hospitals.

    The round of a state is that of the state before it, and one more after an aggregation; an
    aggregation requires most of the states to agree on it. A hospital does not store the round.

    Examples
    --------
    ::

        strategy = SafeExchange(FedAvg(algo=MyAlgo(), metric_functions=METRICS), on_fault="skip")
    """

    def __init__(
        self,
        strategy: ComputePlanBuilder,
        *,
        on_fault: str = "stop",
        max_norm_ratio: float = 10.0,
        max_norm: float | None = None,
        max_sample_ratio: float = 1000.0,
        state_classes: Sequence[type] = (),
    ) -> None:
        super().__init__(strategy)
        if on_fault not in ("stop", "skip"):
            raise ValueError(f"Expected on_fault to be 'stop' or 'skip'. Received {on_fault!r}.")
        limits = Limits(max_norm_ratio, max_norm, max_sample_ratio)
        if getattr(strategy, "sees_only_sums", False):
            if on_fault == "skip" or limits != Limits():
                raise ValueError(
                    "Expected on_fault='stop' and default limits with SecureAggregation: nobody "
                    "can check, or leave out, an update that nobody sees. Received "
                    f"on_fault={on_fault!r} and {limits}."
                )
            limits = Limits(norm_ratio=math.inf, sample_ratio=math.inf)
        self._exchange = _Exchange(
            names=tuple(getattr(strategy.algo, "tensor_names", ())),
            skip=on_fault == "skip",
            limits=limits,
            classes=(CyclicState, *state_classes),
            model_bytes=4 * getattr(strategy.algo.model, "count_params", int)(),
        )
        # By id of a shared state. An id that Python reuses belongs to a newly recorded state.
        self._senders = {}

    def update_train_node(
        self, node: TrainDataNodeProtocol, operation: RemoteDataOperation, **settings: Any
    ) -> tuple[LocalStateRef, Any]:
        """Make a hospital read and write packed states."""
        exchange = dataclasses.replace(self._exchange, writer=node.organization_id)
        if not is_simulated(node):
            change_remote(operation, remote_class=exchange)
            local_state, state = super().update_train_node(node, operation, **settings)
            return local_state, self._note(state, exchange)
        number = 0
        if operation.shared_state is not None:
            operation.shared_state, number = exchange.read_one(operation.shared_state)
        local_state, state = super().update_train_node(node, operation, **settings)
        return local_state, self._note(exchange.write(state, number), exchange)

    def update_aggregation_node(
        self, node: AggregationNodeProtocol, operation: RemoteOperation, **settings: Any
    ) -> Any:
        """Make the aggregation read, check and write packed states."""
        states = operation.shared_states or ()
        senders = tuple(self._senders.get(id(state), "an unknown sender") for state in states)
        exchange = dataclasses.replace(self._exchange, senders=senders, writer=_AGGREGATION)
        if not is_simulated(node):
            change_remote(operation, remote_class=exchange)
            state = super().update_aggregation_node(node, operation, **settings)
            return self._note(state, exchange)
        operation.shared_states, number, refused = exchange.read_all(operation.shared_states)
        state = super().update_aggregation_node(node, operation, **settings)
        return self._note(exchange.write(state, number + 1, refused), exchange)

    def _note(self, state, exchange):
        """Remember who has sent a state; return the state."""
        self._senders[id(state)] = exchange.writer
        return state


def find_refused(client: substra.Client, compute_plan_key: str) -> pd.DataFrame:
    """List the states that were left out of a run with ``on_fault="skip"``.

    Parameters
    ----------
    client : substra.Client
        Of the aggregating organization, or of one that may read the averages.
    compute_plan_key : str
        The plan; without ``clean_models=False`` only the models of the last round are left.

    Returns
    -------
    pandas.DataFrame
        Columns ``round``, ``hospital`` (organization id), ``tensor`` and ``reason``, one row for
        each refused state.
    """
    tasks = client.list_task(filters={"compute_plan_key": [compute_plan_key]})
    rows = []
    for task in tasks:
        if task.tag != TaskType.AGGREGATE or task.status != ComputeTaskStatus.done:
            continue
        with tempfile.TemporaryDirectory() as folder:
            path = client.download_model_from_task(task.key, OutputIdentifiers.shared, folder)
            _, manifest = unpack_state(Path(path).read_bytes(), origin=_AGGREGATION)
        rows += [
            (manifest.round, *map(escape, dataclasses.astuple(fault))) for fault in manifest.refused
        ]
    return pd.DataFrame(sorted(rows), columns=["round", "hospital", "tensor", "reason"])


_AGGREGATION = "the aggregation"


@dataclasses.dataclass(frozen=True)
class _Exchange:
    """How one party reads and writes; used where SubstraFL expects its remote class.

    Substra registers a function once for all tasks whose operations are equal; so these compare by
    their settings.
    """

    names: tuple
    skip: bool
    limits: Limits
    classes: tuple
    model_bytes: int
    senders: tuple = ()
    writer: str = ""

    def __call__(self, instance, method_name, method_parameters):
        """Make what runs in the task."""
        return _PackedMethod(instance, method_name, method_parameters, exchange=self)

    def write(self, state, number, refused=()):
        """Pack a state of round ``number``."""
        return pack_state(
            state, names=self.names, organization=self.writer, round=number, refused=refused
        )

    def read(self, data, origin):
        """Unpack a state; return it with its manifest."""
        return unpack_state(data, origin=origin, classes=self.classes, model_bytes=self.model_bytes)

    def read_one(self, data):
        """Read a state that a hospital receives; return it with its round."""
        state, manifest = self.read(data, _AGGREGATION)
        origin = manifest.organization or _AGGREGATION
        # A single state has no others to be compared with; it is still checked by itself.
        faults = find_faults({origin: (state, manifest)}, self.limits)
        if faults:
            raise UpdateError(*faults)
        return state, manifest.round

    def read_all(self, everything):
        """Read what an aggregation receives; return the good states, their round, the faults."""
        read, refused = [], []
        for sender, data in zip(self.senders, everything, strict=True):
            try:
                state, manifest = self.read(data, sender)
            except UpdateError as error:
                refused += error.faults
                continue
            if manifest.organization == sender:
                read.append((sender, (state, manifest)))
            else:
                reason = f"expected a state of {sender}, received {manifest.organization!r}"
                refused.append(Fault(sender, "", reason))
        refused += find_faults(read, self.limits)
        at_fault = {fault.organization for fault in refused}
        good = [pair for sender, pair in read if sender not in at_fault]
        if refused and (not self.skip or not good):
            raise UpdateError(*refused)
        round = good[0][1].round if good else 0
        for fault in refused:
            _logger.warning(f"Left out of the aggregation of round {round + 1}: {fault}")
        return [state for state, _ in good], round, refused


class _PackedMethod(RemoteMethod):
    """SubstraFL's remote method with another way to read and write shared states."""

    def __init__(self, instance, method_name, method_parameters, exchange):
        super().__init__(instance, method_name, method_parameters)
        self._exchange = exchange
        self._round = 0
        self._refused = ()

    def load_method_inputs(self, inputs, outputs):
        """Read local state and data as SubstraFL does, and shared states by the exchange."""
        shared = inputs.get(InputIdentifiers.shared)
        others = {key: value for key, value in inputs.items() if key != InputIdentifiers.shared}
        loaded = super().load_method_inputs(others, outputs)
        if isinstance(shared, str | Path):
            state, self._round = self._exchange.read_one(Path(shared).read_bytes())
            loaded["shared_state"] = state
        elif shared is not None:
            states, number, self._refused = self._exchange.read_all(
                Path(path).read_bytes() for path in shared
            )
            loaded["shared_states"], self._round = states, number + 1
        elif InputIdentifiers.shared in inputs:
            loaded["shared_state"] = None
        return loaded

    def load_shared(self, path):
        """Read a shared state, as SubstraFL's download functions do."""
        return self._exchange.read(Path(path).read_bytes(), str(path))[0]

    def save_shared(self, shared_state, path):
        """Write a shared state."""
        data = self._exchange.write(shared_state, self._round, self._refused)
        Path(path).write_bytes(data)

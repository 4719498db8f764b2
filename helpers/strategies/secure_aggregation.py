"""Secure aggregation: a strategy whose aggregation sees the sum of the updates and no update."""

import copy
import secrets
from typing import Any

import numpy as np
from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.nodes import AggregationNodeProtocol, TrainDataNodeProtocol
from substrafl.nodes.references.local_state import LocalStateRef
from substrafl.remote import remote
from substrafl.remote.operations import RemoteDataOperation, RemoteOperation
from substrafl.strategies import FedAvg, Scaffold
from substrafl.strategies.schemas import FedAvgSharedState, ScaffoldSharedState, StrategyName

from helpers.exchange.masking import FixedPoint, add_modulo, check_keys
from helpers.strategies.masked_algo import PUBLIC, MaskedAlgo
from helpers.strategies.safe_exchange import SafeExchange
from helpers.strategies.wrapping import WrappedStrategy, is_simulated

_STATES = {
    StrategyName.FEDERATED_AVERAGING: FedAvgSharedState,
    StrategyName.SCAFFOLD: ScaffoldSharedState,
}
_AVERAGES = (FedAvg.avg_shared_states, Scaffold.avg_shared_states)


class SecureAggregation(WrappedStrategy):
    r"""Let the aggregation learn the sum of the hospitals' updates, and no single one.

    Before the first round each hospital makes a key pair, and the public keys travel through one
    aggregation task. In each round a hospital clips its update to ``clip``, multiplies it by its
    number of films, rounds it to whole multiples of a step, and adds masks modulo
    :math:`2^{bits}`, which cancel in the sum over all hospitals, see
    :class:`~helpers.exchange.masking.Masker`. The number of films is masked, too. The aggregation
    divides one sum by the other and passes the average on to the strategy inside.

    With :math:`n` hospitals in a round and :math:`N` films, each value of the average differs from
    that of the clipped updates by less than :math:`1.01 \, n^2 \cdot clip \cdot max\_films
    \cdot 2^{1 - bits} / N`, and by the rounding to float32 (float64 if ``bits=64``). No sum can
    overflow: :math:`n` and ``max_films`` bound it. For 16 hospitals with 64 films or more on
    average, the defaults lose less than a millionth of the range from ``-clip`` to ``clip``.

    Parameters
    ----------
    strategy : substrafl.strategies.FedAvg or Scaffold
        SubstraFL's, with any of their algorithms; it may be wrapped in
        :class:`~helpers.strategies.Participation` or :class:`~helpers.strategies.Metered`.
    clip : float, default=4.0
        Largest magnitude of a value of an update, or of a change of a control variate. Larger ones
        are clipped; ``n_clipped`` of a hospital's algorithm counts those of its last message.
    bits : {32, 64}, default=32
        With 32 a message has the bytes of float32.
    max_films : int, default=10_000
        Largest number of films of a hospital. One that has more is refused.
    min_hospitals : int, default=3
        How many hospitals must train in each round, at least 3: of a sum of two, either knows the
        other part.

    Raises
    ------
    ValueError
        If a number is out of range, the strategy's average is not a weighted mean (``FedMedian``,
        ``FedTrimmedMean``, ``MultiKrum``), the algorithm compresses its updates, or
        ``SafeExchange`` is inside. When a plan is built: too few hospitals in a round, or one that
        tests and does not train.

    Notes
    -----
    What it cannot do:

    - Nobody can check an update that nobody sees: robust averages, ``on_fault="skip"`` and the
      limits of :class:`~helpers.strategies.SafeExchange` are refused. Its checks of names, shapes,
      senders and rounds remain, as ``SafeExchange(SecureAggregation(…))``.
    - Parties that join forces learn the sum of the others. If the aggregating organization trains,
      it knows its own part; and under participation, totals of different sets of hospitals tell
      how many films single ones have.
    - The average itself is no secret, nor what it reveals about a film.
    - The aggregation passes the keys on and could replace them. ``algo.fingerprints`` of a
      hospital's algorithm are those that it received; compare them by another channel. Whose task
      wrote a key is known by Substra's identities alone.
    - Code still travels as a pickle that each hospital trusts.

    Keys are fresh for each plan, masks for each round and tensor. A task that is started again
    from the same local state sends the same masks: only with a seeded algorithm it is the same
    message. The private key is part of the local state; so a hospital's local state is readable by
    that hospital only, and nothing of such a plan is cached.

    Examples
    --------
    ::

        strategy = SecureAggregation(FedAvg(algo=MyAlgo(), metric_functions=METRICS))
        federation.execute(strategy, num_rounds=6)
    """

    sees_only_sums = True

    def __init__(
        self,
        strategy: ComputePlanBuilder,
        *,
        clip: float = 4.0,
        bits: int = 32,
        max_films: int = 10_000,
        min_hospitals: int = 3,
    ) -> None:
        super().__init__(strategy)
        _check_strategy(strategy)
        if not 0 < clip < np.inf:
            raise ValueError(f"Expected a positive, finite clip. Received {clip}.")
        if bits not in (32, 64):
            raise ValueError(f"Expected bits to be 32 or 64. Received {bits!r}.")
        if not 1 <= max_films < 2**31:
            raise ValueError(f"Expected max_films from 1 to {2**31 - 1}. Received {max_films}.")
        if min_hospitals < 3:
            raise ValueError(
                f"Expected min_hospitals of 3 or more. Received {min_hospitals}: of a sum of two, "
                "either hospital knows the other's part."
            )
        settings = {"clip": clip, "bits": bits, "max_films": max_films}
        self.kwargs |= settings | {"min_hospitals": min_hospitals}
        self._clip, self._bits, self._max_films = clip, bits, max_films
        self._min_hospitals = min_hospitals
        algo = strategy.algo
        masked = MaskedAlgo((type(algo), algo.args, algo.kwargs), **settings, algo=algo)
        # A copy in which the algorithm, wherever it occurs, is the one that masks.
        self._strategy = copy.deepcopy(strategy, {id(algo): masked})

    def build_compute_plan(
        self,
        train_data_nodes: list[TrainDataNodeProtocol],
        aggregation_node: AggregationNodeProtocol | None,
        evaluation_strategy: EvaluationStrategy | None,
        num_rounds: int,
        clean_models: bool = True,
    ) -> None:
        """Exchange public keys, then let the strategy inside build its plan; see the base class."""
        names = tuple(node.organization_id for node in train_data_nodes)
        tests = evaluation_strategy.test_data_nodes_org_ids if evaluation_strategy else set()
        if strangers := sorted(tests - set(names)):
            raise ValueError(
                "Expected hospitals that test to train, too: a hospital's local state contains its "
                f"private key, and no other may read it. Received {strangers}, which only test. "
                "Evaluate the final model there, after the plan."
            )
        rounds = [self.list_participants(names, round_idx) for round_idx in range(num_rounds + 1)]
        for round_idx, participants in enumerate(rounds):
            if len(participants) < self._min_hospitals:
                raise ValueError(
                    f"Expected at least min_hospitals={self._min_hospitals} hospitals in each "
                    f"round. Received {len(participants)} in round {round_idx}: let more take part."
                )
        self._schedule = [[names.index(name) for name in participants] for participants in rounds]
        plan, shared, self._keyed = secrets.token_hex(16), [], {}
        for place, node in enumerate(train_data_nodes):
            operation = self.algo.make_keys(
                node.data_sample_keys,
                _algo_name="Making keys",
                plan=plan,
                organizations=names,
                place=place,
                schedule=self._schedule,
            )
            self._keyed[names[place]], public = node.update_states(
                operation,
                local_state=None,
                authorized_ids={names[place]},
                aggregation_id=aggregation_node.organization_id,
                clean_models=clean_models or is_simulated(node),  # a simulation lists rounds only
            )
            shared.append(public)
        self._public_keys = aggregation_node.update_states(
            self.collect_keys(shared_states=shared, _algo_name="Collecting keys"),
            authorized_ids=set(names),
            clean_models=clean_models or is_simulated(aggregation_node),
        )
        super().build_compute_plan(
            train_data_nodes, aggregation_node, evaluation_strategy, num_rounds, clean_models
        )

    def update_train_node(
        self, node: TrainDataNodeProtocol, operation: RemoteDataOperation, **settings: Any
    ) -> tuple[LocalStateRef, Any]:
        """Start from the keys, and keep the local state at its hospital; see the base class."""
        if node.organization_id in self._keyed:
            settings["local_state"] = self._keyed.pop(node.organization_id)
            operation.shared_state = self._public_keys
        settings["authorized_ids"] = {node.organization_id}
        return super().update_train_node(node, operation, **settings)

    def update_aggregation_node(
        self, node: AggregationNodeProtocol, operation: RemoteOperation, **settings: Any
    ) -> Any:
        """Add masked updates in place of averaging plain ones; see the base class."""
        operation = self.average_masked(
            shared_states=operation.shared_states,
            _algo_name="Adding masked updates",
            schedule=self._schedule,
        )
        return super().update_aggregation_node(node, operation, **settings)

    @remote
    def collect_keys(self, shared_states: list[dict]) -> dict[str, np.ndarray]:
        """Collect the public keys of all hospitals; runs at the aggregation.

        Parameters
        ----------
        shared_states : list of dict
            ``sender`` (int) and ``public_key`` (uint8, shape (32,)) of each hospital.

        Returns
        -------
        dict
            ``public_keys``: uint8, shape (n_hospitals, 32).

        Raises
        ------
        ValueError
            If a hospital is missing or doubled, or two have the same key.
        """
        _check_senders(shared_states, list(range(len(shared_states))))
        check_keys([state["public_key"].tobytes() for state in shared_states])
        return {"public_keys": np.array([state["public_key"] for state in shared_states])}

    @remote
    def average_masked(self, shared_states: list[dict], schedule: list[list[int]]) -> Any:
        """Add masked updates, and let the strategy inside average the sum; runs at the aggregation.

        Parameters
        ----------
        shared_states : list of dict
            ``sender`` and ``round`` (int) of each hospital, and its masked shared state.
        schedule : list of list of int
            Who sends in each round.

        Returns
        -------
        substrafl.strategies.schemas.FedAvgAveragedState or ScaffoldAveragedStates
            What the strategy inside makes of one hospital with all films and the average update.

        Raises
        ------
        ValueError
            If the messages are of different rounds, a hospital is missing or doubled, or the masks
            do not cancel.
        """
        rounds = sorted({state["round"] for state in shared_states})
        if len(rounds) != 1 or not 0 <= rounds[0] < len(schedule):
            raise ValueError(
                f"Expected messages of one of the {len(schedule)} rounds. Received messages of the "
                f"rounds {rounds}, whose masks do not cancel."
            )
        n_hospitals = len(schedule[rounds[0]])
        _check_senders(shared_states, schedule[rounds[0]])
        n_films = int(add_modulo([state["n_samples"] for state in shared_states])[0])
        if not n_hospitals <= n_films <= n_hospitals * self._max_films:
            raise ValueError(
                f"Expected masks that cancel in the sum of {n_hospitals} hospitals. Received "
                "messages whose masks do not: one is of another plan, or was changed on its way."
            )
        code = FixedPoint(self._clip * self._max_films, n_hospitals, self._bits)
        average = {"n_samples": n_films}
        for field in set(shared_states[0]) - {"sender", "round", "n_samples"}:
            tensors = zip(*(state[field] for state in shared_states), strict=True)
            average[field] = [
                same[0]
                if field == PUBLIC
                else (code.decode_sum(same) / n_films).astype(f"f{self._bits // 8}")
                for same in tensors
            ]
        return self._strategy.avg_shared_states(
            shared_states=[_STATES[self.name](**average)], _skip=True
        )


def _check_strategy(strategy):
    """Refuse a strategy whose average is not that of a sum, or whose messages cannot be masked."""
    layer = strategy
    while isinstance(layer, WrappedStrategy):
        if isinstance(layer, SafeExchange | SecureAggregation):
            raise ValueError(
                "Expected SafeExchange(SecureAggregation(FedAvg(…))), or without SafeExchange. "
                f"Received {type(layer).__name__} inside SecureAggregation."
            )
        layer = layer.wrapped
    if getattr(type(layer), "avg_shared_states", None) not in _AVERAGES:
        raise ValueError(
            "Expected FedAvg or Scaffold, whose average is a sum divided by the films. Received "
            f"{type(layer).__name__}, which needs each hospital's update by itself."
        )
    if compression := getattr(layer.algo, "_compression", None):
        raise ValueError(
            f"Expected an algorithm without compression. Received one with {compression}: masked "
            "numbers cannot be compressed."
        )


def _check_senders(messages, expected):
    """Refuse messages of other hospitals than expected."""
    senders = [message["sender"] for message in messages]
    if sorted(senders) != expected:
        doubled = sorted({sender for sender in senders if senders.count(sender) > 1})
        raise ValueError(
            f"Expected one message of each of the hospitals {expected}. Received {senders}: "
            f"missing {sorted(set(expected) - set(senders))}, doubled {doubled}."
        )

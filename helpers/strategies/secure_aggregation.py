"""Secure aggregation: a strategy whose aggregation sees the sum of the updates and no update."""

import copy
import dataclasses
import json
import logging
import secrets
import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from substrafl.algorithms.algo import Algo
from substrafl.compute_plan_builder import ComputePlanBuilder
from substrafl.evaluation_strategy import EvaluationStrategy
from substrafl.nodes import AggregationNodeProtocol, TrainDataNodeProtocol
from substrafl.nodes.references.local_state import LocalStateRef
from substrafl.remote import remote, remote_data
from substrafl.remote.operations import RemoteDataOperation, RemoteOperation
from substrafl.strategies import FedAvg, Scaffold
from substrafl.strategies.schemas import FedAvgSharedState, ScaffoldSharedState, StrategyName

from helpers.exchange.masking import (
    Masker,
    add_modulo,
    decode,
    encode,
    find_step,
    fingerprint,
    make_key,
    public_key,
)
from helpers.strategies.safe_exchange import SafeExchange
from helpers.strategies.wrapping import WrappedStrategy, is_simulated

_logger = logging.getLogger(__name__)

_STATES = {
    StrategyName.FEDERATED_AVERAGING: FedAvgSharedState,
    StrategyName.SCAFFOLD: ScaffoldSharedState,
}
_AVERAGES = (FedAvg.avg_shared_states, Scaffold.avg_shared_states)
_PUBLIC = "server_control_variate"  # what the aggregation itself has sent


class SecureAggregation(WrappedStrategy):
    r"""Let the aggregation learn the sum of the hospitals' updates, and no single one.

    Before the first round each hospital makes a key pair, and the public keys travel through one
    aggregation task. In each round a hospital clips its update to ``clip``, multiplies it by its
    number of films, rounds it to whole multiples of a step, and adds masks modulo
    :math:`2^{bits}`, which cancel in the sum over all hospitals, see
    :mod:`helpers.exchange.masking`. The number of films is masked, too. The aggregation divides
    one sum by the other and passes the average on to the strategy inside.

    With :math:`n` hospitals in a round and :math:`N` films, each value of the average differs from
    that of the clipped updates by less than :math:`1.01 \, n^2 \cdot clip \cdot max\_films
    \cdot 2^{1 - bits} / N`, and by the rounding to float32 (float64 if ``bits=64``). No sum can
    overflow: :math:`n` and ``max_films`` bound it.

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
        self.kwargs |= {
            "clip": clip,
            "bits": bits,
            "max_films": max_films,
            "min_hospitals": min_hospitals,
        }
        _check_strategy(strategy)
        if min_hospitals < 3:
            raise ValueError(
                f"Expected min_hospitals of 3 or more. Received {min_hospitals}: of a sum of two, "
                "either hospital knows the other's part."
            )
        self._code = _Code(clip, bits, max_films)
        self._min_hospitals = min_hospitals
        # A copy in which the algorithm, wherever it occurs, is one that masks.
        algo = MaskedAlgo(
            (type(strategy.algo), strategy.algo.args, strategy.algo.kwargs),
            self._code,
            algo=strategy.algo,
        )
        self._strategy = copy.deepcopy(strategy, {id(strategy.algo): algo})

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
        self._check_organizations(names, evaluation_strategy)
        rounds = [self.list_participants(names, round_idx) for round_idx in range(num_rounds + 1)]
        fewest = min(map(len, rounds))
        if fewest < self._min_hospitals:
            raise ValueError(
                f"Expected at least min_hospitals={self._min_hospitals} hospitals in each round. "
                f"Received {fewest} in round {list(map(len, rounds)).index(fewest)}: let more "
                "hospitals take part."
            )
        self._schedule = [[names.index(name) for name in participants] for participants in rounds]
        plan, shared, self._keyed = secrets.token_hex(16), [], {}
        for node in train_data_nodes:
            operation = self.algo.make_keys(
                node.data_sample_keys,
                _algo_name="Making keys",
                plan=plan,
                organization=node.organization_id,
                organizations=names,
                schedule=self._schedule,
            )
            self._keyed[node.organization_id], public = node.update_states(
                operation,
                local_state=None,
                authorized_ids={node.organization_id},
                aggregation_id=aggregation_node.organization_id,
                # A simulation keeps the states of rounds only.
                clean_models=clean_models or is_simulated(node),
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
        _check_senders(shared_states, list(range(len(shared_states))), "public keys")
        keys = np.array([state["public_key"] for state in shared_states])
        _check_keys(keys)
        return {"public_keys": keys}

    @remote
    def average_masked(self, shared_states: list[dict], schedule: list[list[int]]) -> Any:
        """Add masked updates, and average them as the strategy inside; runs at the aggregation.

        Parameters
        ----------
        shared_states : list of dict
            As the hospitals sent them: ``sender`` and ``round`` (int), ``films`` (uint64, shape
            (1,)), and each field of the strategy's shared state, masked.
        schedule : list of list of int
            Who sends in each round.

        Returns
        -------
        substrafl.strategies.schemas.FedAvgAveragedState or ScaffoldAveragedStates
            What the strategy inside makes of the average.

        Raises
        ------
        ValueError
            If the messages are of different rounds, a hospital is missing or doubled, or the masks
            do not cancel.
        """
        rounds = sorted({state["round"] for state in shared_states})
        if len(rounds) != 1 or not 0 <= rounds[0] < len(schedule):
            raise ValueError(
                f"Expected masked messages of one round of {len(schedule)}. Received those of the "
                f"rounds {rounds}: a message of another round cannot be added."
            )
        senders = schedule[rounds[0]]
        _check_senders(shared_states, senders, f"messages of round {rounds[0]}")
        films = int(add_modulo([state["films"] for state in shared_states])[0])
        if not len(senders) <= films <= len(senders) * self._code.max_films:
            raise ValueError(
                f"Expected masks that cancel in the sum of {len(senders)} hospitals. Received "
                "messages whose masks do not: one is of another plan, or was changed on its way."
            )
        average = {"n_samples": films}
        for field in sorted(set(shared_states[0]) - {"sender", "round", "films"}):
            tensors = zip(*(state[field] for state in shared_states), strict=True)
            average[field] = [
                same[0] if field == _PUBLIC else self._code.read(same, films) for same in tensors
            ]
        state = _STATES[self.name](**average)
        return self._strategy.avg_shared_states(shared_states=[state], _skip=True)

    def _check_organizations(self, names, evaluation_strategy):
        """Refuse organizations that would have to read a hospital's local state."""
        tests = evaluation_strategy.test_data_nodes_org_ids if evaluation_strategy else set()
        if strangers := sorted(tests - set(names)):
            raise ValueError(
                "Expected hospitals that test to train, too: a hospital's local state contains its "
                f"private key, and no other may read it. Received {strangers}, which only test. "
                "Evaluate the final model there, after the plan."
            )


class MaskedAlgo(Algo):
    """An algorithm whose shared states are masked; everything else is that of the algorithm inside.

    :class:`SecureAggregation` makes it, and ``download_algo_state`` returns it.

    Parameters
    ----------
    recipe : tuple of (type, list, dict)
        Class and arguments of the algorithm inside, from which each task makes it.
    code : object
        How numbers are rounded.
    algo : substrafl.algorithms.algo.Algo, optional
        The algorithm inside, if there is one already.

    Attributes
    ----------
    n_clipped : int
        How many values were clipped in this hospital's last message; it is not sent.
    """

    def __init__(self, recipe: tuple, code: Any, algo: Algo | None = None) -> None:
        super().__init__(recipe=recipe, code=code)
        cls, args, kwargs = recipe
        self._algo = cls(*args, **kwargs) if algo is None else algo
        self._code, self._party, self.n_clipped = code, None, 0

    def __getattr__(self, name: str) -> Any:
        """Look up everything else in the algorithm inside."""
        if name.startswith("__") or "_algo" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._algo, name)

    @property
    def model(self) -> Any:
        """The model of the algorithm inside."""
        return self._algo.model

    @property
    def strategies(self) -> list[StrategyName]:
        """List of StrategyName: the strategies that the algorithm inside serves."""
        return self._algo.strategies

    @property
    def fingerprints(self) -> dict[str, str]:
        """Organization and fingerprint of its public key, as this hospital has received them.

        Each hospital should compare them with the others' by another channel than the aggregation.
        """
        party = self._party
        keys = party.public_keys if party else ()
        return {
            name: fingerprint(bytes.fromhex(key))
            for name, key in zip(party.organizations if keys else (), keys, strict=True)
        }

    @remote_data
    def make_keys(
        self,
        data_from_opener: Any,
        shared_state: Any = None,
        *,
        plan: str,
        organization: str,
        organizations: tuple[str],
        schedule: list[list[int]],
    ) -> dict[str, Any]:
        """Make a key pair, keep the private key in the local state, and share the public one.

        Parameters
        ----------
        data_from_opener, shared_state
            Not used.
        plan : str
            Identifier of the plan, hexadecimal.
        organization : str
            Whose task this is.
        organizations : tuple of str
            All that train.
        schedule : list of list of int
            Who sends in each round, by their places in ``organizations``.

        Returns
        -------
        dict
            ``sender`` (int) and ``public_key`` (uint8, shape (32,)).

        Raises
        ------
        ValueError
            If there is a key already.
        """
        if self._party is not None:
            raise ValueError(
                "Expected an algorithm without keys. Received one with the keys of another plan: "
                "keys are used once."
            )
        place = organizations.index(organization)
        self._party = _Party(plan, list(organizations), place, schedule, make_key().hex())
        public = public_key(bytes.fromhex(self._party.private_key))
        return {"sender": place, "public_key": np.frombuffer(public, np.uint8)}

    @remote_data
    def train(self, data_from_opener: Any, shared_state: Any = None) -> dict[str, Any]:
        """Train as the algorithm inside does, and mask what it shares.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : object, optional
            The public keys in the first round, then the average.

        Returns
        -------
        dict
            The masked message, see :meth:`SecureAggregation.average_masked`.

        Raises
        ------
        ValueError
            If the keys are not those of this plan, the hospital is not to send in this round, has
            too many films, or a value of its update is not finite.
        """
        state = self._algo.train(
            data_from_opener=data_from_opener, shared_state=self._receive(shared_state), _skip=True
        )
        party = self._party
        senders = party.schedule[party.round]
        if party.place not in senders:
            raise ValueError(
                f"Expected one of the hospitals {senders} to train in round {party.round}. "
                f"Received {party.place}, whose masks would not cancel."
            )
        others = [bytes.fromhex(party.public_keys[n]) for n in senders if n != party.place]
        plan = bytes.fromhex(party.plan)
        masker = Masker(bytes.fromhex(party.private_key), others, plan=plan)
        films = self._code.count(state.n_samples)
        message = {
            "sender": party.place,
            "round": party.round,
            "films": masker.mask(films, f"{party.round}/films"),
        }
        self.n_clipped = 0
        for field in set(type(state).model_fields) - {"n_samples"}:
            message[field] = tensors = getattr(state, field)
            if field != _PUBLIC:
                message[field] = []
                for number, tensor in enumerate(tensors):
                    numbers, n_clipped = self._code.write(tensor, state.n_samples, len(senders))
                    place = f"{party.round}/{field}/{number}"
                    message[field].append(masker.mask(numbers, place))
                    self.n_clipped += n_clipped
        party.round += 1
        return message

    @remote_data
    def receive(self, data_from_opener: Any, shared_state: Any = None) -> Any:
        """Sit a round out, see :class:`~helpers.strategies.Participation`.

        Parameters
        ----------
        data_from_opener, shared_state
            As for :meth:`train`.

        Returns
        -------
        object
            What the algorithm inside returns.
        """
        state = self._receive(shared_state)
        self._party.round += 1
        return self._algo.receive(data_from_opener=data_from_opener, shared_state=state, _skip=True)

    def _receive(self, shared_state):
        """Keep the public keys, which come first; return what the algorithm inside is to read."""
        party = self._party
        if party is None:
            raise ValueError(
                "Expected keys before the first training. Received none: run the whole plan of "
                "SecureAggregation."
            )
        if party.public_keys:
            return shared_state
        keys = np.asarray(shared_state["public_keys"], np.uint8)
        _check_keys(keys)
        own = public_key(bytes.fromhex(party.private_key))
        if len(keys) != len(party.organizations) or keys[party.place].tobytes() != own:
            raise ValueError(
                f"Expected the public keys of {len(party.organizations)} hospitals, this one's at "
                f"place {party.place}. Received {len(keys)}, with another key there: those of "
                "another plan, or the aggregation has replaced a key."
            )
        party.public_keys = [key.tobytes().hex() for key in keys]
        _logger.info(f"Public keys received: {self.fingerprints}")
        return None

    def predict(self, data_from_opener: Any, shared_state: Any = None) -> Any:
        """Predict as the algorithm inside.

        Parameters
        ----------
        data_from_opener, shared_state
            As there.

        Returns
        -------
        object
            What it returns.
        """
        return self._algo.predict(data_from_opener, shared_state)

    def save_local_state(self, path: Path) -> None:
        """Write keys and the local state of the algorithm inside into one file.

        Parameters
        ----------
        path : pathlib.Path
            The file to write.
        """
        self._algo.save_local_state(path)
        party = dataclasses.asdict(self._party) if self._party else None
        head = json.dumps({"party": party, "n_clipped": self.n_clipped}).encode()
        Path(path).write_bytes(head + b"\n" + Path(path).read_bytes())

    def load_local_state(self, path: Path) -> Self:
        """Read what :meth:`save_local_state` wrote.

        Parameters
        ----------
        path : pathlib.Path
            The file to read.

        Returns
        -------
        MaskedAlgo
            The algorithm itself.
        """
        head, _, inside = Path(path).read_bytes().partition(b"\n")
        state = json.loads(head)
        self._party = _Party(**state["party"]) if state["party"] else None
        self.n_clipped = state["n_clipped"]
        with tempfile.TemporaryDirectory() as folder:
            (own := Path(folder, "state")).write_bytes(inside)
            self._algo = self._algo.load_local_state(own)
        return self

    def summary(self) -> dict[str, Any]:
        """Describe the algorithm for SubstraFL's experiment summary.

        Returns
        -------
        dict
            JSON-serializable.
        """
        return self._algo.summary() | {"secure_aggregation": dataclasses.asdict(self._code)}


@dataclasses.dataclass(frozen=True)
class _Code:
    """How values become whole numbers."""

    clip: float
    bits: int
    max_films: int

    def __post_init__(self):
        if not 0 < self.clip < np.inf:
            raise ValueError(f"Expected a positive, finite clip. Received {self.clip}.")
        if self.bits not in (32, 64):
            raise ValueError(f"Expected bits to be 32 or 64. Received {self.bits!r}.")
        if not 1 <= self.max_films < 2**31:
            raise ValueError(
                f"Expected max_films from 1 to {2**31 - 1}. Received {self.max_films}."
            )

    def _step(self, n_hospitals):
        return find_step(self.clip * self.max_films, n_hospitals, self.bits)

    def count(self, n_films):
        """Encode a number of films."""
        if not 1 <= n_films <= self.max_films:  # the error does not name the number
            raise ValueError(
                f"Expected 1 to max_films={self.max_films} films at a hospital. Received another "
                "number: raise max_films."
            )
        return np.array([n_films], np.uint64)

    def write(self, values, n_films, n_hospitals):
        """Clip, weight and round one tensor; return the numbers, and how many were clipped."""
        values = np.asarray(values, np.float64)
        if not np.isfinite(values).all():
            raise ValueError(
                "Expected finite updates. Received one that is not; training diverged: lower the "
                "learning rate, or clip the gradients."
            )
        clipped = values.clip(-self.clip, self.clip)
        numbers = encode(clipped * n_films, self._step(n_hospitals), self.bits)
        return numbers, int((clipped != values).sum())

    def read(self, messages, n_films):
        """Add the messages of one tensor; return the average over films."""
        total = decode(add_modulo(messages), self._step(len(messages)))
        return (total / n_films).astype(f"f{self.bits // 8}")


@dataclasses.dataclass
class _Party:
    """What a hospital keeps to mask its messages; keys are hexadecimal."""

    plan: str
    organizations: list
    place: int
    schedule: list
    private_key: str = dataclasses.field(repr=False)
    public_keys: list = ()
    round: int = 0


def _check_strategy(strategy):
    """Refuse a strategy whose average is not that of a sum, or whose messages cannot be masked."""
    layer = strategy
    while isinstance(layer, WrappedStrategy):
        if isinstance(layer, SafeExchange | SecureAggregation):
            name = type(layer).__name__
            raise ValueError(
                f"Expected {name} outside: {name}(SecureAggregation(…)). Received it inside."
                if isinstance(layer, SafeExchange)
                else "Expected one SecureAggregation. Received two, one in the other."
            )
        layer = layer._strategy
    if getattr(type(layer), "avg_shared_states", None) not in _AVERAGES:
        raise ValueError(
            "Expected FedAvg or Scaffold, whose average is a sum divided by the films. Received "
            f"{type(layer).__name__}, which needs each hospital's update by itself."
        )
    if layer.algo.summary().get("compression"):
        raise ValueError(
            "Expected an algorithm without compression. Received one with "
            f"{layer.algo.summary()['compression']}: masked numbers cannot be compressed."
        )


def _check_senders(messages, expected, what):
    """Refuse messages of other hospitals than expected."""
    senders = sorted(int(message["sender"]) for message in messages)
    if senders != expected:
        doubled = sorted({n for n in senders if senders.count(n) > 1})
        raise ValueError(
            f"Expected {what} of the hospitals {expected}. Received {senders}: missing "
            f"{sorted(set(expected) - set(senders))}, doubled {doubled}."
        )


def _check_keys(keys):
    """Refuse a key that two hospitals have."""
    if len({key.tobytes() for key in keys}) < len(keys):
        raise ValueError(
            f"Expected {len(keys)} different public keys. Received a key twice: each hospital "
            "makes its own."
        )

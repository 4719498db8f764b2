"""Masked algorithm: the hospital's side of secure aggregation."""

import dataclasses
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Self

import numpy as np
from substrafl.algorithms.algo import Algo
from substrafl.remote import remote_data
from substrafl.strategies.schemas import StrategyName

from helpers.exchange.masking import FixedPoint, Masker, check_keys, fingerprint, public_key

PUBLIC = "server_control_variate"  # not masked: the aggregation itself has sent it


@dataclasses.dataclass
class Party:
    """What a hospital keeps in its local state to mask its messages; keys are hexadecimal.

    Parameters
    ----------
    plan : str
        Identifier of the plan.
    organizations : sequence of str
        All that train.
    place : int
        The hospital's own among them.
    schedule : list of list of int
        Who sends in each round.
    private_key : str
        The hospital's own.
    public_keys : list of str
        Everybody's, once they were received.
    round : int, default=0
        The round of the next message.
    n_clipped : int, default=0
        How many values of the last message were clipped.
    """

    plan: str
    organizations: list
    place: int
    schedule: list
    private_key: str = dataclasses.field(repr=False)
    public_keys: list = dataclasses.field(default_factory=list)
    round: int = 0
    n_clipped: int = 0


class MaskedAlgo(Algo):
    """An algorithm whose shared states are masked; everything else is that of the one inside.

    :class:`~helpers.strategies.SecureAggregation` makes it, and ``download_algo_state`` returns it.

    Parameters
    ----------
    recipe : tuple of (type, list, dict)
        Class and arguments of the algorithm inside, from which each task makes it.
    clip, bits, max_films
        As in :class:`~helpers.strategies.SecureAggregation`.
    algo : substrafl.algorithms.algo.Algo, optional
        The algorithm inside, if there is one already.

    Attributes
    ----------
    party : Party or None
        What this hospital keeps; it contains its private key.
    """

    def __init__(
        self, recipe: tuple, clip: float, bits: int, max_films: int, algo: Algo | None = None
    ) -> None:
        super().__init__(recipe=recipe, clip=clip, bits=bits, max_films=max_films)
        cls, args, kwargs = recipe
        self._algo = cls(*args, **kwargs) if algo is None else algo
        self._clip, self._bits, self._max_films, self.party = clip, bits, max_films, None

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
        """Dict of str to str: organization and fingerprint of its key, as this hospital has it."""
        keys = [fingerprint(bytes.fromhex(key)) for key in self.party.public_keys]
        return dict(zip(self.party.organizations, keys, strict=True))

    @remote_data
    def make_keys(
        self, data_from_opener: Any, shared_state: Any = None, **party: Any
    ) -> dict[str, Any]:
        """Make a key pair, keep the private key in the local state, and return the public one.

        Parameters
        ----------
        data_from_opener, shared_state
            Not used.
        **party
            Fields of :class:`Party`: ``plan``, ``organizations``, ``place``, ``schedule``.

        Returns
        -------
        dict
            ``sender`` (int) and ``public_key`` (uint8, shape (32,)).
        """
        if self.party is not None:
            raise ValueError(
                "Expected an algorithm without keys. Received one with those of another plan: a "
                "key is used once."
            )
        private_key = os.urandom(32)
        self.party = Party(**party, private_key=private_key.hex())
        key = np.frombuffer(public_key(private_key), np.uint8)
        return {"sender": self.party.place, "public_key": key}

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
            ``sender`` and ``round`` (int), and masked ``n_samples`` and tensors.

        Raises
        ------
        ValueError
            If the keys are not those of this plan, the hospital has too many films, or an update
            is not finite.
        """
        average = self._read(shared_state)
        state = self._algo.train(
            data_from_opener=data_from_opener, shared_state=average, _skip=True
        )
        party = self.party
        senders = party.schedule[party.round]
        others = [bytes.fromhex(party.public_keys[n]) for n in senders if n != party.place]
        plan = bytes.fromhex(party.plan)
        masker = Masker(bytes.fromhex(party.private_key), others, plan=plan)
        n_films, party.n_clipped = state.n_samples, 0
        if not 1 <= n_films <= self._max_films:  # the message does not say how many there are
            raise ValueError(
                f"Expected 1 to {self._max_films} films at a hospital. Received another number: "
                "raise max_films of SecureAggregation."
            )

        def mask(tensor, name):
            values = np.asarray(tensor, np.float64)
            if not np.isfinite(values).all():
                raise ValueError(
                    f"Expected a finite {name}. Received one that is not: training diverged; "
                    "lower the learning rate, or clip the gradients."
                )
            clipped = values.clip(-self._clip, self._clip)
            party.n_clipped += int((clipped != values).sum())
            code = FixedPoint(self._clip * self._max_films, len(senders), self._bits)
            return masker.mask(code.encode(clipped * n_films), f"{party.round}/{name}")

        message = {"sender": party.place, "round": party.round}
        for field in type(state).model_fields:
            value = getattr(state, field)
            if field == "n_samples":
                message[field] = masker.mask(np.array([value], np.uint64), f"{party.round}/{field}")
            elif field == PUBLIC:
                message[field] = value
            else:
                message[field] = [mask(x, f"{field}/{number}") for number, x in enumerate(value)]
        party.round += 1
        return message

    @remote_data
    def receive(self, data_from_opener: Any, shared_state: Any = None) -> Any:
        """Sit a round out as the algorithm inside does.

        Parameters
        ----------
        data_from_opener, shared_state
            As for :meth:`train`.

        Returns
        -------
        object
            What the algorithm inside returns.
        """
        average = self._read(shared_state)
        self.party.round += 1
        return self._algo.receive(
            data_from_opener=data_from_opener, shared_state=average, _skip=True
        )

    def _read(self, shared_state):
        """Keep the public keys, which come first; return what the algorithm inside is to read."""
        party = self.party
        if party is None or party.public_keys:
            if party is None:
                raise ValueError("Expected a plan of SecureAggregation. Received one without keys.")
            return shared_state
        keys = [key.tobytes() for key in np.asarray(shared_state["public_keys"], np.uint8)]
        check_keys(keys)
        own = public_key(bytes.fromhex(party.private_key))
        if len(keys) != len(party.organizations) or keys[party.place] != own:
            raise ValueError(
                f"Expected public keys of {len(party.organizations)} hospitals, with this one's at "
                f"place {party.place}. Received {len(keys)}, and there "
                f"{[fingerprint(key) for key in keys][party.place : party.place + 1]}: the keys of "
                "another plan, or the aggregation has replaced one."
            )
        party.public_keys = [key.hex() for key in keys]
        return None

    def predict(self, data_from_opener: Any, shared_state: Any = None) -> Any:
        """Predict as the algorithm inside does."""
        return self._algo.predict(data_from_opener, shared_state)

    def save_local_state(self, path: Path) -> None:
        """Write the party in one line, and the local state of the algorithm inside after it."""
        self._algo.save_local_state(path)
        head = json.dumps(self.party and dataclasses.asdict(self.party)).encode()
        Path(path).write_bytes(head + b"\n" + Path(path).read_bytes())

    def load_local_state(self, path: Path) -> Self:
        """Read what :meth:`save_local_state` wrote."""
        head, _, inside = Path(path).read_bytes().partition(b"\n")
        fields = json.loads(head)
        self.party = fields and Party(**fields)
        with tempfile.TemporaryDirectory() as folder:
            (state := Path(folder, "state")).write_bytes(inside)
            self._algo = self._algo.load_local_state(state)
        return self

    def summary(self) -> dict[str, Any]:
        """Describe the algorithm for SubstraFL's experiment summary."""
        settings = {"clip": self._clip, "bits": self._bits, "max_films": self._max_films}
        return self._algo.summary() | {"secure_aggregation": settings}

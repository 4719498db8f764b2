"""Checks of the shared states of one aggregation: each by itself, and each against the others.

The reader of a single state can detect damage. Whether a state is *plausible* can only be seen
beside the others: the aggregator has no model of its own to compare with.
"""

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helpers.exchange.faults import Fault
from helpers.exchange.manifest import Manifest
from helpers.exchange.packing import list_tensors

LARGEST_COUNT = 10**9  # samples; more than the whole world records in a year
_PIECE = 2**13  # values that are checked together


@dataclasses.dataclass(frozen=True)
class Limits:
    """How far a state may differ from the others.

    Parameters
    ----------
    norm_ratio : float, default=10.0
        Largest Euclidean norm of a field, as a multiple of the median of the others' norms. It
        needs three organizations or more: of two, nobody can say which one is wrong.
    norm : float, optional
        Largest norm of a field whatever the others send; it also works for two organizations.
    sample_ratio : float, default=1000.0
        Largest number of samples, as a multiple of the median of the others'. It needs three
        organizations or more.

    Raises
    ------
    ValueError
        If a limit is not positive, or a ratio below 1.
    """

    norm_ratio: float = 10.0
    norm: float | None = None
    sample_ratio: float = 1000.0

    def __post_init__(self) -> None:
        """Check the limits."""
        for name in ("norm_ratio", "sample_ratio"):
            if not getattr(self, name) >= 1:
                raise ValueError(f"Expected {name} of 1 or more. Received {getattr(self, name)}.")
        if self.norm is not None and not self.norm > 0:
            raise ValueError(f"Expected a positive norm or None. Received {self.norm}.")


def find_faults(
    received: Mapping[str, tuple[Any, Manifest]] | Sequence[tuple[str, tuple[Any, Manifest]]],
    limits: Limits | None = None,
) -> list[Fault]:
    """Find the states that should not be used.

    Checked in this order, and for each organization the first fault is reported: two states from
    one organization; another class, other tensors, shapes or dtypes than most; another round than
    most, as a replayed state has; values that are not finite; a number of samples that is not a
    positive whole number, or absurd; a norm far beyond the others'. A state with a fault is not
    used to judge the others.

    Parameters
    ----------
    received : dict of str to tuple of (object, Manifest), or sequence of such pairs
        Organization to what :func:`~helpers.exchange.unpack_state` returned. As a sequence of
        ``(organization, (state, manifest))`` one organization may occur twice.
    limits : Limits, optional
        By default ``Limits()``.

    Returns
    -------
    list of Fault
        At most one for each state, in the order in which they were received.

    Notes
    -----
    What is compared with "most" is compared with the most frequent value. When two are equally
    frequent, as with two organizations that differ, nobody can know who is right: all are at fault.
    """
    limits = Limits() if limits is None else limits
    pairs = list(received.items() if isinstance(received, dict) else received)
    states = [
        _Received(organization, manifest, list_tensors(state, manifest))
        for organization, (state, manifest) in pairs
    ]
    found = {}
    for check in (_repeated, _shaped, _replayed, _not_finite, _miscounted, _too_large):
        good = [number for number in range(len(states)) if number not in found]
        faults = check([states[number] for number in good], limits)
        found |= {good[number]: fault for number, fault in faults.items()}
    return [
        Fault(states[number].organization, *found[number])
        for number in range(len(states))
        if number in found
    ]


@dataclasses.dataclass(frozen=True)
class _Received:
    organization: str
    manifest: object
    tensors: dict


def _repeated(states, limits):
    """Report two states under one name: one is forged, or old."""
    counts = collections.Counter(state.organization for state in states)
    return {
        number: (
            "",
            f"expected one state of this organization, received {counts[state.organization]}",
        )
        for number, state in enumerate(states)
        if counts[state.organization] > 1
    }


def _shaped(states, limits):
    """Report another class, other names, shapes or dtypes than most have."""

    def signature(state):
        manifest = state.manifest
        return manifest.state, manifest.names, manifest.shapes, manifest.dtypes

    found, common = _unlike_most([signature(state) for state in states])
    return {number: _difference(signature(states[number]), common) for number in found}


def _difference(signature, common):
    """Describe where two signatures differ: tensor and reason."""
    if common is None:
        return "", "the states are of different shapes, and no shape is that of most"
    if signature[0] != common[0]:
        return "", f"expected a {common[0]} as the others send, received {signature[0]!r}"
    if signature[1] != common[1]:
        return "", (
            f"expected the {len(common[1])} tensors that the others send, received "
            f"{len(signature[1])}: {_first_unlike(signature[1], common[1])}"
        )
    name, shape, dtype, common_shape, common_dtype = next(
        tensor
        for tensor in zip(*signature[1:], *common[2:], strict=True)
        if tensor[1:3] != tensor[3:]
    )
    return name, (
        f"expected shape {common_shape} and {common_dtype} as the others send, received {shape} "
        f"and {dtype}"
    )


def _first_unlike(names, common):
    """Name the first tensor that only one of two lists has."""
    own, known = set(names), set(common)
    for name in names:
        if name not in known:
            return f"{name!r} is not one of them"
    for name in common:
        if name not in own:
            return f"{name!r} is missing"
    return "in another order"


def _replayed(states, limits):
    """Report another round than most have."""
    found, common = _unlike_most([state.manifest.round for state in states])
    if common is None:
        reason = "the states belong to different rounds, and no round is that of most"
    else:
        reason = f"expected a state of round {common}, received one of round {{}}: a replay?"
    return {number: ("", reason.format(states[number].manifest.round)) for number in found}


def _unlike_most(values):
    """List the places that do not hold the most frequent value, and that value."""
    ranked = collections.Counter(values).most_common(2)
    if len(ranked) < 2:
        return [], None
    common = ranked[0][0] if ranked[0][1] > ranked[1][1] else None
    return [number for number, value in enumerate(values) if value != common], common


def _not_finite(states, limits):
    """Report NaN and infinite values."""
    found = {}
    for number, state in enumerate(states):
        for name, tensor in state.tensors.items():
            wrong = sum(int((~np.isfinite(piece)).sum()) for piece in _pieces(tensor))
            if wrong:
                found[number] = (name, f"{wrong} of {tensor.size} values are not finite")
                break
    return found


def _miscounted(states, limits):
    """Report impossible numbers of samples."""
    counts = [state.manifest.counts.get("n_samples") for state in states]
    found = {}
    for number, count in enumerate(counts):
        if count is None:
            continue
        if not 0 < count <= LARGEST_COUNT:
            reason = f"expected n_samples from 1 to {LARGEST_COUNT}, received {count}"
            found[number] = ("", reason)
            continue
        others = [other for k, other in enumerate(counts) if k != number and other is not None]
        if len(others) >= 2 and count > limits.sample_ratio * max(np.median(others), 1):
            found[number] = (
                "",
                f"expected at most {limits.sample_ratio:g} times the others' n_samples (median "
                f"{np.median(others):g}), received {count}",
            )
    return found


def _too_large(states, limits):
    """Report norms far beyond those of the others, field by field."""
    norms = [_norms(state.tensors) for state in states]
    found = {}
    for number, own in enumerate(norms):
        for field, norm in own.items():
            others = [other[field] for k, other in enumerate(norms) if k != number]
            median = np.median(others) if len(others) >= 2 else 0
            if limits.norm is not None and norm > limits.norm:
                reason = f"expected a norm of at most {limits.norm:g}, received {norm:.3g}"
            # Where the others send zeros there is nothing to compare with.
            elif median > 0 and norm > limits.norm_ratio * median:
                reason = (
                    f"expected a norm of at most {limits.norm_ratio:g} times the others' (median "
                    f"{median:.3g}), received {norm:.3g}"
                )
            else:
                continue
            found[number] = (field, reason)
            break
    return found


def _norms(tensors):
    """Euclidean norm of each field, in float64."""
    squares = collections.defaultdict(float)
    for name, tensor in tensors.items():
        # The squares of the largest float64 values are infinite; that is large enough.
        with np.errstate(over="ignore"):
            squares[name.partition("/")[0]] += sum(
                float(np.square(piece, dtype=np.float64).sum()) for piece in _pieces(tensor)
            )
    return {field: float(np.sqrt(square)) for field, square in squares.items()}


def _pieces(tensor):
    """Cut a tensor into pieces, so that a check takes little memory beside it."""
    flat = np.asarray(tensor).reshape(-1)
    return (flat[first : first + _PIECE] for first in range(0, flat.size, _PIECE))

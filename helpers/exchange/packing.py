"""Packed states: what organizations send each other, as arrays and a manifest instead of a pickle.

SubstraFL pickles shared states, and loading a pickle runs code of its writer. A packed state is a
`safetensors <https://github.com/huggingface/safetensors>`_ file: the arrays, and in its header a
manifest that describes them. Reading one runs no code, everything that a reader relies on is
checked before it is used, and the cost of reading is bounded by the size of the message.

The checksum detects damage. It is not a signature: whoever forges a file can compute its checksum.
"""

import collections
import dataclasses
import json
import math
import typing
from collections.abc import Sequence

import numpy as np
import pydantic
import safetensors.numpy
from substrafl.strategies import schemas

from helpers.exchange.compression import CompactArray
from helpers.exchange.faults import Fault, UpdateError
from helpers.exchange.manifest import (
    BLANK,
    DTYPES,
    FORMAT,
    Manifest,
    Refusal,
    header_fits,
    read_packed,
    require,
    seal,
)

# A shared state: SubstraFL's, or a plain list or dictionary of arrays.
State = pydantic.BaseModel | list | dict | None

STATE_CLASSES = (
    schemas.FedAvgSharedState,
    schemas.FedAvgAveragedState,
    schemas.ScaffoldSharedState,
    schemas.ScaffoldAveragedStates,
    schemas.NewtonRaphsonSharedState,
    schemas.NewtonRaphsonAveragedStates,
    schemas.FedPCASharedState,
    schemas.FedPCAAveragedState,
)
_LARGEST_GROWTH = 4  # growth of int8 when it is decoded to float32


def pack_state(
    state: State,
    *,
    names: Sequence[str] | None = None,
    organization: str = "",
    round: int = 0,
    refused: Sequence[Fault] = (),
) -> bytes:
    """Write a shared state as bytes.

    Parameters
    ----------
    state : pydantic.BaseModel or list or dict or None
        One of SubstraFL's states, or one in their style: fields that are whole numbers, arrays or
        lists of arrays. A dictionary may contain the same; a list contains arrays.
    names : sequence of str, optional
        Names of the tensors in every list of this length; by default they are numbered.
    organization : str, default=""
        Who writes it.
    round : int, default=0
        The round that it belongs to.
    refused : sequence of Fault, default=()
        What was excluded when it was computed.

    Returns
    -------
    bytes
        In the safetensors format. The arrays keep their dtypes and shapes; a
        :class:`~helpers.exchange.CompactArray` is written in its compressed form.

    Raises
    ------
    TypeError
        If the state contains anything but whole numbers and arrays of numbers.
    ValueError
        If the description of the arrays is too long for any reader.

    Examples
    --------
    >>> import numpy as np
    >>> data = pack_state({"mean": np.float32([1, 2])}, organization="Northfield")
    >>> state, manifest = unpack_state(data, origin="the organization")
    >>> state, manifest.organization
    ({'mean': array([1., 2.], dtype=float32)}, 'Northfield')
    """
    kind, fields = _fields_of(state)
    layout, arrays, counted = {}, [], set()
    for field, value in fields.items():
        if isinstance(value, int | np.integer) and not isinstance(value, bool):
            layout[field] = int(value)
        elif isinstance(value, np.ndarray | np.generic):
            layout[field] = []
            arrays.append(value)
        elif isinstance(value, list | tuple):
            layout[field] = [len(value)]
            arrays += value
            counted.add(len(value))
        else:
            raise TypeError(
                f"Expected whole numbers, arrays or lists of arrays in a shared state. Received "
                f"{type(value).__name__} in {kind}.{field}."
            )
    tensors, encodings = {}, {}
    for number, array in enumerate(arrays):
        if isinstance(array, CompactArray) and array.encoding is not None:
            encodings.setdefault(array.encoding, []).append([number, list(array.header)])
            parts = {_key(number, name): part for name, part in array.parts.items()}
        else:
            parts = {_key(number): array}
        tensors |= {key: _plain(part, kind) for key, part in parts.items()}
    manifest = {
        "sha256": BLANK,  # first, so that nothing later can be mistaken for it
        "format": FORMAT,
        "state": kind,
        "fields": layout,
        "names": list(names) if names is not None and len(names) in counted else [],
        "encodings": encodings,
        "organization": organization,
        "round": int(round),
        "refused": [dataclasses.astuple(fault) for fault in refused],
    }
    text = json.dumps(manifest, separators=(",", ":"))
    data = safetensors.numpy.save(tensors, metadata={"manifest": text})
    if not header_fits(data, 4 * sum(map(np.size, arrays))):
        raise ValueError(
            "Expected at most 250 kB of names and shapes, and fewer than a thousand arrays if they "
            f"are tiny. Received {len(tensors)} arrays in {len(data)} bytes: give them shorter "
            "names, or join them."
        )
    return seal(data)


def unpack_state(
    data: bytes, *, origin: str, classes: Sequence[type] = (), model_bytes: int = 0
) -> tuple[State, Manifest]:
    """Read a shared state that :func:`pack_state` has written.

    Parameters
    ----------
    data : bytes
        What was received.
    origin : str
        Who sent it, as far as the reader knows; used in the error.
    classes : sequence of type, default=()
        Classes of states that are accepted besides SubstraFL's own.
    model_bytes : int, default=0
        Size of the model in float32. A state takes at most this plus four times its bytes plus
        two megabytes. It is needed to read a sparse state, which may claim any shape.

    Returns
    -------
    state : pydantic.BaseModel or list or dict or None
        As it was packed; its arrays are copies.
    manifest : Manifest
        Its description of itself.

    Raises
    ------
    UpdateError
        If it is truncated, altered, of an unknown class, too large, a pickle, or anything else
        that :func:`pack_state` does not write. Nothing else is raised, for any bytes.
    """
    try:
        known = {cls.__name__: cls for cls in (*STATE_CLASSES, *classes)}
        return _unpack(bytes(data), known, model_bytes)
    except Refusal as refusal:
        tensor, reason = refusal.args
    except Exception as error:
        # The bytes are untrusted: any failure that they cause must end as a refusal.
        tensor, reason = "", f"cannot be read ({type(error).__name__}: {str(error)[:200]})"
    raise UpdateError(Fault(origin, tensor, reason))


def list_tensors(state: State, manifest: Manifest) -> dict[str, np.ndarray]:
    """List the tensors of a state under their names.

    Parameters
    ----------
    state : object
        As :func:`unpack_state` returns it.
    manifest : Manifest
        Its manifest.

    Returns
    -------
    dict of str to numpy.ndarray
        In the order of ``manifest.names``.
    """
    arrays = []
    for value in _fields_of(state)[1].values():
        if isinstance(value, np.ndarray):
            arrays.append(value)
        elif isinstance(value, list):
            arrays += value
    return dict(zip(manifest.names, arrays, strict=True))


def _unpack(data, classes, model_bytes):
    """Read a state; raise Refusal with the reason."""
    manifest, tensors = read_packed(data, model_bytes)
    kind, layout = manifest["state"], manifest["fields"]
    require(
        kind in classes or kind in ("None", "list", "dict"),
        f"expected one of the states {sorted(classes)}, received {kind!r}",
    )
    names = _name_tensors(layout, manifest["names"], len(tensors))
    twice = [name for name, count in collections.Counter(names).items() if count > 1]
    require(not twice, f"two tensors are called {twice[:1]}")
    encodings = {
        number: (encoding, header)
        for encoding, entries in manifest["encodings"].items()
        for number, header in entries
    }
    _check_room(encodings, tensors, model_bytes)
    arrays = [
        _take_array(tensors, number, encodings.get(number), name)
        for number, name in enumerate(names)
    ]
    require(not tensors, f"holds arrays that its manifest does not name: {sorted(tensors)[:5]}")
    left = iter(arrays)
    fields = {}
    for field, entry in layout.items():
        if isinstance(entry, int):
            fields[field] = entry
        else:
            fields[field] = [next(left) for _ in range(entry[0])] if entry else next(left)
    return _build(kind, fields, classes), Manifest(
        state=kind,
        organization=manifest["organization"],
        round=manifest["round"],
        names=tuple(names),
        shapes=tuple(array.shape for array in arrays),
        dtypes=tuple(str(array.dtype) for array in arrays),
        counts={field: entry for field, entry in layout.items() if isinstance(entry, int)},
        refused=tuple(Fault(*fault) for fault in manifest["refused"]),
        nbytes=len(data),
    )


def _name_tensors(layout, names, most):
    """Name all tensors of a layout, in order: field and name, or field and number."""
    named = []
    for field, entry in layout.items():
        if entry == []:
            named.append(field)
        elif isinstance(entry, list):
            count = len(named) + entry[0]
            require(count <= most, f"expected {count} tensors or more, received {most}", field)
            within = names if len(names) == entry[0] else range(entry[0])
            named += [f"{field}/{name}" for name in within]
    return named


def _key(number, part="values"):
    """Name a tensor in the file: short, since every name adds to the size of a small tensor."""
    return str(number) if part == "values" else f"{number}:{part}"


def _check_room(encodings, tensors, model_bytes):
    """Refuse sparse tensors that claim too large a shape, before memory is allocated."""
    sparse = {n: header for n, (encoding, header) in encodings.items() if encoding == "top_k"}
    parts = [tensors.get(_key(n, part)) for n in sparse for part in ("values", "indices")]
    room = model_bytes + _LARGEST_GROWTH * sum(part.nbytes for part in parts if part is not None)
    claimed = sum(4 * math.prod(header) for header in sparse.values())
    require(claimed <= room, f"expected sparse tensors of at most {room} bytes, received {claimed}")


def _take_array(tensors, number, encoded, name):
    """Take one of the tensors that were read, and decode it if it is compressed."""
    parts = {
        part: tensors.pop(_key(number, part))
        for part in ("values", "indices")
        if _key(number, part) in tensors and (part == "values" or encoded)
    }
    if not encoded:
        require("values" in parts, "missing", name)
        return parts["values"].copy()
    encoding, header = encoded
    try:
        return CompactArray(encoding, header, parts)
    except ValueError as error:
        raise Refusal(name, f"cannot be decoded: {error}") from error


def _build(kind, fields, classes):
    """Build the state from its fields."""
    if kind == "dict":
        return fields
    if kind == "None":
        require(fields == {}, "fields of a state that has none")
        return None
    if kind == "list":
        values = fields.get("list")
        require(len(fields) == 1 and isinstance(values, list), "not a list of arrays")
        return values
    cls = classes[kind]
    expected = {field: about.annotation for field, about in cls.model_fields.items()}
    require(
        list(fields) == list(expected),
        f"expected the fields {list(expected)} of {kind}, received {list(fields)[:20]}",
    )
    for field, value in fields.items():
        found = int if isinstance(value, int) else type(value)
        wanted = typing.get_origin(expected[field]) or expected[field]
        require(
            issubclass(found, wanted),
            f"expected {wanted.__name__}, received {found.__name__}",
            field,
        )
    return cls(**fields)


def _fields_of(state):
    """Return the kind of a state, and its fields."""
    if state is None:
        return "None", {}
    if isinstance(state, list | tuple):
        return "list", {"list": list(state)}
    if isinstance(state, dict):
        return "dict", state
    if isinstance(state, pydantic.BaseModel):
        return type(state).__name__, {
            name: getattr(state, name) for name in type(state).model_fields
        }
    raise TypeError(
        "Expected one of SubstraFL's shared states, a list or dictionary of arrays, or None. "
        f"Received {type(state).__name__}."
    )


def _plain(array, kind):
    """Make an array that can be written as it is in memory."""
    array = np.asarray(array)
    if array.dtype.name not in DTYPES.values():
        raise TypeError(
            f"Expected arrays of numbers in {kind}. Received dtype {array.dtype}: convert it, or "
            "keep it at the organization."
        )
    return np.array(array, dtype=array.dtype.newbyteorder("<"), order="C", copy=None)

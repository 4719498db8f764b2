"""Manifest of a packed state: how it describes itself, and the checks before any of it is used.

It is JSON in the header of a safetensors file: the class of the state, its fields, names of the
tensors, how they are encoded, who wrote it, its round, and a checksum over the whole file.

A size that a message declares is compared with the bytes received before memory of that size is
allocated. JSON can grow 45-fold when it is parsed: headers must be small, and the punctuation marks
in them, each of which may begin a value, are counted first.
"""

import dataclasses
import hashlib
import json
import math

import numpy as np

FORMAT = 1
BLANK = "0" * 64  # in place of the checksum while it is computed
DTYPES = {"BOOL": "bool", "F16": "float16", "F32": "float32", "F64": "float64"} | {
    f"{letter}{bits}": f"{name}{bits}"
    for letter, name in (("I", "int"), ("U", "uint"))
    for bits in (8, 16, 32, 64)
}
_LONGEST_TEXT = 300  # characters of a name
_BYTES_OF_A_MARK = 100  # at most, in memory: lists and dictionaries of one entry take 94
_MOST_DIMENSIONS = 64  # as in NumPy


@dataclasses.dataclass(frozen=True)
class Manifest:
    """How a packed state describes itself.

    Parameters
    ----------
    state : str
        Name of the state's class; ``"list"``, ``"dict"`` or ``"None"`` for plain ones.
    organization : str
        Who wrote it, as the writer claims.
    round : int
        The round that it belongs to, as the writer claims.
    names : tuple of str
        Its tensors: field and name, or field and number.
    shapes : tuple of tuple of int
        Their shapes.
    dtypes : tuple of str
        Their dtypes; for a compressed tensor the dtype after decoding.
    counts : dict of str to int
        Fields that are whole numbers, such as ``n_samples``.
    refused : tuple of Fault
        What was left out of an aggregation.
    nbytes : int
        Size of the packed state.
    """

    state: str
    organization: str
    round: int
    names: tuple
    shapes: tuple
    dtypes: tuple
    counts: dict
    refused: tuple
    nbytes: int


class Refusal(Exception):
    """Tensor and reason, before the sender is known."""


def require(condition: bool, reason: str, tensor: str = "") -> None:
    """Refuse what was received, unless the condition holds."""
    if not condition:
        raise Refusal(tensor, reason)


def seal(data: bytes) -> bytes:
    """Write the checksum into a packed state, in place of the blank one of its manifest.

    Parameters
    ----------
    data : bytes
        A packed state whose manifest holds ``BLANK``.

    Returns
    -------
    bytes
        Of the same length.
    """
    return data.replace(BLANK.encode(), hashlib.sha256(data).hexdigest().encode(), 1)


def header_fits(data: bytes, model_bytes: int = 0) -> bool:
    """Return whether a packed state has a header, of a size that may be read.

    Parameters
    ----------
    data : bytes
        What was written, or received.
    model_bytes : int, default=0
        Size of the model in float32.

    Returns
    -------
    bool
        Whether it takes at most a quarter of a megabyte and a 32nd of all bytes, and its values
        will take at most one megabyte and an eighth of all bytes and the model.
    """
    size = int.from_bytes(data[:8], "little")
    if not (len(data) >= 8 and 2 <= size <= min(2**18 + len(data) // 32, len(data) - 8)):
        return False
    marks = sum(data.count(mark, 8, 8 + size) for mark in (b"[", b"{", b":", b","))
    return _BYTES_OF_A_MARK * marks <= 2**20 + (len(data) + model_bytes) // 8


def read_packed(data: bytes, model_bytes: int = 0) -> tuple[dict, dict[str, np.ndarray]]:
    """Read the header of a packed state, and check the checksum over everything.

    Parameters
    ----------
    data : bytes
        What was received.
    model_bytes : int, default=0
        Size of the model in float32.

    Returns
    -------
    manifest : dict
        The entries that :func:`helpers.exchange.pack_state` writes, each of its type.
    tensors : dict of str to numpy.ndarray
        The arrays, as views of ``data``.

    Raises
    ------
    Refusal
        If there is no valid manifest.
    """
    if not header_fits(data, model_bytes):
        raise Refusal("", _explain_other(data))
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    text = header.pop("__metadata__", {}).get("manifest") if isinstance(header, dict) else None
    require(isinstance(text, str), "arrays without a manifest")
    manifest = json.loads(text)
    require(isinstance(manifest, dict), "a manifest that is not a dictionary")
    checksum = manifest.get("sha256")
    require(isinstance(checksum, str) and len(checksum) == 64, "a manifest without a checksum")
    blank = data.replace(checksum.encode(), BLANK.encode(), 1)
    require(
        hashlib.sha256(blank).hexdigest() == checksum,
        "altered in transit: the checksum is not that of its content",
    )
    require(
        manifest.get("format") == FORMAT,
        f"expected format {FORMAT}, received {str(manifest.get('format'))[:20]}: use the same "
        "version of this package everywhere",
    )
    for key, check in _ENTRIES.items():
        require(key in manifest and check(manifest[key]), f"a manifest with an unusable {key!r}")
    # Nothing else of the header is kept.
    return {key: manifest[key] for key in _ENTRIES}, _read_tensors(data, start, header)


def _read_tensors(data, start, header):
    """Read the arrays, which must follow each other without gaps from the header to the end."""
    tensors, end = {}, start
    for key, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        shape, dtype = entry["shape"], DTYPES.get(entry["dtype"])
        require(dtype, f"expected arrays of plain numbers, received {str(entry['dtype'])[:20]!r}")
        require(_is_shape(shape), "an array without a usable shape")
        size = math.prod(shape)
        begin, end = end, end + size * np.dtype(dtype).itemsize
        require(
            entry["data_offsets"] == [begin - start, end - start] and end <= len(data),
            "arrays that do not lie one after the other, or are not of their shapes",
        )
        tensors[key] = np.frombuffer(data, dtype, size, begin).reshape(shape)
    require(end == len(data), f"{len(data) - end} bytes that belong to no array")
    return tensors


def _explain_other(data):
    """Describe what was received in place of a packed state."""
    if len(data) == 0:
        return "an empty file"
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return (
            "a pickle in place of arrays; it was not opened, because loading a pickle runs "
            "whatever its writer put in. Let every party use SafeExchange"
        )
    if data[:2] == b"PK":
        return "a zip archive in place of arrays, as npz and PyTorch files are"
    return (
        f"truncated, or not a packed state: {len(data)} bytes without a header, or with too large "
        "a one"
    )


def _is_count(value):
    return type(value) is int and 0 <= value < 2**63


def _is_shape(value):
    return isinstance(value, list) and len(value) <= _MOST_DIMENSIONS and all(map(_is_count, value))


def _is_layout(value):
    return (
        isinstance(value, dict)
        and _is_texts(list(value))
        and all(
            (type(entry) is int and abs(entry) < 2**63)
            or entry == []
            or (isinstance(entry, list) and len(entry) == 1 and _is_count(entry[0]))
            for entry in value.values()
        )
    )


def _is_text(value):
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT


def _is_texts(value):
    return isinstance(value, list) and all(map(_is_text, value))


def _is_encoded(value):
    return isinstance(value, list) and all(
        isinstance(entry, list)
        and len(entry) == 2
        and _is_count(entry[0])
        and (_is_shape(entry[1]) or (len(entry[1]) == 1 and type(entry[1][0]) is float))
        for entry in value
    )


_ENTRIES = {
    "state": _is_text,
    "fields": _is_layout,
    "names": lambda value: _is_texts(value) and len(set(value)) == len(value),
    "encodings": lambda value: isinstance(value, dict) and all(map(_is_encoded, value.values())),
    "organization": _is_text,
    "round": _is_count,
    "refused": lambda value: (
        isinstance(value, list)
        and all(
            isinstance(f, list) and len(f) == 3 and all(isinstance(t, str) for t in f)
            for f in value
        )
    ),
}

"""Compression: updates that are sent in half, a quarter or a hundredth of their bytes.

A compressor turns each tensor of an update into a :class:`CompactArray`: an ordinary array of the
values that the receiver will see, which also holds the compressed form that is sent. What is lost
in one update can be sent later: with *error feedback* (Seide et al. 2014; Karimireddy et al. 2019)
an organization remembers what was not sent, and adds it to its next update.
"""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

# A sparse tensor may claim any shape. This limits the memory that a few received bytes can take.
SMALLEST_SHARE = 1e-4


class CompactArray(np.ndarray):
    """A read-only array of float32 that is sent in a compressed form.

    Pickle and :func:`~helpers.exchange.pack_state` write only the compressed form. Results computed
    from it, views and copies included, are plain arrays.

    Parameters
    ----------
    encoding : {"float16", "int8", "top_k"}
        How the values are encoded.
    header : sequence of float or int
        For ``"int8"`` the scale, for ``"top_k"`` the shape; else empty.
    parts : dict of str to numpy.ndarray
        The compressed form: ``values``, and for ``"top_k"`` also ``indices`` into the flat array.

    Attributes
    ----------
    encoding, header, parts
        As given; ``encoding`` is None for views and copies.

    Raises
    ------
    ValueError
        If they are inconsistent.

    Examples
    --------
    >>> sent = CompactArray("int8", [0.5], {"values": np.int8([2, -4])})
    >>> sent * 2
    array([ 2., -4.], dtype=float32)
    """

    def __new__(
        cls, encoding: str, header: Sequence[float], parts: Mapping[str, np.ndarray]
    ) -> Self:
        """Decode the compressed form."""
        if encoding not in _DECODERS:
            raise ValueError(f"Expected one of {sorted(_DECODERS)}. Received {encoding!r}.")
        array = np.asarray(_DECODERS[encoding](header, parts)).view(cls)
        array.encoding, array.header, array.parts = encoding, tuple(header), dict(parts)
        array.flags.writeable = False
        return array

    def __array_finalize__(self, source: np.ndarray | None) -> None:
        """Drop the compressed form in views and copies, whose values may differ."""
        self.encoding = self.header = self.parts = None

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        """Compute with plain arrays."""
        inputs = [np.asarray(x) if isinstance(x, CompactArray) else x for x in inputs]
        if "out" in settings:  # NumPy will say that it cannot be changed
            settings["out"] = tuple(None if x is None else np.asarray(x) for x in settings["out"])
        return getattr(ufunc, method)(*inputs, **settings)

    def __array_function__(
        self, function: Callable, types: Sequence[type], args: tuple, kwargs: dict[str, Any]
    ) -> Any:
        """Return plain arrays from NumPy's functions too."""
        result = super().__array_function__(function, types, args, kwargs)
        return np.asarray(result) if isinstance(result, CompactArray) else result

    def __copy__(self) -> Self:
        """Return the array itself, as it cannot be changed."""
        return self

    def __deepcopy__(self, memo: dict) -> Self:
        """Return the array itself, as it cannot be changed."""
        return self

    def __reduce__(self) -> tuple:
        """Pickle the compressed form."""
        if self.encoding is None:
            return np.asarray(self).__reduce__()
        return CompactArray, (self.encoding, self.header, self.parts)


class Compressor(abc.ABC):
    """Base of the compressors, which have settings and no state.

    A child class implements :meth:`encode`, and its ``remembers`` is whether what was not sent is
    added to the next update.
    """

    option: ClassVar[str] = "compression"
    remembers: ClassVar[bool] = True

    @abc.abstractmethod
    def encode(self, values: np.ndarray) -> CompactArray:
        """Encode one tensor.

        Parameters
        ----------
        values : numpy.ndarray, float32
            Finite.

        Returns
        -------
        CompactArray
            Of the same shape.
        """

    def compress(
        self, update: Mapping[str, np.ndarray], memory: Mapping[str, np.ndarray] | None = None
    ) -> tuple[dict[str, CompactArray], dict[str, np.ndarray] | None]:
        """Compress an update, and return what was not sent.

        With error feedback, update :math:`g_t` and memory :math:`e_t`, it sends
        :math:`C(g_t + e_t)` and remembers :math:`e_{t+1} = g_t + e_t - C(g_t + e_t)`
        (Karimireddy et al. 2019, Algorithm 2). The sum of all
        that was sent, plus the memory, is the sum of all updates.

        Parameters
        ----------
        update : dict of str to numpy.ndarray
            Tensors of float32 by name.
        memory : dict of str to numpy.ndarray, optional
            What the last call returned; None for the first.

        Returns
        -------
        sent : dict of str to CompactArray
            In the order of ``update``.
        memory : dict of str to numpy.ndarray or None
            For the next call; None without error feedback.

        Raises
        ------
        TypeError
            If a tensor is not of float32.
        ValueError
            If values are not finite or too large for the compressed form, or the memory belongs to
            another model; with the tensor's name.
        """
        if memory is not None and self.remembers and list(memory) != list(update):
            raise ValueError(
                f"Expected a memory of the tensors {list(update)}. Received one of {list(memory)}: "
                "it belongs to another model."
            )
        sent, left = {}, {}
        for name, values in update.items():
            values = np.asarray(values)
            if values.dtype != np.float32:
                raise TypeError(
                    f"Expected float32 to compress in {name}. Received {values.dtype}: build the "
                    "model in float32, or send its updates as they are."
                )
            if memory is not None and self.remembers:
                values = values + memory[name]
            if not np.isfinite(values).all():
                raise ValueError(
                    f"Expected finite values to compress in {name}. Training diverged there: "
                    "lower the learning rate, or clip the gradients."
                )
            try:
                sent[name] = self.encode(values)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
            left[name] = values - sent[name]
        return sent, left if self.remembers else None


@dataclasses.dataclass(frozen=True)
class Float16(Compressor):
    """Half precision: half the bytes, three significant digits.

    Values below 6e-8 become zero. There is no error feedback: each value is rounded by at most a
    thousandth, without bias.

    Examples
    --------
    >>> sent, memory = Float16().compress({"w": np.float32([0.1])})
    >>> sent["w"].parts["values"]
    array([0.1], dtype=float16)
    """

    remembers: ClassVar[bool] = False

    def encode(self, values: np.ndarray) -> CompactArray:
        """Round to half precision, see :class:`Compressor`."""
        largest = np.abs(values).max(initial=0)
        if largest > np.finfo(np.float16).max:
            raise ValueError(
                f"Expected values of at most 65504, float16's largest. Received {largest:g}. An "
                "update of this size is a training that diverges; Int8 has no such limit."
            )
        return CompactArray("float16", (), {"values": values.astype(np.float16)})


@dataclasses.dataclass(frozen=True)
class Int8(Compressor):
    r"""Whole numbers from -127 to 127 and one scale per tensor: a quarter of the bytes.

    :math:`q = \mathrm{round}(x / s)` with :math:`s = \max|x| / 127`, and error feedback.

    Examples
    --------
    >>> sent, memory = Int8().compress({"w": np.float32([0.0, 127.0, -1.4])})
    >>> sent["w"].parts["values"]
    array([  0, 127,  -1], dtype=int8)
    >>> memory["w"].round(1)
    array([ 0. ,  0. , -0.4], dtype=float32)
    """

    def encode(self, values: np.ndarray) -> CompactArray:
        """Round to multiples of the scale, see :class:`Compressor`."""
        scale = np.float32(np.abs(values).max(initial=0) / 127)
        # Values so small that their scale is zero are sent later, when they have added up.
        steps = np.rint(values / scale) if scale else np.zeros_like(values)
        whole = np.clip(steps, -127, 127).astype(np.int8)
        return CompactArray("int8", (float(str(scale)),), {"values": whole})


@dataclasses.dataclass(frozen=True)
class TopK(Compressor):
    """Only the largest values of each tensor, with their places, and error feedback.

    Each kept value costs eight bytes, so that the share should be far below one half.

    Parameters
    ----------
    share : float in [0.0001, 1], default=0.01
        Share of the values that is sent; at least one of each tensor.

    Raises
    ------
    ValueError
        If ``share`` is out of range.

    Examples
    --------
    >>> sent, memory = TopK(share=0.25).compress({"w": np.float32([1, -5, 2, 3])})
    >>> sent["w"] + 0
    array([ 0., -5.,  0.,  0.], dtype=float32)
    >>> memory["w"]
    array([1., 0., 2., 3.], dtype=float32)
    """

    share: float = 0.01

    def __post_init__(self) -> None:
        """Check the share."""
        if not SMALLEST_SHARE <= self.share <= 1:
            raise ValueError(f"Expected share from {SMALLEST_SHARE} to 1. Received {self.share}.")

    def encode(self, values: np.ndarray) -> CompactArray:
        """Keep the largest values, see :class:`Compressor`."""
        flat = values.ravel()
        kept = min(flat.size, max(1, round(self.share * flat.size)))
        # A stable sort keeps the first of equal values, on every machine.
        order = np.argsort(-np.abs(flat), kind="stable")[:kept]
        indices = np.sort(order).astype(np.int32)
        return CompactArray("top_k", values.shape, {"indices": indices, "values": flat[indices]})


def _decode_float16(header, parts):
    """Widen half precision."""
    (values,) = _take(parts, values=np.float16)
    _expect(len(header) == 0, f"no header of float16, received {header!r}")
    return values.astype(np.float32)


def _decode_int8(header, parts):
    """Multiply by the scale."""
    (values,) = _take(parts, values=np.int8)
    _expect(
        len(header) == 1 and isinstance(header[0], float) and 0 <= header[0] < 3e36,
        f"a scale from 0 to 3e36 as header of int8, received {header!r}",
    )
    return np.multiply(values, np.float32(header[0]), dtype=np.float32)


def _decode_top_k(header, parts):
    """Put the values into their places, zeros elsewhere."""
    indices, values = _take(parts, indices=np.int32, values=np.float32)
    shape = tuple(header)
    _expect(
        all(type(n) is int and n >= 0 for n in shape), f"a shape as header, received {header!r}"
    )
    size = math.prod(shape)
    _expect(
        indices.ndim == 1 and indices.shape == values.shape,
        f"one value for each index, received shapes {indices.shape} and {values.shape}",
    )
    # Because of rounding in TopK, a kept value may stand for one and a half times as many.
    _expect(
        indices.size <= size <= 2 * max(indices.size, 1) / SMALLEST_SHARE,
        f"at most {2 / SMALLEST_SHARE:.0f} values for each that is sent, received a shape of "
        f"{shape} for {indices.size}",
    )
    _expect(
        indices.size == 0
        or (indices[0] >= 0 and indices[-1] < size and (indices[1:] > indices[:-1]).all()),
        f"increasing indices below {size}",
    )
    decoded = np.zeros(size, np.float32)
    decoded[indices] = values
    return decoded.reshape(shape)


_DECODERS = {"float16": _decode_float16, "int8": _decode_int8, "top_k": _decode_top_k}


def _take(parts, **dtypes):
    """Take the arrays of a compressed form, which must have these names and dtypes."""
    received = {name: str(part.dtype) for name, part in parts.items()}
    expected = {name: str(np.dtype(dtype)) for name, dtype in dtypes.items()}
    _expect(received == expected, f"the parts {expected}, received {received}")
    return [parts[name] for name in dtypes]


def _expect(condition, what):
    """Refuse a compressed form that cannot be decoded."""
    if not condition:
        raise ValueError(f"Expected {what}.")

"""Masks that cancel: whole numbers of which only the sum over all parties can be read.

Pairwise masking of Bonawitz et al. (2017) [1]_ without its recovery from dropouts: a plan in which
a party fails ends. Each pair of parties agrees on a secret by X25519; HKDF derives a key of it for
each message, and ChaCha20 makes as many uniform whole numbers of the key as the message has. One
of the two adds them, modulo :math:`2^{32}` or :math:`2^{64}`, the other subtracts them.

References
----------
.. [1] K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning",
   ACM CCS 2017.
"""

import functools
import hashlib
import math
import os
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

KEY_BYTES = 32


def make_key() -> bytes:
    """Draw a private key from the operating system's generator.

    Returns
    -------
    bytes
        32 bytes, which stay at the party.
    """
    return os.urandom(KEY_BYTES)


def public_key(private_key: bytes) -> bytes:
    """Return the public key of a private one, 32 bytes.

    Parameters
    ----------
    private_key : bytes
        As :func:`make_key` returns it.

    Returns
    -------
    bytes
        32 bytes, for everybody.
    """
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def fingerprint(key: bytes) -> str:
    """Shorten a public key, to compare it on the telephone.

    Parameters
    ----------
    key : bytes
        A public key.

    Returns
    -------
    str
        The first 64 bits of its SHA-256, as four groups of hexadecimal digits.

    Examples
    --------
    >>> fingerprint(bytes(32))
    '6668 7aad f862 bd77'
    """
    digits = hashlib.sha256(key).hexdigest()
    return " ".join(digits[start : start + 4] for start in range(0, 16, 4))


class Masker:
    """Masks of one party against all others.

    Parameters
    ----------
    private_key : bytes
        The party's own.
    others : sequence of bytes
        Public keys of the other parties of the sum, at least one.
    plan : bytes
        Salt of all keys, the same at all parties, and another one for each plan.

    Raises
    ------
    ValueError
        If there are no others, one of them has the party's own key, two have the same one, or a
        key is not one of X25519's.
    """

    def __init__(self, private_key: bytes, others: Sequence[bytes], *, plan: bytes) -> None:
        own, private = public_key(private_key), X25519PrivateKey.from_private_bytes(private_key)
        if not others or len({own, *others}) <= len(others):
            raise ValueError(
                "Expected the public keys of other parties, each its own. Received "
                f"{len(others)} of which {len(others) + 1 - len({own, *others})} occur twice: a "
                "key may be used by one party only."
            )
        self._pairs = []
        for other in others:
            try:
                secret = private.exchange(X25519PublicKey.from_public_bytes(other))
            except ValueError:
                raise ValueError(
                    "Expected public keys of X25519, of 32 bytes. Received another one, with the "
                    f"fingerprint {fingerprint(other)}: it was not made by this library."
                ) from None
            pair = HKDF(SHA256(), KEY_BYTES, plan, b"".join(sorted((own, other)))).derive(secret)
            self._pairs.append((np.add if own < other else np.subtract, pair))

    def mask(self, numbers: np.ndarray, message: str) -> np.ndarray:
        """Add the masks of one message.

        Parameters
        ----------
        numbers : numpy.ndarray, uint32 or uint64
            As :func:`encode` returns them.
        message : str
            Which message it is, such as its round and tensor: the same at all parties, and
            different from all other messages of the plan. Two messages with equal masks would
            reveal their difference.

        Returns
        -------
        numpy.ndarray
            Of the same shape and dtype; uniformly distributed to whoever lacks the keys.
        """
        masked = numbers.copy()
        for combine, pair in self._pairs:
            key = HKDFExpand(SHA256(), KEY_BYTES, message.encode()).derive(pair)
            generator = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
            stream = np.frombuffer(generator.update(bytes(numbers.nbytes)), f"<u{numbers.itemsize}")
            combine(masked, stream.reshape(numbers.shape), out=masked)
        return masked


def find_step(bound: float, n_parties: int, bits: int) -> float:
    r"""Find the finest step of which no sum overflows.

    Parameters
    ----------
    bound : float
        Largest magnitude of a number at a party.
    n_parties : int
        How many numbers are added.
    bits : {32, 64}
        Sums are taken modulo :math:`2^{bits}`.

    Returns
    -------
    float
        A power of two, so that dividing by it is exact: the smallest with :math:`n\,(bound / step
        + 1/2) < 2^{bits - 1}`. A rounded sum is off by at most :math:`n \cdot step / 2`, which is
        below :math:`1.01 \, n^2 \cdot bound \cdot 2^{1 - bits}` for up to a million parties.

    Examples
    --------
    >>> find_step(1.0, 16, 32) == 2.0**-26
    True
    """
    # A millionth of the room is left for the rounding of this computation itself.
    room = (1 - 2**-20) * 2 ** (bits - 1) / n_parties - 1
    return 2.0 ** math.ceil(math.log2(bound / room))


def encode(values: np.ndarray, step: float, bits: int) -> np.ndarray:
    r"""Round numbers to whole multiples of a step, as residues modulo :math:`2^{bits}`.

    Parameters
    ----------
    values : numpy.ndarray
        Finite.
    step : float
        A power of two. A number is rounded to its nearest multiple, a half to the even one, and is
        off by at most half a step.
    bits : {32, 64}
        Size of the result.

    Returns
    -------
    numpy.ndarray, uint32 or uint64
        Of the same shape.
    """
    return np.rint(np.asarray(values) / step).astype(np.int64).astype(f"<u{bits // 8}")


def decode(total: np.ndarray, step: float) -> np.ndarray:
    """Read a sum of encoded numbers.

    Parameters
    ----------
    total : numpy.ndarray, uint32 or uint64
        The sum.
    step : float
        That of :func:`encode`.

    Returns
    -------
    numpy.ndarray, float64
        Of the same shape.
    """
    return total.view(f"<i{total.itemsize}") * step


def add_modulo(messages: Sequence[np.ndarray]) -> np.ndarray:
    """Add messages of the same shape and dtype; if they are those of all parties, masks cancel.

    Parameters
    ----------
    messages : sequence of numpy.ndarray
        At least one, of unsigned whole numbers.

    Returns
    -------
    numpy.ndarray
        Their sum modulo the size of the dtype.

    Raises
    ------
    ValueError
        If two differ in shape or dtype.
    """
    kinds = {(message.shape, str(message.dtype)) for message in messages}
    if len(kinds) != 1:
        raise ValueError(
            f"Expected messages of one shape and dtype. Received {sorted(kinds)}: let all parties "
            "mask the same tensors."
        )
    return functools.reduce(np.add, messages)

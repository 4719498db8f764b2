"""Masks that cancel: whole numbers of which only the sum over all parties can be read.

Pairwise masking of Bonawitz et al. (2017) [1]_ without its recovery from dropouts: a plan in which
a party fails ends. Each pair of parties agrees on a secret by X25519; HKDF derives a key of it for
each message, and ChaCha20 makes of the key as many uniform whole numbers as the message has. One of
the two adds them, modulo :math:`2^{32}` or :math:`2^{64}`, the other subtracts them.

References
----------
.. [1] K. Bonawitz et al., "Practical Secure Aggregation for Privacy-Preserving Machine Learning",
   ACM CCS 2017.
"""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand


def public_key(private_key: bytes) -> bytes:
    """Return the public key of a private one, which is any 32 random bytes (``os.urandom(32)``)."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def fingerprint(key: bytes) -> str:
    """Shorten a public key to 64 bits of its SHA-256, to compare it on the telephone.

    Examples
    --------
    >>> fingerprint(bytes(32))
    '6668 7aad f862 bd77'
    """
    digits = hashlib.sha256(key).hexdigest()
    return " ".join(digits[start : start + 4] for start in range(0, 16, 4))


def check_keys(keys: Sequence[bytes]) -> None:
    """Refuse public keys of which two are equal, with a ValueError."""
    if len(set(keys)) < len(keys):
        raise ValueError(
            f"Expected {len(keys)} different public keys. Received one of them twice: each party "
            "makes its own, and uses it once."
        )


class Masker:
    """Masks of one party against all others.

    Parameters
    ----------
    private_key : bytes
        The party's own, 32 bytes.
    others : sequence of bytes
        Public keys of the other parties of the sum.
    plan : bytes
        Salt of all keys, the same at all parties, and another one for each plan.

    Raises
    ------
    ValueError
        If two parties have the same key, or a key is not one of X25519's.
    """

    def __init__(self, private_key: bytes, others: Sequence[bytes], *, plan: bytes) -> None:
        own, private = public_key(private_key), X25519PrivateKey.from_private_bytes(private_key)
        check_keys([own, *others])
        self._pairs = []
        for other in others:
            try:
                secret = private.exchange(X25519PublicKey.from_public_bytes(other))
            except ValueError:
                raise ValueError(
                    "Expected public keys of X25519. Received another one, with the fingerprint "
                    f"{fingerprint(other)}: it was not made by this library."
                ) from None
            pair = HKDF(SHA256(), 32, plan, b"".join(sorted((own, other)))).derive(secret)
            self._pairs.append((np.add if own < other else np.subtract, pair))

    def mask(self, numbers: np.ndarray, message: str) -> np.ndarray:
        """Add the masks of one message.

        Parameters
        ----------
        numbers : numpy.ndarray, uint32 or uint64
            As :meth:`FixedPoint.encode` returns them.
        message : str
            Which message it is, such as its round and tensor: the same at all parties, and
            different from all others of the plan. Two messages with equal masks would reveal their
            difference.

        Returns
        -------
        numpy.ndarray
            Of the same shape and dtype; uniformly distributed to whoever lacks the keys.
        """
        masked = numbers.copy()
        for combine, pair in self._pairs:
            key = HKDFExpand(SHA256(), 32, message.encode()).derive(pair)
            generator = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
            stream = np.frombuffer(generator.update(bytes(numbers.nbytes)), f"<u{numbers.itemsize}")
            combine(masked, stream.reshape(numbers.shape), out=masked)
        return masked


@dataclasses.dataclass(frozen=True)
class FixedPoint:
    r"""Numbers as whole multiples of a step, so fine that no sum overflows.

    The step is the smallest power of two, by which a division is exact, with
    :math:`n\,(bound / step + 1/2) < 2^{bits - 1}`. A number is rounded to the nearest multiple, a
    half to the even one. So a sum of :math:`n` is off by at most :math:`n \cdot step / 2`, which
    is below :math:`1.01\,n^2 \cdot bound \cdot 2^{1 - bits}` for up to a thousand parties.

    Parameters
    ----------
    bound : float
        Largest magnitude of a number.
    n_parties : int
        How many numbers are added.
    bits : {32, 64}, default=64
        Sums are taken modulo :math:`2^{bits}`.

    Examples
    --------
    >>> code = FixedPoint(1.0, 2, bits=32)
    >>> messages = [code.encode(np.array([0.5, -0.25])), code.encode(np.array([-1.0, 1.0]))]
    >>> code.decode_sum(messages)
    array([-0.5 ,  0.75])
    """

    bound: float
    n_parties: int
    bits: int = 64

    @property
    def step(self) -> float:
        """The step."""
        # A millionth of the room is left for the rounding of this computation itself.
        room = (1 - 2**-20) * 2 ** (self.bits - 1) / self.n_parties - 1
        return 2.0 ** math.ceil(math.log2(self.bound / room))

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Round numbers of at most the bound; returns uint32 or uint64 of the same shape."""
        if not (np.abs(values) <= self.bound).all():
            raise ValueError(
                f"Expected finite numbers of at most {self.bound:g}. Received others: a sum could "
                "overflow."
            )
        return np.rint(values / self.step).astype(np.int64).astype(f"<u{self.bits // 8}")

    def decode_sum(self, messages: Sequence[np.ndarray]) -> np.ndarray:
        """Add encoded numbers, masked or not, and return the sum in float64."""
        return add_modulo(messages).view(f"<i{self.bits // 8}") * self.step


def add_modulo(messages: Sequence[np.ndarray]) -> np.ndarray:
    """Add messages modulo the size of their dtype; masks of all parties cancel.

    Messages of different shapes or dtypes raise a ValueError.
    """
    kinds = sorted({(message.shape, str(message.dtype)) for message in messages})
    if len(kinds) != 1:
        raise ValueError(
            f"Expected messages of one shape and dtype. Received {kinds}: let all parties mask the "
            "same tensors."
        )
    return functools.reduce(np.add, messages)

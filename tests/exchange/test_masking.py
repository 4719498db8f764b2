"""Masks: what cancels, what an observer sees, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from helpers.exchange import MaskedSum
from helpers.exchange.masking import FixedPoint, Masker, add_modulo, public_key

PLAN = b"a plan"


def make_maskers(n_parties, seed=0, plan=PLAN):
    """Make parties with keys of a seed, so that what is tested of their bits is the same always."""
    rng = np.random.default_rng(seed)
    keys = [rng.bytes(32) for _ in range(n_parties)]
    public = [public_key(key) for key in keys]
    others = [public[:place] + public[place + 1 :] for place in range(n_parties)]
    return [Masker(*pair, plan=plan) for pair in zip(keys, others, strict=True)]


def correlate(first, second):
    return abs(np.corrcoef(np.ravel(first).astype(float), np.ravel(second).astype(float))[0, 1])


@given(
    st.integers(2, 9),
    st.lists(st.integers(0, 4), max_size=3),
    st.floats(1e-6, 1e9),
    st.sampled_from([32, 64]),
    st.integers(0, 2**32),
)
def test_masks_cancel_and_the_sum_is_rounded_as_stated(n_parties, shape, bound, bits, seed):
    rng = np.random.default_rng(seed)
    values = rng.uniform(-bound, bound, (n_parties, *shape))
    code = FixedPoint(bound, n_parties, bits)
    plain = [code.encode(value) for value in values]
    masked = [
        masker.mask(numbers, "1/w")
        for masker, numbers in zip(make_maskers(n_parties, seed), plain, strict=True)
    ]
    assert {message.dtype for message in masked} == {np.dtype(f"uint{bits}")}
    assert {message.shape for message in masked} == {tuple(shape)}
    np.testing.assert_array_equal(add_modulo(masked), add_modulo(plain))
    # The sum in float64, with which it is compared, is itself off by a few of its last digits.
    allowed = n_parties * code.step / 2 + n_parties * bound * 2**-50
    assert np.abs(code.decode_sum(masked) - values.sum(axis=0)).max(initial=0) <= allowed


@given(st.floats(1e-9, 1e12), st.integers(1, 1000), st.sampled_from([32, 64]))
def test_no_sum_overflows_and_the_error_is_below_its_bound(bound, n_parties, bits):
    code = FixedPoint(bound, n_parties, bits)
    assert math.frexp(code.step)[0] == 0.5  # a power of two
    error = n_parties * code.step / 2
    assert error <= 1.01 * n_parties**2 * bound * 2.0 ** (1 - bits)
    for side in (-1, 1):
        extreme = code.encode(np.array([side * bound]))
        total = int(extreme.view(f"i{bits // 8}")[0]) * n_parties  # without a modulus
        assert -(2 ** (bits - 1)) < total < 2 ** (bits - 1)
        assert code.decode_sum([extreme] * n_parties) == pytest.approx(
            [side * n_parties * bound], abs=error, rel=1e-12
        )


def test_sixteen_parties_at_32_bits_lose_less_than_a_millionth_of_the_range(rng):
    values = rng.uniform(-3, 3, (16, 1000))
    code = FixedPoint(3.0, 16, 32)
    mean = code.decode_sum([code.encode(value) for value in values]) / 16
    assert np.abs(mean - values.mean(axis=0)).max() <= 2**-20 * 6


@pytest.mark.parametrize("bits", [32, 64])
def test_a_message_is_uniform_whatever_it_hides(bits):
    size = 2**18
    update = np.linspace(-1, 1, size)
    code = FixedPoint(1.0, 3, bits)
    for hidden in (np.zeros(size), update):
        message = make_maskers(3)[0].mask(code.encode(hidden), "0/w")
        counts = np.bincount(np.frombuffer(message.tobytes(), np.uint8), minlength=256)
        assert 0.001 < chisquare(counts).pvalue < 0.999
        assert correlate(message, update) < 0.02


def test_other_keys_plans_and_rounds_give_other_messages_and_the_same_sum():
    numbers = [np.full(50_000, n, np.uint32) for n in (1, 2, 3)]

    def send(message="0/w", **how):
        return [m.mask(n, message) for m, n in zip(make_maskers(3, **how), numbers, strict=True)]

    sent = [send(), send(seed=1), send(plan=b"other"), send("1/w"), send("0/b")]
    for messages in sent:
        np.testing.assert_array_equal(add_modulo(messages), 6)
    for number, messages in enumerate(sent):
        for others in sent[:number]:
            for pair in zip(messages, others, strict=True):
                assert correlate(*pair) < 0.02
    np.testing.assert_array_equal(send(), sent[0])
    mixed = add_modulo([*sent[0][:2], sent[3][2]])
    assert (mixed == 6).mean() < 0.001


def test_the_mask_is_that_of_the_documented_functions():
    """Recompute the mask of two parties from the keys, step by step."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

    first, second = sorted((bytes([n]) * 32 for n in (1, 2)), key=public_key)
    private = X25519PrivateKey.from_private_bytes(first)
    secret = private.exchange(X25519PrivateKey.from_private_bytes(second).public_key())
    both = public_key(first) + public_key(second)
    pair = HKDF(hashes.SHA256(), 32, PLAN, both).derive(secret)
    key = HKDFExpand(hashes.SHA256(), 32, b"4/w").derive(pair)
    stream = Cipher(algorithms.ChaCha20(key, bytes(16)), None).encryptor().update(bytes(40))
    expected = np.frombuffer(stream, "<u4")
    zeros = np.zeros(10, np.uint32)
    one = Masker(first, [public_key(second)], plan=PLAN).mask(zeros, "4/w")
    other = Masker(second, [public_key(first)], plan=PLAN).mask(zeros, "4/w")
    np.testing.assert_array_equal(one, expected)
    np.testing.assert_array_equal(other, -expected)


def test_keys_are_used_once_and_are_points_of_the_curve():
    own, other = bytes([1]) * 32, public_key(bytes([2]) * 32)
    for others in ([public_key(own)], [other, other]):
        with pytest.raises(ValueError, match=r"different public keys. Received one of them twice"):
            Masker(own, others, plan=PLAN)
    for wrong in (bytes(32), b"short"):  # the first has the same secret with everybody
        with pytest.raises(ValueError, match="Expected public keys of X25519") as error:
            Masker(own, [wrong], plan=PLAN)
        assert own.hex() not in str(error.value)


def test_what_could_overflow_or_differs_in_shape_is_refused():
    code = FixedPoint(1.0, 3, 32)
    for value in (1.1, -np.inf, np.nan):
        with pytest.raises(ValueError, match="finite numbers of at most 1"):
            code.encode(np.array([0.0, value]))
    for wrong in (np.zeros(2, np.uint32), np.zeros(1, np.uint64)):
        with pytest.raises(ValueError, match="messages of one shape and dtype"):
            add_modulo([np.zeros(1, np.uint32), wrong])


def test_a_masked_sum_is_exact_for_whole_numbers_and_shows_no_summand(rng):
    add = MaskedSum(4)
    counts = rng.integers(0, 1000, (4, 5000))
    total = add(list(counts))
    assert total.dtype == np.int64
    np.testing.assert_array_equal(total, counts.sum(axis=0))
    seen = add.messages
    assert max(correlate(message, own) for message in seen for own in counts) < 0.1
    add(list(counts))
    assert max(map(correlate, seen, add.messages)) < 0.1
    numbers = rng.normal(size=(4, 3))
    assert np.abs(add(list(numbers)) - numbers.sum(axis=0)).max() <= add.error < 1e-8


def test_what_a_masked_sum_refuses():
    with pytest.raises(ValueError, match=r"at least 3 hospitals. Received 2"):
        MaskedSum(2)
    with pytest.raises(ValueError, match=r"arrays of 3 hospitals. Received 4"):
        MaskedSum(3)([np.zeros(1)] * 4)
    with pytest.raises(ValueError, match="finite numbers of at most 10"):
        MaskedSum(3, bound=10)([np.zeros(1), np.zeros(1), np.array([11])])
    with pytest.raises(ValueError, match="messages of one shape"):
        MaskedSum(3)([np.zeros(1), np.zeros(1), np.zeros(2)])

"""Compression: by hand, error feedback as in the papers, and arrays that travel small."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from helpers.exchange import CompactArray, Float16, Int8, TopK

COMPRESSORS = [Float16(), Int8(), TopK(share=0.25)]
FLOATS = st.floats(-1e4, 1e4, width=32)


def encode(compressor, values):
    sent, memory = compressor.compress({"w": np.float32(values)})
    return sent["w"], None if memory is None else memory["w"]


def test_float16_by_hand():
    sent, memory = encode(Float16(), [1.0, 1.0004, -2.0])
    assert sent.tolist() == [1.0, 1.0, -2.0]  # 2^-11 above 1 is half of the last digit
    assert memory is None


def test_int8_by_hand():
    sent, memory = encode(Int8(), [[1.27, -0.006], [0.004, -1.0]])
    assert sent.header == pytest.approx((0.01,))
    assert sent.parts["values"].tolist() == [[127, -1], [0, -100]]
    np.testing.assert_allclose(memory, [[0, 0.004], [0.004, 0]], atol=1e-7)


@pytest.mark.parametrize("values", [[0.0, 0.0], [1e-44, -1e-44]])
def test_int8_of_next_to_nothing_is_sent_later(values):
    sent, memory = encode(Int8(), values)
    assert np.abs(sent).max() <= 1e-44
    np.testing.assert_array_equal(sent + memory, np.float32(values))


def test_top_k_by_hand():
    sent, memory = encode(TopK(share=0.5), [[1, -5], [2, 2]])
    assert sent.tolist() == [[0, -5], [2, 0]]  # of equal values the first
    assert sent.parts["indices"].tolist() == [1, 2]
    assert memory.tolist() == [[1, 0], [0, 2]]
    assert encode(TopK(share=0.0001), [3, 4])[0].tolist() == [0, 4]  # at least one


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_empty_tensors_and_numbers_keep_their_shape(compressor):
    for shape in ((), (0,), (2, 0), (1, 1)):
        assert encode(compressor, np.ones(shape))[0].shape == shape


@pytest.mark.parametrize("compressor", [Int8(), TopK(share=0.3)])
@given(st.data())
def test_what_is_sent_and_remembered_adds_up_to_all_updates(compressor, data):
    shape = data.draw(array_shapes(max_dims=2, max_side=6))
    updates = data.draw(
        st.lists(arrays(np.float32, shape, elements=FLOATS), min_size=1, max_size=6)
    )
    memory, total = None, np.zeros(shape)
    for update in updates:
        sent, memory = compressor.compress({"w": update}, memory)
        total += sent["w"]
    expected = np.sum(updates, axis=0, dtype=np.float64)
    # Exact but for the rounding of one float32 sum in each round.
    tolerance = 6 * len(updates) * 2**-24 * max(1, np.abs(updates).max()) * 2
    np.testing.assert_allclose(total + memory["w"], expected, rtol=0, atol=tolerance)


def test_error_feedback_sends_in_the_end_what_is_too_small_at_first():
    update = {"w": np.float32([100.0, 0.3])}  # the scale is 0.79: 0.3 rounds to 0
    memory, total = None, 0
    for _ in range(100):
        sent, memory = Int8().compress(update, memory)
        total = total + sent["w"]
    np.testing.assert_allclose(total / 100, [100, 0.3], atol=0.01)


@pytest.mark.parametrize("compressor", COMPRESSORS)
@given(arrays(np.float32, array_shapes(max_dims=3, max_side=5), elements=FLOATS))
def test_what_arrives_is_what_was_sent(compressor, values):
    sent, _ = encode(compressor, values)
    for again in (pickle.loads(pickle.dumps(sent)), copy.deepcopy(sent), copy.copy(sent)):
        assert again.dtype == np.float32
        assert again.tobytes() == np.asarray(sent).tobytes()
        assert again.shape == values.shape
        assert again.encoding == sent.encoding


def test_pickles_are_small():
    values = np.random.default_rng(0).normal(size=(100, 100)).astype(np.float32)
    sizes = [len(pickle.dumps(encode(c, values)[0])) for c in (Float16(), Int8(), TopK(0.01))]
    assert sizes[0] < 0.51 * values.nbytes
    assert sizes[1] < 0.26 * values.nbytes
    assert sizes[2] < 0.03 * values.nbytes


def test_computing_gives_plain_arrays_and_changing_is_refused():
    sent, _ = encode(Int8(), [[1, 2], [3, 4]])
    plain = [sent + 1, 0.5 * sent, np.sum([sent, sent], axis=0), np.sqrt(sent), -sent]
    plain += [np.concatenate([sent, sent]), np.ravel(sent), np.median(sent, axis=0), sent.sum(0)]
    assert [type(array) for array in plain] == [np.ndarray] * len(plain)
    for part in (sent[:1], sent.reshape(-1), sent.copy(), sent.T):
        assert getattr(part, "encoding", None) is None
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(part)), np.asarray(part))
    with pytest.raises(ValueError, match=r"read-only"):
        sent += 1


def test_updates_that_cannot_be_compressed_are_refused():
    update = {"dense/kernel": np.float32([1, np.inf])}
    with pytest.raises(ValueError, match=r"finite values to compress in dense/kernel"):
        Int8().compress(update)
    with pytest.raises(ValueError, match=r"^w: Expected values of at most 65504.*Received 70000"):
        encode(Float16(), [7e4])
    with pytest.raises(TypeError, match=r"Expected float32 to compress in w. Received float64"):
        Int8().compress({"w": np.zeros(2)})
    with pytest.raises(ValueError, match=r"memory of the tensors \['w'\]. Received one of \['v'\]"):
        Int8().compress({"w": np.zeros(2, "f4")}, {"v": np.zeros(2, "f4")})
    for share in (0, 1.1, float("nan")):
        with pytest.raises(ValueError, match=r"Expected share from 0.0001 to 1. Received"):
            TopK(share=share)


I32, F32 = np.int32, np.float32


@pytest.mark.parametrize(
    ("encoding", "header", "parts", "match"),
    [
        ("zip", (), {}, r"Expected one of \['float16', 'int8', 'top_k'\]. Received 'zip'"),
        ("float16", (1,), {"values": np.zeros(2, "f2")}, r"no header of float16"),
        ("float16", (), {"values": np.zeros(2, "f4")}, r"Expected the parts .*float16"),
        ("int8", (1.0,), {}, r"Expected the parts \{'values': 'int8'\}, received \{\}"),
        ("int8", (-1.0,), {"values": np.zeros(2, "i1")}, r"a scale from 0"),
        ("int8", (float("nan"),), {"values": np.zeros(2, "i1")}, r"a scale from 0"),
        ("int8", (), {"values": np.zeros(2, "i1")}, r"a scale from 0"),
        ("top_k", (-1,), {"indices": I32([0]), "values": F32([1])}, r"a shape as header"),
        ("top_k", (2.0,), {"indices": I32([0]), "values": F32([1])}, r"a shape as header"),
        ("top_k", (2,), {"indices": I32([0, 1]), "values": F32([1])}, r"one value for each index"),
        ("top_k", (10**12,), {"indices": I32([0]), "values": F32([1])}, r"at most 20000 values"),
        ("top_k", (2,), {"indices": I32([2]), "values": F32([1])}, r"increasing indices below 2"),
        ("top_k", (2,), {"indices": I32([-1]), "values": F32([1])}, r"increasing indices"),
        ("top_k", (2,), {"indices": I32([1, 0]), "values": F32([1, 1])}, r"increasing indices"),
    ],
)
def test_small_forms_that_lie_are_refused(encoding, header, parts, match):
    with pytest.raises(ValueError, match=match):
        CompactArray(encoding, header, parts)

"""Packed states: round trips, the manifest, and damaged files of every kind."""

import hashlib
import json
import os
import pickle
import re

import numpy as np
import pydantic
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from substrafl.strategies import schemas

from helpers.exchange import (
    CompactArray,
    Fault,
    Float16,
    Int8,
    TopK,
    UpdateError,
    find_faults,
    pack_state,
    unpack_state,
)
from helpers.exchange.packing import STATE_CLASSES

F4 = [np.float32([[1, 2], [3, 4]]), np.float32([5])]


def sample_of(cls):
    """Fill the fields of a state's class."""
    values = {"n_samples": 7, "hessian": np.eye(2)}
    return cls(**{field: values.get(field, F4) for field in cls.model_fields})


def flatten(state):
    """List everything that a state holds, in order."""
    fields = dict(state) if isinstance(state, pydantic.BaseModel | dict) else {"list": state}
    return [
        (field, item)
        for field, value in fields.items()
        for item in (value if isinstance(value, list) else [value])
    ]


def assert_equal(first, second):
    assert type(first) is type(second)
    if first is None:
        return
    for (name, a), (other, b) in zip(flatten(first), flatten(second), strict=True):
        assert name == other
        assert type(a) is type(b)
        if isinstance(a, np.ndarray):
            assert (a.shape, a.dtype) == (b.shape, b.dtype)
            assert a.tobytes() == b.tobytes()
        else:
            assert a == b


STATES = [sample_of(cls) for cls in STATE_CLASSES]
STATES += [None, [], F4, {"None": np.array([])}, {"n": 3, "x": F4, "y": np.array(2.5)}]


@pytest.mark.parametrize("state", STATES, ids=lambda state: type(state).__name__)
def test_round_trip(state):
    found, manifest = unpack_state(pack_state(state, organization="A", round=4), origin="?")
    assert_equal(found, state)
    assert (manifest.organization, manifest.round) == ("A", 4)


def test_every_state_of_substrafl_is_known():
    found = {
        cls
        for cls in vars(schemas).values()
        if isinstance(cls, type) and issubclass(cls, pydantic.BaseModel)
    }
    assert found - {pydantic.BaseModel, schemas._Model} == set(STATE_CLASSES)


PLAIN = ["f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?"]


@given(
    st.sampled_from(PLAIN).flatmap(
        lambda dtype: st.lists(arrays(dtype, array_shapes(min_dims=0, min_side=0)), max_size=3)
    )
)
def test_all_dtypes_and_shapes_are_kept(values):
    values = [np.asarray(value) for value in values]
    assert_equal(unpack_state(pack_state(values), origin="?")[0], values)


def test_layout_in_memory_has_no_influence():
    values = np.arange(12.0).reshape(3, 4)
    for array in (values.T, values[::2], values.astype(">f8"), np.asfortranarray(values)):
        found = unpack_state(pack_state([array]), origin="?")[0][0]
        np.testing.assert_array_equal(found, array)
        assert found.dtype == np.float64
        found[0] = 0  # a copy of one's own


@pytest.mark.parametrize("compressor", [Float16(), Int8(), TopK(share=0.5)])
def test_compressed_tensors_travel_small_and_arrive_as_they_are(compressor):
    rng = np.random.default_rng(0)
    update = {"a": rng.normal(size=(50, 40)), "b": rng.normal(size=3), "c": np.ones(())}
    update = {name: np.float32(value) for name, value in update.items()}
    sent = list(compressor.compress(update)[0].values())
    data = pack_state(schemas.FedAvgSharedState(n_samples=1, parameters_update=sent))
    found = unpack_state(data, origin="?")[0].parameters_update
    assert [type(array) for array in found] == [CompactArray] * 3
    for a, b in zip(found, sent, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert a.header == b.header
    assert len(data) < sum(part.nbytes for array in sent for part in array.parts.values()) + 1000


def test_the_manifest_says_what_there_is():
    state = sample_of(schemas.ScaffoldSharedState)
    refused = [Fault("B", "w", "not finite")]
    data = pack_state(state, names=["w", "b"], organization="A", round=2, refused=refused)
    _, manifest = unpack_state(data, origin="?")
    assert manifest.state == "ScaffoldSharedState"
    assert manifest.names[:3] == (
        "parameters_update/w",
        "parameters_update/b",
        "control_variate_update/w",
    )
    assert manifest.shapes[:2] == ((2, 2), (1,))
    assert set(manifest.dtypes) == {"float32"}
    assert manifest.counts == {"n_samples": 7}
    assert manifest.refused == tuple(refused)
    assert manifest.nbytes == len(data)


def test_other_tools_can_read_the_arrays():
    found = safetensors.numpy.load(pack_state(F4))
    assert_equal([found["0"], found["1"]], F4)


class Own(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    means: list[np.ndarray]


def test_other_classes_must_be_named_by_the_reader():
    data = pack_state(Own(means=F4))
    with pytest.raises(UpdateError, match=r"expected one of the states .*received 'Own'"):
        unpack_state(data, origin="?")
    assert_equal(unpack_state(data, origin="?", classes=[Own])[0], Own(means=F4))


def test_what_cannot_be_packed_is_refused():
    with pytest.raises(TypeError, match=r"Expected one of SubstraFL's shared states.*Received str"):
        pack_state("weights")
    with pytest.raises(TypeError, match=r"arrays or lists of arrays.*Received str in dict.name"):
        pack_state({"name": "x"})
    for values in (np.array([object()]), np.array(["x"]), np.ones(2, complex)):
        with pytest.raises(TypeError, match=r"arrays of numbers in list. Received dtype"):
            pack_state([values])


GOOD = pack_state(sample_of(schemas.FedAvgSharedState), names=["w", "b"], organization="A", round=1)


def reseal(data, change=None, *, header=None, body=None):
    """Change the manifest, the header or the arrays, and put the checksum right again."""
    size = int.from_bytes(data[:8], "little")
    old_header, old_body = json.loads(data[8 : 8 + size]), data[8 + size :]
    manifest = json.loads(old_header["__metadata__"]["manifest"])
    manifest = (change or (lambda m: m))(manifest)
    if isinstance(manifest, dict):
        manifest["sha256"] = "0" * 64
    old_header["__metadata__"]["manifest"] = json.dumps(manifest)
    text = json.dumps((header or (lambda h: h))(old_header)).encode()
    text += b" " * (-len(text) % 8)
    data = len(text).to_bytes(8, "little") + text + (old_body if body is None else body)
    return data.replace(b"0" * 64, hashlib.sha256(data).hexdigest().encode(), 1)


def with_entry(**changes):
    return reseal(GOOD, lambda manifest: manifest | changes)


def test_resealing_is_undetected_by_design():
    assert_equal(unpack_state(reseal(GOOD), origin="?")[0], unpack_state(GOOD, origin="?")[0])


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("was_here",)


DAMAGED = {
    "an empty file": b"",
    "truncated, or not a packed state: 3 bytes": b"abc",
    "a pickle in place of arrays; it was not opened": pickle.dumps(Bomb()),
    "a zip archive in place of arrays": b"PK\x03\x04" + bytes(100),
    "truncated, or not a packed state: 40": GOOD[:40],
    "altered in transit": GOOD[:-1],
    "altered in transit: the checksum": GOOD[:-1] + b"\xff",
    "altered in transit: ": GOOD + b"\x00",
    "cannot be read (JSONDecodeError": GOOD.replace(b'{"__', b'}"__'),
    "arrays without a manifest": safetensors.numpy.save({"0": F4[0]}),
    "a manifest that is not a dictionary": reseal(GOOD, lambda _: [1]),
    "expected format 1, received 2": with_entry(format=2),
    "expected one of the states": with_entry(state="os.system"),
    "an unusable 'state'": with_entry(state=["list"]),
    "an unusable 'fields'": with_entry(fields={"n_samples": True}),
    "an unusable 'fields' ": with_entry(fields={"parameters_update": [-1]}),
    "an unusable 'names'": with_entry(names=["w", "w"]),
    "an unusable 'organization'": with_entry(organization="A" * 10_000),
    "an unusable 'round'": with_entry(round=-1),
    "an unusable 'round' ": with_entry(round=1.5),
    "an unusable 'refused'": with_entry(refused=[["A"]]),
    "an unusable 'encodings'": with_entry(encodings={"int8": [[0]]}),
    "expected the fields ['n_samples', 'parameters_update'] of FedAvgSharedState": with_entry(
        fields={"parameters_update": [2]}
    ),
    "n_samples: expected int, received list": with_entry(
        fields={"n_samples": [1], "parameters_update": [1]}
    ),
    "avg_parameters_update: expected list, received ndarray": reseal(
        pack_state({"avg_parameters_update": F4[0]}),
        lambda manifest: manifest | {"state": "FedAvgAveragedState"},
    ),
    "parameters_update: expected 3 tensors or more, received 2": with_entry(
        fields={"n_samples": 1, "parameters_update": [3]}, names=[]
    ),
    "parameters_update: expected 1000000000000 tensors or more, received 2": with_entry(
        fields={"n_samples": 1, "parameters_update": [10**12]}
    ),
    "holds arrays that its manifest does not name: ['1']": with_entry(
        fields={"n_samples": 1, "parameters_update": [1]}, names=[]
    ),
    "parameters_update/w: cannot be decoded: Expected the parts": with_entry(
        encodings={"int8": [[0, [1.0]]]}
    ),
    "parameters_update/w: cannot be decoded: Expected one of": with_entry(
        encodings={"gzip": [[0, []]]}
    ),
    "expected sparse tensors of at most 64 bytes, received 4000000000000000000": with_entry(
        encodings={"top_k": [[0, [10**9, 10**9]]]}
    ),
    "fields of a state that has none": with_entry(state="None"),
    "not a list of arrays": with_entry(state="list"),
    "arrays that do not lie one after the other": reseal(GOOD, body=b""),
    "arrays that do not lie one after the other, or are not of their shapes": reseal(
        GOOD, header=lambda h: h | {"0": h["0"] | {"shape": [10**15]}}
    ),
    "cannot be read (TypeError": reseal(GOOD, header=lambda h: h | {"0": [1]}),
    "expected arrays of plain numbers, received 'O'": reseal(
        GOOD, header=lambda h: h | {"0": h["0"] | {"dtype": "O"}}
    ),
    "2 bytes that belong to no array": reseal(GOOD, body=bytes(22)),
    "an array without a usable shape": reseal(
        GOOD, header=lambda h: h | {"0": h["0"] | {"shape": [-2, -2]}}
    ),
    "z: missing": reseal(
        GOOD, lambda m: m | {"fields": {"x": [], "y": [], "z": []}, "state": "dict"}
    ),
    "two tensors are called ['x/0']": reseal(
        GOOD, lambda m: m | {"fields": {"x": [1], "x/0": []}, "names": [], "state": "dict"}
    ),
    "expected arrays of plain numbers, received 'C64'": reseal(
        GOOD, header=lambda h: h | {"0": h["0"] | {"dtype": "C64", "shape": [2]}}
    ),
    "cannot be read (RecursionError": (10_400).to_bytes(8, "little") + b"[" * 10_400,
}


@pytest.mark.parametrize("reason", DAMAGED)
def test_damage_is_refused_and_named(reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UpdateError, match=re.escape(reason.strip())) as caught:
        unpack_state(DAMAGED[reason], origin="Northfield")
    assert caught.value.organization == "Northfield"
    assert not list(tmp_path.iterdir())


def test_errors_can_be_pickled_and_list_all_faults():
    error = UpdateError(Fault("A", "w", "not finite"), Fault("B", "", "truncated"))
    again = pickle.loads(pickle.dumps(error))
    assert again.faults == error.faults
    assert (again.organization, again.tensor, again.reason) == ("A", "w", "not finite")
    assert str(again) == "Refused 2 updates:\n  A, w: not finite\n  B: truncated"
    assert isinstance(again, ValueError)


def test_names_reach_messages_as_one_line_that_prints():
    ugly = "w\n2026 INFO all is well\x1b[2J\u202e\ud800"
    data = pack_state([np.float32([np.nan])], names=[ugly], organization="A\r")
    received = unpack_state(data, origin="?")
    (fault,) = find_faults({"A\r": received})
    assert fault.tensor == f"list/{ugly}"
    line = "list/w\\n2026 INFO all is well\\x1b[2J\\u202e\\ud800: 1 of 1 values are not finite"
    assert str(fault) == f"A\\r, {line}"
    assert str(UpdateError(fault)) == f"Refused an update: A\\r, {line}"


# What damage may do to a file: any of these, one after the other.
PACKED = [GOOD, *[pack_state(state, names=["w", "b"]) for state in STATES]]
PACKED += [
    pack_state(list(compressor.compress({"w": F4[0], "b": F4[1]})[0].values()))
    for compressor in (Float16(), Int8(), TopK(share=0.5))
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)


def _flip(data, draw):
    place = draw(st.integers(0, max(len(data) - 1, 0)))
    return data[:place] + bytes([data[place] ^ 1 << draw(st.integers(0, 7))]) + data[place + 1 :]


def _cut(data, draw):
    return data[: draw(st.integers(0, len(data)))]


def _insert(data, draw):
    place = draw(st.integers(0, len(data)))
    return data[:place] + draw(st.binary(max_size=20)) + data[place:]


def _change_manifest(data, draw):
    keys = sorted(json.loads(json.loads(_header(data))["__metadata__"]["manifest"]))
    key, value = draw(st.sampled_from(keys)), draw(JSON)
    return reseal(data, lambda manifest: manifest | {key: value})


def _change_header(data, draw):
    header = json.loads(_header(data))
    tensors = [key for key in header if key != "__metadata__"]
    if not tensors:
        return data
    key, entry = draw(st.sampled_from(tensors)), draw(st.sampled_from(_HEADER_ENTRIES))
    value = draw(JSON | st.lists(st.integers(0, 2**40), max_size=3))
    return reseal(data, header=lambda header: header | {key: header[key] | {entry: value}})


def _swap_manifest(data, draw):
    other = draw(st.sampled_from(PACKED))
    manifest = json.loads(json.loads(_header(other))["__metadata__"]["manifest"])
    return reseal(data, lambda _: manifest)


def _change_arrays(data, draw):
    size = int.from_bytes(data[:8], "little")
    body = data[8 + size :]
    return reseal(data, body=draw(st.binary(min_size=len(body), max_size=len(body))))


def _header(data):
    return data[8 : 8 + int.from_bytes(data[:8], "little")]


_HEADER_ENTRIES = ["dtype", "shape", "data_offsets"]
RESEALED = [_change_manifest, _change_header, _swap_manifest, _change_arrays]


@st.composite
def damaged(draw):
    """Draw a packed state that was damaged, or forged with a right checksum."""
    if draw(st.integers(0, 19)) == 0:
        return None, draw(st.binary(max_size=200))
    original = data = draw(st.sampled_from(PACKED))
    for change in draw(st.lists(st.sampled_from(RESEALED), max_size=2)):
        try:
            data = change(data, draw)
        except (TypeError, KeyError, AttributeError, ValueError):
            return original, data  # so broken already that no second forgery is possible
    resealed = data != original
    for change in draw(st.lists(st.sampled_from([_flip, _cut, _insert]), max_size=2)):
        data = change(data, draw) if data else data
    return None if resealed else original, data


def read_damaged(case, read):
    """Read; a state that is not refused must be well-formed, and the same if no one forged."""
    original, data = case
    error = None
    try:
        state, manifest = read(data)
    except UpdateError as refused:
        error = refused
    if error is not None:
        assert error.organization == "Northfield"
        assert error.reason
        assert str(error).startswith("Refused an update: Northfield")
        return
    pack_state(state)
    assert manifest.nbytes == len(data)
    if original is not None:
        assert_equal(state, unpack_state(original, origin="?")[0])


@given(damaged())
@settings(max_examples=200, suppress_health_check=list(HealthCheck))
def test_damaged_files_are_refused_or_read_the_same(read_within_bounds, case):
    read_damaged(case, read_within_bounds)


@pytest.mark.stress
@given(damaged())
@settings(max_examples=3000, suppress_health_check=list(HealthCheck))
def test_thousands_of_damaged_files(read_within_bounds, case):
    read_damaged(case, read_within_bounds)

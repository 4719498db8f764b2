"""Messages that cost their reader more than they are worth: memory, time, or the whole run."""

import contextlib
import hashlib
import io
import json
import time
import zipfile

import numpy as np
import pytest

from helpers.exchange import (
    Float16,
    Int8,
    TopK,
    UpdateError,
    find_faults,
    pack_state,
    unpack_state,
)

MB = 2**20
BLANK = "0" * 64


def forge(fields=None, *, tensors=None, body=b"", extra="", within="", checksum=None, **changes):
    """Write a message with a right checksum, whatever is in it.

    ``extra`` is JSON that is put into the header, ``within`` into the manifest.
    """
    manifest = {
        "sha256": BLANK,
        "format": 1,
        "state": "dict",
        "fields": {} if fields is None else fields,
        "names": [],
        "encodings": {},
        "organization": "B",
        "round": 1,
        "refused": [],
    } | changes
    text = json.dumps(manifest, separators=(",", ":"))
    text = text[:-1] + (f',"more":{within}}}' if within else "}")
    header = {"__metadata__": {"manifest": text}} | (tensors or {})
    header = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
    header = (header[:-1] + (f',"more":{extra}}}' if extra else "}")).encode()
    data = len(header).to_bytes(8, "little") + header + body
    return data.replace(BLANK.encode(), hashlib.sha256(data).hexdigest().encode(), 1)


def arrays(*shapes, dtype="F32", itemsize=4):
    """Describe arrays that lie one after the other."""
    entries, end = {}, 0
    for number, shape in enumerate(shapes):
        begin, end = end, end + itemsize * int(np.prod(shape))
        entries[str(number)] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    return entries


def sparse(n_tensors, n_values, shape, more=0):
    """Forge sparse tensors that claim a shape, and one of whole numbers."""
    tensors, end = {}, 0
    for number in range(n_tensors):
        for key, dtype in ((f"{number}", "F32"), (f"{number}:indices", "I32")):
            begin, end = end, end + 4 * n_values
            tensors[key] = {"dtype": dtype, "shape": [n_values], "data_offsets": [begin, end]}
    one = np.ones(n_values, "f4").tobytes() + np.arange(n_values, dtype="i4").tobytes()
    encodings = {"top_k": [[number, shape] for number in range(n_tensors)]}
    body = one * n_tensors
    if more:
        place = {"shape": [more], "data_offsets": [end, end + more]}
        tensors[f"{n_tensors}"] = {"dtype": "I8"} | place
        encodings["int8"] = [[n_tensors, [1.0]]]
        body += bytes(more)
    count = n_tensors + bool(more)
    return forge({"x": [count]}, tensors=tensors, body=body, encodings=encodings)


def nested(begin, middle, end, depth, size=240_000):
    """Write a list of lists or dictionaries that hold one another."""
    piece = begin * depth + middle + end * depth + ","
    return "[" + piece * (size // len(piece)) + "0]"


def zipped(n_bytes):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0", bytes(n_bytes))
    return file.getvalue()


ONE = arrays([1])
F32 = np.float32([1]).tobytes()
HUGE = [2**62] * 200_000
BOMBS = {
    "a million names": lambda: forge({"x": [10**6]}),
    "a million long names": lambda: forge({"x" * 4000: [10**6]}),
    "a million names in each of many fields": lambda: forge({f"{n}": [10**6] for n in range(99)}),
    "long names for many tensors": lambda: forge(
        {"x" * 90_000: [1000]}, tensors=arrays(*[[1]] * 1000), body=F32 * 1000
    ),
    "a name of wide characters": lambda: forge(
        {"\U0001f600" + "x" * 200_000: [1]}, tensors=ONE, body=F32
    ),
    "4 MB of dimensions, sparse": lambda: forge(
        {"x": []}, tensors=ONE, body=F32, encodings={"top_k": [[0, HUGE]]}
    ),
    "200 kB of dimensions, sparse": lambda: forge(
        {"x": []}, tensors=ONE, body=F32, encodings={"top_k": [[0, HUGE[:10_000]]]}
    ),
    "200 kB of dimensions": lambda: forge(
        {"x": []}, tensors={"0": ONE["0"] | {"shape": HUGE[:10_000]}}, body=F32
    ),
    "dimensions of nothing": lambda: forge(
        {"x": []}, tensors={"0": ONE["0"] | {"shape": [0, *HUGE[:10_000]], "data_offsets": [0, 0]}}
    ),
    "nothing, in two huge dimensions": lambda: forge(
        {"x": []}, tensors={"0": ONE["0"] | {"shape": [2**40, 0, 2**40], "data_offsets": [0, 0]}}
    ),
    "dimensions whose product overflows": lambda: forge(
        {"x": []}, tensors={"0": ONE["0"] | {"shape": [2**32, 2**32, 1]}}, body=F32
    ),
    "one sparse tensor": lambda: sparse(1, 4000, [80_000_000]),
    "many sparse tensors": lambda: sparse(100, 40, [800_000]),
    "sparse tensors of nothing": lambda: sparse(500, 0, [20_000]),
    "sparse tensors and whole numbers of 8 bits": lambda: sparse(1, 200, [MB], more=2 * MB),
    "a sparse tensor of 4 EB": lambda: sparse(1, 1, [10**9, 10**9]),
    "a sparse tensor of negative size": lambda: sparse(1, 1, [-1, -(10**9)]),
    "9 MB of lists in the header": lambda: forge(extra="[" + "[]," * 3 * MB + "0]"),
    "250 kB of lists in the header": lambda: forge(extra="[" + "[]," * 83_000 + "0]"),
    "250 kB of dictionaries in the manifest": lambda: forge(within="[" + "{}," * 83_000 + "0]"),
    # What costs most for its size: lists and dictionaries of one entry, in each other.
    "lists of a list": lambda: forge(extra=nested("[", "0", "]", depth=3)),
    "lists of deep lists": lambda: forge(extra=nested("[", "0", "]", depth=300)),
    "dictionaries of deep dictionaries": lambda: forge(extra=nested('{"":', "0", "}", depth=300)),
    "as many lists as may be": lambda: forge(extra=nested("[", "0", "]", depth=300, size=20_000)),
    "as many lists as may be, and a wide character": lambda: forge(
        extra=nested("[", "0", "]", depth=300, size=20_000),
        within='"\U0001f600' + "x" * 200_000 + '"',
    ),
    "as many lists as may be, and numbers that become decimals": lambda: forge(
        {"x": []},
        tensors={"0": {"dtype": "I8", "shape": [4 * MB], "data_offsets": [0, 4 * MB]}},
        body=bytes(4 * MB),
        encodings={"int8": [[0, [1.0]]]},
        within=nested("[", "0", "]", depth=300, size=30_000),
    ),
    "lists in every list, in the header": lambda: forge(extra="[" * 120_000 + "]" * 120_000),
    "lists in every list, in the manifest": lambda: forge(within="[" * 99_000 + "]" * 99_000),
    "200 kB of digits": lambda: forge(within="9" * 200_000),
    "numbers of 4,000 digits": lambda: forge(within="[" + ("9" * 4000 + ",") * 60 + "0]"),
    "200 kB of decimals": lambda: forge(within="0." + "0" * 100_000 + "7" * 100_000 + "e99999"),
    "one wide character in the header": lambda: forge(extra='"\U0001f600' + "x" * 250_000 + '"'),
    "60,000 names": lambda: forge(names=[f"{n:x}" for n in range(30_000)]),
    "30,000 fields": lambda: forge({f"{n:x}": 0 for n in range(20_000)}),
    "fields of 4,000 tensors without bytes": lambda: forge(
        {f"{n}": [] for n in range(2000)}, tensors=arrays(*[[0]] * 2000)
    ),
    "20,000 encodings": lambda: forge(encodings={"int8": [[n, []] for n in range(20_000)]}),
    "long headers of an encoding": lambda: forge(
        {"x": []}, tensors=ONE, body=F32, encodings={"int8": [[0, [1.0] * 50_000]]}
    ),
    "20,000 refusals": lambda: forge(refused=[["", "", ""]] * 20_000),
    "an array beyond the end": lambda: forge(
        {"x": []}, tensors={"0": ONE["0"] | {"shape": [10**15], "data_offsets": [0, 4 * 10**15]}}
    ),
    "arrays in the same place": lambda: forge(
        {"x": [1000]},
        tensors={
            f"{n}": {"dtype": "U8", "shape": [MB], "data_offsets": [0, MB]} for n in range(1000)
        },
        body=bytes(MB),
    ),
    "a header of 8 EB": lambda: (2**63 - 1).to_bytes(8, "little") + bytes(100),
    "a checksum that is nearly everywhere": lambda: forge(
        tensors=arrays([2 * MB]), fields={"x": []}, body=b"0" * 8 * MB
    ),
    "a zip archive": lambda: zipped(64 * MB),
    "values that are too large for a square": lambda: pack_state({"x": np.full(MB, 1e308)}),
    "whole numbers of 8 bits that become decimals": lambda: pack_state(
        list(Int8().compress({"w": np.ones(4 * MB, "f4")})[0].values())
    ),
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_message_costs_more_than_its_size(name, read_within_bounds):
    with contextlib.suppress(UpdateError):
        read_within_bounds(BOMBS[name]())


def update_of(n_values, rng):
    return {"w": rng.normal(size=n_values // 2).astype("f4"), "b": np.ones(n_values // 2, "f4")}


@pytest.mark.parametrize("compressor", [None, Float16(), Int8(), TopK(), TopK(share=0.0001)])
def test_an_honest_state_costs_four_times_its_bytes_and_the_model(
    compressor, rng, read_within_bounds
):
    update = update_of(MB, rng)
    sent = compressor.compress(update)[0] if compressor else update
    data = pack_state(list(sent.values()))
    state, _ = read_within_bounds(data, model_bytes=4 * MB)
    for found, expected in zip(state, sent.values(), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_a_sparse_state_is_read_by_whoever_knows_the_model(rng):
    update = update_of(10_000, rng)
    data = pack_state(list(TopK().compress(update)[0].values()))
    kept = 100 * 8  # one of a hundred values, with its place
    for model_bytes in (0, 40_000 - 4 * kept - 1):
        with pytest.raises(UpdateError, match=r"sparse tensors of at most .* received 40000$"):
            unpack_state(data, origin="B", model_bytes=model_bytes)
    unpack_state(data, origin="B", model_bytes=40_000 - 4 * kept)


@pytest.mark.parametrize(
    "make",
    [
        lambda scale: pack_state([np.ones(scale * MB // 2, "f4")]),
        lambda scale: pack_state([np.ones(1)] * 150 * scale),
        lambda scale: forge(within="[" + "[]," * 1000 * scale + "0]"),
    ],
    ids=["values", "tensors", "header"],
)
def test_time_grows_with_the_size(make):
    small, large = ([make(scale)] * 5 for scale in (1, 5))
    small, large = (min(map(seconds_to_read, messages)) for messages in (small, large))
    assert large < 12 * small  # 5, if it is proportional; 25, if it is to the square


def seconds_to_read(data):
    start = time.process_time()
    with contextlib.suppress(UpdateError):
        find_faults({"B": unpack_state(data, origin="B")})
    return time.process_time() - start


def test_what_no_reader_would_take_is_not_written():
    state = [np.ones(1)] * 10_000
    with pytest.raises(ValueError, match=r"fewer than a thousand arrays.*Received 10000 arrays"):
        pack_state(state)


def test_tensors_in_another_order_are_found_in_no_time():
    names = [f"{n}" for n in range(2500)]
    state = [np.ones(1500, "f4")] * 2500
    received = {
        place: unpack_state(pack_state(state, names=order), origin=place, model_bytes=2500 * 6000)
        for place, order in {"A": names, "B": names, "C": names[::-1]}.items()
    }
    start = time.process_time()
    (fault,) = find_faults(received)
    assert fault.organization == "C"
    assert fault.reason.endswith("in another order")
    assert time.process_time() - start < 1


@pytest.mark.parametrize("share", [0.01, 0.0001])
def test_a_sparse_update_of_a_thousand_tensors_is_read_by_whoever_knows_the_model(share, rng):
    # As many as DenseNet-201 has, and fewer than half of their values.
    update = {f"block/{n}/kernel": rng.normal(size=8000).astype("f4") for n in range(1006)}
    data = pack_state(list(TopK(share=share).compress(update)[0].values()), names=list(update))
    with pytest.raises(UpdateError, match="without a header, or with too large a one"):
        unpack_state(data, origin="B")
    state, _ = unpack_state(data, origin="B", model_bytes=4 * 8000 * 1006)
    assert len(state) == 1006

"""Fixture of the tests of the exchange: a reader that is watched."""

import time
import tracemalloc

import pytest

from helpers.exchange import UpdateError, find_faults, unpack_state

MB = 2**20


@pytest.fixture(scope="session")
def read_within_bounds():
    """Return a reader that unpacks and checks a message, and fails where this costs too much.

    Allowed are two seconds, and four times the message, the model, and two megabytes for the
    header, which is JSON.
    """

    def read(data, model_bytes=0):
        error = state = manifest = None
        tracemalloc.start()
        start = time.process_time()
        try:
            state, manifest = unpack_state(data, origin="Northfield", model_bytes=model_bytes)
            find_faults({"Northfield": (state, manifest)})
        except UpdateError as refused:
            error = refused
        seconds = time.process_time() - start
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert seconds < 2
        allowed = 4 * len(data) + model_bytes + 2 * MB
        assert peak <= allowed, f"{peak / max(len(data), 1):.1f} times the message"
        if error:
            raise error
        return state, manifest

    return read

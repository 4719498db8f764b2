"""Checks of received states: each of them, and what a faulty state may not do to the others."""

import numpy as np
import pytest
from substrafl.strategies.schemas import FedAvgSharedState, ScaffoldSharedState

from helpers.exchange import Limits, find_faults, pack_state, unpack_state


def receive(*updates, n_samples=10, round=3, names=None):
    """Pack and read one state."""
    state = FedAvgSharedState(n_samples=n_samples, parameters_update=list(updates))
    return unpack_state(pack_state(state, round=round, names=names), origin="somebody")


ROW = np.float32([3, 4])


@pytest.fixture
def good():
    """Receive four good states."""
    return {name: receive(ROW * k, n_samples=10 * k) for k, name in enumerate("ABCD", start=1)}


def faults_of(received, limits=None):
    return [(f.organization, f.tensor, f.reason) for f in find_faults(received, limits)]


def test_good_states_have_no_faults(good):
    assert find_faults(good) == []
    assert find_faults({}) == []
    assert find_faults({"A": receive(ROW)}) == []


@pytest.mark.parametrize(
    ("bad", "tensor", "reason"),
    [
        (receive(ROW, ROW), "", "expected the 1 tensors that the others send, received 2: "),
        (receive(ROW, names=["w"]), "", "'parameters_update/w' is not one of them"),
        (receive(ROW[:1]), "parameters_update/0", "expected shape (2,) and float32 as the others"),
        (receive(ROW.astype("f8")), "parameters_update/0", "received (2,) and float64"),
        (receive(ROW, round=2), "", "expected a state of round 3, received one of round 2"),
        (receive(ROW * np.nan), "parameters_update/0", "2 of 2 values are not finite"),
        (receive(np.float32([0, np.inf])), "parameters_update/0", "1 of 2 values are not finite"),
        (receive(ROW, n_samples=0), "", "expected n_samples from 1 to 1000000000, received 0"),
        (receive(ROW, n_samples=-3), "", "received -3"),
        (receive(ROW, n_samples=10**10), "", "received 10000000000"),
        (receive(ROW, n_samples=10**6), "", "at most 1000 times the others' n_samples (median 25)"),
        (receive(-100 * ROW), "parameters_update", "at most 10 times the others' (median 12.5)"),
        (receive(ROW * np.float32(5e37)), "parameters_update", "received 2.5e+38"),
    ],
)
def test_each_fault_is_found_at_the_hospital_that_has_it(good, bad, tensor, reason):
    [(hospital, found_tensor, found_reason)] = faults_of({"X": bad} | good)
    assert (hospital, found_tensor) == ("X", tensor)
    assert reason in found_reason


def test_another_class_is_a_fault(good):
    state = ScaffoldSharedState(
        parameters_update=[ROW],
        control_variate_update=[ROW],
        n_samples=1,
        server_control_variate=[ROW],
    )
    bad = unpack_state(pack_state(state, round=3), origin="X")
    [(hospital, _, reason)] = faults_of(good | {"X": bad})
    assert hospital == "X"
    assert reason == (
        "expected a FedAvgSharedState as the others send, received 'ScaffoldSharedState'"
    )


def test_two_states_of_one_hospital(good):
    received = [*good.items(), ("B", receive(ROW))]
    assert [fault[0] for fault in faults_of(received)] == ["B", "B"]
    assert "expected one state of this organization, received 2" in faults_of(received)[0][2]


def test_two_hospitals_that_differ_are_both_at_fault():
    received = {"A": receive(ROW), "B": receive(ROW[:1])}
    assert [fault[0] for fault in faults_of(received)] == ["A", "B"]
    received = {"A": receive(ROW, round=1), "B": receive(ROW, round=2)}
    assert [f[2] for f in faults_of(received)] == [
        "the states belong to different rounds, and no round is that of most"
    ] * 2


def test_of_two_hospitals_only_an_absolute_limit_can_tell_the_norm():
    received = {"A": receive(ROW), "B": receive(ROW * 1000)}
    assert find_faults(received) == []
    [(hospital, tensor, reason)] = faults_of(received, Limits(norm=50))
    assert (hospital, tensor) == ("B", "parameters_update")
    assert reason == "expected a norm of at most 50, received 5e+03"


def test_a_faulty_state_has_no_say_about_the_others(good):
    # Its norm would raise the median, were it not left out for its values already.
    received = {
        "A": receive(ROW),
        "B": receive(ROW),
        "C": receive(ROW * 100),
        "D": receive(np.float32([1e30, np.nan])),
        "E": receive(np.float32([1e30, np.nan])),
    }
    assert [fault[:2] for fault in faults_of(received)] == [
        ("C", "parameters_update"),
        ("D", "parameters_update/0"),
        ("E", "parameters_update/0"),
    ]


def test_limits_are_settings(good):
    bad = {"X": receive(ROW * 100, n_samples=10**6)}
    assert find_faults(good | bad, Limits(norm_ratio=1000, sample_ratio=1e6)) == []


def test_where_the_others_send_zeros_there_is_nothing_to_compare_with():
    zero = receive(ROW * 0)
    assert find_faults({"A": zero, "B": zero, "C": receive(ROW)}) == []


def test_limits_are_checked():
    with pytest.raises(ValueError, match=r"sample_ratio of 1 or more. Received nan"):
        Limits(sample_ratio=float("nan"))
    with pytest.raises(ValueError, match=r"positive norm or None. Received 0"):
        Limits(norm=0)

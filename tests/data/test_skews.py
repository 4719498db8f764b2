import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from helpers.data.skews import _draw_log_gamma, _fit_total, share_out


@given(
    total=st.integers(0, 10_000),
    shares=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=8),
    least=st.integers(0, 3),
)
def test_shares_add_up_and_are_rounded_to_the_next_number(total, shares, least):
    shares = np.array(shares)
    counts = share_out(total, shares)
    assert counts.sum() == total
    assert np.all(np.abs(counts - total * shares / shares.sum()) < 1)
    at_least = min(least, total // len(shares))
    counts = share_out(total, shares, at_least)
    assert counts.sum() == total
    assert counts.min() >= at_least


@given(
    log_odds=st.lists(st.floats(-1e7, 1e7), min_size=2, max_size=8),
    size=st.integers(12, 500),
    share=st.floats(0, 1),
)
def test_positive_patients_add_up_within_their_bounds(log_odds, size, share):
    sizes = np.full(len(log_odds), size)
    n_positive = round(6 * len(sizes) + share * (size - 12) * len(sizes))
    counts = _fit_total(np.array(log_odds), sizes, n_positive, 6)
    assert counts.sum() == n_positive
    assert counts.min() >= 6
    assert (sizes - counts).min() >= 6
    assert np.all(np.diff(counts[np.argsort(log_odds, kind="stable")]) >= -1)


def test_ratios_of_odds_stay_as_they_are_drawn():
    sizes = np.array([1000, 1000, 1000])
    counts = _fit_total(np.log([1.0, 2.0, 8.0]), sizes, 500, 6)
    odds = counts / (sizes - counts)
    assert counts.sum() == 500
    np.testing.assert_allclose(odds / odds[0], [1, 2, 8], rtol=0.03)


@pytest.mark.parametrize("shape", [0.2, 1.0, 7.5])
def test_log_gamma_variates_have_the_moments_of_gamma(rng, shape):
    variates = np.exp(_draw_log_gamma(shape, 200_000, rng))
    assert variates.mean() == pytest.approx(shape, rel=0.03)
    assert variates.var() == pytest.approx(shape, rel=0.06)


def test_log_gamma_variates_stay_finite_for_the_smallest_shape(rng):
    assert np.isfinite(_draw_log_gamma(1e-9, 1000, rng)).all()

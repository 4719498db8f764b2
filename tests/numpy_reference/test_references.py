"""The references themselves, where they can be computed by hand."""

import numpy as np
import pytest

from helpers.numpy_reference import (
    LinearHospitals,
    cyclic_transfer,
    fed_avg,
    fed_avg_with_feedback,
    fed_opt,
    fed_pca,
    keep_largest,
    multi_krum,
    round_to_int8,
    scaffold,
    train_alone,
    trimmed,
)

ONE = (np.array([[1.0]]), np.array([1.0]))
TWO = (np.array([[0.0], [2.0]]), np.array([0.0, 0.0]))


def batches():
    return [np.arange(1)]


def both(**settings):
    return LinearHospitals([ONE, TWO], [batches, lambda: [np.arange(2)]], 0.1, **settings)


def test_an_update_by_hand():
    # 2 (w + b - 1) = -2 for both weights.
    np.testing.assert_allclose(both().train(0, np.zeros(2)), [0.2, 0.2])
    # At w = b = 1 the residuals are 1 and 3: means of 2·(0·1, 2·3) and 2·(1, 3).
    np.testing.assert_allclose(both().train(1, np.ones(2)), [-0.6, -0.4])
    np.testing.assert_allclose(both().train(0, np.zeros(2), lambda y: 1.0), [0.1, 0.1])


def test_clipping_by_hand():
    # Of the gradients (0, 2) and (12, 6) the second is longer than 3; 4 films were expected.
    long = np.array([12, 6]) / np.sqrt(180) * 3
    expected = -0.1 * (np.array([0, 2]) + long) / 4
    found = both(clip_norm=3.0, batch_size=4).train(1, np.ones(2))
    np.testing.assert_allclose(found, expected)


def test_averages_and_turns_by_hand():
    start = np.zeros(2)
    # One film of three, and a hospital that does not move from zero.
    np.testing.assert_allclose(fed_avg(both(), start, 1), [0.2 / 3, 0.2 / 3])
    np.testing.assert_allclose(fed_avg(both(), start, 1, lambda _: [0]), [0.2, 0.2])
    np.testing.assert_allclose(train_alone(both(), 0, start, 2), [0.32, 0.32])
    # From (0.2, 0.2) the residuals of the second are 0.2 and 0.6.
    np.testing.assert_allclose(cyclic_transfer(both(), start, 1), [0.2 - 0.12, 0.2 - 0.08])


def test_uniform_hospitals_count_equally():
    np.testing.assert_allclose(both().shares, [1 / 3, 2 / 3])
    np.testing.assert_allclose(both(uniform=True).shares, [0.5, 0.5])
    # The first moves by (0.2, 0.2), the second not at all: a third of it by films, half of it by
    # clients, as in the papers of Scaffold and FedAdam.
    for uniform, expected in ((False, 0.2 / 3), (True, 0.1)):
        some = both(uniform=uniform)
        np.testing.assert_allclose(scaffold(some, np.zeros(2), 1, n_updates=1)[0], [expected] * 2)
        np.testing.assert_allclose(fed_opt(some, np.zeros(2), 1, "avgm"), [expected] * 2)


def test_robust_averages_by_hand():
    updates = [np.array([value]) for value in (0.0, 1.0, 3.0, 100.0, 6.0)]
    np.testing.assert_allclose(trimmed(updates, 2), [3.0])
    np.testing.assert_allclose(trimmed(updates, 1), [10 / 3])
    # Scores with two neighbors: 10, 5, 13, far, 34.
    np.testing.assert_allclose(multi_krum(updates, 1, 1), [1.0])
    np.testing.assert_allclose(multi_krum(updates, 1, 3), [4 / 3])


def test_compression_by_hand():
    np.testing.assert_allclose(round_to_int8(np.array([127.0, -3.4, 0.4])), [127.0, -3.0, 0.0])
    np.testing.assert_allclose(keep_largest(np.array([1.0, -5.0, 2.0, 0.0]), 0.5), [0, -5, 2, 0])


def test_feedback_of_nothing_lost_is_the_average():
    start = np.array([0.3, -0.2])
    found = fed_avg_with_feedback(both(), start, 3, compress=lambda values: values)
    np.testing.assert_allclose(found, fed_avg(both(), start, 3))


def test_what_is_lost_is_sent_later():
    # Nothing passes, and then everything: all rounds start from the same weights until then.
    calls = iter([0, 0, 0, 0, 1, 1, 1, 1])
    start = np.array([0.3, -0.2])
    found = fed_avg_with_feedback(both(), start, 2, lambda values: next(calls) * values)
    once = fed_avg(both(), start, 1) - start
    assert found == pytest.approx(start + 2 * once)


def test_fed_pca_finds_the_components_of_pooled_samples_of_unequal_hospitals():
    # The large hospital varies along the first axis, the small ones, more, along the second.
    rng = np.random.default_rng(0)
    scales = {400: (1.0, 0.1, 0.1), 60: (0.1, 3.0, 0.1), 20: (0.1, 3.0, 0.1)}
    films = [(rng.normal(size=(n, 3)) * scale, None) for n, scale in scales.items()]
    rows = np.vstack([rows for rows, _ in films])
    centred = rows - rows.mean(0)
    leading = np.linalg.svd(centred, full_matrices=False)[2][:2]

    found = fed_pca(films, 2, 300, seed=0)
    np.testing.assert_allclose(np.abs((found * leading).sum(1)), 1, rtol=0, atol=1e-9)

    # Weights of n² let the largest hospital decide: another component comes first.
    found = fed_pca(films, 1, 300, seed=0, pooled=False)
    assert abs(found[0] @ leading[0]) < 0.2
    weighted = sum(len(own) * (own - rows.mean(0)).T @ (own - rows.mean(0)) for own, _ in films)
    by_squares = np.linalg.eigh(weighted)[1][:, -1]
    assert abs(found[0] @ by_squares) == pytest.approx(1, abs=1e-9)

"""Measures against hand computation, and against Xplique's means."""

import keras
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import spearmanr

from helpers.explanation import (
    MEASURES,
    add_noise,
    assess,
    deletion,
    fidelity,
    insertion,
    mass_in_mask,
    overlap,
    pointing_game,
    rank_correlation,
    shuffle_weights,
)

MAP = np.array([[[4.0, -2.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 0.0]]])
LEFT = np.array([[[1, 0, 0], [1, 0, 0], [1, 0, 0]]], bool)
EMPTY = np.zeros((1, 3, 3), bool)


@pytest.fixture
def linear():
    """Return a linear network of films of 4 × 4 pixels, and its weights."""
    inputs = keras.Input((4, 4, 1))
    dense = keras.layers.Dense(1)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    weights = np.random.default_rng(0).normal(size=(16, 1))
    dense.set_weights([weights, np.zeros(1)])
    return model, weights.reshape(4, 4)


def test_pointing_game_by_hand():
    assert pointing_game(MAP, LEFT) == 1
    assert pointing_game(-MAP, LEFT) == 0
    assert np.isnan(pointing_game(MAP, EMPTY)).all()
    assert pointing_game(np.zeros((1, 3, 3)), LEFT) == pytest.approx(LEFT.mean())  # a blind guess


def test_pointing_game_with_tolerance():
    mask = np.zeros((1, 5, 5), bool)
    mask[0, 0, 0] = True
    far = np.zeros((1, 5, 5))
    far[0, 2, 0] = 1
    assert pointing_game(far, mask, tolerance=1) == 0
    assert pointing_game(far, mask, tolerance=2) == 1
    assert np.isnan(pointing_game(far, mask & False, tolerance=2)).all()


def test_mass_in_mask_by_hand():
    assert mass_in_mask(MAP, LEFT) == pytest.approx(5 / 8)
    assert mass_in_mask(np.ones((1, 3, 3)), LEFT) == pytest.approx(1 / 3)
    assert mass_in_mask(-np.ones((1, 3, 3)), LEFT) == 0
    assert np.isnan(mass_in_mask(MAP, EMPTY)).all()


def test_overlap_by_hand():
    # The three highest pixels are two of the mask and one beside it: 2 of 4.
    assert overlap(MAP, LEFT) == pytest.approx(2 / 4)
    assert overlap(LEFT.astype(float), LEFT) == 1
    assert np.isnan(overlap(MAP, EMPTY)).all()


def test_deletion_and_insertion_by_hand(linear):
    model, weights = linear
    films = np.random.default_rng(1).random((2, 4, 4, 1)).astype(np.float32)
    maps = np.random.default_rng(2).normal(size=(2, 4, 4))
    background = np.random.default_rng(3).random((3, 4, 4, 1)).astype(np.float32)
    average = background.mean(axis=0)[..., 0]
    for measure, start, end in ((deletion, 0, 1), (insertion, 1, 0)):
        found = measure(model, films, maps, background=background, steps=4)
        for film, one, area in zip(films[..., 0], maps, found, strict=True):
            images = (film, average)
            image, curve = images[start].copy(), []
            order = np.argsort(-one.ravel())
            for step in range(5):
                image.ravel()[order[: 4 * step]] = images[end].ravel()[order[: 4 * step]]
                curve.append(expit((image * weights).sum()))
            assert area == pytest.approx((sum(curve) - (curve[0] + curve[-1]) / 2) / 4, abs=1e-6)


@pytest.mark.parametrize("name", ["Deletion", "Insertion"])
def test_means_of_deletion_and_insertion_are_those_of_xplique(small_cnn, films, name):
    metrics = pytest.importorskip("xplique.metrics")
    maps = np.random.default_rng(0).normal(size=films.shape[:3])
    targets = np.ones((len(films), 1), np.float32)
    how = {"steps": 16, "baseline_mode": 0.0}
    # Logits: its activation is computed again for every subset of a list of models.
    theirs = getattr(metrics, name)(
        keras.Sequential([small_cnn, keras.layers.Activation("sigmoid")]), films, targets, **how
    )
    ours = {"Deletion": deletion, "Insertion": insertion}[name]
    black = np.zeros_like(films)
    assert ours(small_cnn, films, maps, background=black).mean() == pytest.approx(
        float(theirs(maps)), abs=1e-5
    )


def test_fidelity_of_the_terms_of_a_linear_network_is_one(linear):
    model, weights = linear
    films = np.random.default_rng(1).random((2, 4, 4, 1)).astype(np.float32)
    terms = ((films - films.mean(axis=0))[..., 0] * weights).astype(np.float32)
    maps = {"terms": terms, "turned": -terms, "nothing": np.zeros((2, 4, 4))}
    found = fidelity(model, films, maps, n_tiles=2)
    np.testing.assert_allclose(found["terms"], 1, atol=1e-3)
    np.testing.assert_allclose(found["turned"], -1, atol=1e-3)
    np.testing.assert_array_equal(found["nothing"], 0)
    np.testing.assert_array_equal(found["terms"], fidelity(model, films, terms, n_tiles=2))


def test_rank_correlation_is_spearmans():
    first, second = np.random.default_rng(0).integers(0, 5, (2, 3, 4, 4)).astype(float)
    expected = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second)]  # noqa: B905
    np.testing.assert_allclose(rank_correlation(first, second), expected)
    assert (rank_correlation(first, np.zeros_like(first)) == 0).all()


def test_shuffled_weights_are_the_same_numbers_elsewhere(small_cnn):
    shuffled = shuffle_weights(small_cnn, seed=1)
    pairs = list(zip(small_cnn.get_weights(), shuffled.get_weights(), strict=True))
    for ours, theirs in pairs:
        np.testing.assert_array_equal(np.sort(ours.ravel()), np.sort(theirs.ravel()))
    assert any((ours != theirs).any() for ours, theirs in pairs)


def test_noise_is_small_and_within_the_range(films):
    noisy = add_noise(films, noise=0.01, seed=2)
    assert noisy.dtype == np.float32
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert 0.005 < np.std(noisy - films) < 0.011
    np.testing.assert_array_equal(noisy, add_noise(films, noise=0.01, seed=2))


def test_assess_is_tidy_and_bounded_by_random_and_mask(small_cnn, films):
    pytest.importorskip("xplique")
    masks = np.zeros(films.shape[:3], bool)
    masks[:, 4:20, 4:12] = True
    patients = ["a", "a", "b", "c"]
    methods = {"saliency": {}, "occlusion": {"patch_size": 8, "patch_stride": 8}}
    table = assess(small_cnn, films, masks, patients, methods, n=50)
    values = table.pivot(index="method", columns="measure", values="value")
    assert list(table) == ["method", "measure", "value", "low", "high", "seconds"]
    assert set(values.index) == {"random", "mask", *methods}
    assert set(values.columns) == set(MEASURES)
    assert (values.loc["mask", ["pointing game", "mass in the mask", "overlap"]] == 1).all()
    assert values.loc["random", "mass in the mask"] == pytest.approx(masks.mean(), abs=0.02)
    assert values.loc[list(methods)].notna().all(axis=None)
    assert (table["low"] <= table["value"]).all()
    assert table["seconds"].notna().sum() == 2 * len(MEASURES)


def test_bad_shapes_are_named(small_cnn, films):
    with pytest.raises(ValueError, match=r"same shape \(n, H, W\).*\(1, 3, 3\) and \(1, 2, 2\)"):
        pointing_game(MAP, np.zeros((1, 2, 2)))
    with pytest.raises(ValueError, match="Expected finite maps of shape"):
        deletion(small_cnn, films, np.zeros((4, 16, 16)))
    with pytest.raises(ValueError, match="Expected finite maps of shape"):
        fidelity(small_cnn, films, np.full((4, 32, 32), np.nan))
    with pytest.raises(ValueError, match="Expected maps of the same films"):
        rank_correlation(MAP, MAP[0])
    with pytest.raises(ValueError, match="Divide by 255"):
        insertion(small_cnn, films * 255, np.zeros((4, 32, 32)))

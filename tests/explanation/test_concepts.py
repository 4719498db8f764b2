"""Concepts: directions and uses that are known, and filters that are given what they look for."""

import keras
import numpy as np
import pytest
from keras import layers

from helpers.explanation import (
    activate_channels,
    find_concepts,
    judge_concept,
    visualize_channels,
)
from helpers.explanation import concepts as module

xplique_concepts = pytest.importorskip("xplique.concepts")

SIDE = 8


def make_films(n, rng, bright=None):
    """Noise, and a bright quarter at the left or at the right."""
    films = rng.uniform(0.2, 0.4, (n, SIDE, SIDE, 1)).astype(np.float32)
    if bright is not None:
        columns = slice(0, 4) if bright == "left" else slice(4, 8)
        films[:, :4, columns] += 0.4
    return films


@pytest.fixture
def uses_left():
    """A network whose logit depends on the brightness at the left, and not on the right."""
    film = keras.Input((SIDE, SIDE, 1))
    x = layers.Conv2D(1, 4, strides=4, activation="relu", name="tiles")(film)
    model = keras.Model(film, layers.Dense(1, name="logit")(layers.Flatten()(x)))
    model.get_layer("tiles").set_weights([np.full((4, 4, 1, 1), 1 / 16), np.zeros(1)])
    model.get_layer("logit").set_weights([np.array([[1.0], [0], [0], [0]]), np.zeros(1)])
    return model


def test_the_vector_of_a_linear_toy_is_the_known_direction(rng):
    direction = np.array([3.0, 0, -4, 0, 0]) / 5
    has = np.arange(200) < 100
    known = rng.normal(0, 0.3, (200, 5)) + np.outer(np.where(has, 1, -1), direction)
    keras.utils.set_random_seed(0)
    order = rng.permutation(200)
    vector, accuracy = module._find_vector(
        xplique_concepts, known[order].astype(np.float32), has[order]
    )
    assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
    assert vector @ direction > 0.97
    assert accuracy > 0.95


def test_a_concept_that_is_used_is_found_and_one_that_is_ignored_is_not(uses_left, rng):
    films, plain = make_films(30, rng), make_films(40, rng)
    used = judge_concept(uses_left, films, make_films(40, rng, "left"), plain)
    ignored = judge_concept(uses_left, films, make_films(40, rng, "right"), plain)
    assert used.p <= 1 / 100 + 1e-9
    assert used.score == 1
    assert used.effect == pytest.approx(1, abs=0.2)  # the vector is the first tile, of weight 1
    assert ignored.p > 0.05
    assert abs(ignored.effect) < 0.3
    assert min(used.accuracy, ignored.accuracy) > 0.9  # both can be seen in the features
    assert 0 < used.random_scores.mean() < 1


def test_the_same_seed_gives_the_same_test_and_restores_random_states(uses_left, rng):
    films, having, lacking = make_films(10, rng), make_films(12, rng, "left"), make_films(12, rng)
    np.random.seed(3)  # noqa: NPY002
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    first = judge_concept(uses_left, films, having, lacking, n_random=5)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002
    again = judge_concept(uses_left, films, having, lacking, n_random=5)
    assert first[:4] == again[:4]
    np.testing.assert_array_equal(first.random_scores, again.random_scores)


def test_a_visualization_activates_its_channel_more_than_noise(small_cnn, rng):
    noise = rng.random((50, 32, 32, 1), dtype=np.float32)
    for layer in ("block1_conv", "block3_conv"):
        of_noise = activate_channels(small_cnn, noise, layer)
        channels = np.argsort(of_noise.mean(axis=0))[-2:]
        images = visualize_channels(small_cnn, layer, channels, steps=60)
        assert images.shape == (2, 32, 32, 1)
        assert 0 <= images.min() <= images.max() <= 1
        raised = activate_channels(small_cnn, images, layer)
        for place, channel in enumerate(channels):
            assert raised[place, channel] > of_noise[:, channel].max()


def test_craft_finds_the_tile_that_the_network_uses(uses_left, rng):
    films = np.concatenate([make_films(15, rng, "left"), make_films(15, rng, "right")])
    found = find_concepts(uses_left, films, n_concepts=1, crop=4)
    assert found.crops.shape[1:] == (4, 4, 1)
    assert found.weights.shape == (len(found.crops), 1)
    assert (found.weights >= 0).all()
    # The only concept is brightness.
    bright = found.crops.mean(axis=(1, 2, 3))
    assert np.corrcoef(bright, found.weights[:, 0])[0, 1] > 0.99
    assert found.importances[0] > 0.5


def test_bad_input(uses_left, small_cnn, rng):
    films = make_films(12, rng)
    with pytest.raises(ValueError, match=r"at least 10 films having the concept. Received 3"):
        judge_concept(uses_left, films, films[:3], films)
    with pytest.raises(ValueError, match=r"at least 10 films lacking the concept. Received 9"):
        judge_concept(uses_left, films, films, films[:9])
    with pytest.raises(ValueError, match=r"one of the layers \['tiles'\]. Received 'block9'"):
        judge_concept(uses_left, films, films, films, layer="block9")
    with pytest.raises(ValueError, match=r"one of the layers \['rescaled', 'block1_conv'"):
        visualize_channels(small_cnn, "features", [0])
    with pytest.raises(ValueError, match=r"channels of 'block1_conv' from 0 to 7. Received \[8\]"):
        visualize_channels(small_cnn, "block1_conv", [0, 8])
    with pytest.raises(ValueError, match="Received none"):
        visualize_channels(small_cnn, "block1_conv", [])
    with pytest.raises(ValueError, match="negative ones of 'rescaled'"):
        find_concepts(small_cnn, np.zeros((2, 32, 32, 1)), layer="rescaled")

"""Concepts and channels: what a network has words for, and what its filters look for.

CAV, TCAV, CRAFT and feature visualization are those of Xplique; here are the test of a concept,
seeds, and checks.
"""

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from helpers.data.arguments import check_integer
from helpers.explanation.attribution import check_films, find_layer, find_package, seeded

MINIMUM = 10  # films with a concept, and without it


class ConceptTest(NamedTuple):
    """How far a network uses a concept.

    Attributes
    ----------
    score : float in [0, 1]
        TCAV: the share of films whose logit rises if their features move towards the concept.
    effect : float
        Mean change of the logit for a step of length 1 towards the concept.
    p : float in (0, 1]
        Two-sided: how often a random concept has an effect as large.
    accuracy : float in [0, 1]
        How well the features tell films with and without the concept apart, on held-out ones.
        Without it, the rest means nothing.
    random_scores : numpy.ndarray of float, shape (n_random,)
        TCAV scores of the random concepts.
    """

    score: float
    effect: float
    p: float
    accuracy: float
    random_scores: np.ndarray


class FoundConcepts(NamedTuple):
    """Concepts that CRAFT found in films.

    Attributes
    ----------
    crops : numpy.ndarray of float32, shape (m, side, side, 1)
        Parts of the films.
    weights : numpy.ndarray of float, shape (m, n)
        How much of each concept is in each part; 0 or more.
    importances : numpy.ndarray of float, shape (n,)
        Sobol's total index of each concept for the logit, mean of the first ten films.
    """

    crops: np.ndarray
    weights: np.ndarray
    importances: np.ndarray


def judge_concept(
    model: keras.Model,
    films: np.ndarray,
    having: np.ndarray,
    lacking: np.ndarray,
    *,
    layer: str | None = None,
    output: int = 0,
    n_random: int = 99,
    seed: int = 0,
) -> ConceptTest:
    r"""Test whether a network's answers depend on a concept (TCAV, Kim et al. 2018 [1]_).

    A concept is given by films that have it and others that lack it. Its vector :math:`v` is the
    normal of a linear classifier of their features at ``layer``, and the sensitivity of a film
    :math:`x` is :math:`\nabla h(f(x)) \cdot v`, where :math:`f` are the features and :math:`h` the
    logit of them (their Equation 1).

    The baseline is random concepts: the same films, with *having* and *lacking* drawn by lot. The
    p-value is that of a permutation test of the mean sensitivity,
    :math:`(1 + \#\{|\bar s_j| \geq |\bar s|\}) / (1 + n)`. A t-test of scores, as in the paper,
    takes any score that repeats for a finding: where gradients hardly vary between films, the score
    of every vector, random ones too, is near 0 or 1.

    Parameters
    ----------
    model : keras.Model
        The network.
    films : numpy.ndarray, shape (n, H, W, 1)
        Films whose answers are asked about; uint8, or floats in [0, 1].
    having, lacking : numpy.ndarray, shape (m, H, W, 1)
        Films with and without the concept, at least 10 of each, that differ in nothing else.
    layer : str, optional
        See :func:`helpers.explanation.find_layer`.
    output : int, default=0
        Which output.
    n_random : int, default=99
        Random concepts; the p-value is at least 1 / (n_random + 1).
    seed : int, default=0
        Seed of all draws. The random states of this process are restored afterwards.

    Returns
    -------
    ConceptTest
        Score, effect and p-value.

    Raises
    ------
    ImportError
        If Xplique is not installed.
    ValueError
        If there are too few films, they do not fit the network, or the layer is not known.

    References
    ----------
    .. [1] B. Kim et al., "Interpretability beyond feature attribution: quantitative testing with
       concept activation vectors (TCAV)", ICML 2018.
    """
    find_package("xplique")
    layer = find_layer(model, layer)
    check_integer("n_random", n_random, 1)
    films, having, lacking = (check_films(part, model) for part in (films, having, lacking))
    for name, part in (("having", having), ("lacking", lacking)):
        if len(part) < MINIMUM:
            raise ValueError(
                f"Expected at least {MINIMUM} films {name} the concept. Received {len(part)}. Take "
                "more, from other hospitals or from the training films."
            )
    module = importlib.import_module("xplique.concepts")
    features = keras.Model(model.inputs[0], model.get_layer(layer).output)
    parts = np.concatenate([having, lacking])
    known = np.asarray(features(parts, training=False))
    has = np.arange(len(parts)) < len(having)
    with _seeded(seed):
        rng = np.random.default_rng(seed)
        tester, asked = module.Tcav(model, layer), (tf.constant(films), tf.constant(output))

        def measure(has):
            vector, accuracy = _find_vector(module, known, has)
            slopes = np.asarray(tester.directional_derivative(*asked, np.float32(vector)))
            return float((slopes > 0).mean()), float(slopes.mean()), accuracy

        score, effect, accuracy = measure(has)
        lots = [measure(rng.permutation(has))[:2] for _ in range(n_random)]
    scores, effects = np.array(lots).T
    p = (1 + np.count_nonzero(np.abs(effects) >= abs(effect))) / (1 + n_random)
    return ConceptTest(score, effect, p, accuracy, scores)


def find_concepts(
    model: keras.Model,
    films: np.ndarray,
    *,
    n_concepts: int = 5,
    crop: int | None = None,
    layer: str | None = None,
    output: int = 0,
    seed: int = 0,
) -> FoundConcepts:
    """Find concepts that nobody named (CRAFT, Fel et al. 2023 [1]_).

    The features of parts of the films are factorized into a few that are not negative.

    Parameters
    ----------
    model : keras.Model
        The network.
    films : numpy.ndarray, shape (n, H, W, 1)
        Films of one answer, such as those with a finding.
    n_concepts : int, default=5
        How many.
    crop : int, optional
        Side of a part in pixels; by default a third of the film.
    layer : str, optional
        Layer whose features are not negative, see :func:`helpers.explanation.find_layer`.
    output : int, default=0
        Which output.
    seed : int, default=0
        Seed of the factorization. The random states of this process are restored afterwards.

    Returns
    -------
    FoundConcepts
        Parts, and how much of each concept is in them.

    Raises
    ------
    ImportError
        If Xplique is not installed.
    ValueError
        If the films do not fit, the layer is not known, or its features can be negative.

    References
    ----------
    .. [1] T. Fel et al., "CRAFT: concept recursive activation factorization for explainability",
       CVPR 2023.
    """
    find_package("xplique")
    layer = find_layer(model, layer)
    check_integer("n_concepts", n_concepts, 1)
    films = check_films(films, model)
    crop = check_integer("crop", crop or films.shape[1] // 3, 2, films.shape[1])
    middle = model.get_layer(layer).output
    first, last = keras.Model(model.inputs[0], middle), keras.Model(middle, model.outputs[0])
    if np.asarray(first(films, training=False)).min() < 0:
        raise ValueError(
            f"Expected features of 0 or more. Received negative ones of {layer!r}. Name the ReLU "
            "after it."
        )
    module = importlib.import_module("xplique.concepts")
    with _seeded(seed), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Maximum number of iterations")  # NMF stops there
        craft = module.CraftTf(first, last, n_concepts, patch_size=crop)
        crops, weights, _ = craft.fit(films, class_id=output)
        importances = craft.estimate_importance(films[:10])
    return FoundConcepts(np.asarray(crops), np.asarray(weights), np.asarray(importances))


def visualize_channels(
    model: keras.Model,
    layer: str,
    channels: Sequence[int],
    *,
    steps: int = 128,
    seed: int = 0,
) -> np.ndarray:
    """Draw what channels want to see: films that raise their mean activation (Olah et al. 2017).

    Parameters
    ----------
    model : keras.Model
        The network.
    layer : str
        A layer with rows and columns.
    channels : sequence of int
        Which of its channels.
    steps : int, default=128
        Steps of gradient ascent.
    seed : int, default=0
        Seed of the noise to start from. The random states of this process are restored afterwards.

    Returns
    -------
    numpy.ndarray of float32, shape (n_channels, H, W, 1)
        Films in [0, 1]. That of a channel which no film can raise is grey noise.

    Raises
    ------
    ImportError
        If Xplique is not installed.
    ValueError
        If the layer or a channel is not known.
    """
    find_package("xplique")
    layer = find_layer(model, layer)
    check_integer("steps", steps, 1)
    number, channels = model.get_layer(layer).output.shape[-1], list(channels)
    wrong = [channel for channel in channels if channel not in range(number)]
    if wrong or not channels:
        raise ValueError(
            f"Expected channels of {layer!r} from 0 to {number - 1}. Received {wrong or 'none'}."
        )
    module = importlib.import_module("xplique.features_visualizations")
    with _seeded(seed):
        objective = module.Objective.channel(model, layer, channels)
        # Shifted at random in every step, or strides leave a pattern of dots.
        settings = {"use_fft": False, "transformations": module.random_jitter(2)}
        images, _ = module.optimize(objective, nb_steps=steps, custom_shape=None, **settings)
    return np.asarray(images[-1], np.float32)


def activate_channels(model: keras.Model, films: np.ndarray, layer: str) -> np.ndarray:
    """Measure how strongly films activate the channels of a layer.

    Parameters
    ----------
    model : keras.Model
        The network.
    films : numpy.ndarray, shape (n, H, W, 1)
        Films, uint8 or floats in [0, 1].
    layer : str
        A layer with rows and columns.

    Returns
    -------
    numpy.ndarray of float32, shape (n, n_channels)
        Mean over rows and columns.

    Raises
    ------
    ValueError
        If the films do not fit, or the layer is not known.
    """
    inner = keras.Model(model.inputs[0], model.get_layer(find_layer(model, layer)).output)
    return np.asarray(inner(check_films(films, model), training=False)).mean(axis=(1, 2))


def _find_vector(module, known, has):
    """Return the vector of a concept, of length 1, and the accuracy on held-out films."""
    held = np.arange(len(known)) % 4 == 0  # every fourth of each kind
    order = np.argsort(~has, kind="stable")
    known, has = known[order], has[order]
    # Cav asks a network for the features, which are known.
    same = keras.Input(known.shape[1:])
    identity = keras.Model(same, keras.layers.Identity(name="features")(same))
    cav = module.Cav(identity, "features", test_fraction=0.01)
    cav.bottleneck_model = _Identity()
    vector = np.asarray(cav.fit(known[has & ~held], known[~has & ~held]))
    accuracy = cav.classifier.score(known[held].reshape(held.sum(), -1), has[held])
    length = np.linalg.norm(vector)
    return vector / length, float(accuracy)


class _Identity:
    """A network whose prediction is what it is given, without a progress bar."""

    def predict(self, features, batch_size):
        return features


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed what Xplique draws, and mute a warning about models that it builds itself."""
    with seeded(seed), warnings.catch_warnings():
        # A model of a list of one input, which Xplique builds and calls without the list.
        warnings.filterwarnings("ignore", "The structure of `inputs`", UserWarning)
        yield

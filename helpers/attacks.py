"""Attacks: what somebody who sees updates, or a model, can learn about the films behind them.

They are here to be run against one's own training before anybody else does. Both know more than a
real attacker would (the labels; films that are like the training films), so that what they fail to
find is not found because it is hard to find. A failure is no proof: another attack may succeed.
"""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment, minimize


def invert_updates(
    model: keras.Model,
    loss: Callable,
    updates: Sequence[Sequence[np.ndarray]],
    labels: ArrayLike,
    start: np.ndarray,
    *,
    evaluations: int = 100,
    smoothness: float = 1e-3,
) -> np.ndarray:
    r"""Search, for each of several updates, for films whose gradient points where it points.

    An update of plain gradient descent is minus the learning rate times the gradient; one of
    several steps is close to it. Geiping et al. [1]_ search for the films :math:`x` of

    .. math::
        \min_{x \in [0, 1]} \; 1 - \frac{\langle \nabla_w L(x, y), -u \rangle}
        {\lVert \nabla_w L(x, y) \rVert \, \lVert u \rVert} + \lambda \, \mathrm{TV}(x),

    with the update :math:`u`, the labels :math:`y` and the total variation per pixel
    :math:`\mathrm{TV}`. The learning rate need not be known. Here L-BFGS-B searches, with a fixed
    budget. It expects a smooth function: ReLU and maximum pooling have kinks, which hinder it.

    Parameters
    ----------
    model : keras.Model
        The network with the weights from which the hospital started.
    loss : callable
        Keras loss of labels and the model's outputs.
    updates : sequence of sequence of numpy.ndarray
        Each holds new minus old value of each of ``model.trainable_variables``.
    labels : array, shape (n, 1)
        Labels of the films, which the attacker is assumed to know.
    start : numpy.ndarray, shape (n, H, W, 1)
        Where the search begins, such as the mean of other films, in [0, 1].
    evaluations : int, default=100
        How often the gradient is computed for an update.
    smoothness : float, default=1e-3
        Weight :math:`\lambda` of the total variation.

    Returns
    -------
    numpy.ndarray
        The films found, float32 of shape (n_updates, n, H, W, 1), in [0, 1].

    Raises
    ------
    ValueError
        If the tensors of an update differ in number or shape from the model's.

    References
    ----------
    .. [1] J. Geiping, H. Bauermeister, H. Dröge and M. Moeller, "Inverting gradients: how easy is
       it to break privacy in federated learning?", NeurIPS 2020.
    """
    weights = model.trainable_variables
    expected = [tuple(weight.shape) for weight in weights]
    for update in updates:
        if (received := [np.shape(tensor) for tensor in update]) != expected:
            raise ValueError(
                f"Expected updates of the model's trainable tensors, {expected}. Received "
                f"{received}. Leave out what is not trained, such as BatchNorm's statistics."
            )
    labels = tf.constant(labels, tf.float32)

    @tf.function
    def compare(films, update):
        with tf.GradientTape() as outer:
            outer.watch(films)
            with tf.GradientTape() as inner:
                value = tf.reduce_mean(loss(labels, model(films, training=False)))
            gradient = inner.gradient(value, weights)
            value = 1 + _dot(gradient, update) / (_length(gradient) * _length(update))
            value += smoothness * _total_variation(films)
        return value, outer.gradient(value, films)

    def search(update):
        update = [tf.constant(tensor, tf.float32) for tensor in update]

        def evaluate(flat):
            value, gradient = compare(tf.constant(flat.reshape(start.shape), tf.float32), update)
            # The search ends where numbers are small; by pixel, they are.
            return 100 * float(value), 100 * gradient.numpy().astype(np.float64).ravel()

        return minimize(
            evaluate,
            np.asarray(start, np.float64).ravel(),
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, 1)] * start.size,
            options={"maxfun": evaluations, "maxiter": evaluations, "ftol": 1e-12},
        ).x

    found = [search(update).reshape(start.shape) for update in updates]
    return np.asarray(found, np.float32)


def compare_films(found: np.ndarray, films: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Compare films that an attack found with the true ones, each with the one it fits best.

    All chest X-rays resemble each other. What is compared is how a film departs from the mean film:
    the correlation of ``found - mean`` with ``films - mean``. An attack does not learn the order of
    a batch, so the assignment with the largest sum counts, which favors the attack.

    Parameters
    ----------
    found : numpy.ndarray, shape (n, H, W, 1)
        Films that were found.
    films : numpy.ndarray, shape (n, H, W, 1)
        The true films.
    mean : numpy.ndarray, shape (H, W, 1)
        The mean of other films.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        For each true film, the correlation with the one assigned to it, in [-1, 1].
    """
    found, films = (_standardize(array, mean) for array in (found, films))
    alike = found @ films.T
    rows, columns = linear_sum_assignment(-alike)
    return alike[rows, columns][np.argsort(columns)]


def film_losses(logits: ArrayLike, labels: ArrayLike) -> np.ndarray:
    r"""Loss of each film, :math:`\log(1 + e^{-z})` with the logit :math:`z` towards its label.

    A model that was trained on a film tends to have a smaller loss for it. Membership inference by
    a threshold of the loss (Yeom et al. [1]_) takes the films with the smallest losses for training
    films. Its success, over all thresholds, is the area under the ROC curve: with
    :func:`helpers.evaluation.auc`, of "was trained on" by the negative loss. One half is chance.

    Parameters
    ----------
    logits : array, shape (n, 1) or (n,)
        The model's outputs.
    labels : array, shape (n,)
        0 or 1.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        Binary cross-entropies, at least 0.

    References
    ----------
    .. [1] S. Yeom, I. Giacomelli, M. Fredrikson and S. Jha, "Privacy risk in machine learning:
       analyzing the connection to overfitting", CSF 2018.

    Examples
    --------
    >>> film_losses([[0.0], [100.0]], [1, 1]).round(3).tolist()
    [0.693, 0.0]
    """
    towards = np.where(np.ravel(labels) == 1, 1.0, -1.0) * np.ravel(logits).astype(np.float64)
    return np.logaddexp(0, -towards)


def _standardize(films, mean):
    """Return the departures from the mean film as rows of mean 0 and length 1."""
    rows = (np.asarray(films, np.float64) - mean).reshape(len(films), -1)
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def _dot(left, right):
    return tf.add_n([tf.reduce_sum(a * b) for a, b in zip(left, right, strict=True)])


def _length(tensors):
    return tf.sqrt(_dot(tensors, tensors) + 1e-24)


def _total_variation(films):
    return sum(
        tf.reduce_mean(tf.abs(films[a] - films[b]))
        for a, b in (
            (np.s_[:, 1:], np.s_[:, :-1]),
            (np.s_[:, :, 1:], np.s_[:, :, :-1]),
        )
    )

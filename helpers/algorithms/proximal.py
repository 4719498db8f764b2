"""The proximal term of FedProx, which keeps an organization near the global weights."""

from collections.abc import Iterable

import keras
import tensorflow as tf


class ProximalTerm:
    r"""Add :math:`\frac{\mu}{2} \lVert w - w_t \rVert^2` to the loss (Li et al. 2020, Equation 2).

    Parameters
    ----------
    mu : float
        :math:`\mu`, above 0.
    weights : list of keras.Variable
        :math:`w`: what is trained and exchanged.

    Attributes
    ----------
    variables : list of keras.Variable
        :math:`w_t`, the global weights of the round. Variables, and not constants: the traced step
        reads those of the round it is in.
    """

    def __init__(self, mu: float, weights: Iterable[keras.Variable]) -> None:
        self.mu = float(mu)
        self.variables = [
            keras.Variable(weight, trainable=False, name="global_weight") for weight in weights
        ]

    def begin_round(self, weights: Iterable[keras.Variable]) -> None:
        """Store the global weights.

        Parameters
        ----------
        weights : list of keras.Variable
            The weights as they are before the local training.
        """
        for start, weight in zip(self.variables, weights, strict=True):
            start.assign(weight)

    def penalty(self, weights: Iterable[keras.Variable]) -> tf.Tensor:
        r"""Return the term.

        Parameters
        ----------
        weights : list of keras.Variable
            The weights as they are now.

        Returns
        -------
        tensor, shape (), float32
            Its gradient is :math:`\mu (w - w_t)`.
        """
        distances = [
            tf.reduce_sum(tf.square(weight - tf.cast(start, weight.dtype)))
            for weight, start in zip(weights, self.variables, strict=True)
        ]
        return self.mu / 2 * tf.add_n(distances)

"""Newton-Raphson for Keras models, the twin of SubstraFL's ``TorchNewtonRaphsonAlgo``."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from substrafl.exceptions import CriterionReductionError, NegativeHessianMatrixError
from substrafl.index_generator import NpIndexGenerator
from substrafl.remote import remote_data
from substrafl.strategies.schemas import (
    NewtonRaphsonAveragedStates,
    NewtonRaphsonSharedState,
    StrategyName,
)

from helpers.algorithms.arguments import check_flag, name_unknown_arguments
from helpers.algorithms.index_generators import index_all_samples
from helpers.algorithms.tf_update_algo import TFUpdateAlgo

_MEANS = ("sum_over_batch_size", "mean", "mean_with_sample_weight")


class TFNewtonRaphsonAlgo(TFUpdateAlgo):
    r"""Train a small Keras model with a convex loss by Newton's method.

    Each organization shares the gradient :math:`g_k` and the Hessian :math:`H_k` of its loss at the
    global weights, over all its samples. SubstraFL's ``NewtonRaphson`` averages both over the
    samples and returns :math:`-\eta H^{-1} g`, which every organization adds. A logistic regression
    converges in a few rounds. The Hessian has as many rows and columns as the model has weights, so
    that a deep network is out of reach, and would not be convex either.

    Parameters
    ----------
    model, loss, dataset, seed, disable_gpu
        As in :class:`~helpers.algorithms.TFAlgo`. The loss must be a mean over the samples.
    batch_size : int or None
        Samples in a batch, to limit memory; it does not affect the result. None takes all at
        once.
    l2_coeff : float, default=0.0
        Adds ``l2_coeff / 2 * sum(weights ** 2)`` to the loss, biases included, which keeps the
        Hessian invertible.
    with_batch_norm_parameters : bool, default=False
        Must be False: Newton's method has no step for statistics that no loss depends on. The
        name is SubstraFL's.

    Raises
    ------
    substrafl.exceptions.CriterionReductionError
        If the loss is not a mean.
    ValueError
        If ``with_batch_norm_parameters`` is True.
    """

    @name_unknown_arguments
    def __init__(
        self,
        model: Callable[[], keras.Model],
        loss: keras.losses.Loss | str,
        batch_size: int | None,
        dataset: type,
        l2_coeff: float = 0.0,
        with_batch_norm_parameters: bool = False,
        seed: int | None = None,
        disable_gpu: bool = False,
    ) -> None:
        check_flag("with_batch_norm_parameters", with_batch_norm_parameters)
        super().__init__(
            model,
            loss,
            # Until the number of samples is known it only gives the batch size of predictions.
            NpIndexGenerator(batch_size, num_updates=1),
            dataset,
            None,
            seed,
            disable_gpu,
        )
        if isinstance(loss, keras.losses.Loss) and loss.reduction not in _MEANS:
            raise CriterionReductionError(
                "Expected a loss that is a mean over the samples "
                f"(reduction='sum_over_batch_size'). Received reduction={loss.reduction!r}."
            )
        if with_batch_norm_parameters:
            raise ValueError(
                "Expected with_batch_norm_parameters=False: Newton's method has no step for moving "
                "means and variances. Leave BatchNorm out of a convex model."
            )
        self._batch_size = batch_size
        self._l2_coeff = l2_coeff
        self._gradients = self._hessian = None
        self._n_samples_done = 0

    @property
    def strategies(self) -> list[StrategyName]:
        """List of StrategyName: the strategies that this algorithm serves."""
        return [StrategyName.NEWTON_RAPHSON]

    def _build(self):
        """Build the model with its loss; there is no optimizer to compile it with."""
        model = super()._build()
        model.compile(loss=self._loss, jit_compile=False)
        return model

    def _local_train(self, train_dataset):
        """Sum gradient and Hessian over all samples; the weights do not change.

        Override it for another loop; it must call ``_update_gradients_and_hessian`` for each
        batch.

        Parameters
        ----------
        train_dataset : object
            An instance of ``dataset`` made for training.
        """
        with tf.device(self._device):
            for indices in self._index_generator:
                self._update_gradients_and_hessian(train_dataset[indices], len(indices))

    def _update_gradients_and_hessian(self, batch, current_batch_size):
        """Add the contribution of one batch to gradient and Hessian.

        Parameters
        ----------
        batch : tuple
            Samples, targets and, if there are any, weights of the samples.
        current_batch_size : int
            Samples in the batch.
        """
        batch = tf.nest.map_structure(tf.convert_to_tensor, tuple(batch))
        derivatives = self._traces.get(
            "derivatives", self._differentiate, batch, self._step_variables
        )
        gradients, rows = derivatives(*batch)
        n_weights = len(self._hessian)
        hessian = np.concatenate([row.numpy().reshape(n_weights, -1) for row in rows], axis=1)
        share = current_batch_size / self._index_generator.n_samples
        self._hessian = self._hessian + share * (hessian + hessian.T) / 2
        self._gradients = [
            total + share * gradient.numpy()
            for total, gradient in zip(self._gradients, gradients, strict=True)
        ]
        self._n_samples_done += current_batch_size

    def _differentiate(self, x, y, *weights):
        """Return gradients, and their derivatives by each variable; traced once in a task."""
        variables = self._model.trainable_variables
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = self._compute_loss(x, y, *weights)
            gradients = inner.gradient(loss, variables)
            flat = tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], 0)
        unconnected = tf.UnconnectedGradients.ZERO
        return gradients, outer.jacobian(flat, variables, unconnected_gradients=unconnected)

    @remote_data
    def train(
        self, data_from_opener: Any, shared_state: NewtonRaphsonAveragedStates | None = None
    ) -> NewtonRaphsonSharedState:
        """Apply the step that the aggregation sent, then share gradient and Hessian.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : substrafl.strategies.schemas.NewtonRaphsonAveragedStates, optional
            The step; None in the first round.

        Returns
        -------
        substrafl.strategies.schemas.NewtonRaphsonSharedState
            Number of samples, gradient of each weight tensor, and the Hessian, float64 (p, p).

        Raises
        ------
        ValueError
            If the step does not fit the model, or not every sample was seen once.
        substrafl.exceptions.NegativeHessianMatrixError
            If the Hessian has a negative eigenvalue: the problem is not convex.
        """
        train_dataset = self._open(data_from_opener)
        n_samples = len(train_dataset)
        if shared_state is None:
            self._index_generator = index_all_samples(n_samples, self._batch_size)
        else:
            self._add_update(shared_state.parameters_update)
        weights = [variable.numpy() for variable in self._model.trainable_variables]
        n_weights = sum(weight.size for weight in weights)
        # The penalty is the same for all batches: its derivatives are known.
        self._gradients = [self._l2_coeff * weight.astype(np.float64) for weight in weights]
        self._hessian = self._l2_coeff * np.eye(n_weights)
        self._n_samples_done = 0
        self._train_round(train_dataset)
        if self._n_samples_done != n_samples:
            raise ValueError(
                f"Expected gradient and Hessian of {n_samples} samples. Received those of "
                f"{self._n_samples_done}: call _update_gradients_and_hessian for each batch."
            )
        lowest = np.linalg.eigvalsh(self._hessian).min()
        if lowest < 0:
            raise NegativeHessianMatrixError(
                "Expected a Hessian without negative eigenvalues. Received one with "
                f"{lowest:.3g}: the problem is not convex, or numbers are too coarse. A larger "
                f"l2_coeff helps (now {self._l2_coeff})."
            )
        return NewtonRaphsonSharedState(
            n_samples=n_samples, gradients=self._gradients, hessian=self._hessian
        )

    def summary(self) -> dict[str, Any]:
        """Describe the algorithm for SubstraFL's experiment summary.

        Returns
        -------
        dict
            JSON-serializable.
        """
        return super().summary() | {"l2_coeff": self._l2_coeff, "batch_size": self._batch_size}

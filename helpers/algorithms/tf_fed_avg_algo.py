"""Federated Averaging for Keras models, the twin of SubstraFL's ``TorchFedAvgAlgo``."""

import functools
from collections.abc import Callable
from numbers import Real
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from substrafl.index_generator import BaseIndexGenerator
from substrafl.remote import remote_data
from substrafl.strategies.schemas import FedAvgAveragedState, FedAvgSharedState, StrategyName

from helpers.algorithms.arguments import check_flag, check_option, name_unknown_arguments
from helpers.algorithms.index_generators import PoissonIndexGenerator
from helpers.algorithms.tf_update_algo import TFUpdateAlgo

# An option is known by its attribute ``option``, so that none is imported before it is chosen.
Option = Any


class TFFedAvgAlgo(TFUpdateAlgo):
    r"""Train a Keras model with the Federated Averaging strategy.

    In round :math:`t` organization :math:`k` starts from the global weights :math:`w_t`, makes
    ``num_updates`` local updates that lead to :math:`w^k_{t+1}`, and shares the difference
    :math:`\Delta^k = w^k_{t+1} - w_t`. SubstraFL's ``FedAvg`` strategy averages them over the
    samples, :math:`w_{t+1} = w_t + \sum_k \frac{n_k}{n} \Delta^k` (McMahan et al. 2017,
    Algorithm 1), and every organization adds that average in its next task.

    Before a task ends the weights are **set back** to :math:`w_t`, so that the local state of
    every organization after round :math:`t`, and whatever is evaluated with it, is the global model
    of round :math:`t`.

    Parameters
    ----------
    model, loss, optimizer, index_generator, dataset, seed, disable_gpu
        As in :class:`~helpers.algorithms.TFAlgo`.
    with_batch_norm_parameters : bool, default=False
        Whether the moving mean and variance of BatchNorm layers are averaged too. With False
        they are neither sent nor set back: the evaluated model then mixes averaged weights with
        the statistics that the last local training left at that organization, as in SubstraFL's
        PyTorch class.
    proximal_mu : float, default=0.0
        FedProx (Li et al. 2020, Equation 2) adds :math:`\frac{\mu}{2} \lVert w - w_t \rVert^2`
        to the loss of every local update, over the trainable weights, which limits the drift of
        an organization from the global weights :math:`w_t`. 0 is Federated Averaging.
    server_optimizer : ServerOptimizer, optional
        How the averaged update becomes a step, for example
        ``helpers.algorithms.FedAdam(learning_rate=0.1)``; by default it is added as it is. Moving
        means and variances are always added as they are.
    batch_norm : BatchNorm or str, optional
        How BatchNorm layers are federated, see :class:`~helpers.algorithms.BatchNorm`; in place of
        ``with_batch_norm_parameters``, whose two values are two of its choices.
    privacy : DPSGD, optional
        Clip and noise the gradients, see :class:`~helpers.algorithms.DPSGD`. It needs a
        :class:`~helpers.algorithms.PoissonIndexGenerator`.
    compression : Compressor, optional
        How updates are compressed, for example ``helpers.exchange.Int8()``; by default they are
        sent as float32. What is not sent is remembered at the organization, see
        :class:`~helpers.exchange.Compressor`. The average comes back as float32.

    Raises
    ------
    ValueError
        If ``proximal_mu`` is negative, ``batch_norm`` is unknown or given together with
        ``with_batch_norm_parameters``, or ``privacy`` does not fit index generator or model.
    TypeError
        If ``server_optimizer`` is something else, such as a Keras optimizer, or ``privacy`` or
        ``compression`` is.

    Examples
    --------
    Define a class, as in SubstraFL's own notebooks; it may be inside a script or a notebook::

        class MyAlgo(TFFedAvgAlgo):
            def __init__(self):
                super().__init__(
                    model=build_cnn,
                    loss=keras.losses.BinaryCrossentropy(from_logits=True),
                    optimizer=keras.optimizers.Adam(1e-3),
                    index_generator=NpIndexGenerator(batch_size=32, num_updates=20),
                    dataset=ChestXrayDataset,
                    seed=0,
                )
    """

    _own_state = ("_noised_gradients", "_kept_batch_norm", "_server_memory", "_unsent")

    @name_unknown_arguments
    def __init__(
        self,
        model: Callable[[], keras.Model],
        loss: keras.losses.Loss | str,
        optimizer: keras.optimizers.Optimizer | str,
        index_generator: BaseIndexGenerator,
        dataset: type,
        with_batch_norm_parameters: bool = False,
        seed: int | None = None,
        disable_gpu: bool = False,
        proximal_mu: float = 0.0,
        server_optimizer: Option | None = None,
        batch_norm: Option | str | None = None,
        privacy: Option | None = None,
        compression: Option | None = None,
    ) -> None:
        check_flag("with_batch_norm_parameters", with_batch_norm_parameters)
        check_option("server_optimizer", server_optimizer, "helpers.algorithms.FedAdam()")
        check_option("privacy", privacy, "helpers.algorithms.DPSGD(clip_norm, noise_multiplier)")
        check_option("compression", compression, "helpers.exchange.Int8()")
        if not isinstance(proximal_mu, Real) or not proximal_mu >= 0:
            raise ValueError(f"Expected proximal_mu of 0 or more. Received {proximal_mu}.")
        if privacy is None and isinstance(index_generator, PoissonIndexGenerator):
            raise ValueError(
                "Expected privacy=DPSGD(…) with a PoissonIndexGenerator, whose batches may be "
                "empty. Received None: set noise_multiplier=0 to train without noise."
            )
        if batch_norm is not None:
            if with_batch_norm_parameters:
                raise ValueError(
                    "Expected batch_norm or with_batch_norm_parameters. Received both: "
                    "with_batch_norm_parameters=True is batch_norm='averaged'."
                )
            # An option that is not chosen is not imported.
            from helpers.algorithms.batch_norm import BatchNorm

            batch_norm = BatchNorm.read(batch_norm)
            model = batch_norm.change(model)
        self._batch_norm = batch_norm
        self._with_batch_norm_parameters = with_batch_norm_parameters
        super().__init__(model, loss, index_generator, dataset, optimizer, seed, disable_gpu)
        # Each option has a state, which is part of the local state, and one hook, which is called
        # below; the proximal term is reset in every round.
        self._noised_gradients = privacy and privacy.start(self._index_generator, self._model)
        self._kept_batch_norm = batch_norm and batch_norm.start()
        self._server_optimizer, self._server_memory = server_optimizer, None
        self._compression, self._unsent = compression, None
        self._proximal_term = None
        if proximal_mu:
            from helpers.algorithms.proximal import ProximalTerm

            self._proximal_term = ProximalTerm(proximal_mu, self._shared_weights.values())

    @property
    def strategies(self) -> list[StrategyName]:
        """List of StrategyName: the strategies that this algorithm serves."""
        return [StrategyName.FEDERATED_AVERAGING]

    @functools.cached_property
    def _exchanged(self):
        """The variables that are exchanged, by their names; under FedBN none of BatchNorm."""
        if self._batch_norm is None:
            return super()._exchanged
        return self._batch_norm.exchanged_variables(self._model)

    @functools.cached_property
    def _shared_weights(self):
        """The exchanged variables that are trained: all but moving means and variances."""
        return {name: one for name, one in self._exchanged.items() if one.trainable}

    def _step_variables(self):
        """List all Keras variables that the training step reads or writes."""
        start = self._proximal_term.variables if self._proximal_term else []
        noise = [self._noised_gradients.memory] if self._noised_gradients else []
        return super()._step_variables() + start + noise

    def _penalty(self):
        """Return the proximal term of FedProx, or None."""
        return self._proximal_term and self._proximal_term.penalty(self._shared_weights.values())

    def _compute_gradients(self, x, y, sample_weight=None):
        """Return loss and gradients, private ones if ``privacy`` was given."""
        if not self._noised_gradients:
            return super()._compute_gradients(x, y, sample_weight)
        variables = self._model.trainable_variables
        batch = (x, y) if sample_weight is None else (x, y, sample_weight)
        loss, gradients = self._noised_gradients(
            self._compute_loss, variables, batch, self._index_generator.batch_size
        )
        if self._proximal_term:
            with tf.GradientTape() as tape:
                penalty = self._penalty()
            pulls = tape.gradient(penalty, variables, unconnected_gradients="zero")
            gradients = [tf.add(*pair) for pair in zip(gradients, pulls, strict=True)]
        # Keras divides by the scale of the loss, if there is one, before it applies gradients.
        return loss, [self._optimizer.scale_loss(gradient) for gradient in gradients]

    def _prediction_inputs(self, x):
        """Return the inputs of a training batch in the form that a prediction takes."""
        return self._noised_gradients.prediction_inputs(x) if self._noised_gradients else x

    def _train_round(self, train_dataset):
        """Train for one round, with the preparations of proximal term, FedBN and privacy."""
        if self._proximal_term:
            self._proximal_term.begin_round(self._shared_weights.values())
        if self._kept_batch_norm:
            self._kept_batch_norm.begin_round(self._model)
        if self._noised_gradients:
            self._noised_gradients.begin_round(train_dataset)
        super()._train_round(train_dataset)
        if self._kept_batch_norm:
            self._kept_batch_norm.end_round(self._model)
        if self._noised_gradients:
            self._noised_gradients.end_round(self._index_generator.num_updates)

    def _add_update(self, update):
        """Move the weights from one global model to the next; FedBN restores what was kept."""
        super()._add_update(update)
        if self._kept_batch_norm:
            self._kept_batch_norm.add_average(self._model)

    def _server_step(self, updates):
        """Let the server optimizer turn the averaged updates of trained weights into a step."""
        if not self._server_optimizer:
            return {}
        trained = {name: updates[name] for name in self._shared_weights}
        step, self._server_memory = self._server_optimizer.step(trained, self._server_memory)
        return step

    @remote_data
    def train(
        self, data_from_opener: Any, shared_state: FedAvgAveragedState | None = None
    ) -> FedAvgSharedState:
        """Add the averaged update, train locally, return the new update, reset the weights.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : substrafl.strategies.schemas.FedAvgAveragedState, optional
            The average of all organizations' updates; None in the first round.

        Returns
        -------
        substrafl.strategies.schemas.FedAvgSharedState
            Number of samples, and the update as arrays in the order of
            :func:`helpers.exchange.exchanged_variables`.

        Raises
        ------
        ValueError
            If the averaged update does not fit the model, or the training diverged.
        """
        train_dataset = self._open(data_from_opener)
        average = None if shared_state is None else shared_state.avg_parameters_update
        update = self._train_for_update(train_dataset, average)
        if self._compression:
            update, self._unsent = self._compression.compress(update, self._unsent)
        return FedAvgSharedState(
            n_samples=len(train_dataset), parameters_update=list(update.values())
        )

    @remote_data
    def receive(
        self, data_from_opener: Any, shared_state: FedAvgAveragedState | None = None
    ) -> dict[str, np.ndarray]:
        """Add the averaged update and send nothing: the organization sits a round out.

        See :class:`helpers.strategies.Participation`.

        Parameters
        ----------
        data_from_opener : dict
            Not used.
        shared_state : substrafl.strategies.schemas.FedAvgAveragedState, optional
            The average of the others' updates; None in the first round.

        Returns
        -------
        dict of str to numpy.ndarray
            ``{"None": empty array}``: a task must share something.

        Raises
        ------
        ValueError
            If the averaged update does not fit the model.
        """
        if shared_state is not None:
            self._add_update(shared_state.avg_parameters_update)
        return {"None": np.array([])}

    def summary(self) -> dict[str, Any]:
        """Describe the algorithm for SubstraFL's experiment summary.

        Returns
        -------
        dict
            JSON-serializable.
        """
        return super().summary() | {
            "with_batch_norm_parameters": str(self._with_batch_norm_parameters),
            "proximal_mu": self._proximal_term.mu if self._proximal_term else 0.0,
            "batch_norm": self._batch_norm and str(self._batch_norm),
            "privacy": self._noised_gradients and repr(self._noised_gradients.settings),
            "compression": self._compression and repr(self._compression),
            "server_optimizer": self._server_optimizer and repr(self._server_optimizer),
        }

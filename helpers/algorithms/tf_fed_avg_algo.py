"""Federated Averaging for Keras models, the twin of SubstraFL's ``TorchFedAvgAlgo``."""

import keras
import tensorflow as tf
from substrafl.remote import remote_data
from substrafl.strategies.schemas import FedAvgSharedState, StrategyName

from helpers.algorithms.server_optimizers import ServerOptimizer
from helpers.algorithms.tf_algo import TFAlgo
from helpers.exchange import parameter_names


class TFFedAvgAlgo(TFAlgo):
    r"""Train a Keras model with the Federated Averaging strategy.

    In round :math:`t` hospital :math:`k` starts from the global weights :math:`w_t`, makes
    ``num_updates`` local updates that lead to :math:`w^k_{t+1}`, and shares the difference
    :math:`\Delta^k = w^k_{t+1} - w_t`. SubstraFL's ``FedAvg`` strategy averages them over the
    films, :math:`w_{t+1} = w_t + \sum_k \frac{n_k}{n} \Delta^k` (McMahan et al. 2017,
    Algorithm 1), and every hospital adds that average in its next task.

    Before a task ends the weights are **set back** to :math:`w_t`, so that the local state of
    every hospital after round :math:`t`, and whatever is evaluated with it, is the global model
    of round :math:`t`.

    Parameters
    ----------
    model, loss, optimizer, index_generator, dataset, seed, disable_gpu
        As in :class:`~helpers.algorithms.TFAlgo`.
    with_batch_norm_parameters : bool, default=False
        Whether the moving mean and variance of BatchNorm layers are averaged too. With False
        they are neither sent nor set back: the evaluated model then mixes averaged weights with
        the statistics that the last local training left at that hospital, as in SubstraFL's
        PyTorch class.
    proximal_mu : float, default=0.0
        FedProx (Li et al. 2020, Equation 2) adds :math:`\frac{\mu}{2} \lVert w - w_t \rVert^2`
        to the loss of every local update, over the trainable weights, which keeps a hospital from
        drifting away from the global weights :math:`w_t`. 0 is Federated Averaging.
    server_optimizer : ServerOptimizer, optional
        What is made of the averaged update, for example
        ``helpers.algorithms.FedAdam(learning_rate=0.1)``; by default it is added as it is. Moving
        means and variances are always added as they are.

    Raises
    ------
    ValueError
        If ``proximal_mu`` is negative.
    TypeError
        If ``server_optimizer`` is something else, such as a Keras optimizer.

    Examples
    --------
    A class is the natural form, as in SubstraFL's own notebooks; it may be written inside a
    script or a notebook::

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

    _own_state = ("_server_memory",)

    def __init__(
        self,
        model,
        loss,
        optimizer,
        index_generator,
        dataset,
        with_batch_norm_parameters=False,
        seed=None,
        disable_gpu=False,
        proximal_mu=0.0,
        server_optimizer=None,
        *args,
        **kwargs,
    ):
        if not proximal_mu >= 0:
            raise ValueError(f"Expected proximal_mu of 0 or more. Received {proximal_mu}.")
        if not isinstance(server_optimizer, ServerOptimizer | None):
            raise TypeError(
                "Expected a ServerOptimizer such as helpers.algorithms.FedAdam(). Received "
                f"{type(server_optimizer).__name__}."
            )
        super().__init__(
            model,
            loss,
            index_generator,
            dataset,
            optimizer,
            seed,
            disable_gpu,
            *args,
            **kwargs,
        )
        self._with_batch_norm_parameters = with_batch_norm_parameters
        self._server_optimizer = server_optimizer
        self._server_memory = None
        self._proximal_mu = float(proximal_mu)
        # Variables, and not constants: the traced step reads the weights of the round it is in.
        self._global_weights = [
            keras.Variable(weight, trainable=False, name="global_weight")
            for weight in (self._model.trainable_variables if proximal_mu else ())
        ]

    @property
    def strategies(self):
        """List of StrategyName: the strategies that this algorithm serves."""
        return [StrategyName.FEDERATED_AVERAGING]

    def _penalty(self):
        """Return the proximal term of FedProx, or None."""
        if not self._proximal_mu:
            return None
        weights = self._model.trainable_variables
        distances = [
            tf.reduce_sum(tf.square(weight - tf.cast(start, weight.dtype)))
            for weight, start in zip(weights, self._global_weights, strict=True)
        ]
        return self._proximal_mu / 2 * tf.add_n(distances)

    def _step_variables(self):
        """List all Keras variables that the training step reads or writes."""
        return super()._step_variables() + self._global_weights

    def _server_step(self, updates):
        """Let the server optimizer turn the averaged updates of trained weights into a step."""
        if self._server_optimizer is None:
            return {}
        trained = {name: updates[name] for name in parameter_names(self._model)}
        step, self._server_memory = self._server_optimizer.step(trained, self._server_memory)
        return step

    def _train_round(self, train_dataset):
        """Note the global weights, if they are needed, and train for one round."""
        if self._global_weights:
            for start, weight in zip(
                self._global_weights, self._model.trainable_variables, strict=True
            ):
                start.assign(weight)
        super()._train_round(train_dataset)

    @remote_data
    def train(self, data_from_opener, shared_state=None):
        """Add the averaged update, train locally, return the own update, set the weights back.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : substrafl.strategies.schemas.FedAvgAveragedState, optional
            The average of all hospitals' updates; None in the first round.

        Returns
        -------
        substrafl.strategies.schemas.FedAvgSharedState
            Number of films, and the update as arrays in the order of
            :func:`helpers.exchange.parameter_names`.

        Raises
        ------
        ValueError
            If the averaged update does not fit the model, or the training diverged.
        """
        train_dataset = self._dataset(data_from_opener, is_inference=False)
        update = self._train_for_update(
            train_dataset,
            None if shared_state is None else shared_state.avg_parameters_update,
            with_batch_norm_parameters=self._with_batch_norm_parameters,
        )
        return FedAvgSharedState(
            n_samples=len(train_dataset), parameters_update=list(update.values())
        )

    def summary(self):
        """Describe the algorithm for SubstraFL's experiment summary.

        Returns
        -------
        dict
            JSON-serializable.
        """
        return super().summary() | {
            "with_batch_norm_parameters": str(self._with_batch_norm_parameters),
            "proximal_mu": self._proximal_mu,
            "server_optimizer": None
            if self._server_optimizer is None
            else repr(self._server_optimizer),
        }

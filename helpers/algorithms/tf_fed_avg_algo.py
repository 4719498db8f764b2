"""Federated Averaging for Keras models, the twin of SubstraFL's ``TorchFedAvgAlgo``."""

from substrafl.remote import remote_data
from substrafl.strategies.schemas import FedAvgSharedState, StrategyName

from helpers.algorithms.tf_algo import TFAlgo
from helpers.exchange import (
    check_parameters,
    get_parameters,
    increment_parameters,
    name_parameters,
    set_parameters,
    subtract_parameters,
)


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
        *args,
        **kwargs,
    ):
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

    @property
    def strategies(self):
        """List of StrategyName: the strategies that this algorithm serves."""
        return [StrategyName.FEDERATED_AVERAGING]

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
        batch_norm = self._with_batch_norm_parameters
        if shared_state is None:
            self._index_generator.n_samples = len(train_dataset)
        else:
            self._add_average(shared_state)

        self._index_generator.reset_counter()
        global_parameters = get_parameters(self._model, batch_norm)
        self._local_train(train_dataset)
        self._index_generator.check_num_updates()
        local_parameters = get_parameters(self._model, batch_norm)
        check_parameters(
            local_parameters, global_parameters, origin="the weights after local training"
        )
        set_parameters(self._model, global_parameters, batch_norm)

        update = subtract_parameters(local_parameters, global_parameters)
        return FedAvgSharedState(
            n_samples=len(train_dataset), parameters_update=list(update.values())
        )

    def _add_average(self, shared_state):
        """Bring the weights from one global model to the next.

        Parameters
        ----------
        shared_state : substrafl.strategies.schemas.FedAvgAveragedState
            The average of all hospitals' updates.
        """
        batch_norm = self._with_batch_norm_parameters
        current = get_parameters(self._model, batch_norm)
        updates = name_parameters(
            shared_state.avg_parameters_update, current, origin="the averaged update"
        )
        increment_parameters(self._model, updates, with_batch_norm_parameters=batch_norm)

    def summary(self):
        """Describe the algorithm for SubstraFL's experiment summary.

        Returns
        -------
        dict
            JSON-serializable.
        """
        return super().summary() | {
            "with_batch_norm_parameters": str(self._with_batch_norm_parameters)
        }

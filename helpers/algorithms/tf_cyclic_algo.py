"""Cyclic weight transfer for Keras models: one model travels from hospital to hospital."""

from collections.abc import Callable
from typing import Any

import keras
from substrafl.index_generator import BaseIndexGenerator
from substrafl.remote import remote_data

from helpers.algorithms.arguments import check_flag, name_unknown_arguments
from helpers.algorithms.tf_algo import TFAlgo
from helpers.exchange import check_parameters, get_parameters, name_parameters, set_parameters
from helpers.strategies.cyclic import CYCLIC_WEIGHT_TRANSFER, CyclicState


class TFCyclicAlgo(TFAlgo):
    """Train a Keras model that goes from organization to organization (Chang et al. 2018).

    For the strategy :class:`helpers.strategies.CyclicTransfer`. The weights travel; the
    optimizer's slots, its schedule and the index generator stay at each organization and continue
    there when the model returns. With one organization it is ordinary training.

    Parameters
    ----------
    model, loss, optimizer, index_generator, dataset, seed, disable_gpu
        As in :class:`~helpers.algorithms.TFAlgo`.
    with_batch_norm_parameters : bool, default=True
        Whether the moving mean and variance of BatchNorm layers travel with the weights. With
        False every organization keeps its own, and evaluates with them.
    """

    @name_unknown_arguments
    def __init__(
        self,
        model: Callable[[], keras.Model],
        loss: keras.losses.Loss | str,
        optimizer: keras.optimizers.Optimizer | str,
        index_generator: BaseIndexGenerator,
        dataset: type,
        with_batch_norm_parameters: bool = True,
        seed: int | None = None,
        disable_gpu: bool = False,
    ) -> None:
        check_flag("with_batch_norm_parameters", with_batch_norm_parameters)
        super().__init__(model, loss, index_generator, dataset, optimizer, seed, disable_gpu)
        self._with_batch_norm_parameters = with_batch_norm_parameters

    @property
    def strategies(self) -> list[str]:
        """List of str: the strategies that this algorithm serves."""
        return [CYCLIC_WEIGHT_TRANSFER]

    @remote_data
    def train(self, data_from_opener: Any, shared_state: CyclicState | None = None) -> CyclicState:
        """Receive the weights, train for one round, and send the new weights.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : helpers.strategies.cyclic.CyclicState, optional
            The weights of the previous organization; None for the first organization of the first
            round.

        Returns
        -------
        helpers.strategies.cyclic.CyclicState
            The weights, in the order of :func:`helpers.exchange.exchanged_variables`.

        Raises
        ------
        ValueError
            If the weights received do not fit the model, or the training diverged.
        """
        start = self._take_over(shared_state)
        self._train_round(self._open(data_from_opener))
        trained = get_parameters(self._exchanged)
        check_parameters(trained, start, origin="the weights after local training")
        return CyclicState(parameters=list(trained.values()))

    @remote_data
    def receive(
        self, data_from_opener: Any, shared_state: CyclicState | None = None
    ) -> CyclicState:
        """Receive the weights and pass them on, without training.

        Parameters
        ----------
        data_from_opener : dict
            Not used.
        shared_state : helpers.strategies.cyclic.CyclicState
            The weights of the previous organization.

        Returns
        -------
        helpers.strategies.cyclic.CyclicState
            The same weights.

        Raises
        ------
        ValueError
            If the weights received do not fit the model.
        """
        return CyclicState(parameters=list(self._take_over(shared_state).values()))

    def _take_over(self, shared_state):
        """Set the weights that were received, if any, and return the model's."""
        parameters = get_parameters(self._exchanged)
        if shared_state is not None:
            parameters = name_parameters(
                shared_state.parameters, parameters, origin="the weights of the organization before"
            )
            set_parameters(self._exchanged, parameters)
        return parameters

    def summary(self) -> dict[str, Any]:
        """Describe the algorithm for SubstraFL's experiment summary.

        Returns
        -------
        dict
            JSON-serializable.
        """
        return super().summary() | {
            "with_batch_norm_parameters": str(self._with_batch_norm_parameters)
        }

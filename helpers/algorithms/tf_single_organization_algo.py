"""Training at one organization for Keras models, the twin of ``TorchSingleOrganizationAlgo``."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from substrafl.index_generator import BaseIndexGenerator
from substrafl.remote import remote_data
from substrafl.strategies.schemas import StrategyName

from helpers.algorithms.arguments import name_unknown_arguments
from helpers.algorithms.tf_algo import TFAlgo


class TFSingleOrganizationAlgo(TFAlgo):
    """Train a Keras model at one organization alone, with the SingleOrganization strategy.

    This is the floor of every comparison: what the organization reaches without the others. Each
    round makes ``num_updates`` updates and continues where the last one ended.

    Parameters
    ----------
    model, loss, optimizer, index_generator, dataset, seed, disable_gpu
        As in :class:`~helpers.algorithms.TFAlgo`.
    """

    @name_unknown_arguments
    def __init__(
        self,
        model: Callable[[], keras.Model],
        loss: keras.losses.Loss | str,
        optimizer: keras.optimizers.Optimizer | str,
        index_generator: BaseIndexGenerator,
        dataset: type,
        seed: int | None = None,
        disable_gpu: bool = False,
    ) -> None:
        super().__init__(model, loss, index_generator, dataset, optimizer, seed, disable_gpu)

    @property
    def strategies(self) -> list[StrategyName]:
        """List of StrategyName: the strategies that this algorithm serves."""
        return [StrategyName.SINGLE_ORGANIZATION]

    @remote_data
    def train(self, data_from_opener: Any, shared_state: Any = None) -> dict[str, np.ndarray]:
        """Train for one round; nothing is shared.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : object, optional
            Not used.

        Returns
        -------
        dict of str to numpy.ndarray
            ``{"None": empty array}``, as SubstraFL's class: a task must share something.
        """
        self._train_round(self._open(data_from_opener))
        return {"None": np.array([])}

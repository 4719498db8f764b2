"""Scaffold for Keras models, the twin of SubstraFL's ``TorchScaffoldAlgo``."""

import logging
from collections.abc import Callable
from enum import IntEnum
from typing import Any

import keras
from substrafl.exceptions import (
    OptimizerValueError,
    ScaffoldLearningRateError,
    TorchScaffoldAlgoParametersUpdateError,
)
from substrafl.index_generator import BaseIndexGenerator
from substrafl.remote import remote_data
from substrafl.strategies.schemas import ScaffoldAveragedStates, ScaffoldSharedState, StrategyName

from helpers.algorithms.arguments import check_flag, name_unknown_arguments
from helpers.algorithms.tf_update_algo import TFUpdateAlgo
from helpers.exchange import (
    add_parameters,
    get_parameters,
    name_parameters,
    subtract_parameters,
    weighted_sum_parameters,
    zeros_like_parameters,
)

logger = logging.getLogger(__name__)


class CUpdateRule(IntEnum):
    """How an organization updates its control variate.

    Attributes
    ----------
    STABLE
        Option I of the paper: one more pass over the data. Not implemented, as in SubstraFL.
    FAST
        Option II of the paper: computed from the local updates, at no extra cost.
    """

    STABLE = 1
    FAST = 2


class TFScaffoldAlgo(TFUpdateAlgo):
    r"""Train a Keras model with the Scaffold strategy (Karimireddy et al. 2020, Algorithm 1).

    Organizations with different samples pull the weights in different directions. Organization
    :math:`k` keeps a control variate :math:`c_k`, an estimate of its own gradient, and receives
    :math:`c`, that of all organizations. Every local update is corrected by their difference
    (line 10),

    .. math:: y_k \leftarrow y_k - \eta \, (g_k(y_k) - c_k + c),

    and after :math:`S` updates from :math:`x` to :math:`y_k` the control variate is updated by
    Option II of line 12,

    .. math:: c_k^+ = c_k - c + \frac{1}{S \eta} (x - y_k).

    The changes of weights and control variates are shared; SubstraFL's ``Scaffold`` averages them
    over the samples and applies its ``aggregation_lr`` (lines 16 and 17). The paper averages
    clients uniformly; with organizations of equal size the two are the same.

    Parameters
    ----------
    model, loss, optimizer, index_generator, dataset, seed, disable_gpu
        As in :class:`~helpers.algorithms.TFAlgo`. The theory holds for plain SGD; momentum or an
        adaptive optimizer are allowed with a warning. So is a learning-rate schedule: the rate
        of the last update is then used for all.
    with_batch_norm_parameters : bool, default=False
        Whether the moving mean and variance of BatchNorm layers are averaged, and corrected, too.
    c_update_rule : CUpdateRule, default=CUpdateRule.FAST
        How the control variate is updated.

    Raises
    ------
    substrafl.exceptions.NumUpdatesValueError
        If the index generator makes no update.
    substrafl.exceptions.ScaffoldLearningRateError
        If the learning rate is not positive.
    NotImplementedError
        If ``c_update_rule`` is ``CUpdateRule.STABLE``.
    """

    _own_state = ("_client_control_variate",)

    @name_unknown_arguments
    def __init__(
        self,
        model: Callable[[], keras.Model],
        loss: keras.losses.Loss | str,
        optimizer: keras.optimizers.Optimizer | str,
        index_generator: BaseIndexGenerator,
        dataset: type,
        with_batch_norm_parameters: bool = False,
        c_update_rule: CUpdateRule = CUpdateRule.FAST,
        seed: int | None = None,
        disable_gpu: bool = False,
    ) -> None:
        check_flag("with_batch_norm_parameters", with_batch_norm_parameters)
        super().__init__(model, loss, index_generator, dataset, optimizer, seed, disable_gpu)
        if CUpdateRule(c_update_rule) is CUpdateRule.STABLE:
            raise NotImplementedError(
                "Expected CUpdateRule.FAST. The stable rule is not there yet."
            )
        self._with_batch_norm_parameters = with_batch_norm_parameters
        self._client_control_variate = None
        self._delta_variate = None
        self._current_lr = None
        self._scaffold_parameters_update_num_call = 0
        self._check_optimizer()

    @property
    def strategies(self) -> list[StrategyName]:
        """List of StrategyName: the strategies that this algorithm serves."""
        return [StrategyName.SCAFFOLD]

    def _check_optimizer(self):
        """Refuse what cannot work, and warn of what the theory does not cover."""
        if self._optimizer is None:
            raise OptimizerValueError("No optimizer found: Scaffold needs its learning rate.")
        optimizer = getattr(self._optimizer, "inner_optimizer", self._optimizer)
        if isinstance(optimizer, keras.optimizers.MultiOptimizer):
            raise ValueError(
                "Expected an optimizer with one learning rate, by which the control variates are "
                f"divided. Received {type(optimizer).__name__}."
            )
        for name in ("use_ema", "gradient_accumulation_steps"):
            if value := getattr(optimizer, name):
                raise ValueError(
                    f"Expected an optimizer without {name}: the control variates are computed "
                    "from the updates, of which every step must be one, and the weights their "
                    f"sum. Received {name}={value!r}."
                )
        if type(optimizer) is not keras.optimizers.SGD or optimizer.momentum:
            logger.warning(
                "The only optimizer theoretically guaranteed to work with the Scaffold strategy "
                "is SGD without momentum. Received %s.",
                type(self._optimizer).__name__,
            )
        # A constant rate is a variable of the optimizer.
        if not any(one.name == "learning_rate" for one in self._optimizer.variables):
            logger.warning(
                "Scaffold with a learning-rate schedule has not been scientifically validated. "
                "The rate of the last update of a round stands for that of all."
            )
        self._update_current_lr()

    def _update_current_lr(self):
        """Read the learning rate of the last update."""
        counted = self._optimizer.iterations
        current = int(counted)  # the optimizer has counted the update already
        counted.assign(max(current - 1, 0))
        self._current_lr = float(self._optimizer.learning_rate)
        counted.assign(current)
        if self._current_lr <= 0:
            raise ScaffoldLearningRateError(
                "Expected a positive learning rate: the control variates are divided by it. "
                f"Received {self._current_lr}."
            )

    def _scaffold_parameters_update(self):
        r"""Correct the weights; to be called after every update (line 10 of the algorithm).

        The update was :math:`-\eta g_k`; what is added here is :math:`\eta (c_k - c)`. The usual
        training loop calls this; a custom training loop must do so.
        """
        self._update_current_lr()
        self._scaffold_parameters_update_num_call += 1
        # Called after every update: nothing is copied, and the round has checked names and shapes.
        for name, delta in self._delta_variate.items():
            self._exchanged[name].value.assign_add(self._current_lr * delta)

    def _update_weights(self, batch):
        """Run the traced training step on one batch, and correct it."""
        loss = super()._update_weights(batch)
        self._scaffold_parameters_update()
        return loss

    @remote_data
    def train(
        self, data_from_opener: Any, shared_state: ScaffoldAveragedStates | None = None
    ) -> ScaffoldSharedState:
        """Train for one round with corrected updates, and update the control variate.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : substrafl.strategies.schemas.ScaffoldAveragedStates, optional
            The average of all organizations' updates and the server's control variate; None in the
            first round.

        Returns
        -------
        substrafl.strategies.schemas.ScaffoldSharedState
            Number of samples, update of the weights, update of the control variate, and the
            server's control variate as it was received.

        Raises
        ------
        ValueError
            If what was received does not fit the model, or the training diverged.
        substrafl.exceptions.TorchScaffoldAlgoParametersUpdateError
            If an overridden ``_local_train`` did not correct every update.
        """
        train_dataset = self._open(data_from_opener)
        average, server = None, zeros_like_parameters(self._exchanged)
        if shared_state is None:
            self._client_control_variate = server
        else:
            average = shared_state.avg_parameters_update
            server = name_parameters(
                shared_state.server_control_variate,
                get_parameters(self._exchanged),
                origin="the server's control variate",
            )
        self._delta_variate = subtract_parameters(self._client_control_variate, server)
        self._scaffold_parameters_update_num_call = 0
        update = self._train_for_update(train_dataset, average)
        n_updates = self._index_generator.num_updates
        if self._scaffold_parameters_update_num_call != n_updates:
            raise TorchScaffoldAlgoParametersUpdateError(
                f"Expected {n_updates} calls of _scaffold_parameters_update, one after each "
                f"update. Received {self._scaffold_parameters_update_num_call}: call it in "
                "_local_train."
            )
        # Option II of line 12: the new variate minus the old one is -c - (y - x) / (S eta).
        variate_update = weighted_sum_parameters(
            [server, update], [-1.0, -1.0 / (self._current_lr * n_updates)]
        )
        self._client_control_variate = add_parameters(self._client_control_variate, variate_update)
        return ScaffoldSharedState(
            parameters_update=list(update.values()),
            control_variate_update=list(variate_update.values()),
            server_control_variate=list(server.values()),
            n_samples=len(train_dataset),
        )

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

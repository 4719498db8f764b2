"""Server optimizers: how the average of the updates becomes a step, beyond adding it.

The average is treated as a gradient, and a stateful optimizer decides the step. SubstraFL's
aggregation has no state: every task starts afresh. The state is therefore kept by the
organizations, each of which receives the same averages and makes the same steps; nothing more is
sent than with Federated Averaging, and any strategy can compute the average. The paper of Reddi
et al. averages clients uniformly; SubstraFL's ``FedAvg`` weights them by their samples.
"""

import abc
import dataclasses
from typing import Any, ClassVar

import numpy as np


@dataclasses.dataclass(frozen=True)
class ServerOptimizer(abc.ABC):
    """Base of the server optimizers: settings only; the state is passed in and out."""

    option: ClassVar[str] = "server_optimizer"

    @abc.abstractmethod
    def step(
        self, average: dict[str, np.ndarray], memory: Any = None
    ) -> tuple[dict[str, np.ndarray], Any]:
        """Turn an average into a step.

        Parameters
        ----------
        average : dict of str to numpy.ndarray
            The average of the organizations' updates.
        memory : object, optional
            What the last step returned; None before the first one.

        Returns
        -------
        step : dict of str to numpy.ndarray
            What is added to the global weights, in the dtypes of the average.
        memory : object
            For the next step.
        """


@dataclasses.dataclass(frozen=True)
class FedAvgM(ServerOptimizer):
    r"""Momentum at the server (Hsu et al. 2019): :math:`v \leftarrow \beta v + \Delta`.

    Parameters
    ----------
    learning_rate : float, default=1.0
        The step is ``learning_rate * v``.
    momentum : float in [0, 1), default=0.9
        :math:`\beta`. With 0 and a rate of 1 it is Federated Averaging.
    """

    learning_rate: float = 1.0
    momentum: float = 0.9

    def __post_init__(self) -> None:  # noqa: D105
        _check(self, {"learning_rate": (0, np.inf), "momentum": (0, 1)})

    def step(
        self, average: dict[str, np.ndarray], memory: Any = None
    ) -> tuple[dict[str, np.ndarray], Any]:
        """Turn an average into a step, see :class:`~helpers.algorithms.ServerOptimizer`."""
        memory = memory or {name: np.zeros_like(value) for name, value in average.items()}
        memory = {name: self.momentum * memory[name] + value for name, value in average.items()}
        return {name: self.learning_rate * value for name, value in memory.items()}, memory


@dataclasses.dataclass(frozen=True)
class AdaptiveServerOptimizer(ServerOptimizer):
    r"""Adaptive optimizers at the server (Reddi et al. 2021, Algorithm 2).

    .. math::

        m \leftarrow \beta_1 m + (1 - \beta_1) \Delta, \qquad
        w \leftarrow w + \eta \, m / (\sqrt{v} + \tau),

    where :math:`v` starts at :math:`\tau^2` and is updated by the child class. As in the paper,
    there is no bias correction.

    Parameters
    ----------
    learning_rate : float, default=0.1
        :math:`\eta`.
    beta_1 : float in [0, 1), default=0.9
        Memory of :math:`m`.
    beta_2 : float in [0, 1], default=0.99
        Memory of :math:`v`; not used by FedAdagrad.
    tau : float, default=1e-3
        Degree of adaptivity: updates far below :math:`\tau` are not enlarged.
    """

    learning_rate: float = 0.1
    beta_1: float = 0.9
    beta_2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:  # noqa: D105
        positive = (np.nextafter(0, 1), np.inf)
        limits = {"learning_rate": positive, "beta_1": (0, 1), "tau": positive}
        _check(self, limits)
        if not 0 <= self.beta_2 <= 1:
            raise ValueError(f"Expected beta_2 of 0 to 1. Received {self.beta_2}.")

    def step(
        self, average: dict[str, np.ndarray], memory: Any = None
    ) -> tuple[dict[str, np.ndarray], Any]:
        """Turn an average into a step, see :class:`~helpers.algorithms.ServerOptimizer`."""
        if memory is None:
            memory = {
                name: (np.zeros_like(value), np.full_like(value, self.tau**2))
                for name, value in average.items()
            }
        steps, renewed = {}, {}
        for name, value in average.items():
            m, v = memory[name]
            m = self.beta_1 * m + (1 - self.beta_1) * value
            v = self._renew(v, value**2)
            steps[name] = self.learning_rate * m / (np.sqrt(v) + self.tau)
            renewed[name] = (m, v)
        return steps, renewed

    @abc.abstractmethod
    def _renew(self, v, square):
        """Update the second moment with the square of the average."""


class FedAdagrad(AdaptiveServerOptimizer):
    r"""Update the second moment by :math:`v \leftarrow v + \Delta^2`.

    Its parameters are those of its base class,
    :class:`~helpers.algorithms.server_optimizers.AdaptiveServerOptimizer`.
    """

    def _renew(self, v, square):
        return v + square


class FedAdam(AdaptiveServerOptimizer):
    r"""Update the second moment by :math:`v \leftarrow \beta_2 v + (1 - \beta_2) \Delta^2`.

    Its parameters are those of its base class,
    :class:`~helpers.algorithms.server_optimizers.AdaptiveServerOptimizer`.
    """

    def _renew(self, v, square):
        return self.beta_2 * v + (1 - self.beta_2) * square


class FedYogi(AdaptiveServerOptimizer):
    r"""Update the second moment by a step whose size does not depend on it.

    .. math:: v \leftarrow v - (1 - \beta_2) \Delta^2 \, \mathrm{sign}(v - \Delta^2)

    Its parameters are those of its base class,
    :class:`~helpers.algorithms.server_optimizers.AdaptiveServerOptimizer`.
    """

    def _renew(self, v, square):
        return v - (1 - self.beta_2) * square * np.sign(v - square)


def _check(optimizer, limits):
    """Refuse settings outside [low, high)."""
    for name, (low, high) in limits.items():
        value = getattr(optimizer, name)
        if not low <= value < high:
            raise ValueError(f"Expected {name} in [{low:g}, {high:g}). Received {value}.")

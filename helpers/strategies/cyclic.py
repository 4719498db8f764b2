"""Cyclic weight transfer: one model travels in a circle, trained by one hospital after another.

Nothing is averaged, and nobody aggregates. What one hospital learns reaches the next at once, and
what the first hospitals taught may be forgotten by the time the last one has trained.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pydantic
from substrafl.algorithms.algo import Algo
from substrafl.nodes import TestDataNode, TrainDataNode
from substrafl.strategies import Strategy

from helpers.strategies.wrapping import is_simulated

CYCLIC_WEIGHT_TRANSFER = "Cyclic weight transfer"


class CyclicState(pydantic.BaseModel):
    """Weights on their way to the next hospital.

    Parameters
    ----------
    parameters : list of numpy.ndarray
        All weights, in the order of the model.
    """

    model_config = pydantic.ConfigDict(arbitrary_types_allowed=True)

    parameters: list[np.ndarray]


class CyclicTransfer(Strategy):
    r"""Let the hospitals train in turn, each from the weights of the one before it.

    Cyclical weight transfer of Chang et al. (2018): with :math:`O_k` the local training at hospital
    :math:`k`, a round of :math:`K` hospitals is

    .. math:: w^0 = w_t, \quad w^k = O_k(w^{k-1}), \quad w_{t+1} = w^K.

    The weights of the last hospital are then passed on to the others, without training, so that
    after round :math:`t` every hospital keeps, and is evaluated with, the same model. As with
    Federated Averaging, a hospital that only tests gets the local state of the first one that
    trains.

    A hospital sends weights to the one after it in the circle and to nobody else. Each round is
    :math:`2K - 1` tasks, one after the other; with the initializations, and with :math:`E`
    evaluated rounds at :math:`T` hospitals, :math:`N` rounds make :math:`K + N(2K - 1) + E\,T`
    tasks.

    Parameters
    ----------
    algo : substrafl.algorithms.algo.Algo
        An algorithm that serves this strategy, :class:`helpers.algorithms.TFCyclicAlgo`. Besides
        ``train`` it has ``receive``, which receives weights and passes them on.
    metric_functions : callable or list or dict of them, optional
        As in SubstraFL's ``FedAvg``.

    Notes
    -----
    ``download_algo_state`` with a ``round_idx`` finds two tasks at all hospitals but the last one,
    and refuses. Use the last hospital, or omit ``round_idx`` to get the end of the run.
    """

    def __init__(
        self,
        algo: Algo,
        metric_functions: Callable | list[Callable] | dict[str, Callable] | None = None,
    ) -> None:
        super().__init__(algo=algo, metric_functions=metric_functions)
        self._local_states = None
        self._shared_state = None

    @property
    def name(self) -> str:
        """str: what an algorithm lists among its ``strategies`` to serve this one."""
        return CYCLIC_WEIGHT_TRANSFER

    def perform_round(
        self,
        *,
        train_data_nodes: list[TrainDataNode],
        round_idx: int,
        clean_models: bool,
        aggregation_node: Any = None,
        additional_orgs_permissions: set[str] | None = None,
    ) -> None:
        """Send the weights round once, then pass the result on to all but the last hospital.

        Parameters
        ----------
        train_data_nodes : list of substrafl.nodes.TrainDataNode
            The hospitals, in the order in which they train.
        round_idx : int
            Number of the round, from 1.
        clean_models : bool
            As in SubstraFL.
        aggregation_node : object, optional
            Not used.
        additional_orgs_permissions : set of str, optional
            Organizations that evaluate.
        """
        last = len(train_data_nodes) - 1
        states, shared = list(self._local_states), self._shared_state
        laps = [("train", "Training", k) for k in range(last + 1)]
        laps += [("receive", "Handing on", k) for k in range(last)]
        for method, verb, k in laps:
            node = train_data_nodes[k]
            replaced = method == "train" and k != last
            states[k], shared = node.update_states(
                operation=getattr(self.algo, method)(
                    node.data_sample_keys,
                    shared_state=shared,
                    _algo_name=f"{verb} with {type(self.algo).__name__}",
                ),
                local_state=states[k],
                round_idx=round_idx,
                authorized_ids={node.organization_id} | (additional_orgs_permissions or set()),
                # The name is SubstraFL's: who may read what is sent, besides those above.
                aggregation_id=train_data_nodes[(k + 1) % (last + 1)].organization_id,
                # A simulation then keeps one state per hospital and round, as usual.
                clean_models=clean_models or (is_simulated(node) and replaced),
            )
            if (method, k) == ("train", last):
                self._shared_state = shared
        self._local_states = states

    def perform_evaluation(
        self,
        test_data_nodes: list[TestDataNode],
        train_data_nodes: list[TrainDataNode],
        round_idx: int,
    ) -> None:
        """Evaluate the model of the last round.

        Parameters
        ----------
        test_data_nodes : list of substrafl.nodes.TestDataNode
            Where to evaluate.
        train_data_nodes : list of substrafl.nodes.TrainDataNode
            The hospitals that train; each evaluates its own copy of the model.
        round_idx : int
            Number of the round.
        """
        places = {node.organization_id: k for k, node in enumerate(train_data_nodes)}
        for node in test_data_nodes:
            node.update_states(
                traintask_id=self._local_states[places.get(node.organization_id, 0)].key,
                operation=self.evaluate(
                    data_samples=node.data_sample_keys,
                    _algo_name=f"Evaluating with {type(self).__name__}",
                ),
                round_idx=round_idx,
            )

"""Algorithms that share what the local training has changed, and receive an average of it."""

from helpers.algorithms.tf_algo import TFAlgo
from helpers.exchange import (
    check_parameters,
    get_parameters,
    increment_parameters,
    name_parameters,
    set_parameters,
    subtract_parameters,
)


class TFUpdateAlgo(TFAlgo):
    """Base of the algorithms whose organizations exchange updates in place of weights."""

    def _train_for_update(self, train_dataset, average=None):
        """Go to the global weights, train for one round, and set the weights back.

        The local state of every organization, and whatever is evaluated with it, is so the global
        model of this round.

        Parameters
        ----------
        train_dataset : object
            An instance of ``dataset`` made for training.
        average : list of numpy.ndarray, optional
            What the aggregation made of all updates: it leads from the global weights of the last
            round to those of this one. None in the first round.

        Returns
        -------
        dict of str to numpy.ndarray
            Weights after the training minus weights before, by name.

        Raises
        ------
        ValueError
            If the average does not fit the model, or the training diverged.
        """
        if average is not None:
            self._add_update(average)
        global_parameters = get_parameters(self._exchanged)
        self._train_round(train_dataset)
        local_parameters = get_parameters(self._exchanged)
        check_parameters(
            local_parameters, global_parameters, origin="the weights after local training"
        )
        set_parameters(self._exchanged, global_parameters)
        return subtract_parameters(local_parameters, global_parameters)

    def _add_update(self, update):
        """Bring the weights from one global model to the next.

        Parameters
        ----------
        update : list of numpy.ndarray
            What the aggregation sent, in the order of ``tensor_names``.

        Raises
        ------
        ValueError
            If the update does not fit the model.
        """
        current = get_parameters(self._exchanged)
        updates = name_parameters(update, current, origin="the averaged update")
        increment_parameters(self._exchanged, updates | self._server_step(updates))

    def _server_step(self, updates):
        """Return what is added instead of some of the averaged updates, by their names."""
        return {}

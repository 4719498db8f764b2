"""Algorithms that share the change made by local training, and receive its average."""

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
        """Set the global weights, train for one round, and reset the weights.

        The local state of every organization, and whatever is evaluated with it, is then the global
        model of this round.

        Parameters
        ----------
        train_dataset : object
            An instance of ``dataset`` made for training.
        average : list of numpy.ndarray, optional
            The average of all updates: the difference between the global weights of this round
            and those of the last. None in the first round.

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
        """Move the weights from one global model to the next.

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

"""Losses: what Keras lacks for films some of whose labels are not known."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="helpers")
class MaskedBinaryCrossentropy(keras.losses.Loss):
    r"""Binary cross-entropy of several findings that leaves out the labels that are not known.

    The loss of film :math:`i` with the known labels :math:`K_i` among :math:`k` findings is

    .. math:: f_i = -\frac{1}{k} \sum_{j \in K_i} y_{ij} \log p_{ij}
        + (1 - y_{ij}) \log(1 - p_{ij}),

    and that of a batch the mean over its films. Up to the constant :math:`k` this is the U-Ignore
    loss of CheXpert [1]_: a label counts the same wherever it is known, and one that is not known
    has no gradient. With all labels known it is Keras' ``BinaryCrossentropy``.

    The sum is divided by :math:`k`, not by the number of known labels. Divided by that of a film, a
    label would count more on a film with few; divided by that of a batch, as some libraries do, the
    loss would be no mean over films, and an average of hospitals, weighted by their films, another
    loss than that of the pooled films. As it is, both are the same.

    Parameters
    ----------
    from_logits : bool, default=False
        Whether predictions are logits rather than probabilities.
    name : str, default="masked_binary_crossentropy"
        Name of the loss.
    **options
        ``reduction`` and ``dtype``, as for every loss of Keras.

    References
    ----------
    .. [1] J. Irvin et al., "CheXpert: a large chest radiograph dataset with uncertainty labels and
       expert comparison", AAAI 2019.

    Examples
    --------
    >>> loss = MaskedBinaryCrossentropy(from_logits=True)
    >>> round(float(loss([[1.0, float("nan")]], [[0.0, 5.0]])), 4)  # log(2) / 2
    0.3466
    """

    def __init__(
        self,
        from_logits: bool = False,
        name: str = "masked_binary_crossentropy",
        **options: Any,
    ) -> None:
        super().__init__(name=name, **options)
        self.from_logits = from_logits

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss of each film.

        Parameters
        ----------
        y_true : tensor of float, shape (n, ..., k)
            Labels 0 or 1; NaN where not known.
        y_pred : tensor of float, shape (n, ..., k)
            Logits or probabilities.

        Returns
        -------
        tensor of float, shape (n, ...)
            The losses.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if tuple(y_true.shape[1:]) != tuple(y_pred.shape[1:]):
            raise ValueError(
                f"Expected a label for each output of the model, of shape {tuple(y_pred.shape)}. "
                f"Received {tuple(y_true.shape)}. Build the model with one for each finding."
            )
        known = ops.logical_not(ops.isnan(y_true))
        targets = ops.where(known, y_true, ops.zeros_like(y_true))
        each = ops.binary_crossentropy(targets, y_pred, from_logits=self.from_logits)
        return ops.mean(ops.where(known, each, ops.zeros_like(each)), axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Return what Keras saves of the loss."""
        return {**super().get_config(), "from_logits": self.from_logits}

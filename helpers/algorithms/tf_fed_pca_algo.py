"""Federated principal components for TensorFlow users, the twin of ``TorchFedPCAAlgo``."""

import functools
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike
from substrafl.index_generator import NpIndexGenerator
from substrafl.remote import remote_data
from substrafl.strategies.schemas import FedPCAAveragedState, FedPCASharedState, StrategyName

from helpers.algorithms.arguments import name_unknown_arguments
from helpers.algorithms.index_generators import index_all_samples
from helpers.algorithms.tf_algo import TFAlgo


class TFFedPCAAlgo(TFAlgo):
    r"""Find the principal components of all organizations' samples without sending any sample.

    Algorithm 3 of Hartebrodt & Röttger 2022. In the first round each organization shares the mean
    of its samples, in the second :math:`C_k G_0` and in all others :math:`C_k G_{r-1}`, where
    :math:`C_k` is the covariance of its samples around the common mean, and :math:`G_r` the QR
    factor of the average. The further the eigenvalues are apart, the faster :math:`G_r` converges.

    **The limit** depends on the weights. SubstraFL's strategy weights what an
    organization shares by its number of samples :math:`n_k`. With :math:`C_k` the *mean* of the
    samples' outer products, the average is the covariance of the pooled samples, and the
    components are those of pooled samples (``pooled=True``). SubstraFL's ``TorchFedPCAAlgo``
    uses the *sum* of the outer products, as the paper does, which however applies no weights.
    Together with the strategy's weights an organization then counts by :math:`n_k^2`, and with
    organizations of unequal size the components differ from those of the pooled samples
    (``pooled=False``).

    Parameters
    ----------
    dataset : type
        As in :class:`~helpers.algorithms.TFAlgo`. Samples are flattened; targets are ignored.
    in_features : int
        Numbers in a sample.
    out_features : int
        Components to find, at most ``in_features``.
    batch_size : int, optional
        Samples in a batch, to limit memory; None takes all at once.
    seed : int, default=1
        Seed of the initial components :math:`G_0`, the same at every organization.
    disable_gpu : bool, default=False
        As in :class:`~helpers.algorithms.TFAlgo`.
    pooled : bool, default=True
        Whether to converge to the components of the pooled samples; False computes what
        SubstraFL's ``TorchFedPCAAlgo`` does. It must be the same at every organization.
    """

    _own_state = ("local_mean", "local_covmat")

    @name_unknown_arguments
    def __init__(
        self,
        dataset: type,
        in_features: int,
        out_features: int,
        batch_size: int | None = None,
        seed: int = 1,
        disable_gpu: bool = False,
        pooled: bool = True,
    ) -> None:
        if seed is None:
            raise ValueError(
                "Expected a seed: every organization must start from the same G_0. Received None."
            )
        super().__init__(
            functools.partial(_build_projection, in_features, out_features),
            None,
            NpIndexGenerator(batch_size, num_updates=1),  # until the number of samples is known
            dataset,
            None,
            seed,
            disable_gpu,
        )
        self.in_features = in_features
        self.out_features = out_features
        self.local_mean = None
        self.local_covmat = None
        self._batch_size = batch_size
        self._pooled = pooled

    @property
    def strategies(self) -> list[StrategyName]:
        """List of StrategyName: the strategies that this algorithm serves."""
        return [StrategyName.FEDERATED_PCA]

    @property
    def eigen_vectors(self) -> np.ndarray:
        """numpy.ndarray, shape (out_features, in_features): the components, one a row."""
        return self._model.get_weights()[0].T

    def transform(self, samples: ArrayLike) -> np.ndarray:
        """Project samples onto the components.

        Parameters
        ----------
        samples : array, shape (n, …)
            ``in_features`` numbers each.

        Returns
        -------
        numpy.ndarray, shape (n, out_features), float32
            Coordinates. As in SubstraFL's class the mean is not subtracted.
        """
        return self._model(self._flatten(samples)).numpy()

    def _predict_batch(self, batch):
        """Project one batch of the dataset."""
        return super()._predict_batch(self._flatten(batch))

    def _flatten(self, samples):
        """Write each sample as a row."""
        rows = np.asarray(samples, np.float32).reshape(len(samples), -1)
        if rows.shape[1] != self.in_features:
            raise ValueError(
                f"Expected samples of in_features={self.in_features} numbers. Received samples of "
                f"shape {np.shape(samples)[1:]}, which are {rows.shape[1]}."
            )
        return rows

    def _batches(self, train_dataset):
        """Go through all samples once, as rows of float64."""
        for indices in self._index_generator:
            yield self._flatten(train_dataset[indices][0]).astype(np.float64)

    @remote_data
    def train(
        self, data_from_opener: Any, shared_state: FedPCAAveragedState | None = None
    ) -> FedPCASharedState:
        """Share the mean, then the product of the covariance with the current components.

        Parameters
        ----------
        data_from_opener : dict
            What the opener's ``get_data`` returns.
        shared_state : substrafl.strategies.schemas.FedPCAAveragedState, optional
            The common mean in the second round, then the components; None in the first round.

        Returns
        -------
        substrafl.strategies.schemas.FedPCASharedState
            Number of samples, and one array: float64 (in_features,) in the first round, then
            (out_features, in_features).

        Raises
        ------
        ValueError
            If the size of the samples is not ``in_features``.
        """
        train_dataset = self._open(data_from_opener)
        n_samples = len(train_dataset)
        if shared_state is None:
            self._index_generator = index_all_samples(n_samples, self._batch_size)
        if self.local_mean is None:
            self._index_generator.reset_counter()
            self.local_mean = sum(rows.sum(0) for rows in self._batches(train_dataset)) / n_samples
            update = self.local_mean
        elif self.local_covmat is None:
            self._index_generator.reset_counter()
            mean = shared_state.avg_parameters_update[0]
            centred = (rows - mean for rows in self._batches(train_dataset))
            self.local_covmat = sum(rows.T @ rows for rows in centred)
            if self._pooled:  # the strategy multiplies by the number of samples again
                self.local_covmat /= n_samples
            start = np.random.default_rng(self.seed)
            update = start.normal(size=(self.out_features, self.in_features)) @ self.local_covmat
        else:
            components = shared_state.avg_parameters_update[0]
            self._model.set_weights([components.T])
            update = components @ self.local_covmat
        return FedPCASharedState(n_samples=n_samples, parameters_update=[update])


def _build_projection(in_features, out_features):
    """Build the linear model whose weights are the components."""
    return keras.Sequential(
        [
            keras.Input((in_features,), name="sample"),
            keras.layers.Dense(out_features, use_bias=False, name="eigen_vectors"),
        ]
    )

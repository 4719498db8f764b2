"""Index generators that SubstraFL lacks: which samples a batch has."""

import numpy as np
from substrafl.exceptions import IndexGeneratorSampleNoneError
from substrafl.index_generator import BaseIndexGenerator, NpIndexGenerator


def index_all_samples(n_samples: int, batch_size: int | None) -> NpIndexGenerator:
    """Make an index generator that goes through all samples in order, once in a round.

    Parameters
    ----------
    n_samples : int
        Number of samples.
    batch_size : int or None
        Samples in a batch, to limit memory; None takes all at once.

    Returns
    -------
    substrafl.index_generator.NpIndexGenerator
        The number of samples is set.
    """
    n_batches = -(-n_samples // (batch_size or n_samples))
    generator = NpIndexGenerator(batch_size, n_batches, shuffle=False, drop_last=False)
    generator.n_samples = n_samples
    return generator


class PoissonIndexGenerator(BaseIndexGenerator):
    """Draw every sample into every batch with the same small probability, independently.

    This is Poisson sampling, which the accounting of privacy assumes. A batch has ``batch_size``
    samples on average, and may be empty.

    Parameters
    ----------
    batch_size : int
        Expected number of samples of a batch, at least 1. At an organization with fewer samples
        than that, all of them are in every batch.
    num_updates : int
        Batches of a round.
    seed : int, optional
        By default every organization draws from a secret of its own, as the accounting assumes.
        With a seed all of them repeat their batches, and whoever knows the seed knows which
        samples took part.

    Raises
    ------
    ValueError
        If ``batch_size`` is not at least 1.
    """

    def __init__(self, batch_size: int, num_updates: int, seed: int | None = None) -> None:
        if batch_size is None or batch_size < 1:
            raise ValueError(f"Expected a batch_size of at least 1. Received {batch_size}.")
        super().__init__(batch_size, num_updates, seed=0)  # SubstraFL's generator is not used
        # A state drawn here, without a seed, would travel and be the same at every organization.
        self._generator = None if seed is None else np.random.default_rng(seed)

    def __next__(self) -> np.ndarray:
        """Draw the next batch.

        Returns
        -------
        numpy.ndarray of int, shape (n_batch,)
            Indices in ascending order.

        Raises
        ------
        StopIteration
            After ``num_updates`` batches.
        substrafl.exceptions.IndexGeneratorSampleNoneError
            If ``n_samples`` was not set.
        """
        if self.n_samples is None:
            raise IndexGeneratorSampleNoneError("Expected n_samples to be set before iterating.")
        if self.counter == self.num_updates:
            raise StopIteration
        if self._generator is None:
            self._generator = np.random.default_rng()
        self._counter += 1  # SubstraFL counts with it, and every child class has to
        draws = self._generator.random(self.n_samples)
        return np.flatnonzero(draws * self.n_samples < self.batch_size)

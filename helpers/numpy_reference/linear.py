"""Linear hospitals: a linear model on the squared loss, trained batch by batch in plain NumPy."""

from collections.abc import Callable, Sequence

import numpy as np

# For each hospital the films as rows, (n, d), and the labels, (n,).
Films = Sequence[tuple[np.ndarray, np.ndarray]]


class LinearHospitals:
    r"""Hospitals that fit :math:`a^\top w + b` to labels by stochastic gradient descent.

    The loss of a batch is the mean of :math:`(a^\top w + b - y)^2`, and its gradient is written by
    hand. The weights are one vector :math:`x = (w, b)`.

    Parameters
    ----------
    films : sequence of (numpy.ndarray, numpy.ndarray)
        For each hospital the films as rows, (n, d) float64, and the labels, (n,) float64.
    batches : sequence of callable
        For each hospital a function without arguments: the batches of its next round, a list of
        arrays of indices.
    rate : float
        Learning rate.
    clip_norm : float, optional
        Clip the gradient of each film to this norm (Abadi et al. 2016, Algorithm 1, without
        noise).
    batch_size : int, optional
        Divisor of sums over a batch; by default the size of the batch.
    uniform : bool, default=False
        Whether hospitals count equally in an average, as in the papers of Scaffold and of the
        server optimizers; otherwise by their films, as in SubstraFL.

    Attributes
    ----------
    shares : numpy.ndarray, shape (n_hospitals,)
        Each hospital's weight in an average: by default its share of the films.
    rate : float
        The learning rate.
    """

    def __init__(
        self,
        films: Films,
        batches: Sequence[Callable[[], list[np.ndarray]]],
        rate: float,
        clip_norm: float = np.inf,
        batch_size: int | None = None,
        uniform: bool = False,
    ) -> None:
        counts = np.array([1 if uniform else len(labels) for _, labels in films])
        self.shares = counts / counts.sum()
        self.rate = rate
        self._films = films
        self._batches = batches
        self._clip_norm = clip_norm
        self._batch_size = batch_size

    def __len__(self) -> int:
        """Count the hospitals."""
        return len(self.shares)

    def train(
        self,
        k: int,
        start: np.ndarray,
        correction: Callable[[np.ndarray], np.ndarray | float] = lambda y: 0.0,
    ) -> np.ndarray:
        """Train at one hospital for one round.

        Parameters
        ----------
        k : int
            The hospital.
        start : numpy.ndarray, shape (d + 1,)
            The initial weights.
        correction : callable, optional
            Function of the weights whose value is added to the gradient of an update.

        Returns
        -------
        numpy.ndarray, shape (d + 1,)
            The update: weights after the training minus weights before.
        """
        rows, labels = self._films[k]
        y = start.copy()
        for batch in self._batches[k]():
            design = np.hstack([rows[batch], np.ones((len(batch), 1))])
            each = 2 * (design @ y - labels[batch])[:, None] * design
            norms = np.linalg.norm(each, axis=1, keepdims=True)
            each *= np.minimum(1, self._clip_norm / np.maximum(norms, 1e-300))
            gradient = each.sum(0) / (self._batch_size or len(batch))
            y -= self.rate * (gradient + correction(y))
        return y - start

    def average(
        self, values: Sequence[np.ndarray], places: Sequence[int] | None = None
    ) -> np.ndarray:
        """Average over the films of all hospitals, or of some.

        Parameters
        ----------
        values : sequence of numpy.ndarray
            One for each hospital in the average.
        places : sequence of int, optional
            Which hospitals these are; all by default.

        Returns
        -------
        numpy.ndarray
            The weighted mean.
        """
        shares = self.shares if places is None else self.shares[places]
        return np.tensordot(shares / shares.sum(), values, 1)


def train_alone(hospitals: LinearHospitals, k: int, x: np.ndarray, n_rounds: int) -> np.ndarray:
    """Train at one hospital alone for several rounds.

    Parameters
    ----------
    hospitals : LinearHospitals
        The hospitals.
    k : int
        The one that trains.
    x : numpy.ndarray
        Initial weights.
    n_rounds : int
        Number of rounds.

    Returns
    -------
    numpy.ndarray
        The weights after the last round.
    """
    for _ in range(n_rounds):
        x = x + hospitals.train(k, x)
    return x

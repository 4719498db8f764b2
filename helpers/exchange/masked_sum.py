"""Masked sum: arrays of several hospitals added in this process as secure aggregation adds them."""

import os
from collections.abc import Sequence

import numpy as np

from helpers.exchange.masking import FixedPoint, Masker, public_key


class MaskedSum:
    """Add arrays of which only the sum can be read.

    Each hospital has a key pair and masks its array; what is added are the messages. Where a
    function takes ``add``, such as :func:`helpers.fairness.sum_counts` and
    :func:`helpers.evaluation.fit_federated`, the function then learns the sum and no summand. Each
    call is a round with masks of its own.

    Parameters
    ----------
    n_hospitals : int
        How many take part in every sum, at least 3: of a sum of two, either knows the other part.
    bound : float, default=2**30
        Largest magnitude of a number at a hospital.

    Attributes
    ----------
    messages : list of numpy.ndarray
        What the hospitals sent for the last sum: all that the adding party has received.
    error : float
        Largest rounding error of a sum; that of whole numbers is 0.

    Raises
    ------
    ValueError
        If there are fewer than three hospitals; in a call, if their number is another one, shapes
        differ, or a number is missing, not finite or beyond the bound.

    Examples
    --------
    >>> MaskedSum(3)([np.array([1, 2]), np.array([10, 20]), np.array([100, 200])])
    array([111, 222])
    """

    def __init__(self, n_hospitals: int, *, bound: float = 2.0**30) -> None:
        if n_hospitals < 3:
            raise ValueError(
                f"Expected at least 3 hospitals. Received {n_hospitals}: of a sum of two, either "
                "knows the other part."
            )
        keys = [os.urandom(32) for _ in range(n_hospitals)]
        public, plan = [public_key(key) for key in keys], os.urandom(16)
        others = [public[:place] + public[place + 1 :] for place in range(n_hospitals)]
        self._maskers = [Masker(*pair, plan=plan) for pair in zip(keys, others, strict=True)]
        self._code, self._n_sums, self.messages = FixedPoint(bound, n_hospitals), 0, []
        self.error = n_hospitals * self._code.step / 2

    def __call__(self, arrays: Sequence[np.ndarray]) -> np.ndarray:
        """Add one array of each hospital.

        Parameters
        ----------
        arrays : sequence of numpy.ndarray
            Numbers, all of one shape.

        Returns
        -------
        numpy.ndarray
            Their sum: int64 if all are whole numbers, else float64.
        """
        arrays = [np.asarray(array) for array in arrays]
        if len(arrays) != len(self._maskers):
            raise ValueError(
                f"Expected arrays of {len(self._maskers)} hospitals. Received {len(arrays)}: the "
                "masks would not cancel."
            )
        self._n_sums += 1
        self.messages = [
            masker.mask(self._code.encode(array), str(self._n_sums))
            for masker, array in zip(self._maskers, arrays, strict=True)
        ]
        total = self._code.decode_sum(self.messages)
        whole = all(array.dtype.kind in "iu" for array in arrays)
        return np.rint(total).astype(np.int64) if whole else total

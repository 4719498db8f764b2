"""Dataset: batches of films as a Keras model wants them, out of what the opener returns."""

import numpy as np


class ChestXrayDataset:
    """Batches of chest X-rays with one binary label.

    Pixels stay memory-mapped integers until a batch asks for them.

    Parameters
    ----------
    data_from_opener : dict
        What ``ChestXrayOpener.get_data`` returns: ``images`` (uint8, shape (n, H, W, 1)) and
        ``labels`` (int64, shape (n,)).
    is_inference : bool
        Whether only the films are returned.
    """

    def __init__(self, data_from_opener, is_inference):
        self._images = data_from_opener["images"]
        self._labels = data_from_opener["labels"]
        self._is_inference = is_inference

    def __len__(self):
        """Count the films."""
        return len(self._images)

    def __getitem__(self, indices):
        """Read one batch.

        Parameters
        ----------
        indices : numpy.ndarray of int, shape (n_batch,)
            Which films.

        Returns
        -------
        x : numpy.ndarray of float32, shape (n_batch, H, W, 1)
            Films, scaled to [0, 1].
        y : numpy.ndarray of float32, shape (n_batch, 1)
            Labels 0 or 1; left out for inference.
        """
        x = np.asarray(self._images[indices], dtype=np.float32) / 255
        if self._is_inference:
            return x
        return x, self._labels[indices].astype(np.float32).reshape(-1, 1)

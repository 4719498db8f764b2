"""Dataset: batches of films for a Keras model, from the data that the opener returns."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from helpers.data.patients import number_names
from helpers.data.samples import LABEL


def name_findings(data_from_opener: Mapping[str, Any]) -> list[str]:
    """Name the findings whose labels the opener returned, in the order of the labels.

    Parameters
    ----------
    data_from_opener : dict
        What ``ChestXrayOpener.get_data`` returns.

    Returns
    -------
    list of str
        The names; empty for one label.
    """
    columns = data_from_opener["metadata"].columns
    return [name.removeprefix(LABEL) for name in columns if name.startswith(LABEL)]


def choose_finding(data_from_opener: Mapping[str, Any], finding: str) -> dict[str, Any]:
    """Choose one of several findings, and the films where it is known.

    Calibration, thresholds and the audit ask for one label per film.

    Parameters
    ----------
    data_from_opener : dict
        What ``ChestXrayOpener.get_data`` returns for several findings.
    finding : str
        Name of the finding.

    Returns
    -------
    dict
        What the opener returns for a single label: ``images``, ``labels`` (int64, shape (n,)) and
        ``metadata`` with the column ``label``. Films are in memory if some are left out.

    Raises
    ------
    ValueError
        If there is no such finding.
    """
    names = name_findings(data_from_opener)
    if finding not in names:
        raise ValueError(f"Expected one of the findings {names}. Received {finding!r}.")
    labels = data_from_opener["labels"][:, names.index(finding)]
    known, images = ~np.isnan(labels), data_from_opener["images"]
    labels = labels[known].astype(np.int64)
    metadata = data_from_opener["metadata"][known].reset_index(drop=True)
    return {
        "images": images if known.all() else images[known],
        "labels": labels,
        "metadata": metadata.drop(columns=[LABEL + name for name in names]).assign(label=labels),
    }


class ChestXrayDataset:
    """Batches of chest X-rays with their binary labels.

    Pixels stay memory-mapped integers until a batch asks for them.

    Parameters
    ----------
    data_from_opener : dict
        What ``ChestXrayOpener.get_data`` returns: ``images`` (uint8, shape (n, H, W, 1)) and
        ``labels`` (int64, shape (n,); for k findings float32, shape (n, k), NaN where not known,
        which needs :class:`helpers.losses.MaskedBinaryCrossentropy`).
    is_inference : bool
        Whether only the films are returned.
    """

    def __init__(self, data_from_opener: Mapping[str, Any], is_inference: bool) -> None:
        self._images = data_from_opener["images"]
        self._labels = data_from_opener["labels"]
        self._is_inference = is_inference

    def __len__(self) -> int:
        """Count the films."""
        return len(self._images)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """Read one batch.

        Parameters
        ----------
        indices : numpy.ndarray of int, shape (n_batch,)
            Which films.

        Returns
        -------
        x : numpy.ndarray of float32, shape (n_batch, H, W, 1)
            Films, scaled to [0, 1].
        y : numpy.ndarray of float32, shape (n_batch, 1), or (n_batch, k) for k findings
            Labels 0 or 1, NaN where not known; omitted for inference.
        """
        x = np.asarray(self._images[indices], dtype=np.float32) / 255
        if self._is_inference:
            return x
        y = self._labels[indices].astype(np.float32)
        return x, y.reshape(-1, 1) if y.ndim < 2 else y


class WeightedChestXrayDataset(ChestXrayDataset):
    """The same batches, with a weight for each film in the loss.

    The weights are the column ``weight`` of the samples' metadata; put it there with
    ``prepare_samples(radiographs, table.assign(weight=...), ...)``, for example from
    :func:`helpers.fairness.weigh_films`. They multiply each film's loss, as Keras'
    ``sample_weight`` does; the mean is still taken over the films of a batch.

    Parameters
    ----------
    data_from_opener : dict
        What ``ChestXrayOpener.get_data`` returns: ``images``, ``labels`` and ``metadata``.
    is_inference : bool
        Whether only the films are returned; weights are then not required.

    Raises
    ------
    ValueError
        If the metadata have no weights, or one is missing, negative or infinite.
    """

    def __init__(self, data_from_opener: Mapping[str, Any], is_inference: bool) -> None:
        super().__init__(data_from_opener, is_inference)
        if is_inference:
            return
        metadata = data_from_opener["metadata"]
        if "weight" not in metadata:
            raise ValueError(
                f"Expected a column 'weight' in the metadata. Received {list(metadata)}. Prepare "
                "the samples with table.assign(weight=...), or train with ChestXrayDataset."
            )
        self._weights = metadata["weight"].to_numpy(dtype=np.float32, na_value=np.nan)
        wrong = ~(np.isfinite(self._weights) & (self._weights >= 0))
        if wrong.any():
            raise ValueError(
                "Expected finite weights of at least 0. Received "
                f"{self._weights[wrong][0]} and {wrong.sum() - 1:,} more like it. Weigh every "
                "film that trains."
            )

    def __getitem__(self, indices: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """Read one batch.

        Parameters
        ----------
        indices : numpy.ndarray of int, shape (n_batch,)
            Which films.

        Returns
        -------
        x : numpy.ndarray of float32, shape (n_batch, H, W, 1)
            Films, scaled to [0, 1].
        y : numpy.ndarray of float32, shape (n_batch, 1) or (n_batch, k)
            Labels 0 or 1, NaN where not known; left out for inference.
        sample_weight : numpy.ndarray of float32, shape (n_batch,)
            Weights; left out for inference.
        """
        batch = super().__getitem__(indices)
        return batch if self._is_inference else (*batch, self._weights[indices])


class PatientDataset(ChestXrayDataset):
    """Batches of *patients*, each with all of their films: one patient is one element.

    For private training by patient, ``DPSGD(..., unit="patient")``, which processes one element at
    a time: its loss is the mean over the patient's films. A film without a patient's number is a
    patient of its own. Federated Averaging weights hospitals by the length of the dataset: by
    their patients. For inference the batches are films, as those of
    :class:`~helpers.data.ChestXrayDataset`.

    Parameters
    ----------
    data_from_opener : dict
        What ``ChestXrayOpener.get_data`` returns: ``images``, ``labels`` and ``metadata``.
    is_inference : bool
        Whether only the films are returned.
    """

    def __init__(self, data_from_opener: Mapping[str, Any], is_inference: bool) -> None:
        super().__init__(data_from_opener, is_inference)
        if is_inference:
            return
        numbers = number_names(data_from_opener["metadata"]["patient"].to_numpy(dtype=object))
        order = np.argsort(numbers, kind="stable")
        self._films = np.split(order, np.flatnonzero(np.diff(numbers[order])) + 1)
        self._most = max(map(len, self._films), default=0)

    def __len__(self) -> int:
        """Count the patients; the films for inference."""
        return super().__len__() if self._is_inference else len(self._films)

    def __getitem__(self, indices: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """Read one batch.

        Parameters
        ----------
        indices : numpy.ndarray of int, shape (n_batch,)
            Which patients; which films for inference.

        Returns
        -------
        x : numpy.ndarray of float32, shape (n_batch, n_films, H, W, 1)
            The films of each patient, scaled to [0, 1], padded with black films to the largest
            number of films of a patient. Shape (n_batch, H, W, 1) for inference.
        y : numpy.ndarray of float32, shape (n_batch, n_films, 1) or (n_batch, n_films, k)
            Labels 0 or 1, NaN where not known; left out for inference.
        sample_weight : numpy.ndarray of float32, shape (n_batch, n_films)
            0 for padding; for a patient's own films the same number, such that the mean over
            ``n_films`` is the mean over these; omitted for inference.
        """
        if self._is_inference:
            return super().__getitem__(indices)
        shape = (len(indices), self._most)
        x = np.zeros((*shape, *self._images.shape[1:]), dtype=np.float32)
        y = np.zeros((*shape, *(self._labels.shape[1:] or (1,))), dtype=np.float32)
        weights = np.zeros(shape, dtype=np.float32)
        for row, patient in enumerate(indices):
            films = self._films[patient]
            x[row, : len(films)], y[row, : len(films)] = super().__getitem__(films)
            weights[row, : len(films)] = self._most / len(films)
        return x, y, weights

"""Hospital films: radiographs, their labels and their hospitals, set up in one call."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from helpers.data.hospitals import make_hospitals
from helpers.data.radiographs import Radiographs, read_radiographs
from helpers.data.samples import prepare_samples
from helpers.data.synthetic import make_radiographs
from helpers.data.tasks import label_films


@dataclass(frozen=True)
class HospitalFilms:
    """Labelled films of several hospitals, as :func:`set_up_hospitals` returns them.

    Parameters
    ----------
    radiographs : Radiographs
        Where the films come from.
    labels : pandas.Series
        0, 1 or missing for each film of ``radiographs``.
    films : pandas.DataFrame
        The labelled films with ``hospital`` and ``split``, see
        :func:`helpers.data.make_hospitals`.
    task : str
        What the labels mean.
    """

    radiographs: Radiographs
    labels: pd.Series
    films: pd.DataFrame
    task: str

    def prepare(
        self,
        size: int,
        *,
        films: pd.DataFrame | None = None,
        weights: pd.Series | None = None,
    ) -> dict[str, dict[str, Path]]:
        """Write the samples, or reuse existing ones.

        Parameters
        ----------
        size : int
            Height and width of the films in pixels.
        films : pandas.DataFrame, optional
            Some of the films; by default all of them.
        weights : pandas.Series, optional
            Weights of films in the loss, with the index of ``films``, for
            :class:`helpers.data.WeightedChestXrayDataset`. A film that is not listed gets 1.

        Returns
        -------
        dict of str to dict of str to pathlib.Path
            Hospital, split and folder, see :func:`helpers.data.prepare_samples`.

        Raises
        ------
        ValueError
            As :func:`helpers.data.prepare_samples` does.
        """
        films = self.films if films is None else films
        if weights is not None:
            films = films.assign(weight=weights.reindex(films.index).fillna(1.0))
        labels = self.labels[films.index]
        return prepare_samples(self.radiographs, films, labels, size=size, task=self.task)


def set_up_hospitals(
    task: str = "any finding vs none", *, needs: str | None = None, seed: int = 0
) -> HospitalFilms:
    """Read the radiographs, label them, and give each a hospital and a split.

    Parameters
    ----------
    task : str, default="any finding vs none"
        See :func:`helpers.data.label_films`.
    needs : str, optional
        A column with at least two values, such as ``"sex"``. If the collection lacks it,
        synthetic radiographs are used instead.
    seed : int, default=0
        Seed of the hospitals and splits.

    Returns
    -------
    HospitalFilms
        The films; nothing is written yet.

    Raises
    ------
    ValueError
        If the radiographs cannot be read, the task is unknown, or a hospital is too small.
    """
    radiographs = read_radiographs()
    if needs is not None and radiographs.table[needs].nunique() < 2:
        radiographs = read_radiographs(make_radiographs())
    labels = label_films(radiographs.table, task)
    films = make_hospitals(radiographs.table, labels, seed=seed)
    return HospitalFilms(radiographs, labels, films, task)

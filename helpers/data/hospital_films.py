"""Hospital films: radiographs, their labels and their hospitals, set up in one call."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from helpers.data.hospitals import find_unmeasured, make_hospitals
from helpers.data.patients import name_some
from helpers.data.radiographs import Radiographs, read_radiographs
from helpers.data.samples import prepare_samples
from helpers.data.synthetic import make_radiographs
from helpers.data.tasks import label_films

_TASK = "any finding vs none"


@dataclass(frozen=True)
class HospitalFilms:
    """Labelled films of several hospitals, as :func:`set_up_hospitals` returns them.

    Parameters
    ----------
    radiographs : Radiographs
        Where the films come from.
    labels : pandas.Series or pandas.DataFrame
        0 or 1 for each of ``films``; for several findings a column for each, with missing values.
    films : pandas.DataFrame
        The labelled films with ``hospital`` and ``split``, see
        :func:`helpers.data.make_hospitals`.
    task : str
        What the labels mean.
    """

    radiographs: Radiographs
    labels: pd.Series | pd.DataFrame
    films: pd.DataFrame
    task: str

    def __str__(self) -> str:
        """Describe the films, and the task unless it is the usual one."""
        return f"{self.radiographs}" + (f" Task: {self.task}." if self.task != _TASK else "")

    @property
    def findings(self) -> list[str]:
        """What the outputs of a network mean: the findings, or the task if there is one label."""
        return list(self.labels) if isinstance(self.labels, pd.DataFrame) else [self.task]

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
        labels = self.labels.loc[films.index]
        return prepare_samples(self.radiographs, films, labels, size=size, task=self.task)


def set_up_hospitals(
    task: str | Sequence[str] | None = None,
    *,
    radiographs: Radiographs | None = None,
    n_hospitals: int | None = None,
    uncertain: str = "ignore",
    needs: str | None = None,
    seed: int = 0,
) -> HospitalFilms:
    """Read the radiographs, label them, and give each a hospital and a split.

    Parameters
    ----------
    task : str or sequence of str, optional
        See :func:`helpers.data.label_films`. None means the environment variable
        ``CHEST_XRAYS_TASK``; if that is unset or empty, too, ``"any finding vs none"``.
    radiographs : Radiographs, optional
        The films; by default those that :func:`helpers.data.read_radiographs` finds.
    n_hospitals : int, optional
        Number of hospitals to make where the films do not name theirs. None means the environment
        variable ``CHEST_XRAYS_HOSPITALS``; if that is unset or empty, too, 3.
    uncertain : {"ignore", "zeros", "ones"}, default="ignore"
        What an uncertain finding counts as, see :func:`helpers.data.label_films`.
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
        If the radiographs cannot be read, the task is unknown, a number of hospitals is asked for
        that the films contradict, or a hospital is too small. A wrong value of an environment
        variable is named with it.
    """
    n_hospitals = _read_number("CHEST_XRAYS_HOSPITALS") if n_hospitals is None else n_hospitals
    asked = None if task else os.environ.get("CHEST_XRAYS_TASK", "").strip()
    task = task or asked or _TASK
    radiographs = radiographs or read_radiographs()
    if needs is not None and radiographs.table[needs].nunique() < 2:
        radiographs = read_radiographs(make_radiographs())
    table = radiographs.table
    try:
        labels = label_films(table, task, uncertain=uncertain)
    except ValueError as error:
        if asked:
            error.add_note("The task is that of the environment variable CHEST_XRAYS_TASK.")
        raise
    named = table["hospital"].nunique() if table["hospital"].notna().all() else n_hospitals
    if n_hospitals not in (None, named):
        raise ValueError(
            f"Expected no number of hospitals (n_hospitals, or the environment variable "
            f"CHEST_XRAYS_HOSPITALS), or {named:,}, as the films name their hospitals. Received "
            f"{n_hospitals!r}. Leave it out, or make hospitals with make_hospitals(by='iid')."
        )
    films = make_hospitals(table, labels, n_hospitals=n_hospitals or 3, seed=seed)
    task = task if isinstance(task, str) else ", ".join(task)
    study = HospitalFilms(radiographs, labels.loc[films.index], films, task)
    if len(study.findings) > 1:
        for finding, places in find_unmeasured(films, study.labels).items():
            print(
                f"{finding} is not measured, for want of films of both labels: {name_some(places)}."
            )
    return study


def _read_number(variable: str) -> int | None:
    """Read a positive whole number from the environment; None if it is unset or empty."""
    text = os.environ.get(variable, "").strip()
    if text and not (text.isdecimal() and int(text) > 0):
        raise ValueError(
            f"Expected the environment variable {variable} as a whole number of at least 1. "
            f"Received {text!r}."
        )
    return int(text) if text else None

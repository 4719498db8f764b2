"""Work: what every arm of the benchmark has to do, and the films it is done on."""

import contextlib
import dataclasses
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import numpy as np


@dataclasses.dataclass(frozen=True)
class Work:
    """The work of one run, the same for every arm.

    Parameters
    ----------
    hospitals : int, default=2
        Hospitals that train and evaluate.
    rounds : int, default=3
        Rounds. With SubstraFL's round 0 each hospital trains and evaluates ``rounds + 1`` times.
    updates : int, default=20
        Updates of each local training.
    batch : int, default=32
        Films of an update.
    size : int, default=64
        Height and width of the films in pixels.
    films : int, default=500
        Films that each hospital has to train on.
    test_films : int, default=500
        Films that each hospital evaluates.
    filters : tuple of int, default=(16, 32, 64, 64)
        Channels of the network's blocks, see :func:`helpers.models.build_cnn`.
    """

    hospitals: int = 2
    rounds: int = 3
    updates: int = 20
    batch: int = 32
    size: int = 64
    films: int = 500
    test_films: int = 500
    filters: tuple[int, ...] = (16, 32, 64, 64)

    def to_json(self) -> str:
        """Write the work as text, for the command line of an arm.

        Returns
        -------
        str
            A JSON object.
        """
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a work.

        Parameters
        ----------
        text : str
            What :meth:`to_json` wrote, or some of its entries.

        Returns
        -------
        Work
            With defaults where the text says nothing.

        Raises
        ------
        ValueError
            If the text is no JSON object, or names something else.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        entries = json.loads(text)
        if not isinstance(entries, dict) or not set(entries) <= set(names):
            raise ValueError(f"Expected a JSON object with entries of {names}. Received {text}.")
        if "filters" in entries:
            entries["filters"] = tuple(entries["filters"])
        return cls(**entries)


def films_folder(folder: str | Path, work: Work) -> Path:
    """Name the folder with the films of a work.

    Parameters
    ----------
    folder : path
        Where all films of a benchmark are.
    work : Work
        Its numbers of films and their size count.

    Returns
    -------
    pathlib.Path
        The folder; it holds ``hospital_01/train``, ``hospital_01/test`` and so on.
    """
    return Path(folder, f"{work.films}-{work.test_films}-{work.size}")


def find_samples(folder: str | Path, n_hospitals: int) -> dict[str, dict[str, Path]]:
    """Find the films of the first hospitals.

    Parameters
    ----------
    folder : path
        A folder as :func:`films_folder` names it.
    n_hospitals : int
        How many hospitals, in the order of their names.

    Returns
    -------
    dict of str to dict of str to pathlib.Path
        Hospital, then split, then its sample folder.
    """
    return {
        hospital.name: {split: hospital / split for split in ("train", "test")}
        for hospital in sorted(Path(folder).glob("hospital_*"))[:n_hospitals]
    }


def prepare_films(folder: str | Path, works: Iterable[Work]) -> None:
    """Prepare films of noise for all that is to be done: the time does not depend on their look.

    They go through the reader and the preparation that all films go through.

    Parameters
    ----------
    folder : path
        Where they go.
    works : iterable of Work
        Works with the same numbers of films share them.
    """
    most = {}
    for work in works:
        target = films_folder(folder, work)
        if target not in most or most[target].hospitals < work.hospitals:
            most[target] = work
    for target, work in most.items():
        _prepare(target, work)


def _prepare(target, work):
    """Prepare the films of one work."""
    from helpers.data import label_films, prepare_samples, read_radiographs

    rng = np.random.default_rng(0)
    counts = {"train": work.films, "val": 2, "test": work.test_films}  # the layout asks for "val"
    arrays, hospitals = {}, []
    for split, count in counts.items():
        n = work.hospitals * count
        arrays[f"{split}_images"] = rng.integers(0, 256, (n, work.size, work.size), dtype=np.uint8)
        # Films go to the hospitals in turn; labels change after a turn, so that each has both.
        arrays[f"{split}_labels"] = (np.arange(n) // work.hospitals % 2).astype(np.uint8)[:, None]
        hospitals += [f"hospital_{film % work.hospitals + 1:02d}" for film in range(n)]
    target.mkdir(parents=True)
    source = target / "pneumoniamnist.npz"
    np.savez(source, **arrays)
    with contextlib.redirect_stdout(io.StringIO()):  # it would announce noise as PneumoniaMNIST
        radiographs = read_radiographs(source, check_images=False)
    table = radiographs.table.assign(hospital=hospitals)
    positive = label_films(table, "any finding vs none")
    prepare_samples(radiographs, table, positive, size=work.size, folder=target)
    source.unlink()

"""The opener: the one script that reads a hospital's prepared radiographs inside a task.

Substra stores this file alone, as ``opener.py``, and loads it by its path. It therefore imports
only numpy, pandas and substratools, and recognizes a sample's folder by its files: `images.npy`
(``uint8``, n × H × W × 1), `metadata.csv` (one row per film, with its label) and `sample.json` (a
description of the two others). It refuses any other folder. Films and metadata remain on the disk
until they are needed.
"""

import csv
import hashlib
import json
from collections.abc import Iterator, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import substratools
from numpy.typing import ArrayLike, DTypeLike

FORMAT = "chest X-ray sample"
VERSION = 1
LABEL = "label:"  # before the name of a finding, one of several
FAKE_SIZE = 64
ROWS = 2_000  # of metadata in memory at one time while they are checked

COLUMNS = (
    "image",
    "patient",
    "age",
    "sex",
    "view",
    "findings",
    "follow_up",
    "hospital",
    "split",
    "label",
)
# Every other column is text: a patient's number keeps its leading zeros.
_NUMBERS = {"age": "float64", "follow_up": "Int64", "weight": "float64"}


class ChestXrayOpener(substratools.Opener):
    """Read prepared chest X-rays from all the folders of a task.

    See Also
    --------
    helpers.data.prepare_samples : Writes the folders that this opener reads.
    """

    def get_data(self, folders: Sequence[str | Path]) -> "OpenedFilms":
        """Open the films of all folders, one after the other.

        The films are memory-mapped: opening them reads only `metadata.csv`, and the pixels of a
        film are read from the disk when it is indexed. Every row of `metadata.csv` is checked, and
        only the labels are kept.

        Parameters
        ----------
        folders : list of str or pathlib.Path
            Folders of samples, at least one. Their films have one height and one width.

        Returns
        -------
        OpenedFilms
            Like a dictionary. ``"images"``: array-like ``uint8`` of shape (n, H, W, 1), a
            ``numpy.memmap`` for one folder and a :class:`FilmStack` for several; ``"labels"``:
            ``int64`` array of shape (n,) with values 0 and 1, or, for k findings, ``float32`` of
            shape (n, k) with NaN where a label is not known; ``"metadata"``: DataFrame of n rows
            with a plain index, read when it is first used, and with the column ``label``, or one
            for each finding, in the order of the labels, such as ``label:Effusion``.

        Raises
        ------
        ValueError
            If a folder is not a sample that this opener supports, if its files are inconsistent, or
            if the folders' films differ in size or their labels in the findings. The message names
            the folder.
        """
        if not folders:
            raise ValueError(
                "Expected at least one folder of films. Received none. "
                "Give the task at least one data sample."
            )
        opened = [_open_folder(Path(folder)) for folder in folders]
        first = opened[0][0].shape[1:]
        columns = opened[0][1].columns
        for folder, (images, labels) in zip(folders, opened, strict=True):
            if images.shape[1:] != first:
                raise _refusal(
                    folder,
                    f"films of shape {first} as in {Path(folders[0]).name!r}",
                    f"films of shape {images.shape[1:]}",
                    "Prepare all samples with one size.",
                )
            if list(labels) != list(columns):
                raise _refusal(
                    folder,
                    f"the labels {list(columns)} as in {Path(folders[0]).name!r}",
                    f"{list(labels)}",
                    "Prepare all samples for one task.",
                )
        films = [images for images, _ in opened]
        labels = np.concatenate([labels.to_numpy() for _, labels in opened])
        return OpenedFilms(
            folders,
            images=films[0] if len(films) == 1 else FilmStack(films),
            labels=labels[:, 0] if list(columns) == ["label"] else labels,
        )

    def fake_data(self, n_samples: int) -> dict[str, Any]:
        """Make films of noise with the form of real data, for tests without data.

        Parameters
        ----------
        n_samples : int
            Number of films, at least 1. They have one label, which alternates, so two films show
            both; a fake patient has two films.

        Returns
        -------
        dict
            The keys, dtypes and columns of :meth:`get_data`, with films of 64 × 64 pixels. The
            same number always gives the same films.

        Raises
        ------
        ValueError
            If `n_samples` is not a positive integer.
        """
        if isinstance(n_samples, bool) or not isinstance(n_samples, (int, np.integer)):
            raise ValueError(f"Expected n_samples as an integer. Received {n_samples!r}.")
        if n_samples < 1:
            raise ValueError(f"Expected n_samples of at least 1. Received {n_samples}.")
        rng = np.random.default_rng(0)
        films = np.arange(n_samples)
        labels = films % 2
        patients = films // 2
        metadata = pd.DataFrame(
            {
                "image": [f"fake/{film:05d}.png" for film in films],
                "patient": [f"{patient:05d}" for patient in patients],
                "age": 20.0 + patients % 60,
                "sex": np.where(patients % 2 == 0, "F", "M"),
                "view": np.where(patients % 3 == 0, "AP", "PA"),
                "findings": np.where(labels == 1, "Pneumonia", "No Finding"),
                "follow_up": films % 2,
                "hospital": "fake",
                "split": "train",
                "label": labels,
            }
        )
        shape = (int(n_samples), FAKE_SIZE, FAKE_SIZE, 1)
        return {
            "images": rng.integers(0, 256, size=shape, dtype=np.uint8),
            "labels": labels.astype(np.int64),
            "metadata": metadata.astype({**_dtypes(metadata.columns), "label": "int64"}),
        }


class OpenedFilms(MutableMapping):
    """What the opener returns, like a dictionary with the keys images, labels and metadata.

    The metadata of a film take twenty times as much memory as its label, and a training task does
    not need them.

    Parameters
    ----------
    folders : list of str or pathlib.Path
        Folders of samples that were checked, in their order.
    images, labels : array-like
        The films of all folders, and their labels.
    """

    def __init__(
        self, folders: Sequence[str | Path], *, images: ArrayLike, labels: ArrayLike
    ) -> None:
        self._folders = [Path(folder) for folder in folders]
        self._values = {"images": images, "labels": labels, "metadata": None}

    def __getitem__(self, key: str) -> Any:
        """Return the films, the labels or the metadata."""
        if key == "metadata" and self._values[key] is None:
            rows = [rows for folder in self._folders for rows in _read_metadata(folder)]
            metadata = pd.concat(rows, ignore_index=True)
            kinds = {name: "Int64" for name in metadata if name.startswith(LABEL)}
            self._values[key] = metadata.astype(kinds or {"label": "int64"})
        return self._values[key]

    def __setitem__(self, key: str, value: Any) -> None:
        """Replace or add a value."""
        self._values[key] = value

    def __delitem__(self, key: str) -> None:
        """Remove a value."""
        del self._values[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the keys."""
        return iter(self._values)

    def __len__(self) -> int:
        """Count the keys."""
        return len(self._values)


class FilmStack:
    """Several arrays of films, used as one without copying them.

    Indexing with an integer, a slice, a list or array of integers, or a boolean array gives a
    NumPy array of these films; no others are read. ``numpy.asarray`` reads all.

    Parameters
    ----------
    parts : list of array-like
        Arrays of shape (n_i, H, W, 1) with one height, width and dtype.
    """

    def __init__(self, parts: Sequence[np.ndarray]) -> None:
        self._parts = list(parts)
        self._ends = np.cumsum([len(part) for part in self._parts])
        self.shape = (int(self._ends[-1]), *self._parts[0].shape[1:])
        self.dtype = self._parts[0].dtype
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        """Return the number of films."""
        return self.shape[0]

    def __repr__(self) -> str:
        """Show the shape without reading a film."""
        return f"FilmStack(shape={self.shape}, dtype={self.dtype}, parts={len(self._parts)})"

    def __getitem__(self, index: int | slice | ArrayLike) -> np.ndarray:
        """Read these films, and no others."""
        if isinstance(index, slice):
            return self._gather(np.arange(*index.indices(len(self))))
        if isinstance(index, tuple):
            raise TypeError(
                "Expected one index, that of the films. "
                f"Received {len(index)}. Index the films first: images[films][:, rows, columns]."
            )
        index = np.asarray(index)
        if index.dtype == bool:
            if index.shape != (len(self),):
                raise IndexError(
                    f"Expected a boolean array of shape ({len(self)},). Received {index.shape}."
                )
            return self._gather(np.flatnonzero(index))
        if index.size == 0:
            index = index.astype(np.int64)
        if index.ndim > 1 or not np.issubdtype(index.dtype, np.integer):
            raise TypeError(
                "Expected an integer, a slice, or a flat array of integers or booleans. "
                f"Received {index.dtype} of shape {index.shape}."
            )
        wrong = index[(index < -len(self)) | (index >= len(self))]
        if wrong.size:
            raise IndexError(f"Expected an index below {len(self)}. Received {wrong.flat[0]}.")
        # int64 before adding: a small unsigned index would wrap around.
        films = index.astype(np.int64)
        films = np.where(films < 0, films + len(self), films)
        return self._gather(films) if index.ndim else self._gather(films[None])[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """Read all films."""
        if copy is False:
            raise ValueError("Expected copy=None or True. A FilmStack is always copied.")
        return self._gather(np.arange(len(self))).astype(dtype or self.dtype, copy=False)

    def _gather(self, films):
        """Read the films of these non-negative indices, in their order."""
        gathered = np.empty((len(films), *self.shape[1:]), dtype=self.dtype)
        owners = np.searchsorted(self._ends, films, side="right")
        for part in np.unique(owners):
            mine = owners == part
            start = self._ends[part] - len(self._parts[part])
            gathered[mine] = self._parts[part][films[mine] - start]
        return gathered


def _open_folder(folder):
    """Check one folder; return its memory-mapped films and a table of its labels."""
    about = _read_about(folder)
    images = _open_images(folder, about)
    _check_metadata(folder, about)
    several = "findings" in about
    columns = [LABEL + str(name) for name in about["findings"]] if several else ["label"]
    labels = pd.concat([rows[columns] for rows in _read_metadata(folder, columns)])
    known = labels.isin(["0", "1"]) | (labels.isna() if several else False)
    if not known.all(axis=None):
        strange = pd.unique(labels.to_numpy(object)[~known.to_numpy()]).tolist()
        raise _refusal(folder, "labels 0 and 1 in metadata.csv", f"{strange[:5]}")
    if len(labels) != len(images):
        raise _refusal(
            folder,
            f"as many rows in metadata.csv as films in images.npy, {len(images)}",
            f"{len(labels)} rows",
        )
    return images, labels.astype(np.float32 if several else np.int64)


def _read_about(folder):
    if not folder.is_dir():
        raise _refusal(folder, "an existing folder", "a file" if folder.exists() else "none")
    missing = [
        name
        for name in ("sample.json", "images.npy", "metadata.csv")
        if not (folder / name).is_file()
    ]
    if missing:
        raise _refusal(
            folder,
            "sample.json, images.npy and metadata.csv",
            f"no {' and no '.join(missing)}; found {sorted(p.name for p in folder.iterdir())[:5]}",
        )
    try:
        about = json.loads((folder / "sample.json").read_text(encoding="utf-8"))
    except ValueError as error:  # JSONDecodeError and UnicodeDecodeError
        raise _refusal(folder, "JSON in sample.json", f"{error}") from error
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise _refusal(
            folder,
            f'"format": "{FORMAT}" in sample.json',
            f"{about.get('format')!r}" if isinstance(about, dict) else f"{type(about).__name__}",
        )
    if about.get("version") != VERSION:
        raise _refusal(
            folder,
            f'"version": {VERSION} in sample.json',
            f"{about.get('version')!r}",
            "Prepare the samples again, or use the opener of the version that prepared them.",
        )
    return about


def _open_images(folder, about):
    path = folder / "images.npy"
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise _refusal(folder, "a whole NumPy array in images.npy", f"{error}") from error
    if images.dtype != np.uint8:
        raise _refusal(folder, "images of dtype uint8", f"{images.dtype}")
    if images.ndim != 4 or images.shape[3] != 1:
        raise _refusal(folder, "images of shape (n, H, W, 1)", f"{images.shape}")
    for key, value in (
        ("dtype", str(images.dtype)),
        ("shape", list(images.shape)),
        ("n_films", len(images)),
    ):
        if about.get(key) != value:
            raise _refusal(
                folder, f"{key} {about.get(key)} in images.npy, as sample.json says", f"{value}"
            )
    return images


def _check_metadata(folder, about):
    checksums = about.get("checksums")
    expected = checksums.get("metadata.csv") if isinstance(checksums, dict) else None
    with (folder / "metadata.csv").open("rb") as file:
        received = hashlib.file_digest(file, "sha256").hexdigest()
    if received != expected:
        raise _refusal(
            folder, f"metadata.csv with the sha256 {expected}, as sample.json says", received
        )


def _read_metadata(folder, labels=()):
    """Read the rows of one folder in parts, since many rows would need much memory."""
    path = folder / "metadata.csv"
    with path.open(encoding="utf-8", newline="") as file:
        columns = next(csv.reader(file), [])
    needed = [*COLUMNS[:-1], *labels]
    absent = [column for column in needed if column not in columns]
    if absent:
        raise _refusal(folder, f"the columns {needed} in metadata.csv", f"no {absent}")
    try:
        # Only an empty cell is missing: a patient may be called "NA".
        with pd.read_csv(
            path,
            dtype=_dtypes(columns),
            keep_default_na=False,
            na_values=[""],
            chunksize=ROWS,
        ) as parts:
            yield from parts
    except (ValueError, TypeError) as error:
        raise _refusal(
            folder, "numbers as age, follow_up and weight in metadata.csv", f"{error}"
        ) from error


def _dtypes(columns):
    return {column: _NUMBERS.get(column, "str") for column in columns}


def _refusal(folder, expected, received, advice="Prepare the samples again."):
    return ValueError(
        f"Expected {expected}. Received {received} in the folder {str(folder)!r}. {advice}"
    )

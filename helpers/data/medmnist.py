"""MedMNIST: chest X-rays as arrays in one ``.npz`` file (Yang et al., Scientific Data 2023)."""

import io
import json
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.file_cache import compute_cached
from helpers.data.files import decoding
from helpers.data.image_checks import digest_pixels
from helpers.data.images import grey_array
from helpers.data.metadata import FINDINGS, NO_FINDING, SPLIT_SPELLINGS
from helpers.data.report import Report

_SPLITS = ("train", "val", "test")  # as the arrays call them
_MOST_FILMS = 1_000_000  # of one split; ChestMNIST has 112,120 in all
_LONGEST_HEADER = 10_000  # bytes
_KIND = "arrays-1"
_EXPECTED = (
    "a MedMNIST file with the arrays train_images, train_labels and the same of val and test"
)
_ADVICE = "Download it again if it is broken."
_Header = tuple[tuple[int, ...], np.dtype]


def read_medmnist(source: Path, report: Report, *, check_images: bool = True) -> pd.DataFrame:
    """Read PneumoniaMNIST or ChestMNIST of any size.

    Only labels and the headers of the image arrays are kept in memory; the images remain in the
    file.

    Parameters
    ----------
    source : pathlib.Path
        The ``.npz`` file.
    report : Report
        Where faults go.
    check_images : bool, default=True
        Whether to decompress everything once and compare it with its checksums.

    Returns
    -------
    pandas.DataFrame
        The table of films, ``faulty`` (bool) and, if the images were checked, a ``digest`` of the
        pixels. MedMNIST gives neither patients nor ages, sexes or views, so these stay missing.

    Raises
    ------
    ValueError
        If the file is broken or is another MedMNIST collection.
    """
    stem = source.stem.lower()
    if "mnist" in stem and "pneumoniamnist" not in stem and "chestmnist" not in stem:
        raise ValueError(
            f"Expected PneumoniaMNIST or ChestMNIST. Received {source.name!r}, another "
            "collection of MedMNIST. Only these two hold chest X-rays."
        )
    with decoding(_EXPECTED, source.name, _ADVICE):
        headers = _read_headers(source)
    for split in _SPLITS:
        if split in headers:
            _check_headers(split, *headers[split], source.name)
    with decoding(_EXPECTED, source.name, _ADVICE), np.load(source, allow_pickle=False) as arrays:
        labels = {split: arrays[f"{split}_labels"] for split in headers}
    parts = [
        _split_table(split, images[0][0], labels[split], source.name)
        for split, (images, _) in headers.items()
    ]
    empty = [split for split, (images, _) in headers.items() if images[0][0] == 0]
    report.fault("split without an image", empty)
    table = pd.concat(parts, ignore_index=True).assign(faulty=False)
    if check_images:
        (found,) = compute_cached(_KIND, [source], _digest_arrays, desc="Checking arrays")
        if isinstance(found, Exception):
            raise found
        table["digest"] = table["image"].map(json.loads(found))
    return table


def _read_headers(source: Path) -> dict[str, tuple[_Header, _Header]]:
    """Return shape and dtype of each split's images and labels without reading them."""
    with zipfile.ZipFile(source) as archive:
        names = archive.namelist()
        headers = {
            split: tuple(
                _read_header(archive, f"{split}_{kind}.npy") for kind in ("images", "labels")
            )
            for split in _SPLITS
            if f"{split}_images.npy" in names
        }
    if not headers:
        raise ValueError(f"it holds {', '.join(names[:9]) or 'nothing'}")
    return headers


def _read_header(archive: zipfile.ZipFile, name: str) -> _Header:
    with archive.open(name) as file:
        start = io.BytesIO(file.read(_LONGEST_HEADER))
    shape, _, dtype = _parse_header(start)
    size = start.tell() + math.prod(shape) * dtype.itemsize
    if size != archive.getinfo(name).file_size:
        raise ValueError(f"{name} is not as long as its header says")
    return shape, dtype


def _parse_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, whether columns come first, and dtype of an array."""
    if np.lib.format.read_magic(file) == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _check_headers(split: str, images: _Header, labels: _Header, file: str) -> None:
    """Refuse arrays of other shapes before they are read: their labels may be of any size."""
    shape, dtype = images
    if len(shape) not in (3, 4) or shape[3:] not in ((), (3,)) or dtype != np.uint8:
        raise ValueError(
            f"Expected {split}_images as uint8 of shape (n, H, W) or (n, H, W, 3). "
            f"Received {dtype} of shape {shape} in {file!r}. Use a 2D collection of MedMNIST."
        )
    if shape[0] > _MOST_FILMS:
        raise ValueError(
            f"Expected at most {_MOST_FILMS:,} films in {split}_images. Received {shape[0]:,} in "
            f"{file!r}. Use a collection of MedMNIST."
        )
    fitting = [(shape[0],), (shape[0], 1), (shape[0], len(FINDINGS))]
    if labels[0] not in fitting or labels[1].kind not in "biuf":
        raise _refuse_labels(split, shape[0], labels[0], file)


def _refuse_labels(split: str, n_films: int, shape: tuple[int, ...], file: str) -> ValueError:
    return ValueError(
        f"Expected {split}_labels of 0 and 1 and shape ({n_films}, 1) for pneumonia or "
        f"({n_films}, {len(FINDINGS)}) for NIH's findings. Received shape {shape} in "
        f"{file!r}. Use pneumoniamnist.npz or chestmnist.npz."
    )


def _digest_arrays(source: Path) -> str:
    """Read every array once, a film at a time; return the digest of each film as JSON."""
    digests = {}
    with decoding(_EXPECTED, source.name, _ADVICE), zipfile.ZipFile(source) as archive:
        for split in _SPLITS:
            if f"{split}_images.npy" in archive.namelist():
                archive.read(f"{split}_labels.npy")  # compared with its checksum, as the films are
                for index, film in enumerate(_stream_films(archive, f"{split}_images.npy")):
                    digests[f"{split}/{index}"] = digest_pixels(grey_array(film))
    return json.dumps(digests)


def _stream_films(archive: zipfile.ZipFile, name: str) -> Iterator[np.ndarray]:
    with archive.open(name) as file:
        shape, by_columns, _ = _parse_header(file)
        if by_columns:  # no film lies in one piece
            yield from np.frombuffer(file.read(), np.uint8).reshape(shape, order="F")
            return
        for _ in range(shape[0]):
            film = file.read(math.prod(shape[1:]))
            yield np.frombuffer(film, np.uint8).reshape(shape[1:])
        file.read()  # the checksum is compared at the end


def _split_table(split: str, n_films: int, labels: np.ndarray, file: str) -> pd.DataFrame:
    rows = labels[:, None] if labels.ndim == 1 else labels
    if not np.isin(rows, (0, 1)).all():
        raise _refuse_labels(split, n_films, labels.shape, file)
    names = ("Pneumonia",) if rows.shape[1] == 1 else FINDINGS
    findings = [
        "|".join(name for name, value in zip(names, row, strict=True) if value) or NO_FINDING
        for row in rows.tolist()
    ]
    image = [f"{split}/{index}" for index in range(n_films)]
    columns = {"image": image, "findings": findings, "split": [SPLIT_SPELLINGS[split]] * n_films}
    return pd.DataFrame(columns, dtype="str")

"""MedMNIST: chest X-rays as arrays in one ``.npz`` file (Yang et al., Scientific Data 2023)."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.data.metadata import FINDINGS, NO_FINDING, SPLIT_SPELLINGS
from helpers.data.report import Report

_SPLITS = ("train", "val", "test")  # as the arrays call them
_BROKEN = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


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
        The table of films and ``faulty`` (bool). MedMNIST gives neither patients nor ages, sexes
        or views, so these stay missing.

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
    try:
        headers = _read_headers(source, check_images)
        with np.load(source, allow_pickle=False) as arrays:
            labels = {split: arrays[f"{split}_labels"] for split in headers}
    except _BROKEN as error:
        raise ValueError(
            "Expected a MedMNIST file with the arrays train_images, train_labels and the same of "
            f"val and test. Received {source.name!r}: {error}. Download it again if it is broken."
        ) from error
    parts = [
        _split_table(split, shape, dtype, labels[split], source.name)
        for split, (shape, dtype) in headers.items()
    ]
    empty = [split for split, (shape, _) in headers.items() if shape[0] == 0]
    report.fault("split without an image", empty)
    return pd.concat(parts, ignore_index=True).assign(faulty=False)


def _read_headers(source: Path, check_images: bool) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Return shape and dtype of each split's images without reading them into memory."""
    headers = {}
    with zipfile.ZipFile(source) as archive:
        broken = archive.testzip() if check_images else None
        if broken:
            raise ValueError(f"{broken} does not match its checksum")
        names = archive.namelist()
        for split in _SPLITS:
            if f"{split}_images.npy" not in names:
                continue
            with archive.open(f"{split}_images.npy") as array:
                version = np.lib.format.read_magic(array)
                first = version == (1, 0)
                read = (
                    np.lib.format.read_array_header_1_0
                    if first
                    else np.lib.format.read_array_header_2_0
                )
                shape, _, dtype = read(array)
            headers[split] = (shape, dtype)
    if not headers:
        raise ValueError(f"it holds {', '.join(names) or 'nothing'}")
    return headers


def _split_table(
    split: str, shape: tuple[int, ...], dtype: np.dtype, labels: np.ndarray, file: str
) -> pd.DataFrame:
    if len(shape) not in (3, 4) or shape[3:] not in ((), (3,)) or dtype != np.uint8:
        raise ValueError(
            f"Expected {split}_images as uint8 of shape (n, H, W) or (n, H, W, 3). "
            f"Received {dtype} of shape {shape} in {file!r}. Use a 2D collection of MedMNIST."
        )
    rows = labels[:, None] if labels.ndim == 1 else labels
    if (
        rows.ndim != 2
        or len(rows) != shape[0]
        or rows.shape[1] not in (1, len(FINDINGS))
        or not np.isin(rows, (0, 1)).all()
    ):
        raise ValueError(
            f"Expected {split}_labels of 0 and 1 and shape ({shape[0]}, 1) for pneumonia or "
            f"({shape[0]}, {len(FINDINGS)}) for NIH's findings. Received shape {labels.shape} in "
            f"{file!r}. Use pneumoniamnist.npz or chestmnist.npz."
        )
    names = ("Pneumonia",) if rows.shape[1] == 1 else FINDINGS
    findings = [
        "|".join(name for name, value in zip(names, row, strict=True) if value) or NO_FINDING
        for row in rows.tolist()
    ]
    image = [f"{split}/{index}" for index in range(shape[0])]
    columns = {"image": image, "findings": findings, "split": [SPLIT_SPELLINGS[split]] * shape[0]}
    return pd.DataFrame(columns, dtype="str")

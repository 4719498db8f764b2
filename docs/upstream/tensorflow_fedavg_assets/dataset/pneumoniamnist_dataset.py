"""Get PneumoniaMNIST, and give each organization its part of it."""

import hashlib
import os
import pathlib
import urllib.request

import numpy as np

URL = "https://zenodo.org/records/10519652/files/pneumoniamnist.npz?download=1"
MD5 = "28209eda62fecd6e6a2d98b1501bb15f"  # as MedMNIST publishes it


def setup_pneumoniamnist(data_path, n_organizations):
    """Write a folder of images.npy and labels.npy for each organization, to train and to test.

    Parameters
    ----------
    data_path : pathlib.Path
        Where to write; a download is kept there.
    n_organizations : int
        Each gets every n-th image, so that all have as much pneumonia.
    """
    data_path.mkdir(parents=True, exist_ok=True)
    with np.load(find_pneumoniamnist(data_path)) as arrays:
        for part in ("train", "test"):
            images = arrays[f"{part}_images"][..., np.newaxis]
            labels = arrays[f"{part}_labels"][:, 0].astype(np.int64)
            for i in range(n_organizations):
                folder = data_path / f"org_{i + 1}" / part
                folder.mkdir(parents=True, exist_ok=True)
                np.save(folder / "images.npy", images[i::n_organizations])
                np.save(folder / "labels.npy", labels[i::n_organizations])


def find_pneumoniamnist(folder):
    """Return the file that PNEUMONIAMNIST names, or download it once.

    Parameters
    ----------
    folder : pathlib.Path
        Where the download is kept.

    Returns
    -------
    pathlib.Path
        The ``.npz`` file.

    Raises
    ------
    ValueError
        If there is no such file, or the download is not the published file.
    ConnectionError
        If it cannot be downloaded.
    """
    if named := os.environ.get("PNEUMONIAMNIST"):
        path = pathlib.Path(named).expanduser()
        if not path.is_file():
            raise ValueError(f"Expected a file in PNEUMONIAMNIST. Received {named!r}.")
        return path
    path = folder / "pneumoniamnist.npz"
    if not path.is_file():
        try:
            with urllib.request.urlopen(URL, timeout=60) as response:  # nosec B310  # https
                content = response.read()
        except OSError as error:
            raise ConnectionError(
                f"Expected to download {URL}. Received {error}. Name a file that you have: "
                "PNEUMONIAMNIST=pneumoniamnist.npz."
            ) from None
        received = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if received != MD5:
            raise ValueError(f"Expected a file with the MD5 {MD5}. Received {received}.")
        path.write_bytes(content)
    return path

"""The cache folder: where downloads and prepared hospitals live between two runs."""

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the cache folder and create it when it is not there yet.

    The environment variable ``CHEST_XRAYS_CACHE`` chooses it (``~`` is understood). When it is
    unset or empty, the folder is the one the operating system gives each user for caches.

    Returns
    -------
    pathlib.Path
        An existing folder, as an absolute path: pages change their current folder while they run.

    Raises
    ------
    ValueError
        If ``CHEST_XRAYS_CACHE`` names a file.
    """
    chosen = os.environ.get("CHEST_XRAYS_CACHE", "").strip()
    folder = (
        Path(chosen).expanduser()
        if chosen
        else platformdirs.user_cache_path("federated-chest-xrays")
    )
    if folder.exists() and not folder.is_dir():
        raise ValueError(
            f"Expected CHEST_XRAYS_CACHE to name a folder. Received the file {str(folder)!r}. "
            "Set it to a folder, or unset it to use your own cache folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()

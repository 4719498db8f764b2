"""The cache folder: where downloads and prepared hospitals are stored between runs."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Return the cache folder, and create it if it does not exist.

    The environment variable ``CHEST_XRAYS_CACHE`` sets it (``~`` is expanded). If it is unset or
    empty, the folder is the one that the operating system gives each user for caches.

    Returns
    -------
    pathlib.Path
        An existing folder, as an absolute path: pages change their current folder while they run.

    Raises
    ------
    ValueError
        If ``CHEST_XRAYS_CACHE`` names a file, or the folder cannot be created.
    """
    chosen = os.environ.get("CHEST_XRAYS_CACHE", "").strip()
    folder = (
        Path(chosen).expanduser()
        if chosen
        else platformdirs.user_cache_path("federated-chest-xrays")
    )
    with writing_to(folder, "the cache"):
        if folder.exists() and not folder.is_dir():
            raise ValueError(
                f"Expected CHEST_XRAYS_CACHE to name a folder. Received the file {str(folder)!r}. "
                "Set it to a folder, or unset it to use your own cache folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        return folder.resolve()


@contextlib.contextmanager
def writing_to(folder: str | Path, purpose: str, argument: str = "") -> Iterator[None]:
    """Explain what to do if a folder cannot be written to: read-only, full, another user's.

    Parameters
    ----------
    folder : str or pathlib.Path
        What is written to within the ``with`` block.
    purpose : str
        What the folder is for.
    argument : str, default=""
        Name of the argument that chooses another folder, if there is one.

    Raises
    ------
    ValueError
        In place of the operating system's error.
    """
    try:
        yield
    except ConnectionError:  # which is an OSError, too, but the network's
        raise
    except OSError as error:
        other = f", or with {argument}=" if argument else ""
        raise ValueError(
            f"Expected a folder for {purpose} that can be written to. Received {str(folder)!r}: "
            f"{error}. Name another one in CHEST_XRAYS_CACHE{other}."
        ) from error

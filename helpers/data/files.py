"""Files: what a decoder may raise, their checksums, and folders that are private to the user."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def decoding(expected: str, name: str, advice: str) -> Iterator[None]:
    """Turn whatever the decoder of a file raises into one error.

    Decoders of damaged or hostile files raise errors of any kind, MemoryError and RecursionError
    among them: a list of kinds is never complete.

    Parameters
    ----------
    expected : str
        What the file should be.
    name : str
        What is called so in the message.
    advice : str
        What to do.

    Raises
    ------
    ValueError
        In place of any error; the message ends with the decoder's reason and the advice.

    Examples
    --------
    >>> with decoding("a number", "films.csv", "Write one."):
    ...     {}["age"]
    Traceback (most recent call last):
        ...
    ValueError: Expected a number. Received 'films.csv': KeyError 'age'. Write one.
    """
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"Expected {expected}. Received {name!r}: {name_reason(error)}. {advice}"
        ) from error


def name_reason(error: BaseException) -> str:
    """Return in a few words why a decoder failed."""
    if isinstance(error, OSError | ValueError | SyntaxError) and str(error):
        return str(error)
    return f"{type(error).__name__} {error}".strip()


def check_regular(path: Path) -> os.stat_result:
    """Return the state of a regular file, and refuse others: a pipe or a device may never end.

    Parameters
    ----------
    path : pathlib.Path
        The file; links are followed.

    Returns
    -------
    os.stat_result
        What the operating system says of it.

    Raises
    ------
    OSError
        If it is not there, or is a folder, pipe, socket or device.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):
        raise OSError("it is no regular file")
    return state


def hash_file(path: Path, digest: str | Callable = "sha256") -> str:
    """Hash the content of a file, as hexadecimal digits; ``digest`` as hashlib takes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, digest).hexdigest()


def hash_files(folder: Path, but: str) -> dict[str, str]:
    """Hash all files of a folder but one, by their names in it; a link is ``"no file"``."""
    files = sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    names = {p.relative_to(folder).as_posix(): p for p in files if p != folder / but}
    plain = {name: p.is_file() and not p.is_symlink() for name, p in names.items()}
    return {name: hash_file(p) if plain[name] else "no file" for name, p in names.items()}


def make_private_folder(folder: Path) -> None:
    """Make a folder that only this user can access, or close an existing one to others.

    Parameters
    ----------
    folder : pathlib.Path
        The folder; folders above it are made as usual.

    Raises
    ------
    ValueError
        If another user owns the folder, or could write to it.
    OSError
        If it cannot be created or closed.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not hasattr(os, "getuid"):
        return  # Windows: a user's own folders are private
    state = folder.stat()
    if state.st_uid != os.getuid() or state.st_mode & 0o022:
        raise ValueError(
            f"Expected a folder that nobody else may write to. Received {str(folder)!r}, of user "
            f"{state.st_uid}, mode {state.st_mode & 0o777:o}. Choose another folder; or, if you "
            "trust what is in this one, make it yours alone (chmod go= on the folder)."
        )
    if state.st_mode & 0o077:
        folder.chmod(0o700)

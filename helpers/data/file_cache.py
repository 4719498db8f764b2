"""File cache: what was computed from a file is kept until the file changes.

A file is taken for the same if its path, size, inode and times of change (``mtime`` and ``ctime``,
in nanoseconds) are: no program can set the last one, so that a file with other bytes has another
identity. What was computed from a file that changed a moment ago is not kept, since a second change
could fall into the same tick of the file system's clock.
"""

import contextlib
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from helpers.data.cache import cache_folder
from helpers.data.files import check_regular

WORKERS = min(8, (os.cpu_count() or 1) + 1)
_CHUNK = 256  # files that the threads process at one time
_SETTLED = 2_000_000_000  # nanoseconds; no file system's clock ticks more slowly


def compute_cached(
    kind: str, paths: Iterable[Path], compute: Callable[[Path], str], *, desc: str
) -> list[str | Exception]:
    """Compute one line of text from each file, or take it from the cache.

    Parameters
    ----------
    kind : str
        What is computed, and in which version; part of a file's name in the cache folder.
    paths : iterable of pathlib.Path
        The files.
    compute : callable
        Returns a line of text, and raises ValueError or OSError if there is none. Called from
        several threads.
    desc : str
        Title of the progress bar, which counts the files that are not cached.

    Returns
    -------
    list of str or Exception
        The line of each file, or its error, which is not cached.
    """
    paths = list(paths)
    store = _find_store(kind, paths)
    known = _read_store(store)
    until = time.time_ns() - _SETTLED
    keys = [_identify(path, until) for path in paths]
    todo = [place for place, key in enumerate(keys) if not key or key not in known]
    found: list[str | Exception] = [known.get(key, "") for key in keys]

    def attempt(place: int) -> str | Exception:
        try:
            check_regular(paths[place])
            return compute(paths[place])
        except (OSError, ValueError) as error:
            return error

    pool = ThreadPoolExecutor(WORKERS)
    try:
        with tqdm(total=len(todo), desc=desc, unit="film", disable=None if todo else True) as bar:
            for start in range(0, len(todo), _CHUNK):
                part = todo[start : start + _CHUNK]
                for place, result in zip(part, pool.map(attempt, part), strict=True):
                    found[place] = result
                    bar.update()
                    if keys[place] and isinstance(result, str):
                        known[keys[place]] = result
    finally:  # also after an interruption
        pool.shutdown(cancel_futures=True)
        if any(keys[place] for place in todo):
            _write_store(store, known)
    return found


def _identify(path: Path, until: int) -> str:
    """Return a digest of a file's identity, or nothing if it must not be trusted."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return ""
    if max(state.st_ctime_ns, state.st_mtime_ns) > until:
        return ""
    identity = (state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns, os.fspath(path))
    return hashlib.blake2b(repr(identity).encode(), digest_size=16).hexdigest()


def _find_store(kind: str, paths: list[Path]) -> Path | None:
    """Return where results on these files are kept: one place for all files of a collection."""
    with contextlib.suppress(OSError, ValueError):
        folders = {os.path.dirname(path) for path in paths}
        root = os.path.commonpath({os.path.abspath(folder) for folder in folders})
        digest = hashlib.blake2b(root.encode(errors="surrogateescape"), digest_size=16)
        return cache_folder() / "files" / f"{kind}-{digest.hexdigest()}.txt"
    return None  # no file, or no cache folder


def _read_store(store: Path | None) -> dict[str, str]:
    """Read the lines of a cache file; one that is damaged counts as empty."""
    with contextlib.suppress(OSError, ValueError):
        checksum, _, body = store.read_text("utf-8").partition("\n") if store else ("", "", "")
        if checksum == _checksum(body):
            return dict(line.split(" ", 1) for line in body.splitlines())
    return {}


def _write_store(store: Path | None, known: dict[str, str]) -> None:
    """Replace a cache file in one step; without a folder to write to, nothing is kept."""
    if store is None:
        return
    body = "\n".join(f"{key} {line}" for key, line in known.items())
    with contextlib.suppress(OSError):
        store.parent.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=store.parent)  # mode 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(f"{_checksum(body)}\n{body}")
            os.replace(name, store)
        except OSError:
            os.unlink(name)


def _checksum(body: str) -> str:
    return hashlib.blake2b(body.encode(), digest_size=16).hexdigest()

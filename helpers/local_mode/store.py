"""Store of finished tasks: what a run that was killed, or made longer, need not compute again."""

import contextlib
import json
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.data.cache import cache_folder
from helpers.data.files import hash_file
from helpers.local_mode.archives import link_file

MANIFEST = "manifest.json"
LIMIT = 2 * 2**30


class TaskStore:
    """Results of tasks on the disk, found again by the task's fingerprint.

    A result is there whole or not at all, and carries the checksum of every file.

    Parameters
    ----------
    folder : path, optional
        Where the results lie; default: ``tasks`` in the project's cache folder. Among them are
        local states, which hold what a network has learned from a hospital's films: treat the
        folder as you treat the films.
    limit : int, default=2 GiB
        Bytes that :meth:`prune` leaves.
    """

    def __init__(self, folder: str | Path | None = None, *, limit: int = LIMIT) -> None:
        self.folder = Path(folder or cache_folder() / "tasks").absolute()
        self.limit = limit
        self._results = self.folder / "results"
        self._runs = self.folder / "runs"
        for path in (self._results, self._runs):
            path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def run_folder(self) -> Iterator[Path]:
        """Lend a folder to one run.

        It is removed at the end of the ``with`` block. If the run is killed before, the next run
        removes it, here.

        Yields
        ------
        pathlib.Path
            An empty folder.
        """
        self._remove_abandoned()
        name = uuid.uuid4().hex[:12]
        lock = FileLock(self._runs / f"{name}.lock")
        with lock:  # held as long as this process lives
            folder = self._runs / name
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
                Path(lock.lock_file).unlink(missing_ok=True)

    def get(self, fingerprint: str, outputs: dict[str, Path]) -> dict | None:
        """Put a stored result where the task would have written it.

        Parameters
        ----------
        fingerprint : str
            The task's.
        outputs : dict of str to path
            File of each output, by its name.

        Returns
        -------
        dict or None
            What :meth:`put` was told about the task; None if there is no such result.

        Warns
        -----
        UserWarning
            If the result is damaged; it is forgotten.
        """
        result = self._results / fingerprint
        if not (result / MANIFEST).is_file():
            return None
        try:
            manifest = json.loads((result / MANIFEST).read_text(encoding="utf-8"))
            files = {name: result / manifest["files"][name] for name in outputs}
            for name, file in files.items():
                checksum = hash_file(file)
                if checksum != manifest["checksums"][name]:
                    raise ValueError(f"the checksum of {name!r} is {checksum}")
            about = manifest["about"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            warnings.warn(
                f"A stored result is damaged and will be computed again ({error}).", stacklevel=2
            )
            shutil.rmtree(result, ignore_errors=True)
            return None
        os.utime(result)  # the date of the last use
        for name, file in files.items():
            link_file(file, outputs[name])
        return about

    def put(self, fingerprint: str, outputs: dict[str, Path], about: dict) -> None:
        """Store the result of a task.

        Parameters
        ----------
        fingerprint : str
            The task's.
        outputs : dict of str to path
            File of each output, by its name.
        about : dict
            JSON-serializable; returned by :meth:`get`.
        """
        result = self._results / fingerprint
        result.mkdir(exist_ok=True)
        # The manifest comes last: a result without it is none, and is written over.
        (result / MANIFEST).unlink(missing_ok=True)
        files = {name: f"output-{number}" for number, name in enumerate(sorted(outputs))}
        for name, path in outputs.items():
            link_file(path, result / files[name])
        checksums = {name: hash_file(path) for name, path in outputs.items()}
        manifest = {"files": files, "checksums": checksums, "about": about}
        new = result / f"{MANIFEST}.new"
        new.write_text(json.dumps(manifest), encoding="utf-8")
        new.replace(result / MANIFEST)

    def prune(self) -> None:
        """Remove the results that were not used for longest, until the rest is within the limit."""
        sizes = []
        for result in self._results.iterdir():
            with contextlib.suppress(OSError):  # another program prunes too
                size = sum(path.stat().st_size for path in result.iterdir())
                sizes.append((result.stat().st_mtime_ns, size, result))
        total = sum(size for _, size, _ in sizes)
        for _, size, result in sorted(sizes):
            if total <= self.limit:
                break
            shutil.rmtree(result, ignore_errors=True)
            total -= size

    def _remove_abandoned(self):
        """Remove what killed runs have left: nobody holds their locks any more."""
        for lock in self._runs.glob("*.lock"):
            with contextlib.suppress(Timeout, OSError), FileLock(lock, timeout=0):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)

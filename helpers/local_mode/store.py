"""Store of finished tasks, which a run that was killed or extended need not compute again."""

import contextlib
import json
import os
import re
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from helpers.data.cache import cache_folder, writing_to
from helpers.data.files import hash_file, make_private_folder

MANIFEST = "manifest.json"
LIMIT = 2 * 2**30
_ODD = re.compile(r'["\\\x00-\x1f]')


class TaskStore:
    """Results of tasks on the disk, found again by the task's fingerprint.

    A result is stored completely or not at all, with the checksum of every file. Results are
    unpickled, so only this user can access the folder. Any number of programs may use it at once.

    Parameters
    ----------
    folder : path, optional
        Where the results are stored; default: ``tasks`` in the project's cache folder. Among them
        are local states, which contain what a network has learned from a hospital's films: protect
        the folder as you protect the films.
    limit : int, default=2 GiB
        Bytes that :meth:`prune` leaves.

    Raises
    ------
    ValueError
        If the folder cannot be created, or another user owns it or may write to it.
    """

    def __init__(self, folder: str | Path | None = None, *, limit: int = LIMIT) -> None:
        self.folder = Path(folder or cache_folder() / "tasks").absolute()
        self._results = self.folder / "results"
        self._runs = self.folder / "runs"
        with writing_to(self.folder, "results", "store"):
            for path in (self.folder, self._results, self._runs):
                make_private_folder(path)
        self.limit = limit
        self._failed = False

    @contextlib.contextmanager
    def run_folder(self) -> Iterator[Path]:
        """Lend a folder to one run.

        It is removed at the end of the ``with`` block. If the run is killed before, the next call
        removes it.

        Yields
        ------
        pathlib.Path
            An empty folder.

        Raises
        ------
        ValueError
            If it cannot be created, or Substra could not pass its path to a task.
        """
        if _ODD.search(str(self.folder)):
            raise ValueError(
                "Expected a folder for results without quotation marks, backslashes and line "
                f"breaks in its path, which Substra writes as text. Received {str(self.folder)!r}. "
                "Name another one in CHEST_XRAYS_CACHE, or with store=."
            )
        self._remove_abandoned()
        name = uuid.uuid4().hex[:12]
        folder = self._runs / name
        with contextlib.ExitStack() as stack:
            with writing_to(self._runs, "results", "store"):
                # The lock is held until this process ends.
                lock = stack.enter_context(FileLock(self._runs / f"{name}.lock"))
                stack.callback(Path(lock.lock_file).unlink, missing_ok=True)
                folder.mkdir(mode=0o700)
                stack.callback(shutil.rmtree, folder, ignore_errors=True)
            yield folder

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
            The description that :meth:`put` received; None if there is no such result.

        Warns
        -----
        UserWarning
            If the result is damaged; it is removed.
        """
        result = self._results / fingerprint
        text = _read(result / MANIFEST)
        if text is None:
            return None
        try:
            manifest = json.loads(text)
            files = {name: result / manifest["files"][name] for name in outputs}
            for name, file in files.items():
                checksum = hash_file(file)
                if checksum != manifest["checksums"][name]:
                    raise ValueError(f"the checksum of {name!r} is {checksum}")
            about = manifest["about"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            if _read(result / MANIFEST) == text:  # else another program has just replaced it
                warnings.warn(
                    f"A stored result is damaged and will be computed again ({error}).",
                    stacklevel=2,
                )
                shutil.rmtree(result, ignore_errors=True)
            return None
        try:
            for name, file in files.items():
                link_file(file, outputs[name])
        except OSError:  # another program has just removed it
            for path in outputs.values():
                Path(path).unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):
            os.utime(result)  # the date of the last use
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

        Warns
        -----
        UserWarning
            If a result cannot be stored, because the disk is full, say; once for each store.
        """
        try:
            self._put(fingerprint, outputs, about)
        except OSError as error:
            if not self._failed:
                self._failed = True
                warnings.warn(
                    f"Results are not stored, and will have to be computed again ({error}).",
                    stacklevel=2,
                )

    def _put(self, fingerprint, outputs, about):
        result = self._results / fingerprint
        stage = Path(tempfile.mkdtemp(prefix=".stage-", dir=self._results))
        try:
            new = stage / "new"
            new.mkdir(mode=0o700)
            files = {name: f"output-{number}" for number, name in enumerate(sorted(outputs))}
            for name, path in outputs.items():
                link_file(path, new / files[name])
            checksums = {name: hash_file(new / file) for name, file in files.items()}
            manifest = {"files": files, "checksums": checksums, "about": about}
            manifest["stage"] = stage.name  # no two manifests are equal
            (new / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
            for path in new.iterdir():
                path.chmod(0o600)
            with contextlib.suppress(FileNotFoundError):
                result.rename(stage / "old")
            try:
                new.rename(result)
            except OSError:
                if _read(result / MANIFEST) is None:  # else another program was faster
                    raise
        finally:
            shutil.rmtree(stage, ignore_errors=True)

    def prune(self) -> None:
        """Remove the least recently used results, until the rest is within the limit."""
        sizes = []
        for result in self._results.iterdir():
            with contextlib.suppress(OSError):  # another program prunes too
                size = sum(path.stat().st_size for path in result.rglob("*"))
                sizes.append((result.stat().st_mtime_ns, size, result))
        total = sum(size for _, size, _ in sizes)
        for _, size, result in sorted(sizes):
            if total <= self.limit:
                break
            shutil.rmtree(result, ignore_errors=True)
            total -= size

    def _remove_abandoned(self):
        """Remove the folders of killed runs, whose locks are free."""
        for lock in self._runs.glob("*.lock"):
            with contextlib.suppress(Timeout, OSError), FileLock(lock, timeout=0):
                shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                lock.unlink(missing_ok=True)


def link_file(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, replacing any other file; copy it if the disk has no links.

    Parameters
    ----------
    source : path
        An existing file.
    target : path
        The second name, in an existing folder.
    """
    # Copying onto a name that is a link already would write into the other file.
    staged = Path(f"{target}.{uuid.uuid4().hex}")
    try:
        try:
            os.link(source, staged)
        except OSError:
            shutil.copyfile(source, staged)
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)  # two names of one file do not replace each other


def _read(path):
    """Read a text; return None if it is not there."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None

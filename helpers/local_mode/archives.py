"""Archives: the code of the tasks, unpacked once and given to each task as a folder of its own."""

import contextlib
import functools
import importlib.util
import marshal
import os
import shutil
import tempfile
import threading
from pathlib import Path

from substra.sdk.archive import uncompress


class Archives:
    """Function archives of a compute plan, unpacked beside themselves as they are needed.

    Many tasks run the same function, and unpacking its two hundred files takes longer than many a
    task. Each task gets hard links to files that were unpacked and compiled once. What it adds or
    replaces in its folder stays there; where it writes *into* a file, the archive is unpacked
    again for the next task.
    """

    def __init__(self) -> None:
        self._unpacked = {}
        self._lock = threading.Lock()

    def unpack(self, archive_path: str | Path, folder: str | Path) -> None:
        """Fill a folder with the content of an archive, and the compiled form of its modules.

        Parameters
        ----------
        archive_path : path
            The archive, which never changes, in a folder of Substra's that goes with the client.
        folder : path
            An empty folder on the same disk, or another one: then the files are copied.
        """
        with self._lock:
            original, moments = self._unpacked.get(archive_path, (None, None))
            if original is None or _moments(original) != moments:
                original = tempfile.mkdtemp(dir=Path(archive_path).parent)
                uncompress(archive_path, original)
                add_bytecode(original)
                self._unpacked[archive_path] = original, _moments(original)
        shutil.copytree(original, folder, copy_function=link_file, dirs_exist_ok=True)


def add_bytecode(folder: str | Path) -> None:
    """Put the compiled form of its modules into an unpacked archive, where Python looks for it.

    Every task has a folder of its own; compiling its code each time would take a task of
    TensorFlow a tenth of a second.

    Parameters
    ----------
    folder : path
        The archive's content.
    """
    for path in Path(folder).rglob("*.py"):
        with contextlib.suppress(SyntaxError, ValueError):  # the task will say so
            bytecode = _compile(path.read_bytes())
            target = Path(importlib.util.cache_from_source(path))
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(bytecode)


@functools.lru_cache(maxsize=512)
def _compile(source):
    """Compile a module to the content of a .pyc file, which Python checks against the source."""
    code = compile(source, "<module>", "exec", dont_inherit=True)  # the import names the file
    header = importlib.util.MAGIC_NUMBER + (0b11).to_bytes(4, "little")  # PEP 552: checked hash
    return header + importlib.util.source_hash(source) + marshal.dumps(code)


def _moments(folder):
    """Tell when each file of a folder was written last."""
    return {
        path: os.stat(path).st_mtime_ns
        for parent, _, names in os.walk(folder)
        for path in (os.path.join(parent, name) for name in names)
    }


def link_file(source: str | Path, target: str | Path) -> None:
    """Give a file a second name, in place of what had it; copy it where the disk cannot.

    Parameters
    ----------
    source : path
        An existing file.
    target : path
        The second name, in an existing folder.
    """
    # Copying onto a name that is a link already would write into the other file.
    Path(target).unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

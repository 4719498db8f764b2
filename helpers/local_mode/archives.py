"""Archives: the code of the tasks, unpacked once and copied to a folder for each task."""

import contextlib
import functools
import importlib.util
import marshal
import shutil
import sys
import tempfile
import threading
from pathlib import Path

from helpers.local_mode.substra_internals import uncompress


class Archives:
    """Function archives of a compute plan, unpacked next to themselves when they are needed.

    Many tasks run the same function, and unpacking and compiling its two hundred files takes
    longer than many tasks. Each task gets a copy of files that were unpacked and compiled once:
    its changes to them do not affect other tasks.
    """

    def __init__(self) -> None:
        self._unpacked = {}
        self._lock = threading.Lock()

    def unpack(self, archive_path: str | Path, folder: str | Path) -> None:
        """Fill a folder with the content of an archive and its compiled modules.

        Parameters
        ----------
        archive_path : path
            The archive, which never changes, in a folder of Substra's that goes with the client.
        folder : path
            An empty folder.
        """
        with self._lock:
            original = self._unpacked.get(archive_path)
            if original is None:
                original = tempfile.mkdtemp(dir=Path(archive_path).parent)
                uncompress(archive_path, original)
                add_bytecode(original)
                self._unpacked[archive_path] = original
        shutil.copytree(original, folder, copy_function=shutil.copy, dirs_exist_ok=True)


def add_bytecode(folder: str | Path) -> None:
    """Add the compiled modules to an unpacked archive, where Python looks for them.

    Every task has a folder of its own; compiling its code each time would take a task of
    TensorFlow a tenth of a second.

    Parameters
    ----------
    folder : path
        The archive's content.
    """
    for path in Path(folder).rglob("*.py"):
        with contextlib.suppress(SyntaxError, ValueError):  # the task will report it
            bytecode = _compile(path.read_bytes())
            # Next to the module, even if PYTHONPYCACHEPREFIX names another place.
            target = path.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc"
            target.parent.mkdir(exist_ok=True)
            target.write_bytes(bytecode)


@functools.lru_cache(maxsize=512)
def _compile(source):
    """Compile a module to the content of a .pyc file, which Python checks against the source."""
    code = compile(source, "<module>", "exec", dont_inherit=True)  # the import names the file
    header = importlib.util.MAGIC_NUMBER + (0b11).to_bytes(4, "little")  # PEP 552: checked hash
    return header + importlib.util.source_hash(source) + marshal.dumps(code)

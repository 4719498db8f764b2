"""Fingerprint of a task: everything its result depends on, in one hash.

Two tasks with the same fingerprint have the same result, so a stored result can replace the second.
The difficulty is the algorithm, which travels as a pickle: cloudpickle gives classes of a script a
random number, the order of sets differs between processes, and every function contains line numbers
of the script. A pickle is therefore not hashed as bytes. It is *read without being executed*: each
name in it becomes a symbol, each call a symbol with arguments, and the hash is computed from that
tree, without these three. Everything else counts: the order of a dictionary, the name of the
script, and every byte of what cannot be read.
"""

import functools
import hashlib
import io
import json
import os
import pickle
import re
import tarfile
from pathlib import Path

from helpers.data.files import hash_file

# Positions in the arguments of types.CodeType for the place of code, not for what it does.
_CODE_PLACES = {10: "filename", 13: "first line", 14: "line table"}
_SKELETONS = ("_make_skeleton_class", "_make_skeleton_enum")
_TRACKER = re.compile(r"[0-9a-f]{32}")
_PLAIN = {bool, float, int, str, type(None)}


def task_fingerprint(
    archive: str | Path,
    arguments: list[str],
    inputs: str | Path,
    samples: dict[str, Path],
    environment: dict,
) -> str:
    """Hash everything on which a task's result depends.

    Parameters
    ----------
    archive : path
        The function archive.
    arguments : list of str
        The command line of the task, as Substra writes it: options and JSON.
    inputs : path
        Folder of the task's inputs.
    samples : dict of str to path
        Folder of each data sample, by its key.
    environment : dict
        What :func:`helpers.local_mode.environment.describe_environment` returns, and more that is
        JSON-serializable. Of its ``modules`` those count that are not in the archive.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    function, names = _read_archive(str(archive))
    modules = {
        name: module_fingerprint(path)
        for name, path in environment.get("modules", {}).items()
        if name not in names
    }
    environment = environment | {"modules": modules}
    parts = [function, json.dumps(environment, sort_keys=True)]
    for argument in arguments:
        try:
            value = json.loads(argument)
        except ValueError:
            value = argument
        if not isinstance(value, list):
            parts.append(str(value))
            continue
        # Files and samples have random names: their content counts, and their order.
        for resource in value:
            path = Path(resource["value"])
            if path.name in samples:
                content = folder_fingerprint(samples[path.name])
            elif path.parent == Path(inputs):
                content = pickle_fingerprint(path.read_bytes())
            else:
                content = "output"
            parts.append(f"{resource['id']} {content}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


@functools.lru_cache(maxsize=256)  # an archive that SubstraFL registered is not changed afterwards
def _read_archive(archive):
    """Hash the names and contents of an archive's files; list the modules at its top."""
    digests = []
    with tarfile.open(archive) as members:
        for member in members:
            if member.isfile():
                content = members.extractfile(member).read()
                digests.append((member.name, _bytes(content, _State())))
    names = {Path(name).parts[0].removesuffix(".py") for name, _ in digests}
    return _hash("archive", *(part for pair in sorted(digests) for part in pair)), names


def pickle_fingerprint(content: bytes) -> str:
    """Hash the meaning of a pickle, without executing it.

    Parameters
    ----------
    content : bytes
        A pickle of any protocol.

    Returns
    -------
    str
        64 hexadecimal digits. They are equal for the same code and values, no matter when they were
        pickled and in which lines of the script the code is.
    """
    return _bytes(content, _State())


def named_modules(content: bytes) -> set[str]:
    """List the modules that a pickle names, without executing it.

    Parameters
    ----------
    content : bytes
        A pickle of any protocol.

    Returns
    -------
    set of str
        Their full names.
    """
    modules = set()

    class Reader(_Reader):
        def find_class(self, module, name):
            modules.add(module)
            symbol = super().find_class(module, name)
            if name != "subimport":  # cloudpickle's way to name a module itself
                return symbol
            return lambda imported: modules.add(imported) or symbol(imported)

    Reader(io.BytesIO(content)).load()
    return modules


def folder_fingerprint(folder: str | Path) -> str:
    """Hash the names and contents of all files of a folder.

    Parameters
    ----------
    folder : path
        An existing folder, a data sample. A file that has not changed is not read again.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    folder = Path(folder)
    return _files(folder, [path for path in folder.rglob("*") if path.is_file()])


def module_fingerprint(path: str | Path) -> str:
    """Hash the names and contents of a module's files, except hidden and compiled ones.

    Parameters
    ----------
    path : path
        The file of a module or the folder of a package. A file that has not changed is not read
        again.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    path = Path(path)
    if not path.is_dir():
        return _files(path.parent, [path] if path.exists() else [])
    files = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if name[0] != "." and name != "__pycache__"]
        files += [Path(folder, name) for name in names if name[0] != "."]
    return _files(path, files)


def _files(folder, paths):
    """Hash the names and contents of files in a folder."""
    parts = []
    for path in sorted(paths):
        facts = path.stat()
        digest = _unchanged_file(str(path), facts.st_size, facts.st_mtime_ns, facts.st_ino)
        parts += [path.relative_to(folder).as_posix(), digest]
    return _hash("folder", *parts)


@functools.lru_cache(maxsize=4096)
def _unchanged_file(path, size, modified, inode):
    """Hash a file once, as long as its size, date and identity do not change."""
    return hash_file(Path(path))


class _Symbol:
    """What a pickle names (a subclass) or creates (an instance, or a subclass with content)."""

    name = ""

    def __new__(cls, *args, **kwargs):
        made = "content" in vars(cls)
        if cls.name.endswith(_SKELETONS) and not made:  # a class of the script
            return type("_Symbol", (_Symbol,), {"name": cls.name, "content": [args, kwargs]})
        symbol = super().__new__(cls)
        symbol.content = [args, kwargs, cls] if made else [args, kwargs]
        # cloudpickle fills functions and classes through these calls and drops what they return.
        if cls.name.endswith(("_function_setstate", "_class_setstate")):
            args[0].content.append(args[1:])
        return symbol

    def __init__(self, *args, **kwargs):
        """Take any arguments; they are kept by ``__new__``."""

    def __call__(self, *args, **kwargs):
        return _symbol("call")(self, *args, **kwargs)

    def __setstate__(self, state):
        self.content.append(state)

    def append(self, item):
        self.content.append(item)

    def extend(self, items):
        self.content.extend(items)

    def __setitem__(self, key, value):
        self.content.append((key, value))

    def add(self, item):
        self.content.append(item)


@functools.cache
def _symbol(name):
    """Make the class of symbols for one global name; pickles may also call it."""
    return type("_Symbol", (_Symbol,), {"name": name})


class _Reader(pickle.Unpickler):
    """Unpickler that imports nothing."""

    def find_class(self, module, name):
        return _symbol(f"{module}.{name}")

    def persistent_load(self, pid):
        return _symbol("persistent")(pid)


class _State:
    """One traversal of a tree: what was seen, and what must not be collected meanwhile."""

    def __init__(self):
        self.digests = {}
        self.path = {}
        self.alive = []


def _hash(*parts):
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()


def _bytes(content, state):
    """Hash bytes: as a pickle if they are one, otherwise as bytes."""
    if content[:1] != b"\x80":
        return _plain(content)
    file = io.BytesIO(content)
    try:
        tree = _Reader(file).load()
    except Exception:  # it only looks like a pickle
        return _plain(content)
    state.alive.append(tree)
    return _hash("pickle", _digest(tree, state), _bytes(file.read(), state))


def _plain(content):
    """Hash bytes as they are."""
    return _hash("bytes", hashlib.sha256(content).hexdigest())


def _digest(value, state):
    """Hash a tree of plain values and symbols."""
    if isinstance(value, bytes | bytearray):
        return _bytes(bytes(value), state)
    if isinstance(value, type) and "content" not in vars(value):
        return _hash("name", value.name)
    if not isinstance(value, type | tuple | list | dict | set | frozenset | _Symbol):
        return _hash(type(value).__name__, repr(value))
    if id(value) in state.digests:
        return state.digests[id(value)]
    if id(value) in state.path:  # a function that names itself, say
        return _hash("cycle", str(len(state.path) - state.path[id(value)]))
    state.path[id(value)] = len(state.path)
    digest = _hash(*_parts(value, state))
    del state.path[id(value)]
    state.digests[id(value)] = digest
    return digest


def _parts(value, state):
    """List the parts of a container, without the order of a set and the places of code."""
    if isinstance(value, dict):
        return ["dict", *(_digest(part, state) for pair in value.items() for part in pair)]
    if isinstance(value, set | frozenset):
        return ["set", *sorted(_digest(entry, state) for entry in value)]
    if isinstance(value, tuple | list):
        if all(type(entry) in _PLAIN for entry in value):  # the state of a generator has 625
            return [type(value).__name__, repr(value)]
        return [type(value).__name__, *(_digest(entry, state) for entry in value)]
    content = value.content
    if _is_code(value):
        arguments = enumerate(content[0][1:])
        content = [entry for place, entry in arguments if place not in _CODE_PLACES]
    elif isinstance(value, type):
        content = [
            entry
            for entry in content[0]
            if not (isinstance(entry, str) and _TRACKER.fullmatch(entry))
        ] + content[2:]
    return ["symbol", value.name, *(_digest(entry, state) for entry in content)]


def _is_code(symbol):
    """Return whether a symbol is a call of types.CodeType, as cloudpickle writes it."""
    if symbol.name != "call":
        return False
    called = symbol.content[0][0]
    return called.name.endswith("_builtin_type") and called.content[0] == ("CodeType",)

"""Files: the checksum of one."""

import hashlib
from collections.abc import Callable
from pathlib import Path


def hash_file(path: Path, digest: str | Callable = "sha256") -> str:
    """Hash the content of a file, as hexadecimal digits; ``digest`` as hashlib takes it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, digest).hexdigest()

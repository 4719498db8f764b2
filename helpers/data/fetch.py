"""Fetching: one public collection, downloaded once, resumed after interruptions, and checked."""

import functools
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from tqdm.auto import tqdm

from helpers.data.cache import cache_folder, writing_to
from helpers.data.files import hash_file

# Published with MedMNIST (Yang et al., Scientific Data 2023), version 3.0, for each size in pixels.
PNEUMONIAMNIST_MD5 = {
    28: "28209eda62fecd6e6a2d98b1501bb15f",
    64: "8f4eceb4ccffa70c672198ea285246c6",
    128: "05b46931834c231683c68f40c47b2971",
    224: "d6a3c71de1b945ea11211b03746c1fe1",
}
_RECORD = "https://zenodo.org/records/10519652/files"
_TRIES = 3  # connections before a download is given up
_TIMEOUT = 30  # seconds without a byte
_BLOCK = 1 << 16  # bytes
_MD5 = functools.partial(hashlib.md5, usedforsecurity=False)
_CUT = (OSError, http.client.HTTPException)  # what a connection that breaks raises


def fetch_pneumoniamnist(
    folder: str | Path | None = None,
    *,
    size: int = 28,
    url: str | None = None,
    md5: str | None = None,
) -> Path:
    """Download PneumoniaMNIST once and return its path.

    The download is written to a ``.part`` file next to the target. A later call resumes it where it
    stopped, if the server allows that, and it gets its final name only when its checksum is
    correct. A file with a wrong checksum is deleted. Read the result with
    ``read_radiographs(path)``.

    Parameters
    ----------
    folder : str or pathlib.Path, default=None
        Where to put the file; None means the cache folder.
    size : {28, 64, 128, 224}, default=28
        Height and width of the films in pixels. Larger files take longer: the one of 28 px has
        4 MB, the one of 224 px about 200 MB.
    url : str, default=None
        Another place to download from, such as a mirror; None means MedMNIST's own.
    md5 : str, default=None
        Another expected checksum; None means the published one.

    Returns
    -------
    pathlib.Path
        The ``.npz`` file, checked.

    Raises
    ------
    ValueError
        If the size is unknown, the downloaded file does not have the expected checksum, or the
        folder cannot be written to.
    ConnectionError
        If the server cannot be reached, refuses, or keeps breaking the connection; the message
        explains how to continue without a network.
    """
    if size not in PNEUMONIAMNIST_MD5:
        raise ValueError(
            f"Expected a size among {list(PNEUMONIAMNIST_MD5)} pixels. Received {size!r}."
        )
    name = "pneumoniamnist.npz" if size == 28 else f"pneumoniamnist_{size}.npz"
    url = f"{_RECORD}/{name}?download=1" if url is None else url
    md5 = PNEUMONIAMNIST_MD5[size] if md5 is None else md5
    folder = cache_folder() if folder is None else Path(folder).expanduser()
    with writing_to(folder, "downloads", "folder"):
        folder.mkdir(parents=True, exist_ok=True)
        return _fetch(url, folder / name, md5)


def _fetch(url: str, target: Path, md5: str) -> Path:
    """Return the target if it exists; otherwise download and check it."""
    if target.is_file():
        if hash_file(target, _MD5) == md5:
            return target
        target.unlink()  # damaged, or another version: fetched again below
    part = target.with_name(f"{target.name}.part")
    resumed = part.is_file()
    received = _download(url, part, target)
    if received != md5 and resumed:
        # The partial file was not the start of this one: once more from the first byte.
        part.unlink()
        received = _download(url, part, target)
    if received != md5:
        part.unlink()
        raise ValueError(
            f"Expected {target.name} with the MD5 checksum {md5}. Received {received} from {url}. "
            "The download was deleted. Try again later, or use another url."
        )
    os.replace(part, target)
    return target


def _download(url: str, part: Path, target: Path) -> str:
    """Complete ``part`` over as many connections as allowed; return its checksum."""
    for _ in range(_TRIES):
        try:
            response = _open_rest(url, part)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and part.is_file():  # nothing after what we have
                return hash_file(part, _MD5)
            reason = f"the server answered {error.code} {error.reason}"
            raise ConnectionError(_advice(url, target, reason)) from None
        except urllib.error.URLError as error:
            raise ConnectionError(_advice(url, target, f"no connection ({error.reason})")) from None
        except _CUT:
            continue
        with response:
            if _append(response, part):
                return hash_file(part, _MD5)
    kept = f"{part.stat().st_size:,} bytes are kept" if part.is_file() else "nothing came"
    reason = f"the connection broke {_TRIES} times; {kept}, and the next call goes on from there"
    raise ConnectionError(_advice(url, target, reason))


def _open_rest(url: str, part: Path) -> http.client.HTTPResponse:
    """Request the bytes that are missing after those of ``part``."""
    request = urllib.request.Request(url)
    if part.is_file() and part.stat().st_size:
        request.add_header("Range", f"bytes={part.stat().st_size}-")
    # The caller names the address, and only a file with the right checksum is kept.
    return urllib.request.urlopen(request, timeout=_TIMEOUT)  # nosec B310


def _append(response: http.client.HTTPResponse, part: Path) -> bool:
    """Write what the server sends; return whether the file is complete."""
    # A server that does not resume answers 200 and sends the whole file again.
    offset = part.stat().st_size if response.status == 206 else 0
    length = response.headers.get("Content-Length")
    total = offset + int(length) if length else None
    progress = tqdm(
        desc=part.stem, total=total, initial=offset, unit="B", unit_scale=True, disable=None
    )
    with part.open("ab" if offset else "wb") as file, progress:
        while True:
            try:
                block = response.read(_BLOCK)
            except _CUT:
                return False
            if not block:
                break
            file.write(block)
            progress.update(len(block))
    # Without a length, only the checksum shows whether something is missing.
    return total is None or part.stat().st_size >= total


def _advice(url: str, target: Path, reason: str) -> str:
    return (
        f"Expected to download {url}. Received an error: {reason}. Without a network, download it "
        f"by hand on another machine and put it at {target}, or set CHEST_XRAYS to radiographs "
        "that you already have; with CHEST_XRAYS unset, synthetic ones are made without a network."
    )

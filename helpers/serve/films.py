"""Films of a request: files or arrays, refused with one sentence where they cannot be films."""

import json
import time
from dataclasses import dataclass

import numpy as np
from PIL import Image
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from helpers.data.images import FORMATS, decode_image, resize_image

_SHORTEST = 16  # pixels of a film's shorter side
_JSON_BYTES = 16  # for one grey level, with blanks


class Refusal(Exception):
    """An answer with a status from 400 to 499 and one sentence: what was expected and received."""


@dataclass(frozen=True)
class Limits:
    """What a service accepts.

    Parameters
    ----------
    films : int, default=64
        Films in one request.
    file_bytes, body_bytes : int, default=16 and 32 MiB
        Size of one file, and of a request.
    pixels : int, default=16,777,216
        Pixels of one film; they are counted before it is decoded.
    seconds : float, default=20
        Time for one request, with its upload.
    requests : int, default=128
        Requests that are uploaded, wait, or are computed at once.
    workers : int, default=2
        Of these, requests that are computed at once, each on one core.

    Raises
    ------
    ValueError
        If one of them is not above 0.
    """

    films: int = 64
    file_bytes: int = 2**24
    body_bytes: int = 2**25
    pixels: int = 2**24
    seconds: float = 20.0
    requests: int = 128
    workers: int = 2

    def __post_init__(self) -> None:
        """Refuse limits that let nothing pass."""
        if faults := {name: value for name, value in vars(self).items() if not value > 0}:
            raise ValueError(f"Expected limits above 0. Received {faults}.")


async def receive(request: Request, side: int, limits: Limits) -> list[tuple] | bytes:
    """Read a body: the fields of a form, pairs of name and file, or the bytes of JSON."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    _expect(
        kind.partition("/")[0] != "image" and kind != "application/dicom",
        415,
        "Expected films as files of a form: curl -F films=@film.png. Received one alone.",
    )
    if kind != "multipart/form-data":
        most = min(limits.body_bytes, limits.films * side * side * _JSON_BYTES)
        return b"".join([part async for part in _limit(request.stream(), most)])
    stream = _limit(request.stream(), limits.body_bytes)
    try:
        form = await MultiPartParser(request.headers, stream, max_files=limits.films).parse()
    except (MultiPartException, ValueError) as error:  # a charset may raise the second
        async for _ in stream:  # or its sender, still sending, would miss the answer
            pass
        reason = getattr(error, "message", "its parts have no such charset")
        sentence = f"Expected a form with at most {limits.films} files. Received another: {reason}"
        raise Refusal(400, sentence) from error
    return form.multi_items()


async def _limit(stream, most):
    """Pass a body on up to a limit; then read without keeping, so that its sender listens."""
    size = 0
    async for part in stream:
        size += len(part)
        if size > 4 * most:
            break
        if size <= most:
            yield part
    _expect(size <= most, 413, f"Expected a request of at most {most:,} bytes. Received more.")


def read(
    upload: list[tuple] | bytes, key: str, side: int, limits: Limits, until: float
) -> tuple[np.ndarray, list[str]]:
    """Return films, uint8 of shape (n, side, side), and their names, or refuse them."""
    if isinstance(upload, bytes):
        films = [_read_array(film, side) for film in _read_list(upload, key, limits)]
        names = [f"film {place}" for place in range(len(films))]
    else:
        files = [file for name, file in upload if name == key and isinstance(file, UploadFile)]
        wanted = f"Expected files, each named {key!r}: curl -F {key}=@film.png."
        _expect(files and len(files) == len(upload), 422, wanted)
        films, names = [], [file.filename[:80] for file in files]
        for upload, name in zip(files, names, strict=True):
            if time.monotonic() > until:
                raise TimeoutError
            with upload.file as file:
                films.append(_read_file(file, name, side, limits))
    films = np.stack(films)
    for film, name in zip(films, names, strict=True):
        empty = f"Expected a film. {name!r} has the grey level {film[0, 0]} everywhere."
        _expect(film.min() < film.max(), 422, empty)
    return films, names


def _read_file(file, name, side, limits):
    """Read one film as it is read for training."""
    size, most = file.seek(0, 2), limits.file_bytes
    _expect(size <= most, 413, f"Expected files of at most {most:,} bytes. {name!r} has {size:,}.")
    file.seek(128)
    dicom = f"Expected an image. {name!r} is DICOM: export its pixels as PNG of 8 or 16 bits."
    _expect(file.read(4) != b"DICM", 415, dicom)
    most = limits.pixels
    try:  # Pillow's many readers raise errors of any kind
        file.seek(0)
        with Image.open(file, formats=FORMATS) as image:  # reads the header only
            (width, height), moves = image.size, getattr(image, "is_animated", False)
    except Image.DecompressionBombError as error:  # Pillow's own limit
        raise Refusal(413, f"Expected at most {most:,} pixels. {name!r} has more.") from error
    except Exception as error:
        sentence = f"Expected an image in a format of {', '.join(FORMATS)}. {name!r} is in none."
        raise Refusal(415, sentence) from error
    found = f"{name!r} has {width} × {height}."
    _expect(width * height <= most, 413, f"Expected at most {most:,} pixels. {found}")
    short = f"Expected at least {_SHORTEST} pixels on each side. {found}"
    _expect(min(width, height) >= _SHORTEST, 422, short)
    _expect(not moves, 422, f"Expected one picture in a file. {name!r} has several.")
    try:
        file.seek(0)
        return resize_image(decode_image(file)[0], side)
    except Exception as error:
        raise Refusal(422, f"Expected a whole image. {name!r} cannot be decoded.") from error


def _read_list(body, key, limits):
    try:
        films = json.loads(body)[key]
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise Refusal(400, f"Expected a JSON object with a list {key!r} of films.") from error
    _expect(isinstance(films, list) and films, 422, f"Expected a list {key!r} of films.")
    most = f"Expected at most {limits.films} films. Received {len(films)}."
    _expect(len(films) <= limits.films, 413, most)
    return films


def _read_array(film, side):
    """Read one film from lists. NumPy never sees them: a long text would cost any memory."""
    wanted = 422, (f"Expected films as {side} lists of {side} whole numbers from 0 to 255 each.")
    lists = isinstance(film, list) and all(isinstance(row, list) for row in film)
    _expect(lists and {len(film), *map(len, film)} == {side}, *wanted)
    try:  # bytes() takes whole numbers from 0 to 255, and nothing else
        rows = ([v for (v,) in row] if isinstance(row[0], list) else row for row in film)
        return np.array([np.frombuffer(bytes(row), np.uint8) for row in rows])
    except (TypeError, ValueError) as error:
        raise Refusal(*wanted) from error


def _expect(holds, status, sentence):
    if not holds:
        raise Refusal(status, sentence)

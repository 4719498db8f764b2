"""Images: one greyscale array for each film, whatever the format of its file.

Chest X-rays exist as 8-bit PNG, as 16-bit exports, as colour JPEG, as palette or CMYK images that
some viewer wrote, or as rows of a MedMNIST array. All repairs of the pixel format are made here, so
that the rest of the project only has to handle ``uint8`` arrays of shape ``(H, W)``.
"""

import struct
import threading
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

# The errors that Pillow's decoders raise on a damaged file.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_ORIENTATION = 0x0112  # EXIF tag


def read_image(source: str | Path, image: str) -> np.ndarray:
    """Read one film as a greyscale array.

    Repairs, in this order: the EXIF orientation is applied; transparent pixels are placed on black,
    the colour of film without tissue; colour, palette and CMYK images are converted to greyscale by
    the Rec. 601 luma, which does not change grey levels; 16-bit images are scaled to 8 bits. If the
    maximum of a 16-bit image is at most 4095, it has 12-bit values (as from most detectors) and is
    scaled by 4095; if it is at most 255, the image has 8-bit values and is not scaled; all others
    are scaled by 65535. An image is never scaled by its own maximum, which would give each film its
    own exposure. The function keeps no state and may be called from many threads.

    Parameters
    ----------
    source : str or pathlib.Path
        Folder of the radiographs, or a MedMNIST ``.npz`` file.
    image : str
        Path of the film below ``source`` with forward slashes; for an ``.npz`` the array's split
        and the film's index, such as ``"train/17"``.

    Returns
    -------
    numpy.ndarray
        Grey levels, ``uint8`` of shape ``(H, W)``.

    Raises
    ------
    ValueError
        If the file is missing, broken, or holds pixels with no agreed brightness (floating-point
        or 32-bit values).
    """
    source = Path(source)
    if source.suffix.lower() == ".npz":
        return ArrayFilms(source).read(image)
    return decode_image(source / image)[0]


def decode_image(
    path: str | Path | BinaryIO, *, formats: Sequence[str] | None = None
) -> tuple[np.ndarray, list[str]]:
    """Decode one image file, and list the repairs that were necessary.

    Parameters
    ----------
    path : str, pathlib.Path or binary file
        Any file that Pillow opens.
    formats : sequence of str, optional
        Pillow's names of the formats that are tried. By default all.

    Returns
    -------
    array : numpy.ndarray
        Grey levels, ``uint8`` of shape ``(H, W)``.
    repairs : list of str
        Kinds of repair, empty for an 8-bit greyscale file.

    Raises
    ------
    ValueError
        If the file cannot be decoded; the message names the file and Pillow's reason.
    """
    repairs = []
    try:
        with Image.open(path, formats=formats) as opened:
            opened.load()
            image = opened
            if opened.getexif().get(_ORIENTATION, 1) not in (0, 1):
                repairs.append("EXIF rotation applied")
                image = ImageOps.exif_transpose(opened)
            array, kind = _grey(image)
    except _BROKEN as error:
        name = Path(path).name if isinstance(path, str | Path) else "a file in memory"
        raise ValueError(
            f"Expected a readable image. Received {name!r}: {error}. "
            "Copy the file again from where it came, or read with strict=False to leave it out."
        ) from error
    if kind:
        repairs.append(kind)
    return array, repairs


def _grey(image: Image.Image) -> tuple[np.ndarray, str]:
    """Turn an opened image into ``uint8`` grey levels and name the repair, if any."""
    mode = image.mode
    if mode == "F":
        raise ValueError("floating-point pixels have no agreed brightness; save it as 8 or 16 bit")
    if mode.startswith("I"):
        return _eight_bits(np.asarray(image)), "16-bit image scaled to 8 bits"
    if image.has_transparency_data:
        kind = "palette image" if mode == "P" else "image with transparency"
        film = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", film.size, (0, 0, 0, 255)), film)
        return np.array(image.convert("L")), f"{kind} turned to greyscale"
    if mode == "L":
        return np.array(image), ""
    kind = {"P": "palette image", "CMYK": "CMYK image", "1": "1-bit image"}.get(mode, "color image")
    if mode != "1":
        image = image.convert("RGB")
    return np.array(image.convert("L")), f"{kind} turned to greyscale"


def _eight_bits(array: np.ndarray) -> np.ndarray:
    lowest, highest = int(array.min()), int(array.max())
    if lowest < 0 or highest > 65535:
        raise ValueError(
            f"pixels between {lowest} and {highest} are neither 8-bit, 12-bit nor 16-bit values"
        )
    full = 255 if highest <= 255 else 4095 if highest <= 4095 else 65535
    return np.round(array * (255 / full)).astype(np.uint8)


def resize_image(array: np.ndarray, size: int) -> np.ndarray:
    """Resize a film to a square.

    The whole film is kept: nothing is cut off and no border is added, so a film that is not
    square is stretched and its center stays the center. Pillow's bilinear filter widens its
    support when it shrinks (antialiasing) and never overshoots, so it adds no bright rims along
    ribs.

    Parameters
    ----------
    array : numpy.ndarray
        Grey levels, ``uint8`` of shape ``(H, W)``.
    size : int
        Height and width of the result in pixels, at least 1.

    Returns
    -------
    numpy.ndarray
        Grey levels, ``uint8`` of shape ``(size, size)``.

    Raises
    ------
    ValueError
        If the array is not a greyscale ``uint8`` film or ``size`` is not positive.

    Examples
    --------
    >>> import numpy as np
    >>> resize_image(np.array([[0, 100], [100, 200]], dtype=np.uint8), 1)
    array([[100]], dtype=uint8)
    """
    array = np.asarray(array)
    if array.ndim != 2 or array.dtype != np.uint8 or array.size == 0:
        raise ValueError(
            "Expected a film as uint8 of shape (H, W). "
            f"Received {array.dtype} of shape {array.shape}. Read it with read_image."
        )
    if size < 1:
        raise ValueError(f"Expected a size of at least 1 pixel. Received {size}.")
    if array.shape == (size, size):
        return array.copy()
    film = Image.fromarray(array).resize((size, size), Image.Resampling.BILINEAR)
    return np.array(film)


class ArrayFilms:
    """Films of a MedMNIST ``.npz``; the array of a split is loaded once, when it is needed.

    A compressed ``.npz`` cannot be memory-mapped, so reading film by film would decompress the
    whole array each time. Safe to share between threads; a pickled copy starts empty.

    Parameters
    ----------
    path : str or pathlib.Path
        The ``.npz`` file.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._arrays: dict[str, np.ndarray] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple:
        """Pickle and copy only the path, neither the lock nor the arrays."""
        return type(self), (self._path,)

    def read(self, image: str) -> np.ndarray:
        """Read one film.

        Parameters
        ----------
        image : str
            The array's split and the film's index, such as ``"train/17"``.

        Returns
        -------
        numpy.ndarray
            Grey levels, ``uint8`` of shape ``(H, W)``.

        Raises
        ------
        ValueError
            If there is no such film or the file is broken.
        """
        split, _, index = image.partition("/")
        if not index.isdecimal():
            raise ValueError(
                f"Expected a film such as 'train/17' in {self._path.name!r}. Received {image!r}."
            )
        array = self._array(split)
        if int(index) >= len(array):
            raise ValueError(
                f"Expected an index below {len(array)} in {split!r} of {self._path.name!r}. "
                f"Received {image!r}."
            )
        film = array[int(index)]
        if film.ndim == 2:
            return film.copy()
        return np.array(Image.fromarray(film).convert("L"))

    def _array(self, split: str) -> np.ndarray:
        with self._lock:
            if split not in self._arrays:
                try:
                    with np.load(self._path, allow_pickle=False) as arrays:
                        self._arrays[split] = arrays[f"{split}_images"]
                except (KeyError, OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
                    raise ValueError(
                        f"Expected an array {split}_images in {self._path.name!r}. "
                        f"Received: {error}. Download the file again if it is broken."
                    ) from error
            return self._arrays[split]

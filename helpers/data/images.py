"""Images: one greyscale array for each film, whatever the format of its file.

Chest X-rays exist as 8-bit PNG, as 16-bit exports, as colour JPEG, as palette or CMYK images that
some viewer wrote, as DICOM, or as rows of a MedMNIST array. All repairs of the pixel format are
made here, so that the rest of the project only has to handle ``uint8`` arrays of shape ``(H, W)``.
"""

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from helpers.data.dicom import decode_dicom, is_dicom
from helpers.data.files import check_regular, decoding

# Those that films are read from, by Pillow's names: others may start programs (EPS).
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MOST_PIXELS = 100_000_000
WHITE_LEVELS = (255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits
_ORIENTATION = 0x0112  # EXIF tag
_OUTSIDE = re.compile(r"/|(.*/)?\.\.(/|$)|.*\0", re.DOTALL)  # names that leave a folder
_STRIP = 2**22  # pixels that are converted at one time


def read_image(source: str | Path, image: str, *, full: int | None = None) -> np.ndarray:
    """Read one film as a greyscale array.

    Repairs, in this order: the EXIF orientation is applied; transparent pixels are placed on black,
    the colour of film without tissue; colour, palette and CMYK images are converted to greyscale by
    the Rec. 601 luma, which does not change grey levels; 16-bit images are scaled to 8 bits, see
    :func:`helpers.data.images.scale_pixels`. The function keeps no state and may be called from
    many threads.

    Parameters
    ----------
    source : str or pathlib.Path
        Folder of the radiographs, or a MedMNIST ``.npz`` file.
    image : str
        Path of the film below ``source`` with forward slashes; for an ``.npz`` the array's split
        and the film's index, such as ``"train/17"``.
    full : int, optional
        White level of 16-bit images. :func:`helpers.data.read_radiographs` finds one for the whole
        collection, and :meth:`helpers.data.Radiographs.image` uses it; by default each film's own
        maximum decides.

    Returns
    -------
    numpy.ndarray
        Grey levels, ``uint8`` of shape ``(H, W)``.

    Raises
    ------
    ValueError
        If the file is missing, broken, lies outside ``source``, or holds pixels with no agreed
        brightness (floating-point or 32-bit values).
    """
    source = Path(source)
    if source.suffix.lower() == ".npz":
        return ArrayFilms(source).read(image)
    return decode_image(FilmFolder(source)(image), full=full)[0]


class FilmFolder:
    """The folder of a collection: returns the file of a film, which must lie in it.

    Each folder below it is looked at once, so that a hundred thousand films take a second.

    Parameters
    ----------
    source : str or pathlib.Path
        The folder.
    """

    def __init__(self, source: str | Path) -> None:
        self._source = Path(source)
        self._root = os.path.realpath(source)
        self._inside: dict[str, bool] = {}

    def __call__(self, image: str) -> Path:
        """Return the file of a film; whether it is there is not checked.

        Parameters
        ----------
        image : str
            Path of the film below the folder, with forward slashes.

        Returns
        -------
        pathlib.Path
            The file.

        Raises
        ------
        ValueError
            If the name is absolute or has ``..``, or a link leads out of the folder.
        """
        path, folder = self._source / image, image.rpartition("/")[0]
        if folder not in self._inside:
            self._inside[folder] = self._holds(self._source / folder)
        if (
            _OUTSIDE.match(image)
            or not self._inside[folder]
            or (path.is_symlink() and not self._holds(path))
        ):
            raise ValueError(
                f"Expected a film in the folder {self._source.name!r}. Received {image!r}, which "
                "leads out of it. Copy the film into the folder, and name it by its path there."
            )
        return path

    def _holds(self, path: Path) -> bool:
        return os.path.commonpath([self._root, os.path.realpath(path)]) == self._root


def decode_image(
    path: str | Path | BinaryIO,
    *,
    formats: Sequence[str] = FORMATS,
    full: int | None = None,
    most_pixels: int = MOST_PIXELS,
) -> tuple[np.ndarray, list[str]]:
    """Decode one image file, and list the repairs that were necessary.

    Parameters
    ----------
    path : str, pathlib.Path or binary file
        An image in one of the formats, or DICOM.
    formats : sequence of str, default=FORMATS
        Pillow's names of the formats that are tried.
    full : int, optional
        White level of 16-bit images, see :func:`helpers.data.images.scale_pixels`.
    most_pixels : int, default=100,000,000
        Largest number of pixels, which is checked before the image is decoded. Pillow has a
        limit, too: it warns above 89 million, and refuses above 179 million.

    Returns
    -------
    array : numpy.ndarray
        Grey levels, ``uint8`` of shape ``(H, W)``.
    repairs : list of str
        Kinds of repair, empty for an 8-bit greyscale file.

    Raises
    ------
    ValueError
        If the file cannot be decoded; the message names the file and the decoder's reason.
    """
    array, repairs = decode_pixels(path, formats=formats, most_pixels=most_pixels)
    return scale_pixels(array, full), repairs


def decode_pixels(
    path: str | Path | BinaryIO,
    *,
    formats: Sequence[str] = FORMATS,
    most_pixels: int = MOST_PIXELS,
) -> tuple[np.ndarray, list[str]]:
    """Decode one image file as :func:`decode_image` does, but leave 16-bit levels as they are.

    Parameters
    ----------
    path, formats, most_pixels
        As there.

    Returns
    -------
    array : numpy.ndarray
        Grey levels, ``uint8`` or ``uint16`` of shape ``(H, W)``.
    repairs : list of str
        Kinds of repair.

    Raises
    ------
    ValueError
        As there.
    """
    is_path = isinstance(path, str | Path)
    with decoding("a readable image", Path(path).name if is_path else "a file in memory", _ADVICE):
        if is_path:
            check_regular(Path(path))
            if is_dicom(Path(path)):
                return decode_dicom(Path(path), most_pixels)
        repairs = []
        with Image.open(path, formats=formats) as opened:  # reads the header only
            width, height = opened.size
            if width * height > most_pixels:
                raise ValueError(f"{width:,} × {height:,} pixels are more than {most_pixels:,}")
            if getattr(opened, "is_animated", False):
                repairs.append("first of several pictures in a file taken")
            opened.load()
            image = opened
            if opened.getexif().get(_ORIENTATION, 1) not in (0, 1):
                repairs.append("EXIF rotation applied")
                image = ImageOps.exif_transpose(opened)
            array, kind = _grey(image)
        return array, repairs + [kind] * bool(kind)


_ADVICE = "Copy the file again from where it came, or read with strict=False to leave it out."


def _grey(image: Image.Image) -> tuple[np.ndarray, str]:
    """Turn an opened image into grey levels, a strip at a time, and name the repair, if any."""
    width, height = image.size
    rows = max(1, _STRIP // width)
    array = None
    for top in range(0, height, rows):
        strip, kind = _grey_strip(image.crop((0, top, width, min(top + rows, height))), image)
        array = np.empty((height, width), strip.dtype) if array is None else array
        array[top : top + rows] = strip
    return array, kind


def _grey_strip(strip: Image.Image, image: Image.Image) -> tuple[np.ndarray, str]:
    mode = image.mode
    if mode == "F":
        raise ValueError("floating-point pixels have no agreed brightness; save it as 8 or 16 bit")
    if mode.startswith("I"):
        levels = np.asarray(strip)
        lowest, highest = int(levels.min()), int(levels.max())
        if lowest < 0 or highest > 65535:
            raise ValueError(
                f"pixels between {lowest} and {highest} are neither 8-bit, 12-bit nor 16-bit values"
            )
        return levels.astype(np.uint16), "16-bit image scaled to 8 bits"
    if image.has_transparency_data:
        kind = "palette image" if mode == "P" else "image with transparency"
        film = strip.convert("RGBA")
        strip = Image.alpha_composite(Image.new("RGBA", film.size, (0, 0, 0, 255)), film)
        return np.array(strip.convert("L")), f"{kind} turned to greyscale"
    if mode == "L":
        return np.array(strip), ""
    kind = {"P": "palette image", "CMYK": "CMYK image", "1": "1-bit image"}.get(mode, "color image")
    if mode != "1":
        strip = strip.convert("RGB")
    return np.array(strip.convert("L")), f"{kind} turned to greyscale"


def scale_pixels(array: np.ndarray, full: int | None = None) -> np.ndarray:
    """Scale 16-bit grey levels to 8 bits by a white level.

    Parameters
    ----------
    array : numpy.ndarray
        Grey levels, ``uint8`` or ``uint16`` of shape ``(H, W)``; those of 8 bits are kept.
    full : int, optional
        The grey level that becomes 255. Without it, a film has 12-bit values if its maximum is at
        most 4095, and is scaled by 4095; 8-bit values if it is at most 255, and is not scaled; all
        others are scaled by 65535. A film is never scaled by its own maximum, which would give each
        film its own exposure.

    Returns
    -------
    numpy.ndarray
        Grey levels, ``uint8`` of shape ``(H, W)``.

    Examples
    --------
    >>> scale_pixels(np.array([[0, 8191, 16383]], np.uint16), 16383)
    array([[  0, 127, 255]], dtype=uint8)
    """
    if array.dtype == np.uint8:
        return array
    if full is None:
        highest = int(array.max())
        full = 255 if highest <= 255 else 4095 if highest <= 4095 else 65535
    levels = np.minimum(np.round(np.arange(65536) * (255 / full)), 255).astype(np.uint8)
    scaled = np.empty(array.shape, np.uint8)
    rows = max(1, _STRIP // array.shape[1])
    for top in range(0, len(array), rows):  # NumPy turns an index into 8 bytes a pixel
        scaled[top : top + rows] = levels[array[top : top + rows]]
    return scaled


def grey_array(film: np.ndarray) -> np.ndarray:
    """Copy a film of a MedMNIST array as grey levels.

    Parameters
    ----------
    film : numpy.ndarray
        ``uint8`` of shape ``(H, W)`` or ``(H, W, 3)``.

    Returns
    -------
    numpy.ndarray
        ``uint8`` of shape ``(H, W)``.
    """
    return film.copy() if film.ndim == 2 else np.array(Image.fromarray(film).convert("L"))


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
        return grey_array(array[int(index)])

    def _array(self, split: str) -> np.ndarray:
        with self._lock:
            if split not in self._arrays:
                expected = f"an array {split}_images"
                with (
                    decoding(expected, self._path.name, "Download the file again if it is broken."),
                    np.load(self._path, allow_pickle=False) as arrays,
                ):
                    self._arrays[split] = arrays[f"{split}_images"]
            return self._arrays[split]

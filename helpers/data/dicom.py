"""DICOM: films and their tags as a hospital's archive stores them.

pydicom and its decoders are an optional extra. Tags that could identify a patient never leave this
module: the patient's number becomes a pseudonym, and dates become the order of a patient's films.
"""

import hashlib
import hmac
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from helpers.data.cache import cache_folder, writing_to
from helpers.data.files import decoding
from helpers.data.report import Report

INSTALL = 'pip install "federated-chest-xrays[dicom]"'
_ENDINGS = (".dcm", ".dicom")
_KEY = "pseudonyms.key"
_DEFLATED = "1.2.840.10008.1.2.1.99"  # may inflate to any size
_PATIENCE = 120  # seconds for one film
_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
# Defined terms of View Position, and what codes call the same views.
_FRONTAL = {
    "PA": "PA",
    "AP": "AP",
    "POSTERO-ANTERIOR": "PA",
    "POSTEROANTERIOR": "PA",
    "ANTERO-POSTERIOR": "AP",
    "ANTEROPOSTERIOR": "AP",
}
_ASIDE = re.compile(r"LL|RL|LLD|RLD|LLO|RLO|.*(LATERAL|OBLIQUE|DECUBITUS).*|LAT")
_TAGS = [
    "PatientID",
    "PatientAge",
    "PatientSex",
    "ViewPosition",
    "ViewCodeSequence",
    "AcquisitionDateTime",
    "AcquisitionDate",
    "AcquisitionTime",
    "StudyDate",
    "StudyTime",
]
_PIXEL_TAGS = [
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PatientOrientation",
    "RescaleSlope",
    "RescaleIntercept",
    "ModalityLUTSequence",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
]


class _Refused(ValueError):
    """A sentence of this module, which holds no value of a tag."""


def is_dicom(path: Path) -> bool:
    """Return whether a file is DICOM: by its ending ``.dcm``, or by the mark at its beginning.

    Parameters
    ----------
    path : pathlib.Path
        A file; whatever is not a regular one is none.

    Returns
    -------
    bool
        True for DICOM.
    """
    if path.suffix.lower() in _ENDINGS:
        return True
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def decode_dicom(path: Path, most_pixels: int) -> tuple[np.ndarray, list[str]]:
    """Decode one film, and list what was done to its pixels.

    The stored values go through the rescale slope and intercept (or the modality table), then the
    first window or, without one, the VOI table or the range of the stored bits; MONOCHROME1 is
    inverted, and the film is turned so that the patient stands upright and faces the reader.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    most_pixels : int
        Largest number of pixels, which is checked before they are decoded.

    Returns
    -------
    array : numpy.ndarray
        Grey levels, ``uint8`` of shape ``(H, W)``.
    repairs : list of str
        Kinds of repair.

    Raises
    ------
    ValueError
        If the film cannot be decoded, has several frames or too many pixels, or pydicom is
        missing. The message holds no value of a tag.
    """
    pydicom = _import_pydicom()
    try:
        return _decode(pydicom, path, most_pixels)
    except _Refused:
        raise
    except Exception as error:  # its text may quote a tag
        raise ValueError(f"pydicom cannot decode it ({type(error).__name__})") from error


def _decode(pydicom, path, most_pixels):
    header = _read(pydicom, path, _PIXEL_TAGS)
    frames, samples = int(header.get("NumberOfFrames") or 1), int(header.get("SamplesPerPixel", 1))
    if frames != 1:
        raise _Refused(f"{frames:,} frames in one file")
    width, height = int(header.Columns), int(header.Rows)
    if width * height > most_pixels:
        raise _Refused(f"{width:,} × {height:,} pixels are more than {most_pixels:,}")
    decoder = pydicom.pixels.get_decoder(header.file_meta.TransferSyntaxUID)
    if not decoder.is_available:
        raise _Refused(f"its compression needs a decoder: {INSTALL}")
    plugins = decoder.available_plugins
    if "gdcm" in plugins and "pillow" not in plugins:
        pixels = _decode_apart(path, header)
    else:
        plugin = "pillow" if "pillow" in plugins else ""
        pixels = pydicom.pixels.pixel_array(path, index=0, decoding_plugin=plugin)
    repairs = ["DICOM pixels turned to 8 bits"]
    photometric = str(header.PhotometricInterpretation).strip().upper()
    if samples == 3:  # pydicom has converted it to RGB
        if pixels.dtype != np.uint8:
            raise _Refused("color of more than 8 bits")
        grey = np.round(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
        repairs.append("color image turned to greyscale")
    elif photometric in ("MONOCHROME1", "MONOCHROME2"):
        with np.errstate(all="ignore"):  # what is not finite is refused
            table, lowest = _grey_levels(header)
        grey = np.empty(pixels.shape, np.uint8)
        for place, row in enumerate(pixels):
            grey[place] = table[row.astype(np.int64) - lowest]
        if photometric == "MONOCHROME1":
            grey = 255 - grey
            repairs.append("DICOM film stored with black and white exchanged inverted")
    else:
        raise _Refused("pixels that are neither MONOCHROME1, MONOCHROME2 nor RGB")
    upright = _turn(grey, [str(way)[:1] for way in header.get("PatientOrientation") or ()])
    if upright is not grey:
        repairs.append("DICOM orientation applied")
    return np.ascontiguousarray(upright), repairs


def _decode_apart(path, header):
    """Return the stored values that GDCM decodes in another process, which may crash."""
    if int(header.SamplesPerPixel) != 1:
        raise _Refused("color in a compression that is read for grey films only")
    script = Path(__file__).with_name("gdcm_process.py")
    command = [sys.executable, "-P", str(script), str(path.absolute())]
    run = subprocess.run(command, capture_output=True, timeout=_PATIENCE, check=False)
    if run.returncode:
        raise _Refused("GDCM cannot decode it")
    bits, kind = int(header.BitsAllocated), "i" if header.PixelRepresentation else "u"
    pixels = np.frombuffer(run.stdout, f"<{kind}{bits // 8}")
    unused = bits - int(header.BitsStored)
    return (pixels << unused >> unused).reshape(int(header.Rows), int(header.Columns))


def _read(pydicom, path, tags):
    """Read some tags; others, which may be private or broken, are not looked at."""
    syntax = pydicom.filereader.read_file_meta_info(path).get("TransferSyntaxUID")
    if syntax == _DEFLATED:
        raise _Refused("it is stored in the deflated transfer syntax")
    return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags)


def _grey_levels(header):
    """Return the grey level of every value that may be stored, and the lowest such value."""
    bits, is_signed = int(header.BitsStored), int(header.PixelRepresentation)
    if not 1 <= bits <= 16:
        raise _Refused(f"{bits} bits stored where 1 to 16 are expected")
    if int(header.get("HighBit", bits - 1)) != bits - 1:
        raise _Refused("pixels that share their bits with something else (high bit)")
    lowest = -(1 << bits - 1) if is_signed else 0
    stored = np.arange(lowest, lowest + (1 << bits))
    if header.get("ModalityLUTSequence"):
        levels = _look_up(stored, header.ModalityLUTSequence[0])[0]
    else:
        slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
        levels = stored * (1.0 if slope is None else float(slope)) + float(intercept or 0)
    center, width = (_first(header.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is not None and width is not None:
        way = str(header.get("VOILUTFunction") or "LINEAR").strip().upper()
        return _to_8_bits(_window(levels, center, width, way)), lowest
    if header.get("VOILUTSequence"):
        levels, bits = _look_up(levels, header.VOILUTSequence[0])
        return _to_8_bits(levels / ((1 << bits) - 1)), lowest
    low, high = levels.min(), levels.max()
    return _to_8_bits((levels - low) / max(high - low, 1e-9)), lowest


def _look_up(levels, item):
    """Look levels up in a modality or VOI table; return its values and their number of bits."""
    length, first, bits = (int(value) for value in item.LUTDescriptor)
    data = item.LUTData
    table = np.frombuffer(data, "<u2") if isinstance(data, bytes) else np.asarray(data)
    length = length or 1 << 16
    if len(table) < length or not 1 <= bits <= 16:
        raise _Refused("a table that is not as long as it should be")
    places = np.clip(np.round(levels).astype(np.int64) - first, 0, length - 1)
    return table[places].astype(float), bits


def _window(levels, center, width, way):
    """Apply a window as DICOM PS3.3 C.11.2.1 defines it, to shares from 0 to 1."""
    if way == "SIGMOID":
        exponent = np.clip(-4 * (levels - center) / max(width, 1e-9), -700, 700)
        return 1 / (1 + np.exp(exponent))
    if way == "LINEAR":
        center, width = center - 0.5, width - 1
    return (levels - center) / max(width, 1e-9) + 0.5


def _to_8_bits(shares):
    if not np.isfinite(shares).all():
        raise _Refused("a rescale or window that is not finite")
    return np.round(255 * np.clip(shares, 0, 1)).astype(np.uint8)


def _first(value):
    values = list(value) if isinstance(value, list | tuple) or hasattr(value, "append") else [value]
    return None if not values or values[0] in (None, "") else float(values[0])


def _turn(film, ways):
    """Turn a film whose rows run to the patient's right, head or feet; columns run to the feet."""
    if len(ways) != 2 or not ({*ways} & {"L", "R"} and {*ways} & {"H", "F"}):
        return film
    along, down = ways
    if along in "HF":
        film, along, down = film.T, down, along
    film = film[:, ::-1] if along == "R" else film
    return film[::-1] if down == "H" else film


def read_tags(path: Path) -> dict[str, object]:
    """Read what the tags of a film say about it.

    Parameters
    ----------
    path : pathlib.Path
        A DICOM file.

    Returns
    -------
    dict
        ``patient`` (a pseudonym: a keyed hash of the number, with a key that stays in the cache
        folder), ``age`` (years), ``sex`` (``F``/``M``), ``view`` (``PA``/``AP``, or ``aside`` for a
        lateral, oblique or decubitus film) and ``date`` (text that sorts by time; only for the
        order of a patient's films). What is not recorded is None.

    Raises
    ------
    ValueError
        If the file cannot be read, or pydicom is missing. The message holds no value of a tag.
    """
    return _read_tags(Path(path), _read_key())


def _read_tags(path, key):
    pydicom = _import_pydicom()
    with decoding("a readable DICOM file", path.name, "Export it again from where it came."):
        try:
            tags = _read(pydicom, path, _TAGS)
            text = {name: str(tags.get(name) or "").strip() for name in _TAGS}
            codes = tags.get("ViewCodeSequence") or []
            code = str(codes[0].get("CodeMeaning") or "") if len(codes) else ""
        except _Refused:
            raise
        except Exception as error:  # its text may quote a tag
            raise ValueError(f"pydicom cannot read it ({type(error).__name__})") from error
    view = (text["ViewPosition"] or code).strip().upper()
    number = text["PatientID"].encode()
    age = re.fullmatch(r"(\d{1,3})([YMWD])", text["PatientAge"])
    date = text["AcquisitionDateTime"] or text["AcquisitionDate"] + text["AcquisitionTime"]
    date = date if text["AcquisitionDate"] or text["AcquisitionDateTime"] else ""
    return {
        "patient": hmac.digest(key, number, "sha256").hex()[:16] if number else None,
        "age": int(age[1]) * _YEARS[age[2]] if age else None,
        "sex": text["PatientSex"] if text["PatientSex"] in ("F", "M") else None,
        "view": "aside" if _ASIDE.fullmatch(view) else _FRONTAL.get(view),
        "date": date or text["StudyDate"] + text["StudyTime"] or None,
    }


def fill_from_tags(
    table: pd.DataFrame, locate: Callable[[str], Path], report: Report
) -> pd.DataFrame:
    """Fill a table of films with what the tags of its DICOM files say.

    Ages, sexes and views are filled where the table has none. Patients and follow-up numbers are
    filled only if the table has none at all, since a number and a pseudonym of one patient do not
    match. Follow-up numbers are the order of a patient's dates, which are not kept.

    Parameters
    ----------
    table : pandas.DataFrame
        Films with ``image`` and, if known, other columns and ``faulty``.
    locate : callable
        Returns the file of a film by its name.
    report : Report
        Where lateral films are counted, and files that cannot be read are named.

    Returns
    -------
    pandas.DataFrame
        The table without lateral, oblique and decubitus films, with a plain index; the same table
        if no film is DICOM.

    Raises
    ------
    ValueError
        If there are DICOM files, but pydicom is missing, or the key of the pseudonyms cannot be
        stored.
    """
    paths = {}
    for name in table["image"].dropna().unique():
        if may_be_dicom(name):
            try:
                path = locate(name)
                if path.is_file() and is_dicom(path):
                    paths[name] = path
            except (OSError, ValueError):
                continue  # the check of images says so
    if not paths:
        return table
    _import_pydicom()
    key = _read_key()

    def read(name):
        try:
            return _read_tags(paths[name], key)
        except ValueError as error:
            return {"reason": str(error.__cause__)}

    bar = {"desc": "Reading tags", "unit": "film", "disable": None, "total": len(paths)}
    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 1)) as pool:
        found = dict(zip(paths, tqdm(pool.map(read, paths), **bar), strict=True))
    broken = {name: tags["reason"] for name, tags in found.items() if "reason" in tags}
    report.fault("unreadable DICOM tags", [f"{name} ({why})" for name, why in broken.items()])
    columns = ["patient", "age", "sex", "view", "date"]
    tags = pd.DataFrame([found.get(name, {}) for name in table["image"]], table.index, columns)
    tags["follow_up"] = tags.groupby("patient")["date"].rank("dense") - 1
    filled = {}
    for column, dtype in (("age", "float64"), ("sex", "str"), ("view", "str")):
        given = table.reindex(columns=[column])[column].astype(dtype)
        filled[column] = given.where(given.notna(), tags[column].astype(dtype))
    for column, dtype in (("patient", "str"), ("follow_up", "float64")):
        if table.reindex(columns=[column])[column].isna().all():
            filled[column] = tags[column].astype(dtype)
    faulty = table.get("faulty", pd.Series(False, table.index)) | table["image"].isin(broken)
    aside = filled["view"] == "aside"
    first = ", ".join(table["image"][aside][:3])
    report.note(f"lateral, oblique or decubitus film set aside ({first}, …)", aside.sum())
    report.note("film described by its DICOM tags", len(paths) - len(broken) - aside.sum())
    return table.assign(**filled, faulty=faulty)[~aside].reset_index(drop=True)


def may_be_dicom(name: str) -> bool:
    """Return whether a file's name is that of DICOM: ``.dcm``, or no ending, such as a UID."""
    return name.lower().endswith(_ENDINGS) or not re.search(r"\.[A-Za-z]\w*$", name)


def _import_pydicom() -> ModuleType:
    try:
        import pydicom
        import pydicom.filereader
        import pydicom.pixels
    except ImportError as error:
        raise _Refused(f"DICOM files need pydicom and its decoders: {INSTALL}") from error
    return pydicom


def _read_key() -> bytes:
    """Return the secret of the pseudonyms, which only this user can read; make it once."""
    path = cache_folder() / _KEY
    with writing_to(path.parent, "the key of the patients' pseudonyms"):
        if not path.exists():
            handle, name = tempfile.mkstemp(dir=path.parent)  # mode 0600
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
            try:
                os.link(name, path)  # another process may be faster: its key stays
            except FileExistsError:
                pass
            finally:
                os.unlink(name)
        return hashlib.sha256(path.read_bytes()).digest()

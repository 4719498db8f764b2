"""A small collection of DICOM films in class folders, as a hospital's archive might export it."""

from pathlib import Path

import numpy as np
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"
# What must never be written anywhere: each is a value of a tag of every film.
PLANTED = {
    "PatientName": "Planted^Name",
    "PatientBirthDate": "19470317",
    "AccessionNumber": "PLANTEDACC",
    "InstitutionName": "Planted Institution",
    "ReferringPhysicianName": "Planted^Physician",
    "PatientComments": "planted comment",
    "StudyDate": "20190823",
    "StudyInstanceUID": "1.2.999.888777",
}


def write_film(path: Path, pixels: np.ndarray, *, bits: int = 12, **tags: object) -> None:
    """Write one film of stored values, ``uint16`` or ``int16`` of shape (H, W), as DICOM.

    Other tags, among them those that describe the pixels, may be given; None leaves one out.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DIGITAL_X_RAY
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    described = {
        "SOPClassUID": DIGITAL_X_RAY,
        "SOPInstanceUID": meta.MediaStorageSOPInstanceUID,
        "Modality": "DX",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 8 * pixels.dtype.itemsize,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
    }
    for name, value in (PLANTED | described | tags).items():
        if value is not None:
            setattr(film, name, value)
    film.private_block(0x0009, "Planted", create=True).add_new(1, "LO", "planted private")
    film.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    film.save_as(path, enforce_file_format=True)


def write_dicom(folder: Path, *, n: int = 128, size: int = 32, seed: int = 0) -> Path:
    """Write films of n // 2 patients, of which half show a bright disc (malade).

    The patients are in ``train`` (half of them), ``valid`` and ``test``; files have 12 bits stored,
    every third one as MONOCHROME1; half of them have no ending. A patient has two films.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size - 0.5
    for number in range(n):
        patient = number // 2
        is_ill = patient % 2
        film = 1200 + 900 * np.cos(3 * x) * np.cos(3 * y) + rng.normal(0, 60, (size, size))
        center = rng.uniform(-0.2, 0.2, 2)
        film += 1200 * is_ill * (np.hypot(x - center[0], y - center[1]) < 0.18)
        pixels = np.clip(film, 0, 4095).astype(np.uint16)
        inverted = number % 3 == 0
        split = ("train", "valid", "train", "test")[patient // 2 % 4]
        name = f"film{number:04d}{'.dcm' if number % 4 < 2 else ''}"
        write_film(
            folder / split / ("malade" if is_ill else "sain") / name,
            4095 - pixels if inverted else pixels,
            PhotometricInterpretation="MONOCHROME1" if inverted else "MONOCHROME2",
            PatientID=f"PLANTEDID{patient:04d}",
            PatientAge=f"{rng.integers(18, 90):03d}Y",
            PatientSex="FM"[patient % 3 % 2],
            ViewPosition="PA" if patient % 4 < 3 else "AP",
            StudyTime=f"{8 + number % 2:02d}0000",
        )
    return folder

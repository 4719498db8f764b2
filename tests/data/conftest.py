"""Fixtures of the reading tests: small clean collections, for the tests to soil."""

import contextlib
import os
import resource
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
NIH_ROWS = (
    "00000001_000.png,No Finding,0,1,58,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Edema|Pneumonia,1,1,59,M,AP,2500,2048,0.168,0.168",
    "00000002_000.png,Cardiomegaly,0,2,81,F,PA,2500,2048,0.171,0.171",
)


@pytest.fixture
def write_film() -> Callable[[Path], None]:
    """Return a function that writes a small 8-bit greyscale image, another for each path."""

    def write(path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        film = np.arange(48, dtype=np.uint8).reshape(6, 8)
        film[0, :4] = np.frombuffer(zlib.crc32(str(path).encode()).to_bytes(4), np.uint8)
        Image.fromarray(film).save(path)

    return write


@pytest.fixture
def make_nih(tmp_path, write_film) -> Callable[..., Path]:
    """Return a function that writes a collection in NIH's layout.

    ``rows`` are csv lines; each gets its image in ``images`` unless ``images`` names others.
    """

    def make(
        rows: Iterable[str] = NIH_ROWS,
        *,
        header: str = NIH_HEADER,
        images: Iterable[str] | None = None,
        csv: str = "Data_Entry_2017.csv",
    ) -> Path:
        folder = tmp_path / "nih"
        folder.mkdir(exist_ok=True)
        rows = list(rows)
        (folder / csv).write_bytes(("\n".join([header, *rows]) + "\n").encode())
        if images is None:
            images = [f"images/{row.split(',')[0]}" for row in rows]
        for image in images:
            write_film(folder / image)
        return folder

    return make


@pytest.fixture
def make_class_folders(tmp_path, write_film) -> Callable[..., Path]:
    """Return a function that writes class folders holding the given images, and a metadata.csv."""

    def make(images: Iterable[str], *, metadata: str | None = None) -> Path:
        folder = tmp_path / "classes"
        for image in images:
            write_film(folder / image)
        if metadata is not None:
            (folder / "metadata.csv").write_text(metadata, encoding="utf-8")
        return folder

    return make


@pytest.fixture(params=["below a file", "read-only", "full"])
def broken_cache(request, tmp_path, monkeypatch):
    """Return a context that cannot write to the cache folder, and expects to be told what to do."""
    cache = tmp_path / "cache"
    if request.param == "read-only" and os.geteuid() == 0:
        pytest.skip("Root may write everywhere.")
    if request.param == "below a file":
        cache.touch()
        cache /= "folder"
    else:
        cache.mkdir()
    monkeypatch.setenv("CHEST_XRAYS_CACHE", str(cache))

    @contextlib.contextmanager
    def expect_advice():
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        message = r"^Expected a folder for .* written to\. Received '.*cache.* CHEST_XRAYS_CACHE"
        try:
            if request.param == "read-only":
                cache.chmod(0o500)
            elif request.param == "full":  # a write fails in the middle of a file
                resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
            with pytest.raises(ValueError, match=message):
                yield cache
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            if cache.exists():
                cache.chmod(0o700)

    return expect_advice

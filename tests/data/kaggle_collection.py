"""A small collection in the layout of Kaggle's chest_xray (Kermany et al., Cell 2018)."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_kaggle_pneumonia(
    folder: Path, n: int = 300, size: int = 32, seed: int = 0, *, nested: bool = False
) -> Path:
    """Write ``chest_xray`` with train, val (16 films) and test (a quarter), as it is downloaded.

    Half of the films show pneumonia, as a bright disc. Persons are numbered for each kind, bacteria
    and virus, so that one number may stand in train and in test, as on Kaggle. Two thirds of the
    films are the first of a patient.

    Parameters
    ----------
    folder : pathlib.Path
        Where to write.
    n : int, default=300
        Number of films, at least 96.
    size : int, default=32
        Height and width in pixels.
    seed : int, default=0
        Seed of the films.
    nested : bool, default=False
        Whether ``chest_xray`` holds another ``chest_xray`` and ``__MACOSX``.

    Returns
    -------
    pathlib.Path
        The folder to set as ``CHEST_XRAYS``.
    """
    rng = np.random.default_rng(seed)
    top = Path(folder) / "chest_xray"
    base = top / "chest_xray" if nested else top
    sizes = {"train": n - n // 4 - 16, "val": 16, "test": n // 4}
    number = {"IM": 0, "NORMAL2-IM": 0, "bacteria": 0, "virus": 1000}
    for split, count in sizes.items():
        number["virus"] *= split != "test"  # person1_virus in test, person1_bacteria in train
        for film in range(count):
            kind = list(number)[film % 4]
            is_ill = kind in ("bacteria", "virus")
            if film % 12 < 8:  # else one more film of the patient before
                number[kind] += 1
            stem = f"{kind}-{number[kind]:04d}-{film + 1:04d}"
            if is_ill:
                stem = f"person{number[kind]}_{kind}_{film + 1}"
            path = base / split / ("PNEUMONIA" if is_ill else "NORMAL") / f"{stem}.jpeg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(_draw(rng, size, is_ill)).save(path, quality=95)
    if nested:
        (top / "__MACOSX").mkdir()
        (top / "__MACOSX" / "._chest_xray").touch()
    return top


def _draw(rng: np.random.Generator, size: int, is_ill: bool) -> np.ndarray:
    """Return noise around a middle grey, with a bright disc for an ill patient."""
    film = rng.normal(90, 12, (size, size))
    if is_ill:
        rows, columns = np.indices(film.shape) - rng.integers(size // 4, 3 * size // 4, (2, 1, 1))
        film[np.hypot(rows, columns) < size / 6] += 90
    return film.clip(0, 255).astype(np.uint8)

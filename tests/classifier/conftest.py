"""Fixtures of the classifier's tests: small class folders, in the classifier's own layout."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory):
    """Class folders with 24 films to train on and 12 to validate with, two for each patient.

    A bright corner is the finding; the rest is noise. The csv has a column ``WEIGHTS``.
    """
    folder = tmp_path_factory.mktemp("classifier") / "films"
    rng = np.random.default_rng(0)
    rows = []
    for split, n_films in (("train", 24), ("valid", 12)):
        for film in range(n_films):
            ill = film % 4 < 2
            pixels = rng.integers(0, 128, (16, 16), dtype=np.uint8)
            pixels[:6, :6] += 90 * ill
            path = folder / split / ("malade" if ill else "sain") / f"{split}_{film:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            rows.append(
                {
                    "Image Index": path.name,
                    "Finding Labels": "Edema" if ill else "No Finding",
                    "Patient ID": f"{split}{film // 2}",
                    "WEIGHTS": 1 + film % 3,
                    "note": 'a, "b"',
                }
            )
    pd.DataFrame(rows).to_csv(folder / "metadata.csv", index=False)
    return folder


@pytest.fixture
def table(class_folders):
    """The csv of the class folders, as text, to be soiled."""
    return pd.read_csv(class_folders / "metadata.csv", dtype=str)


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a table as a csv and returns its path."""

    def write_csv(table, name="films.csv"):
        table.to_csv(tmp_path / name, index=False)
        return tmp_path / name

    return write_csv

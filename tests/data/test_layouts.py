import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data.detection import find_layout
from helpers.data.layouts import finish_table, is_film, list_folder
from helpers.data.metadata import COLUMNS


def test_what_systems_leave_behind_is_not_listed(tmp_path):
    for name in (".DS_Store", "._a.png", "Thumbs.db", "desktop.ini", "a.png"):
        (tmp_path / name).touch()
    for name in ("__MACOSX", ".ipynb_checkpoints", "images"):
        (tmp_path / name).mkdir()
    assert list_folder(tmp_path) == (["images"], ["a.png"])


def test_finished_table_has_all_columns_in_order_and_a_plain_index():
    table = finish_table(pd.DataFrame({"weight": [1.0], "image": ["a"], "faulty": [False]}, [7]))
    assert tuple(table.columns) == (*COLUMNS, "weight")
    assert isinstance(table.index, pd.RangeIndex)
    assert table["follow_up"].dtype == "Int64"
    assert table["age"].dtype == "float64"


@pytest.mark.parametrize(
    ("folder", "advice"),
    [
        ("trainn/NORMAL", r"Look at trainn \(did you mean train\?\)\."),
        ("train/Pneumona", r"Look at Pneumona \(did you mean pneumonia\?\)\."),
    ],
)
def test_near_misses_are_suggested_when_there_is_no_layout(tmp_path, folder, advice):
    (tmp_path / folder).mkdir(parents=True)
    with pytest.raises(ValueError, match=advice):
        find_layout(tmp_path)


@pytest.mark.parametrize(
    "folder", ["training/normal", "Validation/Malades", "dev/négative", "a/b/test/sain", "Normal"]
)
def test_usual_words_and_folders_around_are_no_obstacle(tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    assert find_layout(tmp_path).name == "class folders"


def test_a_film_is_known_by_its_ending_or_else_its_first_bytes(tmp_path):
    film = Image.fromarray(np.zeros((4, 4), np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "TIFF", "BMP"):
        film.save(tmp_path / kind, format=kind)
        assert is_film(tmp_path / kind)
    (tmp_path / "text").write_text("no film")
    (tmp_path / "empty").touch()
    (tmp_path / "folder").mkdir()
    film.save(tmp_path / "backup.png~", format="PNG")
    os.mkfifo(tmp_path / "fifo")
    for name in ("text", "empty", "folder", "fifo", "backup.png~", "nowhere"):
        assert not is_film(tmp_path / name)

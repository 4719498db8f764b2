import os

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers.data.layouts import find_layout, finish_table, is_film, list_folder
from helpers.data.metadata import COLUMNS


def test_each_layout_is_found(make_nih, make_class_folders, tmp_path):
    assert find_layout(make_nih()) == "nih"
    assert find_layout(make_class_folders(["train/sain/a.png"])) == "class folders"
    (tmp_path / "x.npz").touch()
    assert find_layout(tmp_path / "x.npz") == "medmnist"


@pytest.mark.parametrize("split", ["train", "valid", "val", "test", "Train"])
@pytest.mark.parametrize("name", ["sain", "malade", "NORMAL", "PNEUMONIA", "normal"])
def test_class_folders_of_every_name(tmp_path, split, name):
    (tmp_path / split / name).mkdir(parents=True)
    assert find_layout(tmp_path) == "class folders"


def test_unknown_folder_lists_the_layouts_and_what_was_seen(tmp_path, write_film):
    write_film(tmp_path / "images" / "a.png")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ValueError, match="one of these layouts") as caught:
        find_layout(tmp_path)
    text = str(caught.value)
    for part in ("Data_Entry_2017.csv", "sain and malade", "pneumoniamnist.npz"):
        assert part in text
    assert "1 folders and 1 files: images/, notes.txt." in text


def test_empty_folder_and_other_file(tmp_path):
    with pytest.raises(ValueError, match="it is empty"):
        find_layout(tmp_path)
    (tmp_path / "films.csv").touch()
    with pytest.raises(ValueError, match=r"the file 'films.csv'"):
        find_layout(tmp_path / "films.csv")


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
    assert find_layout(tmp_path) == "class folders"


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

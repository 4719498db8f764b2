import pytest

from helpers.data.detection import find_layout


def test_each_layout_is_found(make_nih, make_class_folders, tmp_path):
    assert find_layout(make_nih()).name == "nih"
    assert find_layout(make_class_folders(["train/sain/a.png"])).name == "class folders"
    (tmp_path / "x.npz").touch()
    assert find_layout(tmp_path / "x.npz").name == "medmnist"


@pytest.mark.parametrize("split", ["train", "valid", "val", "test", "Train"])
@pytest.mark.parametrize("name", ["sain", "malade", "NORMAL", "PNEUMONIA", "normal"])
def test_class_folders_of_every_name(tmp_path, split, name):
    (tmp_path / split / name).mkdir(parents=True)
    assert find_layout(tmp_path).name == "class folders"


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

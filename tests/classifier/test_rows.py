import pandas as pd
import pytest

from helpers.classifier.rows import match_rows


def test_rows_keep_their_order_and_find_their_films(class_folders, table, write):
    table = table.iloc[[5, 0, 30, 5]]
    rows, images = match_rows(write(table), class_folders)
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), table.reset_index(drop=True))
    assert list(images) == [
        "train/malade/train_05.png",
        "train/malade/train_00.png",
        "valid/sain/valid_06.png",
        "train/malade/train_05.png",
    ]
    assert list(rows.index) == list(images.index) == [2, 3, 4, 5]


@pytest.mark.parametrize("name", [r".\train\sain\train_02.png", "train/sain/train_02.png"])
def test_a_film_is_known_by_its_path(class_folders, table, write, name):
    table.loc[0, "Image Index"] = name
    assert match_rows(write(table), class_folders)[1].iloc[0] == "train/sain/train_02.png"


def test_all_faulty_rows_are_gathered(class_folders, table, tmp_path):
    (tmp_path / "films").mkdir()
    for split in ("a", "b"):
        (tmp_path / "films" / split).mkdir()
        (tmp_path / "films" / split / "twice.png").touch()
    csv = tmp_path / "films.csv"
    csv.write_text("image,age\ntwice.png,3\ngone.png,4\n,5\ntwice.png\n")
    with pytest.raises(ValueError, match=r"Expected every row of 'films\.csv'") as caught:
        match_rows(csv, tmp_path / "films")
    for line in (
        "several films of this name (1): line 2 (twice.png)",
        "film not there (1): line 3 (gone.png)",
        "row without an image name (1): line 4 ()",
        "more or fewer values than the header (1): line 5",
    ):
        assert line in str(caught.value)


def test_a_csv_without_films_is_refused(class_folders, tmp_path):
    csv = tmp_path / "films.csv"
    csv.write_text("patient,age\n1,3\n")
    with pytest.raises(ValueError, match=r"Received the columns \['patient', 'age'\]"):
        match_rows(csv, class_folders)
    csv.write_text("image\n")
    with pytest.raises(ValueError, match=r"and 0 row\(s\)"):
        match_rows(csv, class_folders)


def test_paths_that_are_not_there_are_refused(class_folders, tmp_path):
    with pytest.raises(ValueError, match=r"Expected csv to name a file\. Received .*none\.csv"):
        match_rows(tmp_path / "none.csv", class_folders)
    with pytest.raises(ValueError, match=r"Expected datadir to name a folder\. Received .*none'"):
        match_rows(class_folders / "metadata.csv", tmp_path / "none")

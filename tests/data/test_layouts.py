import pandas as pd

from helpers.data.layouts import finish_table, list_folder
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

"""``make studies``: each page that has a study is run with each seed, and its table is kept."""

import json
from pathlib import Path

import pandas as pd
import pytest

from helpers import studies

ROOT = Path(__file__).parents[2]
PAGE = """
import pandas as pd
from helpers.studies import join_study, study_seed

live = pd.DataFrame({"seed": [study_seed()], "arm": "a", "value": [study_seed() / 2]})
join_study("page", live, data="films", by=["arm"], settings={"rounds": 1})
"""


@pytest.fixture
def tool(load_from_docs, tmp_path, monkeypatch):
    module = load_from_docs("studies/run")
    monkeypatch.setattr(module, "EXAMPLES", tmp_path)
    monkeypatch.setattr(studies, "FOLDER", tmp_path / "kept")
    (tmp_path / "plot_11_page.py").write_text(PAGE, "utf-8")
    (tmp_path / "plot_12_other.py").write_text("raise SystemExit(1)\n", "utf-8")
    return module


def test_pages_that_join_a_study_are_found(tool):
    (page,) = tool.find_pages()
    assert tool.name_of(page) == "page"
    assert tool.fits(page, [])
    assert tool.fits(page, ["oth", "ag"])
    assert not tool.fits(page, ["other"])


def test_a_page_is_run_with_each_seed(tool, tmp_path):
    tool.main(["page", "--seeds", "3", "--jobs", "2"])
    table = pd.read_csv(tmp_path / "kept" / "page.csv")
    assert table.to_dict("list") == {"seed": [0, 1, 2], "arm": ["a"] * 3, "value": [0, 0.5, 1]}
    about = json.loads((tmp_path / "kept" / "page.json").read_text("utf-8"))
    assert (about["data"], about["settings"]) == ("films", {"rounds": 1})
    assert set(about) == {"measured_on", "machine", "versions", "minutes", "data", "settings"}


def test_a_page_that_fails_ends_the_study(tool, tmp_path):
    (tmp_path / "plot_11_page.py").write_text(f"{PAGE}\nraise ValueError('no film')\n", "utf-8")
    with pytest.raises(RuntimeError, match=r"page, seed [01]:[\s\S]*no film"):
        tool.main(["--seeds", "2", "--jobs", "1"])
    assert not (tmp_path / "kept").exists()


def test_a_page_that_is_not_there_is_refused_with_the_names(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["strategies"])
    assert "['page']" in capsys.readouterr().err

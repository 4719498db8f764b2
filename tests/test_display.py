"""Display: what a page shows in a script, in the gallery and in a notebook."""

import builtins
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.display import show

PAGE = """
import matplotlib.pyplot as plt
import pandas as pd
from helpers.display import show

show(pd.DataFrame({"value": range(100)}))
plt.plot([0, 1])
show()
plt.figure()
plt.plot([1, 0])
show()
"""


def test_a_script_prints_whole_tables_and_says_where_its_figures_are(tmp_path):
    page = tmp_path / "plot_01_page.py"
    page.write_text(PAGE)
    done = subprocess.run(
        [sys.executable, page],
        cwd=tmp_path,
        env={"MPLBACKEND": "Agg", "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line.split() for line in lines[:101]] == [
        ["value"],
        *([str(n)] * 2 for n in range(100)),
    ]
    assert lines[101:] == [f"Figure: results/plot_01_page_{number}.png" for number in (1, 2)]
    for number in (1, 2):
        assert (tmp_path / "results" / f"plot_01_page_{number}.png").stat().st_size > 1000


@pytest.mark.parametrize("where", ["gallery", "notebook"])
def test_elsewhere_a_table_is_returned_and_nothing_is_printed(where, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    if where == "gallery":
        monkeypatch.setitem(sys.modules, "sphinx_gallery", object())
    else:
        monkeypatch.setattr(builtins, "get_ipython", lambda: None, raising=False)
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append("figures"))
    assert show({"value": 1}) == {"value": 1}
    assert "<td>1.5</td>" in show(pd.DataFrame({"value": [1.5]}))._repr_html_()
    assert show() is None
    assert shown == ["figures"]
    assert capsys.readouterr().out == ""
    assert list(tmp_path.iterdir()) == []


def test_whole_numbers_have_no_decimals_and_a_dash_is_where_nothing_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "sphinx_gallery", object())
    table = pd.DataFrame({"films": [3.0, np.nan], "auc": [0.75, np.nan], "name": ["A", None]})
    shown = show(table)
    assert [line.split() for line in repr(shown).splitlines()] == [
        ["films", "auc", "name"],
        ["0", "3", "0.75", "A"],
        ["1", "–", "–", "–"],
    ]
    cells = re.findall("<td>(.*?)</td>", shown._repr_html_())
    assert cells == ["3", "0.75", "A", "–", "–", "–"]
    assert np.isnan(table["films"][1])  # the caller's table is as it was

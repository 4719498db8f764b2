"""Verdicts: a page whose conclusion does not follow from its results fails the build."""

from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "examples").glob("plot_*.py"))
SOURCE = '''
"""A page."""
import pandas as pd
from helpers.results import write_results

ARMS, BAR = ("alone", "federated"), 0.5
scores = dict(zip(ARMS, (0.7, 0.8)))
results = pd.DataFrame({"arm": list(scores), "value": list(scores.values())})
write_results(results, "page")


def format_score(value):
    return f"{value:.3f}{'' if value > BAR else ', chance'}"


def say_verdicts(results):
    scores = results.set_index("arm")["value"]
    for arm in ARMS:
        print(f"{arm}: {format_score(scores[arm])}.")
    print(f"Federated is {'better' if scores['federated'] > scores['alone'] else 'NOT better'}.")


say_verdicts(results)
'''
# As sphinx-gallery writes it.
PAGE = """
.. code-block:: Python

    say_verdicts(results)




.. rst-class:: sphx-glr-script-out

 .. code-block:: none

    alone: 0.700.
    federated: 0.800.
    Federated is better.




.. GENERATED FROM PYTHON SOURCE LINES 30-40
"""


@pytest.fixture(scope="module")
def verdicts(load_from_docs):
    return load_from_docs("verdicts")


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "page.csv"
    pd.DataFrame({"arm": ["alone", "federated"], "value": [0.7, 0.8]}).to_csv(path, index=False)
    return path


def test_what_follows_from_the_results_passes(verdicts, table):
    assert verdicts.find_fault(SOURCE, PAGE, table) == ""


def test_a_page_that_was_not_run_passes(verdicts, table):
    assert verdicts.find_fault(SOURCE, PAGE.partition(".. rst-class")[0], table) == ""


def test_swapped_numbers_in_the_table_fail(verdicts, table):
    text = table.read_text("utf-8").replace("0.7", "x").replace("0.8", "0.7").replace("x", "0.8")
    table.write_text(text, "utf-8")
    assert "Federated is NOT better" in verdicts.find_fault(SOURCE, PAGE, table)


def test_swapped_numbers_on_the_page_fail(verdicts, table):
    page = PAGE.replace("0.700", "x").replace("0.800", "0.700").replace("x", "0.800")
    assert "The page printed:\nalone: 0.800." in verdicts.find_fault(SOURCE, page, table)


def test_a_verdict_that_is_always_the_same_fails(verdicts, table):
    source = SOURCE.partition("def say_verdicts")[0] + (
        "def say_verdicts(results):\n    print('Federated is better.')\n"
    )
    page = PAGE.replace("    alone: 0.700.\n    federated: 0.800.\n", "")
    assert "depends on the results" in verdicts.find_fault(source, page, table)


def test_a_verdict_that_reads_more_than_the_table_fails(verdicts, table):
    source = SOURCE.replace('    scores = results.set_index("arm")["value"]\n', "")
    fault = verdicts.find_fault(source, PAGE, table)
    assert "'scores', which the page computes" in fault


def test_a_table_that_is_missing_fails(verdicts, table):
    table.unlink()
    assert "page.csv" in verdicts.find_fault(SOURCE, PAGE, table)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_page_concludes_from_the_table_that_it_writes(verdicts, path):
    source = path.read_text("utf-8")
    assert callable(verdicts.find_verdict(source))
    assert f"\n{verdicts.CALL}\n" in source
    assert f'"{path.stem.split("_", 2)[2]}")' in source  # write_results(results, "<page>")

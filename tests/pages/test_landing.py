"""The landing page: its figure shows the numbers of the main page, on both backgrounds."""

from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest
from sphinx.errors import ExtensionError

mpl.use("Agg")

from matplotlib.colors import to_rgb

from helpers.evaluation import seed_interval
from helpers.evaluation.gains import MEAN

ROOT = Path(__file__).parents[2]
VALUES = {"alone": [0.80, 0.82], "federated": [0.90, 0.91], "pooled": [0.92, 0.90]}


@pytest.fixture(scope="module")
def landing(load_from_docs):
    return load_from_docs("landing_page")


def _write(folder, values):
    rows = [
        (seed, arm, hospital, "auc", value - (hospital == "A"))
        for arm, of_seeds in values.items()
        for seed, value in enumerate(of_seeds)
        for hospital in ("A", MEAN)
    ]
    folder.mkdir(parents=True)
    columns = ["seed", "arm", "hospital", "metric", "value"]
    table = pd.DataFrame(rows, columns=columns)
    table.to_csv(folder / "federated_chest_xrays.csv", index=False)


def test_this_builds_results_come_before_the_study(landing, tmp_path):
    docs = tmp_path / "docs"
    with pytest.raises(ExtensionError, match="make studies"):
        landing.read_scores(docs)
    _write(docs / "studies", {arm: [0.5, 0.5] for arm in VALUES})
    assert (landing.read_scores(docs) == 0.5).all(axis=None)
    _write(tmp_path / "examples" / "results", VALUES)
    scores = landing.read_scores(docs)
    assert {arm: scores[arm].tolist() for arm in scores} == VALUES


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_shows_means_and_intervals(landing, theme):
    (ax,) = landing.draw(pd.DataFrame(VALUES), theme).axes
    bars = [line.get_xdata() for line in ax.lines if len(line.get_xdata()) == 2]
    means = [line.get_xdata()[0] for line in ax.lines if len(line.get_xdata()) == 1]
    for values, bar, mean in zip(VALUES.values(), bars, means, strict=True):
        assert (mean, *bar) == pytest.approx(seed_interval(values))
    assert "together, no film leaves: 0.91" in [text.get_text() for text in ax.texts]
    assert "2 seeds" in ax.get_xlabel()


@pytest.mark.parametrize(("theme", "paper"), [("light", "#ffffff"), ("dark", "#14181e")])
def test_what_is_written_can_be_read_on_its_background(landing, theme, paper):
    def luminance(color):
        parts = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    text, colors = landing.COLORS[theme]
    for color in (text, *colors.values()):
        light, dark = sorted((luminance(color), luminance(paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5  # WCAG 2.1, contrast of text

"""The landing page's figure: what the main page found, drawn when the site is built."""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from sphinx.errors import ExtensionError

from helpers.evaluation import seed_interval
from helpers.evaluation.gains import MEAN

PAGE = "federated_chest_xrays"
FOLDER = Path("generated", "landing")
AFTER_GALLERY = 900  # sphinx-gallery builds its pages on "builder-inited" with priority 500
LABELS = {
    "alone": "each hospital alone",
    "federated": "together, no film leaves",
    "pooled": "all films in one place",
}
# Text, and the three ways; seen on white, and on the theme's dark background.
COLORS = {
    "light": ("#222832", {"alone": "#5c6570", "federated": "#0072b2", "pooled": "#5c6570"}),
    "dark": ("#ced6dd", {"alone": "#a9b4c0", "federated": "#56b4e9", "pooled": "#a9b4c0"}),
}


def read_scores(docs):
    """Read the main page's scores: those of this build, else those of its study.

    Parameters
    ----------
    docs : path
        The folder of the site's sources.

    Returns
    -------
    pandas.DataFrame
        Seeds below each other, a column for each way; the mean of the hospitals' AUC.
    """
    places = [Path(docs, "..", "examples", "results"), Path(docs, "studies")]
    paths = [folder / f"{PAGE}.csv" for folder in places]
    found = [path for path in paths if path.is_file()]
    if not found:
        raise ExtensionError(f"Expected the results of {PAGE}. Run 'make html' or 'make studies'.")
    results = pd.read_csv(found[0])
    rows = results[(results["metric"] == "auc") & (results["hospital"] == MEAN)]
    return rows.pivot(index="seed", columns="arm", values="value")[[*LABELS]]


def draw(scores, theme):
    """Draw the three ways below each other, each with its interval over seeds and its name.

    Parameters
    ----------
    scores : pandas.DataFrame
        As :func:`read_scores` returns them.
    theme : {"light", "dark"}
        On what background.

    Returns
    -------
    matplotlib.figure.Figure
        The figure, on a transparent background.
    """
    text, colors = COLORS[theme]
    figure, ax = plt.subplots(figsize=(5.4, 2.5), layout="constrained")
    figure.patch.set_alpha(0)
    ax.patch.set_alpha(0)
    for place, (arm, label) in enumerate(LABELS.items()):
        mean, low, high = seed_interval(scores[arm])
        ax.plot([low, high], [place, place], color=colors[arm], linewidth=4, solid_capstyle="round")
        ax.plot(mean, place, "o", color=colors[arm], markersize=11)
        ax.annotate(
            f"{label}: {mean:.2f}",
            (mean, place),
            (0, 11),
            textcoords="offset points",
            ha="center",
            color=colors[arm],
            fontsize=11,
            weight="bold" if arm == "federated" else "normal",
        )
    seeds = f"{len(scores)} seed{'s' if len(scores) > 1 else ''}"
    ax.set_yticks([])
    ax.set(ylim=(2.4, -0.8), xlabel=f"AUC at home, mean of the hospitals, {seeds}")
    ax.margins(x=0.35)
    ax.xaxis.label.set_color(text)
    ax.tick_params(colors=text)
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(text)
    return figure


def draw_figures(app):
    """Write the figure for both backgrounds."""
    folder = Path(app.srcdir, FOLDER)
    folder.mkdir(parents=True, exist_ok=True)
    scores = read_scores(app.srcdir)
    # No date and no random identifiers: the same results give the same files.
    with plt.rc_context({"svg.hashsalt": "landing", "svg.fonttype": "path"}):
        for theme in COLORS:
            figure = draw(scores, theme)
            figure.savefig(folder / f"{theme}.svg", metadata={"Date": None})
            plt.close(figure)


def setup(app):
    """Connect the figure to the build."""
    app.connect("builder-inited", draw_figures, priority=AFTER_GALLERY)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":  # the copy that the README shows
    docs = Path(__file__).parent
    figure = draw(read_scores(docs), "light")
    figure.patch.set_alpha(1)
    figure.savefig(docs / "_static" / "flagship.png", dpi=150)
    sys.exit(0)

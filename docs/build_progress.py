"""Progress of the gallery: pages run in the order of how long they take, and a line for each.

The pages run in several processes, which have one file in common: its first line says which pages
are to be run, every other one that a page has begun or ended.
"""

import json
import re
import sys
import time
from pathlib import Path

from sphinx_gallery.utils import get_md5sum

FILE = Path("generated", "progress.jsonl")
BEFORE_GALLERY = 100  # sphinx-gallery builds its pages on "builder-inited" with priority 500
# How long the pages took on two cores, one beside the other; only the ratios count.
SECONDS = {
    "plot_01_your_first_network": 30,
    "plot_02_your_first_federation": 25,
    "plot_11_federated_chest_xrays": 245,
    "plot_12_how_the_weights_travel": 45,
    "plot_21_first_look": 10,
    "plot_22_radiographs_to_hospitals": 10,
    "plot_31_was_it_worth_federating": 75,
    "plot_32_leakage": 50,
    "plot_33_strategies_side_by_side": 80,
    "plot_34_batch_norm_across_hospitals": 80,
    "plot_35_real_films": 5,
    "plot_36_a_network_that_is_not_trained_from_nothing": 40,
    "plot_41_an_exchange_one_can_trust": 15,
    "plot_42_hostile_hospitals": 75,
    "plot_43_smaller_updates_and_a_curious_aggregator": 35,
    "plot_44_privacy_by_noise": 100,
    "plot_45_an_aggregation_that_sees_only_sums": 25,
    "plot_46_what_an_update_reveals": 60,
    "plot_51_audit_without_pooling": 15,
    "plot_52_weights_and_thresholds": 45,
    "plot_53_calibration_and_alarms": 25,
    "plot_61_where_the_network_looks": 45,
    "plot_62_can_a_heat_map_be_trusted": 45,
    "plot_63_a_shortcut_and_what_federation_does_to_it": 45,
    "plot_64_concepts_and_channels": 50,
    "plot_65_what_each_hospital_contributed": 30,
    "plot_71_track_and_configure": 20,
    "plot_72_hand_over": 25,
    "plot_73_serve": 15,
    "plot_91_exactness": 45,
    "plot_92_what_local_mode_costs": 50,
}


def longest_first(page):
    """Sort key: the page that takes longest comes first, so that no core waits for it at the end.

    Parameters
    ----------
    page : str
        Name or path of the script.

    Returns
    -------
    tuple
        What pages are sorted by.
    """
    name = Path(page).stem
    return (-SECONDS.get(name, 0), name)


def estimate_left(seconds, began, ended, now, n_workers):
    """Estimate how long the pages that have not ended will take.

    Parameters
    ----------
    seconds : dict of str to float
        The pages of this build, and what they usually take.
    began, ended : dict of str to float
        Pages, and when they began or ended, in seconds.
    now : float
        The time.
    n_workers : int
        Pages that run at the same time.

    Returns
    -------
    float
        Seconds, at the pace of the pages that have ended.

    Examples
    --------
    >>> usual = {"a": 10, "b": 20, "c": 40}
    >>> estimate_left(usual, {"a": 0, "b": 0}, {"a": 20}, now=20, n_workers=2)
    50.0
    """
    pace = sum(ended[page] - began[page] for page in ended) / sum(seconds[page] for page in ended)
    left = {
        page: max(0, pace * usual - (now - began.get(page, now)))
        for page, usual in seconds.items()
        if page not in ended
    }
    return max([sum(left.values()) / n_workers, *left.values()])


def plan_pages(app):
    """Write down which pages this build runs: those that match, and that have changed."""
    settings = app.config.sphinx_gallery_conf
    pages = Path(app.srcdir, settings["examples_dirs"])
    matches = re.compile(settings.get("filename_pattern") or "plot_").search
    wanted = [page for page in pages.glob("plot_*.py") if matches(str(page))]
    changed = [page.stem for page in wanted if not _is_current(page, app)]
    file = Path(app.srcdir, FILE)
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(sorted(changed)) + "\n", "utf-8")


def report_page(gallery_conf, fname, when):
    """Note that a page has begun, or say how long it took and how long the others will take.

    Parameters
    ----------
    gallery_conf : dict
        The gallery's configuration.
    fname : path or None
        The page; None while sphinx-gallery enters a folder.
    when : {"before", "after"}
        Whether the page is about to run or has run.
    """
    file = Path(gallery_conf["src_dir"], FILE)
    if fname is None or not file.is_file():
        return
    now, page = time.time(), Path(fname).stem
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps([when, page, now]) + "\n")
    if when == "before":
        return
    planned, *events = (json.loads(line) for line in file.read_text("utf-8").splitlines())
    began = {page: at for event, page, at in events if event == "before"}
    ended = {page: at for event, page, at in events if event == "after"}
    usual = {page: SECONDS.get(page, 60) for page in {*planned, *ended}}
    left = estimate_left(usual, began, ended, now, int(gallery_conf["parallel"]) or 1)
    sys.stderr.write(
        f"{page}: {now - began[page]:.0f} s, {len(ended)} of {len(usual)} pages"
        + (f", about {max(1, round(left / 60))} min left\n" if left else "\n")
    )


def _is_current(page, app):
    """Whether sphinx-gallery has run the page as it is now, and will skip it."""
    folder = Path(app.srcdir, app.config.sphinx_gallery_conf["gallery_dirs"])
    stamp = folder / f"{page.name}.md5"
    return stamp.is_file() and stamp.read_text("utf-8") == get_md5sum(page, "t")


def setup(app):
    """Plan the pages before the gallery runs them."""
    app.connect("builder-inited", plan_pages, priority=BEFORE_GALLERY)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Run the pages that have a study with several seeds, and keep their tables in this folder.

``make studies`` takes hours on two cores. ``make studies O="strategies --seeds 5"`` runs the pages
whose names contain a text.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm.auto import tqdm

from helpers.studies import gather_study

EXAMPLES = Path(__file__).parents[2] / "examples"


def main(arguments: list[str] | None = None) -> None:
    """Run the studies from the command line.

    Parameters
    ----------
    arguments : list of str, optional
        Default: those of the process.
    """
    parser = argparse.ArgumentParser(description="Run pages with several seeds.")
    parser.add_argument("pages", nargs="*", help="texts in the names of the pages; default: all")
    parser.add_argument("--seeds", type=int, default=5, help="how many seeds, from 0 on (5)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="runs side by side")
    options = parser.parse_args(arguments)
    pages = [page for page in find_pages() if fits(page, options.pages)]
    if not pages or options.seeds < 2 or options.jobs < 1:
        parser.error(
            "Expected texts in the names of pages, at least two seeds and one job. The pages are "
            f"{[name_of(page) for page in find_pages()]}."
        )
    for page in pages:
        run_study(page, range(options.seeds), options.jobs)


def find_pages() -> list[Path]:
    """List the pages that join a study, in the order of the gallery.

    Returns
    -------
    list of pathlib.Path
        Their scripts.
    """
    pages = sorted(EXAMPLES.glob("plot_*.py"))
    return [page for page in pages if "join_study(" in page.read_text("utf-8")]


def fits(page: Path, texts: list[str]) -> bool:
    """Return whether the name of a page contains one of the texts; none fits all.

    Parameters
    ----------
    page : pathlib.Path
        Its script.
    texts : list of str
        The texts.

    Returns
    -------
    bool
        Whether it does.
    """
    return not texts or any(text in page.stem for text in texts)


def name_of(page: Path) -> str:
    """Return the name of a page: that of its script without ``plot_NN_``.

    Parameters
    ----------
    page : pathlib.Path
        Its script.

    Returns
    -------
    str
        The name.
    """
    return page.stem.split("_", 2)[2]


def run_study(page: Path, seeds: range, jobs: int) -> None:
    """Run a page with each seed, each in a process and a folder of its own, and keep the table.

    Parameters
    ----------
    page : pathlib.Path
        Its script.
    seeds : range
        The seeds.
    jobs : int
        How many run side by side.
    """
    name, start = name_of(page), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:

        def run(seed):
            own = Path(folder, str(seed))
            own.mkdir()
            variables = {"CHEST_XRAYS_STUDY": folder, "CHEST_XRAYS_SEED": str(seed)}
            threads = str(max(1, (os.cpu_count() or 1) // jobs))
            for kind in ("INTRA", "INTER"):
                variables[f"TF_NUM_{kind}OP_THREADS"] = threads
            done = subprocess.run(
                [sys.executable, page],
                cwd=own,
                env={"MPLBACKEND": "Agg", "TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, **variables},
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"{name}, seed {seed}:\n{done.stdout[-2000:]}{done.stderr}")

        with ThreadPoolExecutor(jobs) as pool:
            list(tqdm(pool.map(run, seeds), total=len(seeds), desc=name, unit="seed"))
        minutes = (time.monotonic() - start) / 60
        for study in sorted({path.name.split(".")[0] for path in Path(folder).glob("*.csv")}):
            print(gather_study(study, folder, minutes=minutes))


if __name__ == "__main__":
    main()

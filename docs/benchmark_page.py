"""The benchmark's page: figures, tables and numbers out of the committed JSON, at build time."""

import json
import statistics
from pathlib import Path
from string import Template

from sphinx.errors import ExtensionError

PAGE = "benchmark/index"
DATA = Path("benchmark", "local_mode.json")
FIGURES = Path("generated", "benchmark")
NAMES = {"flwr": "Flower", "ray": "Ray"}


def read_report(folder):
    """Read the committed results, or say how to make them."""
    try:
        return json.loads(Path(folder, DATA).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ExtensionError(f"Expected docs/{DATA.as_posix()}. Run 'make benchmark'.") from error


def draw_figures(app):
    """Write the figures before the page is read."""
    import matplotlib.pyplot as plt

    from helpers.local_mode.benchmark.figures import plot_arms, plot_scaling

    report = read_report(app.srcdir)
    folder = Path(app.srcdir, FIGURES)
    folder.mkdir(parents=True, exist_ok=True)
    # No date and no random identifiers: the same results give the same files.
    with plt.rc_context({"svg.hashsalt": "benchmark", "svg.fonttype": "path"}):
        for name, figure in {
            "arms": plot_arms(report).figure,
            "scaling": plot_scaling(report)[0].figure,
        }.items():
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


def fill_page(app, docname, source):
    """Put the numbers into the page's text."""
    if docname == PAGE:
        app.env.note_dependency(str(Path(app.srcdir, DATA)), docname=docname)
        source[0] = Template(source[0]).substitute(describe(read_report(app.srcdir)))


def describe(report):
    """Turn a report into the words and tables of the page."""
    machine, ratios, work = report["machine"], report["ratios"], report["work"]
    memory = machine["memory"]
    versions = dict(report["versions"])
    flower = versions.pop("flower", None)
    text = {
        "measured_on": report["measured_on"],
        "machine": ", ".join(
            [
                f"{machine['cores']} cores",
                *([f"of {machine['cpu']}"] if machine["cpu"] else []),
                *([f"{memory / 2**30:.0f} GiB of memory"] if memory else []),
                machine["system"],
            ]
        ),
        "versions": _list_versions(versions),
        "flower_versions": _list_versions(flower) if flower else "not installed",
        "repeats": str(max(len(samples) for samples in report["seconds"].values())),
        "trainings": str(work["rounds"] + 1),
        "n_tasks": str(report["n_tasks"]),
        "arms": _tabulate_arms(report["seconds"]),
        "scaling": _tabulate_scaling(report),
    }
    text |= {name: str(value) for name, value in work.items()}
    text |= {name: "–" if value is None else f"{value:z.2f}" for name, value in ratios.items()}
    return text


def _list_versions(versions):
    return ", ".join(f"{NAMES.get(name, name)} {number}" for name, number in versions.items())


def _tabulate_arms(seconds):
    from helpers.local_mode.benchmark.figures import LABELS

    rows = []
    for arm, label in LABELS.items():
        samples = seconds.get(arm)
        if not samples:
            rows.append([label, "–", "not measured", "–"])
            continue
        median = statistics.median(samples)
        ours = seconds.get("ours")
        times = f"{median / statistics.median(ours):.2f}" if ours else "–"
        rows.append([label, f"{median:.1f}", ", ".join(f"{s:.1f}" for s in samples), times])
    return _to_table(["Arm", "Median, s", "Every sample, s", "Times ours"], rows)


def _tabulate_scaling(report):
    from helpers.local_mode.benchmark.figures import task_cost

    head = ["What", "Value", "Tasks", "Whole run, s", "Per task, s", "Of it overhead, s", "Memory"]
    rows = []
    for name, points in report["scaling"].items():
        for point in points:
            memory = point.get("opener_memory")
            rows.append(
                [
                    name,
                    f"{point['value']:,}",
                    str(point["n_tasks"]),
                    f"{statistics.median(point['seconds']):.1f}",
                    f"{task_cost(report, point):.2f}",
                    f"{point['task_overhead_s']:z.2f}",
                    "–" if memory is None else f"{memory / 1e6:.1f} MB",
                ]
            )
    return _to_table(head, rows or [["not measured", *["–"] * 6]])


def _to_table(head, rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in [head, *rows]:
        lines += [f"   {'*' if number == 0 else ' '} - {cell}" for number, cell in enumerate(row)]
    return "\n".join(lines)


def setup(app):
    """Connect the page to the build."""
    app.connect("builder-inited", draw_figures)
    app.connect("source-read", fill_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

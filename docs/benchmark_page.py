"""The benchmark's page: figures, tables and numbers out of the committed JSON, at build time."""

import json
import statistics
from pathlib import Path
from string import Template

import matplotlib.pyplot as plt
from sphinx.errors import ExtensionError

PAGE = "benchmark/index"
DATA = Path("benchmark", "local_mode.json")
SERVICE = Path("benchmark", "service.json")
MASKING = Path("benchmark", "masking.json")
FIGURES = Path("generated", "benchmark")
NAMES = {"flwr": "Flower", "ray": "Ray"}
LABELS = {
    "bare_loop": "bare Keras loop",
    "simulate": "in memory",
    "ours": "forked tasks (ours)",
    "stock": "Substra's own tasks",
    "torch_stock": "Substra's own tasks, PyTorch",
    "flower": "Flower's simulation",
}
FLAT = 0.15  # share of the first point within which a cost counts as flat
_OURS, _OTHERS, _SAMPLES = "#0072B2", "0.75", "#D55E00"
_MB = 1e6  # bytes


def read_report(folder):
    """Read the committed results, or say how to make them."""
    try:
        return json.loads(Path(folder, DATA).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ExtensionError(f"Expected docs/{DATA.as_posix()}. Run 'make benchmark'.") from error


def draw_figures(app):
    """Write the figures before the page is read."""
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


def plot_arms(report):
    """Draw the seconds of each arm: bars are medians, dots are the samples."""
    ax = plt.subplots(figsize=(7, 3), layout="constrained")[1]
    arms = [arm for arm in LABELS if report["seconds"].get(arm)]
    for place, arm in enumerate(arms):
        samples = report["seconds"][arm]
        median = statistics.median(samples)
        ax.barh(place, median, color=_OURS if arm == "ours" else _OTHERS, height=0.7)
        ax.plot(samples, [place] * len(samples), "o", color=_SAMPLES, markersize=4)
        right = (max(samples), place)
        ax.annotate(f"{median:.0f} s", right, (6, 0), textcoords="offset points", va="center")
    if report["imports"]:
        imports = statistics.median(report["imports"])
        ax.axvline(imports, color="black", linestyle=":", label="imports alone")
        ax.legend(loc="lower right", fontsize=8)
    ax.set_yticks(range(len(arms)), [LABELS[arm] for arm in arms])
    ax.invert_yaxis()
    ax.margins(x=0.12)
    ax.set_xlim(left=0)
    ax.set(xlabel="seconds, whole process")
    return ax


def task_cost(report, point):
    """Work out the seconds of one task, its work included: imports are taken off, nothing else."""
    run = statistics.median(point["seconds"]) - statistics.median(report["imports"])
    return run / point["n_tasks"]


def plot_scaling(report):
    """Draw how the cost grows; the panel of what was not measured stays empty."""
    axes = plt.subplots(2, 2, figsize=(7, 5), layout="constrained")[1].ravel()
    panels = {
        "hospitals": "hospitals",
        "rounds": "rounds",
        "films": "films to train on, each hospital",
        "parameters": "parameters of the model",
    }
    for ax, (name, label) in zip(axes, panels.items(), strict=True):
        points = report["scaling"].get(name, [])
        values = [point["value"] for point in points]
        ax.set(xscale="log", xlabel=label)
        if name == "films":
            _draw_memory(ax, points, report["work"]["size"])
        else:
            costs = [task_cost(report, point) for point in points]
            overheads = [point["task_overhead_s"] for point in points]
            if points and name != "parameters":
                ax.axhspan(costs[0] * (1 - FLAT), costs[0] * (1 + FLAT), color="0.9")
            ax.plot(values, costs, "o-", color=_OURS, label="time per task")
            ax.plot(values, overheads, "o:", color=_SAMPLES, label="of it overhead")
            ax.set_ylim(bottom=min([0, *overheads]) * 1.1, top=max([0.25, *costs]) * 1.2)
            ax.set_ylabel("seconds")
            ax.legend(fontsize=8)
        ax.set_xticks(values, [f"{value:,}" for value in values])
        ax.minorticks_off()
    return axes


def _draw_memory(ax, points, size):
    """Draw the opener's memory below that of the films that it opens."""
    points = [point for point in points if point.get("opener_memory") is not None]
    values = [point["value"] for point in points]
    ax.plot(values, [n * size**2 / _MB for n in values], "--", color="0.5", label="the films")
    memory = [point["opener_memory"] / _MB for point in points]
    ax.plot(values, memory, "o-", color=_OURS, label="the opener")
    if points:
        ax.set_yscale("log")
        ax.legend(fontsize=8)
    ax.set_ylabel("memory, MB")


def fill_page(app, docname, source):
    """Put the numbers into the page's text."""
    if docname == PAGE:
        app.env.note_dependency(str(Path(app.srcdir, DATA)), docname=docname)
        service, masking = (
            json.loads(Path(app.srcdir, path).read_text("utf-8")) for path in (SERVICE, MASKING)
        )
        text = describe(read_report(app.srcdir)) | describe_service(service)
        text |= describe_masking(masking)
        source[0] = Template(source[0]).substitute(text)


def describe_service(report):
    """Turn the measurement of the service into the words of the page."""
    speeds = report["films_a_core_and_second"]
    return {
        "service_on": report["measured_on"],
        "service_speed": f"{speeds['64']:,}",
        "service_speed_large": f"{speeds['1024']:,}",
        "clients": str(report["clients"]),
        "lost": str(report["lost"]),
        "median_client": f"{report['median_s']:.2f}",
        "slow_client": f"{report['percentile_95_s']:.2f}",
        "within_a_second": f"{report['within_a_second']:.0%}",
    }


def describe_masking(report):
    """Turn the measurement of masks into the table and the words of the page."""
    times = {(case["weights"], case["hospitals"]): case["seconds"] for case in report["cases"]}
    weights, hospitals = (sorted(set(values)) for values in zip(*times, strict=True))
    few, some, many = hospitals

    def cost_of_one_more(n, start, end):
        return (times[n, end] - times[n, start]) / (end - start)

    growth = [cost_of_one_more(n, some, many) / cost_of_one_more(n, few, some) for n in weights]
    ratios = sorted({case["bytes_over_float32"] for case in report["cases"]})
    rows = [[f"{n:,}", *(f"{times[n, k]:.3g} s" for k in hospitals)] for n in weights]
    return {
        "masking": _to_table(["Weights", *(f"{k} hospitals" for k in hospitals)], rows),
        "masking_on": report["measured_on"],
        "masking_bytes": " to ".join(f"{ratio:.2f}" for ratio in ratios),
        "masking_linear": ", ".join(f"{ratio:.2f}" for ratio in growth),
    }


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
                    "–" if memory is None else f"{memory / _MB:.1f} MB",
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

"""Figures of a benchmark's report, for the page that shows it."""

import statistics

import matplotlib.pyplot as plt

LABELS = {
    "bare_loop": "bare Keras loop",
    "simulate": "in memory",
    "ours": "forked tasks (ours)",
    "stock": "Substra's own tasks",
    "torch_stock": "Substra's own tasks, PyTorch",
    "flower": "Flower's simulation",
}
FLAT = 0.15  # share of the smallest point's overhead within which a cost counts as flat
_OURS, _OTHERS, _SAMPLES = "#0072B2", "0.75", "#D55E00"
_MB = 1e6  # bytes


def plot_arms(report, *, ax=None):
    """Draw the seconds of each arm: bars are medians, dots are the samples.

    Parameters
    ----------
    report : dict
        As :meth:`helpers.local_mode.benchmark.report.Report.summarize` returns it.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or plt.subplots(figsize=(7, 3), layout="constrained")[1]
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


def plot_scaling(report, *, axes=None):
    """Draw how the cost grows: with hospitals, rounds, films and parameters.

    Parameters
    ----------
    report : dict
        As :meth:`helpers.local_mode.benchmark.report.Report.summarize` returns it.
    axes : array of 4 matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        The axes. What was not measured stays empty.
    """
    if axes is None:
        axes = plt.subplots(2, 2, figsize=(7, 5), layout="constrained")[1]
    axes = axes.ravel()
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
            overheads = [point["task_overhead_s"] for point in points]
            if points and name != "parameters":
                edges = [overheads[0] * (1 - FLAT), overheads[0] * (1 + FLAT)]
                ax.axhspan(*edges, color="0.9", label=f"±{FLAT:.0%}")
                ax.legend(loc="lower right", fontsize=8)
            ax.plot(values, overheads, "o-", color=_OURS)
            ax.set_ylim(bottom=min(0, *overheads, 0) * 1.1, top=max([0.25, *overheads]) * 1.1)
            ax.set_ylabel("overhead per task, s")
        ax.set_xticks(values, [f"{value:,}" for value in values])
        ax.minorticks_off()
    return axes


def _draw_memory(ax, points, size):
    """Draw the opener's memory below that of the films that it opens."""
    points = [point for point in points if point.get("opener_memory")]
    values = [point["value"] for point in points]
    ax.plot(values, [n * size**2 / _MB for n in values], "--", color="0.5", label="the films")
    memory = [point["opener_memory"] / _MB for point in points]
    ax.plot(values, memory, "o-", color=_OURS, label="the opener")
    if points:
        ax.set_yscale("log")
        ax.legend(fontsize=8)
    ax.set_ylabel("memory, MB")

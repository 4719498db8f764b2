"""Figures of a benchmark's report, for the page that shows it."""

import statistics

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

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


def plot_arms(report: dict, *, ax: Axes | None = None) -> Axes:
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


def task_cost(report: dict, point: dict) -> float:
    """Work out the seconds of one task, its work included: imports are taken off, nothing else.

    Parameters
    ----------
    report : dict
        As :meth:`helpers.local_mode.benchmark.report.Report.summarize` returns it.
    point : dict
        One entry of its ``scaling``.

    Returns
    -------
    float
        (whole process - imports) / number of tasks, of the medians.
    """
    run = statistics.median(point["seconds"]) - statistics.median(report["imports"])
    return run / point["n_tasks"]


def plot_scaling(report: dict, *, axes: np.ndarray | None = None) -> np.ndarray:
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

"""Plots: tables and films drawn on Matplotlib axes, with one color for each hospital."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

# Okabe & Ito's palette, distinguishable without color vision; the arms are grey and black.
_PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#F0E442")
ARM_STYLES = {
    "alone": {"color": "0.6", "linestyle": ":", "marker": "o"},
    "federated": {"color": "black", "linestyle": "-", "marker": "s"},
    "pooled": {"color": "0.35", "linestyle": "--", "marker": "D"},
}
OPERATION_COLORS = {
    "initialize": "#56B4E9",
    "train": "#0072B2",
    "aggregate": "#D55E00",
    "evaluate": "#009E73",
}


def hospital_colors(hospitals):
    """Choose a color for each hospital, the same on every figure of a page.

    Parameters
    ----------
    hospitals : iterable of str
        Names; their sorted order decides.

    Returns
    -------
    dict of str to str
        Name to color; the palette starts again after seven.
    """
    names = sorted(set(hospitals))
    return {name: _PALETTE[number % len(_PALETTE)] for number, name in enumerate(names)}


def plot_films(films, titles=None, *, n_columns=6, axes=None):
    """Show films side by side.

    Parameters
    ----------
    films : sequence of numpy.ndarray, each of shape (H, W) or (H, W, 1)
        Grey levels, uint8.
    titles : sequence of str, optional
        One for each film.
    n_columns : int, default=6
        Films in a row; used when ``axes`` is not given.
    axes : array of matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    numpy.ndarray of matplotlib.axes.Axes
        The axes that hold a film.
    """
    if axes is None:
        n_columns = min(n_columns, len(films))
        n_rows = -(-len(films) // n_columns)
        _, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(1.6 * n_columns, (1.6 + 0.35 * (titles is not None)) * n_rows),
            layout="constrained",
            squeeze=False,
        )
    axes = np.ravel(axes)
    for ax in axes:
        ax.set_axis_off()
    for number, film in enumerate(films):
        axes[number].imshow(np.squeeze(film), cmap="gray", vmin=0, vmax=255)
        if titles is not None:
            axes[number].set_title(titles[number], fontsize=8)
    return axes[: len(films)]


def plot_counts(counts, *, ax=None):
    """Draw how many films each hospital and split has, with and without the finding.

    Parameters
    ----------
    counts : pandas.DataFrame
        As :func:`helpers.data.count_hospitals` returns it: columns ``hospital``, ``split``,
        ``films`` and ``positive``.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or _new_axes()
    colors = hospital_colors(counts["hospital"])
    places = np.arange(len(counts))
    fill = counts["hospital"].map(colors)
    ax.bar(places, counts["films"], color=fill, alpha=0.35, label="without")
    ax.bar(places, counts["positive"], color=fill, label="with the finding")
    ax.set_xticks(places, counts["split"], rotation=90, fontsize=8)
    for hospital, rows in counts.reset_index(drop=True).groupby("hospital", sort=False):
        ax.text(
            rows.index.to_numpy().mean(),
            counts["films"].max() * 1.03,
            hospital.replace("_", " "),
            ha="center",
            color=colors[hospital],
            fontsize=9,
        )
    ax.set(ylabel="films (dark: with the finding)", ylim=(0, counts["films"].max() * 1.12))
    return ax


def plot_shares(table, column, *, by, ax=None):
    """Draw how a category is distributed within groups, as stacked shares.

    Parameters
    ----------
    table : pandas.DataFrame
        One row for each film.
    column : str
        The category; missing values are shown as "unknown".
    by : str
        The groups, one bar each.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or _new_axes()
    values = table[column].astype("object").where(table[column].notna(), "unknown").astype(str)
    shares = table.assign(**{column: values}).groupby([by, column]).size().unstack(fill_value=0)
    shares = shares.div(shares.sum(axis="columns"), axis="index")
    left = np.zeros(len(shares))
    greys = plt.get_cmap("cividis")(np.linspace(0.1, 0.9, shares.shape[1]))
    names = [str(name).replace("_", " ") for name in shares.index]
    for color, (value, share) in zip(greys, shares.items(), strict=True):
        ax.barh(names, share, left=left, color=color, label=value)
        left += share.to_numpy()
    ax.invert_yaxis()
    ax.set(xlabel="share of films", xlim=(0, 1), title=column.replace("_", " "))
    ax.legend(
        fontsize=8,
        ncols=min(4, shares.shape[1]),
        loc="upper center",
        bbox_to_anchor=(0.5, -0.22),
        frameon=False,
    )
    return ax


def plot_label_shares(shares, *, colors=None, ax=None):
    """Draw the share of positive films of several groups, each as a dot as large as the group.

    Parameters
    ----------
    shares : pandas.DataFrame
        As :func:`helpers.data.summary.share_labels` returns it: a row for each group, columns
        ``films``, ``share``, ``low`` and ``high``.
    colors : dict of str to str, optional
        Color of each group, such as :func:`hospital_colors` returns; black by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or _new_axes()
    color = ["black" if colors is None else colors[group] for group in shares.index]
    names = [
        f"{str(group).replace('_', ' ')} ({films:,})" for group, films in shares["films"].items()
    ]
    ax.hlines(names, shares["low"], shares["high"], color=color, linewidth=2, alpha=0.5)
    areas = 150 * shares["films"] / shares["films"].max()
    ax.scatter(shares["share"], names, s=10 + areas, c=color, zorder=3)
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
    ax.set(
        xlabel="share of films with the finding", xlim=(-0.03, 1.03), ylim=(len(names) - 0.5, -0.5)
    )
    return ax


def plot_association(association, *, ax=None):
    """Draw how far columns tell each other, pair by pair; the diagonal is left empty.

    Parameters
    ----------
    association : pandas.DataFrame
        As :func:`helpers.data.summary.measure_association` returns it: square, values in [0, 1].
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or _new_axes()
    names = [name.replace("_", " ") for name in association]
    shown = association.mask(np.eye(len(names), dtype=bool))
    ax.imshow(shown, cmap="Greys", vmin=0, vmax=0.5)  # above 0.5 all is black
    for (row, column), value in np.ndenumerate(association.to_numpy()):
        if row != column:
            color = "white" if value > 0.3 else "black"
            ax.text(column, row, f"{value:.2f}", ha="center", va="center", color=color)
    ax.set_xticks(range(len(names)), names, rotation=30, ha="right")
    ax.set_yticks(range(len(names)), names)
    return ax


def plot_rounds(results, *, metric="auc", ax=None):
    """Draw the score after each round: every hospital alone, federated, pooled.

    Parameters
    ----------
    results : pandas.DataFrame
        A tidy table with the column ``trained_at``; scores are averaged over test hospitals
        and seeds.
    metric : str, default="auc"
        Which metric.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or _new_axes()
    rows = results[results["metric"] == metric]
    curves = rows.groupby(["arm", "trained_at", "round"])["value"].mean()
    colors = hospital_colors(results["hospital"])
    for (arm, trained_at), curve in curves.groupby(level=["arm", "trained_at"], sort=False):
        style = dict(ARM_STYLES.get(arm, {}))
        if arm == "alone":
            style["color"] = colors[trained_at]
        label = f"{trained_at.replace('_', ' ')} alone" if arm == "alone" else arm
        rounds = curve.index.get_level_values("round")
        ax.plot(rounds, curve, markersize=4, label=label, **style)
    ax.axhline(0.5, color="0.8", linewidth=1, zorder=0)
    ax.set(xlabel="round", ylabel=f"test {metric.upper()}, mean of the hospitals")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(fontsize=8)
    return ax


def plot_hospitals(results, *, metric="auc", ax=None):
    """Draw what each hospital has at the end: its own model, the federated, the pooled.

    Parameters
    ----------
    results : pandas.DataFrame
        A tidy table with the column ``trained_at``.
    metric : str, default="auc"
        Which metric.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    ax = ax or _new_axes()
    last = results[(results["metric"] == metric) & (results["round"] == results["round"].max())]
    own = last[(last["arm"] != "alone") | (last["trained_at"] == last["hospital"])]
    hospitals = list(own[own["arm"] == "federated"]["hospital"].unique())
    colors = hospital_colors(results["hospital"])
    for arm, rows in own.groupby("arm", sort=False):
        values = rows.groupby("hospital")["value"].mean().reindex(hospitals)
        style = ARM_STYLES.get(arm, {})
        edge = [colors[name] for name in hospitals] if arm == "alone" else style.get("color")
        ax.scatter(
            values,
            hospitals,
            marker=style.get("marker", "o"),
            s=130 if arm == "alone" else 50,  # a ring, seen around a point of the same score
            label=arm,
            facecolors="none" if arm == "alone" else edge,
            edgecolors=edge,
            zorder=3,
        )
    ax.axvline(0.5, color="0.8", linewidth=1, zorder=0)
    ax.set_yticks(hospitals, [name.replace("_", " ") for name in hospitals])
    ax.invert_yaxis()
    ax.grid(axis="y", color="0.9")
    ax.set(xlabel=f"{metric.upper()} on the hospital's own test films")
    ax.legend(fontsize=8)
    return ax


def plot_timeline(tasks, *, ax=None):
    """Draw when each task ran, in a lane for each hospital, and who waited for whom.

    A bar is a task, with its round, from start to end; the pale strip below it is the time that
    it was ready and waited for a core. Tasks of one hospital that overlap are drawn one below the
    other. An arrow leads from a task to one of another hospital that could not begin before it
    had ended. What was recalled from a store, and not run, is grey and hatched.

    Parameters
    ----------
    tasks : pandas.DataFrame
        As :meth:`helpers.local_mode.Federation.tasks` or
        :func:`helpers.local_mode.predict_tasks` returns it, in seconds.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes
        The axes.
    """
    lanes = _share_lanes(tasks)
    hospitals = list(dict.fromkeys(tasks["hospital"]))
    depth = lanes.groupby(tasks["hospital"]).max()[hospitals] + 1
    top = depth.cumsum() - depth + 0.4 * np.arange(len(depth))  # a gap between hospitals
    if ax is None:
        size = (9, 1.2 + 0.42 * (top.iloc[-1] + depth.iloc[-1]))
        ax = plt.subplots(figsize=size, layout="constrained")[1]
    tasks = tasks.assign(y=tasks["hospital"].map(top) + lanes)
    length = tasks["end"].max() or 1
    others = [name for name in tasks["operation"].unique() if name not in OPERATION_COLORS]
    colors = OPERATION_COLORS | dict.fromkeys(others, "0.5")
    for (operation, recalled), rows in tasks.groupby(["operation", "recalled"], sort=False):
        style = {"facecolor": colors[operation], "edgecolor": "white", "label": operation}
        if recalled:
            style = {"facecolor": "0.9", "edgecolor": "0.5", "hatch": "////", "label": "recalled"}
        if style["label"] in ax.get_legend_handles_labels()[1]:
            style.pop("label")
        ax.barh(rows["y"], rows["end"] - rows["start"], 0.6, rows["start"], **style)
    ax.barh(
        tasks["y"] + 0.38,
        tasks["start"] - tasks["ready"],
        0.12,
        tasks["ready"],
        color="0.4",
        alpha=0.3,  # where several wait, it gets darker
        label="waits for a core",
    )
    for row in tasks[tasks["end"] - tasks["start"] > 0.02 * length].itertuples():
        color = "black" if row.recalled else "white"
        middle = (row.start + row.end) / 2
        ax.text(middle, row.y, row.round, color=color, fontsize=8, ha="center", va="center")
    by_key = tasks.set_index("task")
    for row in tasks[tasks["waited_for"].isin(tasks["task"])].itertuples():
        parent = by_key.loc[row.waited_for]
        if parent["hospital"] != row.hospital:
            ax.annotate(
                "",
                (row.start, row.y),
                (parent["end"], parent["y"]),
                arrowprops={"arrowstyle": "->", "color": "0.3", "linewidth": 0.8, "shrinkB": 0},
                zorder=0.9,  # below the bars
            )
    names = [name.replace("_", " ") for name in hospitals]
    ax.set_yticks(top + (depth - 1) / 2, names)
    ax.set(xlabel="seconds since the plan's start; numbers: round", xlim=(0, 1.01 * length))
    ax.invert_yaxis()
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(fontsize=8, ncols=6, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    return ax


def _share_lanes(tasks):
    """Give each task a lane of its hospital in which it overlaps with no other."""
    lanes, ends = {}, {}
    # Evaluations come last, below the chain of trainings; rounding must not make an overlap.
    order = tasks.assign(side=tasks["operation"] == "evaluate").sort_values(["side", "start"])
    for row in order.itertuples():
        taken = ends.setdefault(row.hospital, [])
        free = (
            lane
            for lane, spans in enumerate(taken)
            if all(row.end <= start + 1e-6 or row.start >= end - 1e-6 for start, end in spans)
        )
        lanes[row.Index] = lane = next(free, len(taken))
        if lane == len(taken):
            taken.append([])
        taken[lane].append((row.start, row.end))
    return pd.Series(lanes).reindex(tasks.index)


def _new_axes():
    """Make the axes of a new figure."""
    return plt.subplots(figsize=(6, 4), layout="constrained")[1]

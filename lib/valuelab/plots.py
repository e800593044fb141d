"""Every figure of the course in one style: colours for colour-blind eyes, markers beside colour, readable text."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from valuelab.values import ANGLES, VALUES

COLORS = ("#1845fb", "#ff5e02", "#c91f16", "#c849a9", "#adad7d", "#86c8dd")  # petroff6
MARKERS = ("o", "s", "^", "D", "v", "P")
GREY = "#6b6b6b"
STYLE = {
    "figure.figsize": (7.0, 3.8),
    "figure.dpi": 90,
    "savefig.dpi": 90,
    "font.size": 11,
    "axes.titlesize": 12,
    "axes.labelsize": 11,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=COLORS),
    "legend.frameon": False,
    "svg.hashsalt": "valuelab",
}


def use() -> None:
    """Switch matplotlib to the course's style."""
    plt.rcParams.update(STYLE)


def figure(rows: int = 1, columns: int = 1, **options):
    """A figure and its axes in the course's style, closed to pyplot so that nothing shows twice."""
    use()
    fig, axes = plt.subplots(rows, columns, layout="constrained", **options)
    plt.close(fig)
    return fig, axes


def circle(profiles: dict[str, np.ndarray], title: str = "") -> Figure:
    """Value profiles on the circle of values.

    Args:
        profiles: name -> ten numbers in circle order; the first is filled, each has its own marker.
    """
    use()
    fig = plt.figure(figsize=(5.6, 5.2), layout="constrained")
    ax = fig.add_subplot(projection="polar")
    closed = np.append(ANGLES, ANGLES[0])
    for k, (name, values) in enumerate(profiles.items()):
        ring = np.append(values, values[0])
        ax.plot(closed, ring, color=COLORS[k], marker=MARKERS[k], label=name, linewidth=1.8, markersize=5,
                linestyle="-" if k == 0 else "--")  # fmt: skip
        if k == 0:
            ax.fill(closed, ring, color=COLORS[k], alpha=0.12)
    ax.set_xticks(ANGLES, VALUES)
    for label, x in zip(ax.get_xticklabels(), np.cos(ANGLES), strict=True):
        label.set_horizontalalignment("left" if x > 0.3 else "right" if x < -0.3 else "center")
    ax.tick_params(axis="x", pad=4)
    ax.yaxis.set_major_locator(plt.MaxNLocator(4))  # rings far enough apart for their numbers
    ax.set_rlabel_position(18)  # between two values, where no profile has a corner
    ax.set_title(title, pad=22)
    fig.legend(loc="outside lower center", ncols=min(3, len(profiles)))
    plt.close(fig)
    return fig


def bars(series: dict[str, np.ndarray], labels=VALUES, *, ylabel: str = "", title: str = "", errors=None) -> Figure:
    """Grouped bars, one group a label, with hatches beside colour; `errors` maps names to half-widths."""
    use()
    fig, ax = plt.subplots(figsize=(8.4, 3.8), layout="constrained")
    width, x = 0.8 / len(series), np.arange(len(labels))
    hatches = ("", "//", "..", "xx", "\\\\", "oo")
    for k, (name, values) in enumerate(series.items()):
        ax.bar(x + (k - (len(series) - 1) / 2) * width, values, width, label=name, color=COLORS[k],
               hatch=hatches[k], edgecolor="white", yerr=None if errors is None else errors.get(name),
               capsize=2)  # fmt: skip
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_xticks(x, labels, rotation=35, ha="right")
    ax.set(ylabel=ylabel, title=title)
    ax.legend()
    plt.close(fig)
    return fig


def curves(x, series: dict[str, np.ndarray], *, bands=None, xlabel="", ylabel="", title="", chance=None) -> Figure:
    """Lines with markers; `bands` maps a name to (low, high) arrays; `chance` draws a dashed level."""
    use()
    fig, ax = plt.subplots(layout="constrained")
    for k, (name, y) in enumerate(series.items()):
        ax.plot(x, y, color=COLORS[k % 6], marker=MARKERS[k % 6], label=name)
        if bands and name in bands:
            ax.fill_between(x, *bands[name], color=COLORS[k % 6], alpha=0.18, linewidth=0)
    if chance is not None:
        ax.axhline(chance, color=GREY, linestyle="--", linewidth=1, label="chance")
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    ax.legend()
    plt.close(fig)
    return fig


def matrix(values: np.ndarray, rows=VALUES, columns=VALUES, *, label: str = "", title: str = "") -> Figure:
    """A matrix with its numbers, zero in the middle of the colours."""
    use()
    fig, ax = plt.subplots(figsize=(7.6, 6.2), layout="constrained")
    top = float(np.abs(values).max()) or 1.0
    image = ax.imshow(values, cmap="RdBu_r", vmin=-top, vmax=top)
    ax.set_xticks(range(len(columns)), columns, rotation=40, ha="right")
    ax.set_yticks(range(len(rows)), rows)
    for i in range(len(rows)):
        for j in range(len(columns)):
            dark = abs(values[i, j]) > 0.6 * top
            ax.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=10,
                    color="white" if dark else "black")  # fmt: skip
    fig.colorbar(image, ax=ax, label=label, shrink=0.8)
    ax.set_title(title)
    plt.close(fig)
    return fig

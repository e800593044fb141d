"""The figures of a report, each drawn from the numbers of the JSON alone."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from valuelab import plots
from valuelab.values import VALUES, index

# one colour and one marker a condition, the same on every figure
LOOK = {
    "unsteered": (plots.GREY, "o"),
    "instruction": (plots.COLORS[3], "D"),
    "closed form": (plots.COLORS[0], "s"),
    "mean difference": (plots.COLORS[1], "^"),
}


def look(name: str) -> tuple[str, str, bool]:
    """Colour, marker, and whether the marker is filled: random twins are hollow."""
    twin = name.startswith("random, as ")
    color, marker = LOOK[name.removeprefix("random, as ")]
    return color, marker, not twin


def bounds(stored: dict[str, Any], scale: float = 1.0) -> list[list[float]]:
    """Error-bar lengths below and above the estimate, (2, 1); none where there is no interval."""
    e = stored["estimate"]
    low = e if stored["low"] is None else stored["low"]
    high = e if stored["high"] is None else stored["high"]
    return [[scale * (e - low)], [scale * (high - e)]]


def dot(ax: Any, x: float, y: float, name: str, horizontal: bool = True, **bars: Any) -> None:
    color, marker, full = look(name)
    key = "xerr" if horizontal else "yerr"
    ax.errorbar(
        x, y, **{key: bars["error"]}, color=color, marker=marker, markersize=8, capsize=3,
        markerfacecolor=color if full else "white", linestyle="none", label=bars.get("label"),
    )  # fmt: skip


def probe_curve(probe: dict[str, Any], value: str) -> Figure:
    """Held-out accuracy by layer, with what it must beat."""
    fig, ax = plots.figure(figsize=(6.4, 3.7))
    layers = sorted(int(k) for k in probe["layers"])
    for k, method in enumerate(("logistic", "mean difference")):
        rows = [probe["layers"][key(probe["layers"], layer)][method] for layer in layers]
        error = np.hstack([bounds(r) for r in rows])
        ax.errorbar(
            np.array(layers) + 0.06 * (2 * k - 1), [r["estimate"] for r in rows], yerr=error,
            color=plots.COLORS[k], marker=plots.MARKERS[k], capsize=3, label=method,
        )  # fmt: skip
    ax.axhline(probe["n_grams"]["estimate"], color=plots.GREY, linestyle="--", label="n-grams")
    ax.axhspan(
        probe["shuffled"]["low"], probe["shuffled"]["high"], color=plots.GREY, alpha=0.2,
        linewidth=0, label="shuffled labels",
    )  # fmt: skip
    ax.set(xlabel="layer", ylabel="accuracy on unseen contexts", title=f"Probes for {value}")
    ax.set_xticks(layers)
    ax.legend(ncols=2)
    return fig


def key(table: dict, layer: int) -> Any:
    """Layers are numbers in memory and text in JSON; both are read."""
    return layer if layer in table else str(layer)


def success_dots(conditions: dict[str, Any], value: str) -> Figure:
    """Control success of every condition, with its interval."""
    fig, ax = plots.figure(figsize=(6.4, 0.5 * len(conditions) + 1.3))
    names = list(conditions)
    for row, name in enumerate(names):
        stored = conditions[name]["success"]
        dot(ax, 100 * stored["estimate"], row, name, error=bounds(stored, 100))
    ax.axvline(100 * conditions["unsteered"]["success"]["estimate"], color=plots.GREY, linewidth=0.8)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="control success, %", xlim=(-3, 103), title=f"Steering {value}")
    return fig


def gain_dots(comparisons: dict[str, Any], value: str) -> Figure:
    """Paired differences of each method: against unsteered, its twin's, and the advantage."""
    fig, ax = plots.figure(figsize=(6.4, 0.75 * len(comparisons) * 2 + 1.2))
    rows, labels = [], []
    for method, found in comparisons.items():
        for what, name in (("gain", method), ("random_gain", f"random, as {method}"),
                           ("advantage", method)):  # fmt: skip
            rows.append((found[what], name))
            labels.append({
                "gain": f"{method} − unsteered", "random_gain": "its random twin − unsteered",
                "advantage": f"{method} − random twin",
            }[what])  # fmt: skip
    for place, (stored, name) in enumerate(rows):
        dot(ax, 100 * stored["estimate"], place, name, error=bounds(stored, 100))
    ax.axvline(0, color=plots.GREY, linewidth=0.8)
    ax.set_yticks(range(len(rows)), labels)
    ax.invert_yaxis()
    ax.set(xlabel="difference in control success, points", title=f"{value}: paired differences")
    return fig


def leakage_dots(leakage: dict[str, Any], value: str) -> Figure:
    """Change of all ten values when one is steered, in circle order from the steered one."""
    turn = [VALUES[(index(value) + k) % 10] for k in range(10)]
    fig, ax = plots.figure(figsize=(6.4, 4.6))
    named = set()  # in the legend
    for k, (method, found) in enumerate(leakage.items()):
        for row, u in enumerate(turn):
            y = row + 0.22 * (2 * k - 1)
            for stored, name in ((found["random"][u], f"random, as {method}"), (found["effects"][u], method)):
                if stored["estimate"] is None:
                    ax.annotate("no valid item", (0, y), va="center")
                    continue
                error = bounds(stored) if name == method else None
                dot(ax, stored["estimate"], y, name, error=error, label=None if name in named else name)
                named.add(name)
    ax.axvline(0, color=plots.GREY, linewidth=0.8)
    ax.set_yticks(range(10), [f"{turn[0]} (steered)", *turn[1:5], f"{turn[5]} (opposite)", *turn[6:]])
    ax.invert_yaxis()
    ax.set(xlabel="change of the value's score", title=f"Side effects of steering {value}")
    fig.legend(loc="outside lower center", ncols=2)
    return fig

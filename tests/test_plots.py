"""Figures that everybody can read: text of 10 points or more, markers beside colour, the same bytes twice."""

import io

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Text

from valuelab import plots

DRAW = {
    "circle": lambda: plots.circle({"planted": np.arange(10) / 10, "measured": np.ones(10)}, "profile"),
    "bars": lambda: plots.bars({"a": np.arange(10), "b": np.ones(10)}, errors={"a": np.ones(10)}, ylabel="y"),
    "curves": lambda: plots.curves([0, 1], {"a": [0, 1], "b": [1, 0]}, bands={"a": ([0, 0], [1, 2])}, chance=0.5),
    "matrix": lambda: plots.matrix(np.eye(10), label="shift", title="leakage"),
}


def png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


@pytest.mark.parametrize("name", DRAW)
def test_no_text_is_smaller_than_ten_points(name):
    figure = DRAW[name]()
    figure.canvas.draw()
    sizes = {t.get_text(): t.get_fontsize() for t in figure.findobj(Text) if t.get_text().strip()}
    assert sizes and min(sizes.values()) >= 10, sizes


@pytest.mark.parametrize("name", DRAW)
def test_the_same_data_gives_the_same_bytes_and_nothing_stays_open(name):
    plt.close("all")
    assert png(DRAW[name]()) == png(DRAW[name]())
    assert not plt.get_fignums()


@pytest.mark.parametrize("name", ["circle", "curves"])
def test_lines_differ_by_marker_as_well_as_by_colour(name):
    lines = [x for x in DRAW[name]().axes[0].lines if not x.get_label().startswith("_") and x.get_label() != "chance"]
    assert len({x.get_marker() for x in lines}) == len(lines) == len({x.get_color() for x in lines}) == 2


def test_bars_differ_by_hatch_as_well_as_by_colour():
    axes = DRAW["bars"]().axes[0]
    assert len({b.get_hatch() for c in axes.containers for b in c if hasattr(b, "get_hatch")}) == 2

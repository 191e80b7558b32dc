"""Histograms of what was counted: one chart of a block, and a small one for the card of a unit."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from microtome.errors import ShapeError
from microtome.study.blocks import Columns
from microtome.study.report.charts.lines import HEIGHT, Label, Plot
from microtome.study.report.charts.svg import WIDTH, Scale, drawing, element, line, ticks
from microtome.study.report.digits import finite, number

SMALL = 60


def columns(block: Columns) -> Plot:
    """The histogram with its axes.

    Raises
    ------
    ShapeError
        When there is not one edge more than counts.
    """
    counts = _checked(block.edges, block.counts, block.title)
    top = max(counts, default=0.0) or 1.0
    across = Scale(block.edges[0], block.edges[-1], start=20, end=WIDTH - 20)
    up = Scale(0.0, 1.05 * top, start=HEIGHT, end=0)
    marks = [m for m in ticks(0.0, top) if m >= 0]
    parts = [line("zero" if m == 0 else "gridline", 0, up(m), WIDTH, up(m)) for m in marks]
    for low, high, count in zip(block.edges, block.edges[1:], counts):
        if count > 0:
            left, wide = across(low), across(high) - across(low)
            told = element("title", {}, f"{number(low)} to {number(high)}: {number(count)}")
            box = {"class": "bar", "x": left + 1, "y": up(count), "width": max(1.0, wide - 2), "height": HEIGHT - up(count)}
            parts.append(element("rect", box, [told]))
    said = (
        f"{block.title}: {number(sum(counts))} in {len(counts)} bins from {number(block.edges[0])} to {number(block.edges[-1])}"
    )
    places = [Label(number(m), round(across(m) / WIDTH * 100, 2)) for m in ticks(across.low, across.high)]
    beside = [Label(number(m), round(up(m) / HEIGHT * 100, 2)) for m in marks]
    return Plot(drawing("lines-plot", said, parts, HEIGHT), places, beside, [])


def small(density: Any, name: str) -> Markup | None:
    """The histogram of a card, without axes: its ends stand below it. None when there is none."""
    if not density or not any(density["counts"]):
        return None
    counts = _checked(density["edges"], density["counts"], name)
    top, wide = max(counts), WIDTH / len(counts)
    boxes = [
        {"class": "null-bar", "x": i * wide + 2, "y": SMALL * (1 - n / top), "width": wide - 4, "height": SMALL * n / top}
        for i, n in enumerate(counts)
        if n > 0
    ]
    low, high = density["edges"][0], density["edges"][-1]
    said = f"{name}: values from {number(low)} to {number(high)}"
    return drawing("spark", said, [element("rect", box) for box in boxes], SMALL)


def _checked(edges: Sequence[float], counts: Sequence[float], title: str) -> list[float]:
    if len(edges) != len(counts) + 1 or not counts or not all(map(finite, edges)):
        raise ShapeError(f"columns '{title}': {len(counts)} counts need {len(counts) + 1} finite edges, found {len(edges)}.")
    return [float(c) if finite(c) and c > 0 else 0.0 for c in counts]

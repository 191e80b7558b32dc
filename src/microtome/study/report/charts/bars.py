"""Horizontal bars from zero with whiskers, and a mark at what chance gives."""

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from microtome.errors import ShapeError
from microtome.study.blocks import Bars
from microtome.study.report.charts.svg import Scale, drawing, element, extent, line
from microtome.study.report.digits import finite, interval, number, with_unit

HEIGHT = 20


@dataclass(frozen=True)
class BarRow:
    """One bar: its label, its number and interval in words, and its drawing."""

    label: str
    value: str
    interval: str
    svg: Markup


def bar_rows(block: Bars) -> list[BarRow]:
    """The rows of a bar chart, all on one scale that holds zero, every whisker and every null.

    Raises
    ------
    ShapeError
        When values, ends or nulls are not one per label.
    """
    count = len(block.labels)
    low, high = block.low or [None] * count, block.high or [None] * count
    null = list(block.null) if isinstance(block.null, (list, tuple)) else [block.null] * count
    for name, found in (("values", block.values), ("low", low), ("high", high), ("null", null)):
        if len(found) != count:
            raise ShapeError(f"bars '{block.title}': {count} labels need {count} {name}, found {len(found)}.")
    ends = extent([0.0, *block.values, *low, *high, *null]) or (0.0, 1.0)
    scale = Scale(*ends, start=8, end=992)
    rows = zip(block.labels, block.values, low, high, null)
    return [_row(*row, block.unit, scale) for row in rows]


def _row(label: str, value: Any, low: Any, high: Any, null: Any, unit: str, scale: Scale) -> BarRow:
    zero, parts = scale(0.0), []
    words = f"{label}: {with_unit(value, unit)} {interval(low, high)}".strip()
    if finite(value):
        at = scale(value)
        box = {"x": min(zero, at), "y": 4, "width": abs(at - zero), "height": HEIGHT - 8}
        parts.append(element("rect", {"class": "bar", **box}))
    if finite(low) and finite(high):
        left, right, middle = scale(low), scale(high), HEIGHT / 2
        parts += [line("whisker", left, middle, right, middle)]
        parts += [line("whisker", x, middle - 3, x, middle + 3) for x in (left, right)]
    parts.append(line("zero", zero, 0, zero, HEIGHT))
    if finite(null):
        at = scale(null)
        parts += [line(css, at, 0, at, HEIGHT) for css in ("halo", "null")]
        words += f", chance {number(null)}"
    return BarRow(label, number(value), interval(low, high), drawing("bars-plot", words, parts, HEIGHT))

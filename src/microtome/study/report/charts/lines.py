"""Series over a common axis, with bands."""

import sys
from dataclasses import dataclass
from itertools import groupby

from markupsafe import Markup

from microtome.errors import ShapeError
from microtome.study.blocks import Lines
from microtome.study.report.charts.svg import WIDTH, Scale, dot, drawing, element, extent, line, longest, ticks
from microtome.study.report.digits import finite, number, shorten, with_unit

HEIGHT = 300
#: Characters of labels that fit under the plot of a desktop page and of a phone.
DESK, PHONE = 100, 38
COLOURS, DOTS, LABEL = 6, 240, 16


@dataclass(frozen=True)
class Label:
    """A word beside an axis, `at` percent of the way; `css` says which need a desktop's room and which end the axis."""

    text: str
    at: float
    css: str = ""


@dataclass(frozen=True)
class Plot:
    """A drawn line chart and the words around it."""

    svg: Markup
    across: list[Label]
    up: list[Label]
    legend: list[tuple[str, str]]

    @property
    def widest(self) -> int:
        """Characters of the longest number beside the plot."""
        return longest([mark.text for mark in self.up])


def plot(block: Lines) -> Plot:
    """The line chart. Gaps where nothing was measured; the axis holds every value and every band.

    Raises
    ------
    ShapeError
        When a series or a band does not have one value per place of the axis.
    """
    count = len(block.x)
    bands = {name: _pairs(block, name) for name in block.bands}
    for name, values in block.series.items():
        if len(values) != count:
            raise ShapeError(f"lines '{block.title}': series '{name}' has {len(values)} values for {count} places.")
    everything = [v for s in block.series.values() for v in s] + [v for b in bands.values() for pair in b for v in pair]
    low, high = extent(everything) or (0.0, 1.0)
    margin = 0.05 * (high - low)
    bottom, top = max(low - margin, -sys.float_info.max), min(high + margin, sys.float_info.max)
    across, up = Scale(0, max(count - 1, 1), start=20, end=WIDTH - 20), Scale(bottom, top, start=HEIGHT, end=0)
    marks = ticks(bottom, top)
    parts = [line("zero" if m == 0 else "gridline", 0, up(m), WIDTH, up(m)) for m in marks]
    styles = {name: f"s{i % COLOURS} d{(i // COLOURS + i) % 4}" for i, name in enumerate(block.series)}
    for name, pairs in bands.items():
        parts += _band(pairs, styles.get(name, "s0"), across, up)
    for name, values in block.series.items():
        parts += _series(block, name, values, styles[name], across, up)
    told = f"from {number(low)} to {with_unit(high, block.unit)}"
    drawn = drawing("lines-plot", f"{block.title}: {len(block.series)} series over {count} places, {told}", parts, HEIGHT)
    beside = [Label(number(m), round(up(m) / HEIGHT * 100, 2)) for m in marks]
    return Plot(drawn, _thinned(block.x, across), beside, list(styles.items()))


def _pairs(block: Lines, name: str) -> list[list[float]]:
    """The band as [low, high] for each place; a band may also be stored as all lows and all highs."""
    band, count = block.bands[name], len(block.x)
    if len(band) == count and all(len(pair) == 2 for pair in band):
        return band
    if len(band) == 2 and all(len(ends) == count for ends in band):
        return [list(pair) for pair in zip(*band)]
    raise ShapeError(f"lines '{block.title}': the band of '{name}' needs [low, high] for each of {count} places.")


def _band(pairs: list[list[float]], style: str, across: Scale, up: Scale) -> list[Markup]:
    found = []
    for whole, run in groupby(enumerate(pairs), key=lambda item: finite(item[1][0]) and finite(item[1][1])):
        places = list(run)
        if whole:
            edge = [(across(i), up(h)) for i, (_, h) in places] + [(across(i), up(l)) for i, (l, _) in reversed(places)]
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in edge)
            found.append(element("polygon", {"class": f"band {style}", "points": points}))
    return found


def _series(block: Lines, name: str, values: list[float], style: str, across: Scale, up: Scale) -> list[Markup]:
    found = []
    for whole, run in groupby(enumerate(values), key=lambda item: finite(item[1])):
        if whole:
            points = " ".join(f"{across(i):.1f},{up(v):.1f}" for i, v in run)
            found.append(element("polyline", {"class": f"curve {style}", "points": points}))
    if len(values) * len(block.series) <= DOTS:
        where = [(i, f"{name}, {block.x_name} {block.x[i]}: {with_unit(v, block.unit)}") for i, v in enumerate(values)]
        found += [dot(f"dot {style}", across(i), up(values[i]), told) for i, told in where if finite(values[i])]
    return found


def _thinned(labels: list[str], across: Scale) -> list[Label]:
    """Labels that do not touch, on a desktop and on a phone, and do not leave the page on the right."""
    room = min(longest(labels), LABEL) + 3
    step = max(1, -(-len(labels) // max(2, DESK // room)))
    coarse = step * max(1, -(-len(labels) // (step * max(2, PHONE // room))))
    found = []
    for i in range(0, len(labels), step):
        text, at = shorten(labels[i], LABEL), round(across(i) / WIDTH * 100, 2)
        end = i == len(labels) - 1 and len(text) > 4
        crowded = i % coarse != 0 or (not end and (100 - at) / 100 * PHONE < len(text) / 2 - 1)
        found.append(Label(text, at, " ".join(["end"] * end + ["desk"] * crowded)))
    return found

"""A map: points of a plane in the colours of their groups."""

from dataclasses import dataclass

from markupsafe import Markup

from microtome.errors import ShapeError
from microtome.study.blocks import Points
from microtome.study.report.charts.lines import COLOURS
from microtome.study.report.charts.svg import WIDTH, Scale, dot, drawing, extent
from microtome.study.report.digits import finite

HEIGHT = 640
#: More points than this are drawn without words to point at, so that the page stays light.
TOLD = 4000


@dataclass(frozen=True)
class Map:
    """A drawn map and its legend: (group, style, number of points)."""

    svg: Markup
    legend: list[tuple[str, str, int]]


def points(block: Points) -> Map:
    """The map; points without finite coordinates are left out.

    Raises
    ------
    ShapeError
        When coordinates, labels and groups are not one per point.
    """
    if len({len(part) for part in (block.x, block.y, block.labels, block.groups)}) > 1:
        sizes = [len(part) for part in (block.x, block.y, block.labels, block.groups)]
        raise ShapeError(f"points '{block.title}': x, y, labels and groups must be one per point, found {sizes}.")
    across = Scale(*(extent(block.x) or (0.0, 1.0)), start=16, end=WIDTH - 16)
    up = Scale(*(extent(block.y) or (0.0, 1.0)), start=HEIGHT - 16, end=16)
    names = list(dict.fromkeys(block.groups))
    styles = {name: f"s{i % COLOURS}" for i, name in enumerate(names)}
    rows = [row for row in zip(block.x, block.y, block.labels, block.groups) if finite(row[0]) and finite(row[1])]
    told = len(rows) <= TOLD
    parts = [dot(f"point {styles[g]}", across(x), up(y), f"{label} ({g})" if told else g) for x, y, label, g in rows]
    said = f"{block.title}: {len(rows)} points in {len(names)} groups"
    return Map(drawing("map", said, parts, HEIGHT), [(n, styles[n], block.groups.count(n)) for n in names])

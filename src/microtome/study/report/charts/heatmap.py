"""A grid of numbers in two colours around zero."""

from dataclasses import dataclass

from markupsafe import Markup

from microtome.errors import ShapeError
from microtome.study.blocks import Heatmap
from microtome.study.report.charts.svg import drawing, element
from microtome.study.report.digits import NOT_MEASURED, finite, number, with_unit

CELL, GAP = 10, 0.5
#: More columns than this get narrow cells and only every so many a label.
WIDE = 64


@dataclass(frozen=True)
class Grid:
    """A drawn heatmap and the words around it; widths and heights in CSS pixels."""

    svg: Markup
    rows: list[str]
    columns: list[str]
    upright: bool
    cell_width: int
    cell_height: int
    most: str
    extremes: str


def grid(block: Heatmap) -> Grid:
    """The heatmap; colour strength is the share of the largest absolute value.

    Raises
    ------
    ShapeError
        When the values are not rows x columns.
    """
    rows, columns = len(block.rows), len(block.columns)
    if len(block.values) != rows or any(len(row) != columns for row in block.values):
        raise ShapeError(f"heatmap '{block.title}': {rows} rows of {columns} values were expected.")
    found = [(abs(v), v, y, x) for y, row in enumerate(block.values) for x, v in enumerate(row) if finite(v)]
    most = max((size for size, *_ in found), default=0.0)
    cells = [_cell(block, y, x, most) for y in range(rows) for x in range(columns)]
    label = f"{block.title}: {rows} by {columns} grid. {_extremes(block, found)}"
    svg = drawing("cells", label, cells, max(rows, 1) * CELL, max(columns, 1) * CELL)
    every = 1 if columns <= WIDE else max(3, -(-columns // WIDE))  # three narrow cells hold a label of four digits
    shown = [c if i % every == 0 else "" for i, c in enumerate(block.columns)]
    return Grid(svg, block.rows, shown, any(len(c) > 3 for c in shown), 18 if every == 1 else 10,
                26 if rows <= 24 else 18, number(most), _extremes(block, found))  # fmt: skip


def _cell(block: Heatmap, y: int, x: int, most: float) -> Markup:
    value = block.values[y][x]
    box: dict[str, object] = {"x": x * CELL + GAP, "y": y * CELL + GAP, "width": CELL - 2 * GAP, "height": CELL - 2 * GAP}
    if not finite(value):
        box["class"] = "missing"
    elif value != 0 and most > 0:
        box |= {"class": "pos" if value > 0 else "neg", "fill-opacity": round(max(abs(value) / most, 0.02), 2)}
    told = with_unit(value, block.unit) if finite(value) else NOT_MEASURED
    return element("rect", box, [element("title", {}, f"{_place(block, y, x)}: {told}")])


def _place(block: Heatmap, y: int, x: int) -> str:
    return f"{block.row_name} {_quoted(block.rows[y])}, {block.column_name} {_quoted(block.columns[x])}".strip()


def _quoted(label: str) -> str:
    """Tokens carry their white space: quotes show where it is."""
    return f"“{label}”" if label != label.strip() else label


def _extremes(block: Heatmap, found: list[tuple[float, float, int, int]]) -> str:
    parts = []
    for sign, word in ((1, "Largest"), (-1, "Most negative")):
        best = max(((sign * v, v, y, x) for _, v, y, x in found if sign * v > 0), default=None)
        if best is not None:
            parts.append(f"{word} {with_unit(best[1], block.unit)} at {_place(block, best[2], best[3])}.")
    return " ".join(parts)

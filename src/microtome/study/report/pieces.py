"""What the templates lay out: cells of tables, lines of tokens, pictures and cards of units, as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from microtome.errors import ShapeError
from microtome.study.blocks import Images, Table
from microtome.study.report.charts.columns import small
from microtome.study.report.charts.png import overlaid, pixels, png
from microtome.study.report.digits import NOT_MEASURED, aligned, cell, finite, interval, measured, number

if TYPE_CHECKING:
    import pandas as pd

ROWS, FRAME_ROWS = 1000, 200
#: Below this share of the largest value a token is not shaded.
FAINT = 0.02
#: Text longer than this is wrapped.
WORDS = 32


@dataclass(frozen=True)
class Cells:
    """A table ready to print: CSS class of each column (n number, w words), rows as text, how many rows were left out."""

    columns: list[str]
    css: list[str]
    rows: list[list[str]]
    left_out: int


def cells(block: Table) -> Cells:
    """A table block; numbers of a column stand point under point.

    Raises
    ------
    ShapeError
        When a row does not have one cell per column.
    """
    ragged = [i for i, row in enumerate(block.rows) if len(row) != len(block.columns)]
    if ragged:
        raise ShapeError(f"table '{block.title}': row {ragged[0]} does not have {len(block.columns)} cells.")
    return _cells(block.columns, block.rows, ROWS)


def frame_cells(table: "pd.DataFrame") -> Cells:
    """The table of a finding."""
    rows = [list(row) for row in table.head(FRAME_ROWS).itertuples(index=False, name=None)]
    shown = _cells(list(table.columns), rows, FRAME_ROWS)
    return Cells(shown.columns, shown.css, shown.rows, len(table) - len(rows))


def _cells(names: Sequence[str], rows: Sequence[Sequence[Any]], most: int) -> Cells:
    shown = rows[:most]
    columns = [[row[i] for row in shown] for i in range(len(names))]
    numeric = [any(map(measured, c)) and all(v is None or isinstance(v, float) or measured(v) for v in c) for c in columns]
    printed = [aligned(c) if is_number else [cell(v) for v in c] for c, is_number in zip(columns, numeric)]
    texts = [[column[i] for column in printed] for i in range(len(shown))]
    longest = [max(map(len, column), default=0) for column in printed]
    css = ["n" if is_number else "w" if size > WORDS else "" for is_number, size in zip(numeric, longest)]
    return Cells(list(names), css, texts, len(rows) - len(shown))


@dataclass(frozen=True)
class Token:
    """One token as it is printed: marks instead of white space, its CSS classes, the strength of its shade, its number."""

    text: str
    css: str
    strength: str
    value: str


def token_lines(tokens: Sequence[Sequence[str]], values: Sequence[Sequence[float]], title: str) -> list[list[Token]]:
    """Lines of shaded tokens.

    Raises
    ------
    ShapeError
        When there is not one value per token.
    """
    if [len(line) for line in tokens] != [len(line) for line in values]:
        raise ShapeError(f"tokens '{title}': there must be one value per token in each line.")
    return [[_token(str(t), v) for t, v in zip(line, shades)] for line, shades in zip(tokens, values)]


def _token(text: str, value: float) -> Token:
    """One leading space, the usual start of a word, is drawn by the style as a faint dot; all other white space is marked.

    The style breaks lines before `sp` and after `ws` only, so that words made of several tokens stay whole.
    """
    starts = text.startswith(" ") and not text.isspace()
    marks = (text[1:] if starts else text).replace(" ", "·").replace("\t", "⇥").replace("\r", "␍").replace("\n", "⏎")
    size = min(abs(value), 1.0) if finite(value) else 0.0
    colour = "" if size < FAINT else " pos" if value > 0 else " neg"
    return Token(marks or "∅", f"t{' sp' if starts else ' ws' if text.isspace() else ''}{colour}", f"{size:.2f}", number(value))


def apart(line: Sequence[Token]) -> bool:
    """Whether the tokens carry no white space: then they are whole words, to be set apart from each other."""
    return not any("sp" in token.css or "ws" in token.css for token in line)


def pictures(block: Images) -> list[tuple[str, str | None, str]]:
    """(image, image under its overlay, caption) for each image.

    Raises
    ------
    ShapeError
        When there are overlays but not one per image, or a shape is wrong.
    """
    overlays = list(block.overlays) or [None] * len(block.images)
    if len(overlays) != len(block.images):
        raise ShapeError(f"images '{block.title}': {len(block.images)} images need as many overlays, found {len(overlays)}.")
    captions = [*block.captions, *[""] * len(block.images)]
    return [
        (png(pixels(image)), None if over is None else png(overlaid(image, over)), caption)
        for image, over, caption in zip(block.images, overlays, captions)
    ]


def cards(block: Any) -> list[dict[str, Any]]:
    """Cards of units with every field filled, numbers as text."""
    return [_card(card) for card in block.cards]


def _card(card: Mapping[str, Any]) -> dict[str, Any]:
    lines, values = card.get("tokens") or [], card.get("values") or []
    logits = [_token(str(token), x) for token, x in card.get("logits") or []]
    near = [(str(name), number(x)) for name, x in card.get("neighbours") or []]
    density = card.get("density")
    images = list(card["images"]) if card.get("images") is not None else []
    overlays = list(card["overlays"]) if card.get("overlays") is not None else []
    return {
        "name": card.get("name", ""), "text": card.get("text", ""), "verdict": card.get("verdict"),
        "score": _shown(card.get("score")), "null": _shown(card.get("null")),
        "interval": interval(card.get("low"), card.get("high")),
        "scored": "score" in card or not density, "near": near, "density": small(density, str(card.get("name", ""))),
        "ends": [number(density["edges"][i]) for i in (0, -1)] if density else ["", ""],
        "lines": token_lines(lines, values, str(card.get("name", ""))), "logits": logits,
        "pictures": pictures(Images(str(card.get("name", "")), images, overlays=overlays)),
    }  # fmt: skip


def _shown(value: Any) -> str:
    return NOT_MEASURED if value is None else cell(value)

"""What a report is made of: sections of findings and blocks, as plain data that round-trips through JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from microtome.errors import FormatError
from microtome.evidence import Finding


@dataclass(frozen=True)
class Text:
    """A paragraph of plain text."""

    kind: ClassVar[str] = "text"
    text: str


@dataclass(frozen=True)
class Table:
    """Rows of cells (text or numbers) under column names; `notes` explains the columns."""

    kind: ClassVar[str] = "table"
    title: str
    columns: list[str]
    rows: list[list[Any]]
    notes: str = ""


@dataclass(frozen=True)
class Bars:
    """Horizontal bars with intervals; `null` is the value that chance gives (one for all, or one per bar)."""

    kind: ClassVar[str] = "bars"
    title: str
    labels: list[str]
    values: list[float]
    low: list[float] | None = None
    high: list[float] | None = None
    null: float | list[float] | None = None
    unit: str = ""


@dataclass(frozen=True)
class Heatmap:
    """A grid of numbers, diverging around 0; rows x columns."""

    kind: ClassVar[str] = "heatmap"
    title: str
    rows: list[str]
    columns: list[str]
    values: list[list[float]]
    unit: str = ""
    row_name: str = ""
    column_name: str = ""


@dataclass(frozen=True)
class Lines:
    """Series over a common axis: name -> values, with optional bands (name -> [low, high])."""

    kind: ClassVar[str] = "lines"
    title: str
    x: list[str]
    series: dict[str, list[float]]
    bands: dict[str, list[list[float]]] = field(default_factory=dict)
    unit: str = ""
    x_name: str = ""


@dataclass(frozen=True)
class Columns:
    """A histogram: counts between edges (one more than there are counts); `notes` says what was counted."""

    kind: ClassVar[str] = "columns"
    title: str
    edges: list[float]
    counts: list[float]
    x_name: str = ""
    notes: str = ""


@dataclass(frozen=True)
class Points:
    """A map: points of a plane, each with a label to point at and the group that gives its colour; `notes` for the reader."""

    kind: ClassVar[str] = "points"
    title: str
    x: list[float]
    y: list[float]
    labels: list[str]
    groups: list[str]
    notes: str = ""


@dataclass(frozen=True)
class Tokens:
    """Lines of tokens shaded by a number in [-1, 1]; `captions` stand before the lines."""

    kind: ClassVar[str] = "tokens"
    title: str
    tokens: list[list[str]]
    values: list[list[float]]
    captions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Images:
    """Images as rows of RGB values 0..255 [n, y, x, 3], with an optional overlay in [-1, 1] [n, y', x']."""

    kind: ClassVar[str] = "images"
    title: str
    images: list[Any]
    captions: list[str] = field(default_factory=list)
    overlays: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Units:
    """Cards of units: name, what it does in words, how sure, and the token lines (or images) that show it.

    Each card: {"name", "text", "score", "null", "verdict", "tokens": [[...]], "values": [[...]], "logits": [[token, x]],
    "neighbours": [[name, cosine]], "density": {"edges": [...], "counts": [...]}, "images": [...]}; all but the name optional.
    """

    kind: ClassVar[str] = "units"
    title: str
    cards: list[dict[str, Any]]


@dataclass(frozen=True)
class Graph:
    """An interactive attribution graph: what ``microtome.trace.view.facts`` gave; `notes` says how to read it."""

    kind: ClassVar[str] = "graph"
    title: str
    facts: dict[str, Any]
    notes: str = ""


Block = Text | Table | Bars | Heatmap | Lines | Columns | Points | Tokens | Images | Units | Graph
_KINDS = (Text, Table, Bars, Heatmap, Lines, Columns, Points, Tokens, Images, Units, Graph)
BLOCKS: dict[str, Any] = {b.kind: b for b in _KINDS}


@dataclass(frozen=True)
class Section:
    """One part of a report.

    Attributes
    ----------
    key : str
        Of the stage that made it.
    title : str
    lead : str
        What was found, in one sentence with its number.
    findings : list of Finding
    blocks : list of Block
    seconds : float
    """

    key: str
    title: str
    lead: str
    findings: list[Finding] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        import json

        return {
            "key": self.key, "title": self.title, "lead": self.lead, "seconds": self.seconds,
            "findings": [json.loads(f.to_json()) for f in self.findings],
            "blocks": [{"kind": b.kind, **asdict(b)} for b in self.blocks],
        }  # fmt: skip

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Section":
        """What `to_dict` gave.

        Raises
        ------
        FormatError
            When the data is no section.
        """
        import json

        try:
            blocks = []
            for found in data["blocks"]:
                fields = {k: v for k, v in found.items() if k != "kind"}
                blocks.append(BLOCKS[found["kind"]](**fields))
            findings = [Finding.from_json(json.dumps(f)) for f in data["findings"]]
            return cls(data["key"], data["title"], data["lead"], findings, blocks, float(data["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"this is not a section of a report: {error!r}.") from error

"""What a command gives: a JSON document for programs, lines and tables for people, and an exit code."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from microtome.evidence import Finding

#: Layout of the JSON documents; every document names it.
SCHEMA = "microtome.cli/1"
#: Rows of a table that a terminal shows; the JSON document holds all.
SHOWN = 20


@dataclass(frozen=True)
class Grid:
    """A table for a terminal."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    title: str = ""


@dataclass(frozen=True)
class Answer:
    """Attributes
    ----------
    data : mapping
        What ``--json`` prints, beside the names of schema, command and version.
    shown : sequence of str or Grid
        What is printed otherwise.
    code : int
        Exit code: 0, or 1 when the answer is that a check failed.
    """

    data: Mapping[str, Any]
    shown: Sequence[str | Grid] = field(default_factory=tuple)
    code: int = 0


def findings_json(findings: Iterable["Finding"]) -> list[dict[str, Any]]:
    """Findings as JSON values, each with its verdict and the p-value of each null, which readers would compute again."""
    import json

    return [
        {**json.loads(f.to_json()), "verdict": f.verdict, "p": {null.kind: null.p for null in f.nulls}} for f in findings
    ]


def findings_grid(findings: Iterable["Finding"]) -> Grid:
    """Claim, verdict, value and the largest p over the nulls (the one that decides)."""
    rows = []
    for f in findings:
        p = max((null.p for null in f.nulls), default=None)
        rows.append([f.claim, f.verdict, "" if f.estimate is None else _short(f.estimate), "" if p is None else f"{p:.3g}"])
    return Grid(["claim", "verdict", "value", "null p"], rows)


def _short(estimate: Any) -> str:
    ends = "" if estimate.low is None else f" [{estimate.low:.3g}, {estimate.high:.3g}]"
    return f"{estimate.value:.3g}{ends}"


def frame_grid(frame: "pd.DataFrame", columns: Sequence[str], title: str = "", most: int = SHOWN) -> Grid:
    """The first rows of a DataFrame."""
    more = f" (first {most} of {len(frame)})" if len(frame) > most else ""
    return Grid(list(columns), frame[list(columns)].head(most).values.tolist(), title + more)


def frame_json(frame: "pd.DataFrame") -> list[dict[str, Any]]:
    """All rows of a DataFrame as JSON objects."""
    return frame.to_dict(orient="records")

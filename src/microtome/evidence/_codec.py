"""A finding to plain values and back, strictly: unknown fields, repeated keys and NaN are refused."""

import json
from typing import TYPE_CHECKING, Any

from microtome.errors import FormatError, MicrotomeError
from microtome.evidence._table import decode_table, encode_table
from microtome.evidence.estimate import Estimate, known_fields
from microtome.evidence.null import Null
from microtome.evidence.provenance import Provenance

if TYPE_CHECKING:
    from microtome.evidence.finding import Finding

LAYOUT = "microtome.finding/1"
FIELDS = ("layout", "claim", "estimate", "nulls", "controls", "table", "provenance", "alpha", "notes", "hypothesis")


def encode(finding: "Finding") -> dict[str, Any]:
    """Plain values of every field. Derived values (verdict, p) are not stored: they are recomputed."""
    return {
        "layout": LAYOUT,
        "claim": finding.claim,
        "estimate": finding.estimate.to_dict() if finding.estimate else None,
        "nulls": [null.to_dict() for null in finding.nulls],
        # A list, because the order of controls is the order in which they are read.
        "controls": [[k, v.to_dict() if isinstance(v, Estimate) else v] for k, v in finding.controls.items()],
        "table": encode_table(finding.table),
        "provenance": finding.provenance.to_dict(),
        "alpha": finding.alpha,
        "notes": list(finding.notes),
        "hypothesis": finding.hypothesis,
    }


def decode(data: Any) -> "Finding":
    """The finding that `encode` described."""
    from microtome.evidence.finding import Finding

    fields = known_fields(data, FIELDS, "Finding")
    if fields.pop("layout", None) != LAYOUT:
        raise FormatError(f"This is not a finding in layout {LAYOUT!r}; found {str(data.get('layout'))[:80]!r}.")
    missing = sorted(set(FIELDS) - set(data))
    if missing:
        raise FormatError(f"The stored finding lacks {missing}.")
    try:
        return Finding(
            claim=fields["claim"],
            estimate=None if fields["estimate"] is None else Estimate.from_dict(fields["estimate"]),
            nulls=tuple(Null.from_dict(null) for null in _list(fields["nulls"], "nulls")),
            controls=dict(_control(pair) for pair in _list(fields["controls"], "controls")),
            table=decode_table(fields["table"]),
            provenance=Provenance.from_dict(fields["provenance"]),
            alpha=fields["alpha"],
            notes=tuple(_list(fields["notes"], "notes")),
            hypothesis=fields["hypothesis"],
        )
    except FormatError:
        raise
    except (MicrotomeError, TypeError, ValueError, OverflowError) as error:
        raise FormatError(f"The stored finding is damaged: {error}") from error


def parse(text: str) -> Any:
    """Strict JSON: repeated keys, NaN and Infinity are refused."""
    if not isinstance(text, str):
        raise FormatError(f"A stored finding is text, got {type(text).__name__}.")
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        if isinstance(error, MicrotomeError):
            raise
        raise FormatError(f"The stored finding is not JSON: {error}.") from error


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("The stored finding repeats a key; it was not written by microtome.")
    return found


def _refuse(constant: str) -> Any:
    raise FormatError(f"The stored finding holds {constant}; a finding holds finite numbers only.")


def _list(value: Any, name: str) -> list:
    if not isinstance(value, list):
        raise FormatError(f"'{name}' of a stored finding must be a list, found {type(value).__name__}.")
    return value


def _control(pair: Any) -> tuple[str, Estimate | float]:
    if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], str):
        raise FormatError("A control of a stored finding must be a pair [name, value].")
    name, value = pair
    return name, Estimate.from_dict(value) if isinstance(value, dict) else value

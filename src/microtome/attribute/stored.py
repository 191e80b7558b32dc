"""Results on disk: tensors in one safetensors file, with facts as JSON in its header."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from microtome.errors import FormatError


def write_stored(path: str | Path, kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a result of some kind ("attribution")."""
    from microtome.io import write_tensors

    header = json.dumps({"format": f"microtome.{kind}", **facts}, sort_keys=True)
    write_tensors(path, {name: value.contiguous() for name, value in tensors.items()}, {"facts": header})


def read_stored(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of what `write_stored` wrote; nothing in them is checked but the kind.

    Raises
    ------
    FormatError
        When the file holds something else.
    """
    from microtome.io import open_tensors, parse_json

    with open_tensors(path) as file:
        facts = parse_json((file.metadata or {}).get("facts", "null").encode())
        tensors = {k: file.get(k).clone() for k in file.keys()}  # noqa: SIM118
    if not isinstance(facts, dict) or facts.pop("format", None) != f"microtome.{kind}":
        raise FormatError(f"'{path}' is not a microtome {kind}.")
    return tensors, facts

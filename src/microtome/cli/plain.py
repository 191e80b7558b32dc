"""Any value as strict JSON without secrets: numbers of numpy and torch, missing values, paths."""

import json
import math
from collections.abc import Mapping
from typing import Any

from microtome.io import redact


def document(data: Mapping[str, Any]) -> str:
    """One JSON document: sorted keys, ASCII (so that no control character reaches a terminal), no NaN, no secret."""
    return json.dumps(_plain(data, {}), sort_keys=True, allow_nan=False, indent=1)


def _plain(value: Any, known: dict[str, str]) -> Any:
    """JSON values; `known` remembers texts that were already redacted, since tables repeat them."""
    if isinstance(value, Mapping):
        return {_text(str(k), known): _plain(v, known) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v, known) for v in value]
    if isinstance(value, bool) or value is None:
        return value
    if hasattr(value, "tolist"):  # numpy and torch, scalars and arrays
        return _plain(value.tolist(), known)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return None if type(value).__name__ in ("NAType", "NaTType") else _text(str(value), known)


def _text(text: str, known: dict[str, str]) -> str:
    if text not in known:
        known[text] = redact(text)
    return known[text]

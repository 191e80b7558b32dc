"""JSON, read strictly and written in one canonical form."""

import json
import math
import os
from typing import Any

from microtome.errors import FormatError, UsageError
from microtome.io.atomic import Written, write_bytes
from microtome.io.paths import opened, regular_file

MAX_BYTES = 64 << 20
MAX_DEPTH = 64


class _Refused(ValueError):
    """Raised inside the parser for what JSON forbids and Python's parser allows."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise _Refused(f"the key {twice[:60]!r} appears twice in one object")
    return found


def _constant(word: str) -> float:
    raise _Refused(f"{word} is not a JSON number")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise _Refused(f"the number {digits[:30]} does not fit a float")
    return value


def parse_json(data: bytes, source: str = "JSON text", max_bytes: int = MAX_BYTES) -> Any:
    """Parse strict JSON: UTF-8, no NaN or Infinity, no key twice, at most 64 levels, bounded size.

    Parameters
    ----------
    data : bytes
        The whole text.
    source : str
        What to call it in an error.
    max_bytes : int
        Longest text accepted; the number of commas and brackets is limited to a 20th of it, which bounds memory.

    Returns
    -------
    object
        dict, list, str, int, float, bool or None.

    Raises
    ------
    FormatError
        Anything else.

    Examples
    --------
    >>> parse_json(b'{"a": [1, 2.5, null]}')
    {'a': [1, 2.5, None]}
    """
    if len(data) > max_bytes:
        raise _error(source, f"it has {len(data)} bytes, more than the limit of {max_bytes}", "Raise max_bytes.")
    if data.count(b",") + data.count(b"[") + data.count(b"{") > max(64, max_bytes // 20):
        raise _error(source, f"it holds more than {max_bytes // 20} values", "Raise max_bytes.")
    try:
        text = data.decode("utf-8-sig")
        found = json.loads(text, object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise _error(source, "it holds half of a surrogate pair", "Save it again as UTF-8.") from None
    except UnicodeDecodeError as error:
        raise _error(source, f"byte {error.start} is not UTF-8", "Save it again as UTF-8.") from None
    except RecursionError:
        raise _error(source, f"it is nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        several = str(error).startswith("Extra data: line 2 column 1 ")
        way_out = "It looks like one value per line: use read_jsonl." if several else "Get the file again or repair it."
        raise _error(source, str(error)[:200], way_out) from None
    if _deeper(found, MAX_DEPTH):
        raise _error(source, f"it is nested deeper than {MAX_DEPTH} levels")
    return found


def _deeper(found: Any, limit: int) -> bool:
    level = [found]
    for _ in range(limit + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, (dict, list))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _error(source: str, wrong: str, way_out: str = "Get the file again or repair it.") -> FormatError:
    return FormatError(f"{source} is not valid JSON: {wrong}. {way_out}")


def read_json(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> Any:
    """Read a strict JSON file (see `parse_json`).

    Raises
    ------
    FormatError
        The file is too large, too deep, not UTF-8, not JSON, or holds NaN, Infinity or a key twice.
    """
    size = regular_file(path).st_size
    if size > max_bytes:
        raise _error(f"'{os.fspath(path)}'", f"it has {size} bytes, more than {max_bytes}", "Raise max_bytes.")
    with opened(path) as file:
        return parse_json(file.read(max_bytes + 1), f"'{os.fspath(path)}'", max_bytes)


def dump_json(obj: Any, indent: int | None = None) -> bytes:
    """The canonical bytes of `obj`: UTF-8, keys sorted, no NaN; numpy scalars become plain numbers.

    Raises
    ------
    UsageError
        `obj` holds NaN, a key that is not text, or a type that JSON does not have.

    Examples
    --------
    >>> dump_json({"b": 1, "a": [True, None]})
    b'{"a":[true,null],"b":1}'
    """
    _check_keys(obj)
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        return json.dumps(
            obj,
            sort_keys=True,
            ensure_ascii=False,
            allow_nan=False,
            separators=separators,
            indent=indent,
            default=_plain,
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(
            f"cannot write this as JSON: {error}. Use dict, list, str, int, finite float, bool and None "
            "(write None where a number is missing)."
        ) from None


def _plain(value: Any) -> Any:
    import numpy as np

    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} has no JSON form")


def _check_keys(obj: Any) -> None:
    """Refuse keys that JSON would silently turn into text."""
    level = [obj]
    for _ in range(2 * MAX_DEPTH):  # deeper or circular values are refused by the encoder
        below = []
        for outer in level:
            if isinstance(outer, dict):
                bad = [key for key in outer if not isinstance(key, str)]
                if bad:
                    raise UsageError(f"cannot write the key {bad[0]!r} as JSON: keys must be text. Use str(key).")
                below.extend(outer.values())
            elif isinstance(outer, (list, tuple)):
                below.extend(outer)
        level = [inner for inner in below if isinstance(inner, (dict, list, tuple))]
        if not level:
            return


def write_json(path: str | os.PathLike, obj: Any) -> Written:
    """Write `obj` atomically in canonical form (sorted keys, two spaces, a newline): same value, same bytes."""
    return write_bytes(path, dump_json(obj, indent=2) + b"\n")

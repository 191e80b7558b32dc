"""Logs of one JSON object per line: strict to read, durable to append, whole after a killed writer."""

import os
from collections.abc import Iterable, Iterator
from typing import Any

from microtome.errors import FormatError, UsageError
from microtome.io import _os
from microtome.io.atomic import storage
from microtome.io.jsonfile import MAX_BYTES, dump_json, parse_json
from microtome.io.locks import lock
from microtome.io.paths import opened


def iter_jsonl(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> Iterator[Any]:
    """Yield the values of a JSON-lines file one at a time; `max_bytes` limits a line. Blank lines are skipped."""
    with opened(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(max_bytes + 1), b""), 1):
            if line.strip():
                yield parse_json(line, f"line {number} of '{os.fspath(path)}'", max_bytes)


def read_jsonl(path: str | os.PathLike, max_bytes: int = MAX_BYTES) -> list[Any]:
    """The values of a JSON-lines file (see `parse_json`); `max_bytes` limits a line. Blank lines are skipped."""
    return list(iter_jsonl(path, max_bytes))


def append_jsonl(path: str | os.PathLike, rows: dict | Iterable[dict]) -> None:
    """Append one dict, or several, as lines; all reach the disk before this returns, or none is kept.

    Writers in several processes take turns. A line that a killed writer left half-written is dropped first.

    Raises
    ------
    StorageError
        The disk refused; earlier lines are intact.
    UsageError
        A row is not a dict that JSON can hold.
    """
    rows = [rows] if isinstance(rows, dict) else list(rows)
    if bad := next((row for row in rows if not isinstance(row, dict)), None):
        raise UsageError(f"a JSON line must be a dict, got {type(bad).__name__}. Wrap it: {{'value': ...}}.")
    with lock(path, timeout=60.0):
        append_bytes(path, b"".join(dump_json(row) + b"\n" for row in rows))


def append_bytes(path: str | os.PathLike, data: bytes) -> None:
    """Append whole lines durably; the caller holds the lock of `path`."""
    with storage(path, "append to"):
        fd = _os.open(os.fspath(path), _os.APPEND, 0o666)
        try:
            size = repair_tail(fd)
            try:
                view = memoryview(data)
                while view:
                    view = view[_os.write(fd, view) :]
                _os.fsync(fd)
            except BaseException:
                _os.ftruncate(fd, size)
                raise
        finally:
            os.close(fd)


def repair_tail(fd: int) -> int:
    """End a last line that lacks its line end, or drop it when its writer was killed midway; returns the size left."""
    size = end = os.fstat(fd).st_size
    while end:
        start = max(0, end - 65536)
        os.lseek(fd, start, os.SEEK_SET)
        if (at := os.read(fd, end - start).rfind(b"\n")) >= 0:
            end = start + at + 1
            break
        end = start
    if end == size:
        return size
    os.lseek(fd, end, os.SEEK_SET)
    if whole_line(os.read(fd, size - end)):
        _os.write(fd, b"\n")
        return size + 1
    _os.ftruncate(fd, end)
    return end


def whole_line(line: bytes) -> bool:
    """Whether `line` is a complete JSON object: a part of one never is."""
    try:
        return isinstance(parse_json(line), dict)
    except FormatError:
        return False

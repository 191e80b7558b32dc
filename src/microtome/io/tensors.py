"""Safetensors files: a checked header, memory-mapped values, the same bytes for the same tensors."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from microtome.errors import FormatError, ShapeError, StorageError, UsageError, nearest
from microtome.io.atomic import Written, atomic_write
from microtome.io.jsonfile import dump_json, parse_json
from microtome.io.layout import DTYPES, code_of, dense, memory_of
from microtome.io.paths import opened, regular_file

if TYPE_CHECKING:
    import torch

MAX_HEADER = 8 << 20


def read_header(path: str | os.PathLike) -> dict[str, Any]:
    """The checked JSON header of a safetensors file: name -> {dtype, shape, data_offsets}, and ``__metadata__``.

    Raises
    ------
    FormatError
        The header is longer than the file or 8 MiB, is not strict JSON, or its byte ranges overlap, leave holes or do
        not end at the end of the file.
    """
    size = regular_file(path).st_size
    with opened(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise _error(path, f"its header claims {length} bytes and the file has {size}")
        if length > MAX_HEADER:
            raise _error(path, f"its header has {length} bytes, more than the limit of {MAX_HEADER}")
        data = file.read(length)
    header = parse_json(data, f"the header of '{os.fspath(path)}'", MAX_HEADER)
    if not isinstance(header, dict):
        raise _error(path, f"its header is a {type(header).__name__}, not an object")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _error(path, "its metadata is not a map of text to text")
    _check_ranges(path, header, size - 8 - length)
    return header


def _check_ranges(path: str | os.PathLike, header: dict[str, Any], room: int) -> None:
    ranges = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise _error(path, f"the entry of tensor {name[:60]!r} lacks dtype, shape or data_offsets")
        offsets, shape = entry["data_offsets"], entry["shape"]
        numbers = [*offsets, *shape] if isinstance(offsets, list) and isinstance(shape, list) else [None]
        if not all(type(number) is int and number >= 0 for number in numbers) or len(offsets) != 2:
            raise _error(path, f"the shape or offsets of tensor {name[:60]!r} are not counts")
        ranges.append((*offsets, name))
    end = 0
    for start, stop, name in sorted(ranges):
        if start != end or stop < start:
            raise _error(path, f"tensor {name[:60]!r} overlaps another or leaves a hole")
        end = stop
    if end != room:
        raise _error(path, f"its tensors need {end} bytes and it holds {room}")


def _error(path: str | os.PathLike, wrong: str) -> FormatError:
    return FormatError(
        f"'{os.fspath(path)}' is not a valid safetensors file: {wrong}. Get it again, or write it with safetensors."
    )


class TensorFile:
    """An open safetensors file; values are read from the memory map when asked for.

    Examples
    --------
    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = write_tensors(folder + "/a.safetensors", {"w": torch.arange(6).reshape(3, 2)}, {"made": "here"})
    ...     with open_tensors(folder + "/a.safetensors") as file:
    ...         file.keys(), file.slice("w", 1, 2).tolist(), file.metadata["made"], file.shape("w")
    (['w'], [[2, 3]], 'here', (3, 2))
    """

    def __init__(self, path: str | os.PathLike):
        from safetensors import SafetensorError, safe_open

        self.path = Path(path)
        regular_file(path)
        try:  # the library first: its check allocates nothing
            self._file: Any = safe_open(os.fspath(path), framework="pt", device="cpu")
        except OSError as error:
            raise StorageError(f"cannot read '{self.path}': {error}. Check its permissions and the disk.") from error
        except (SafetensorError, ValueError, MemoryError, OverflowError) as error:
            raise _error(path, str(error)[:200]) from None
        self._header = read_header(path)
        self.metadata: dict[str, str] = self._header.pop("__metadata__", {})

    def keys(self) -> list[str]:
        """The tensor names, sorted."""
        return sorted(self._header)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one tensor, read from the header."""
        return tuple(self._entry(name)["shape"])

    def get(self, name: str) -> "torch.Tensor":
        """One whole tensor."""
        self._entry(name)
        return self._read(lambda: self._file.get_tensor(name), name)

    def slice(self, name: str, start: int, stop: int) -> "torch.Tensor":
        """Rows `start` to `stop` (exclusive) of one tensor, without reading the others."""
        shape = self.shape(name)
        if not shape or not 0 <= start <= stop <= shape[0]:
            raise ShapeError(f"no rows {start}:{stop} in {name!r} of shape {shape} in '{self.path}'. Stay inside it.")
        if start == stop:  # the library refuses an empty slice
            stop = min(start + 1, shape[0])
            start = max(0, stop - 1)
            return self._read(lambda: self._file.get_slice(name)[start:stop], name)[:0] if stop else self.get(name)
        return self._read(lambda: self._file.get_slice(name)[start:stop], name)

    def close(self) -> None:
        """Let go of the memory map; tensors already read stay valid."""
        self._file = None

    def __enter__(self) -> "TensorFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __contains__(self, name: object) -> bool:
        return name in self._header

    def __len__(self) -> int:
        return len(self._header)

    def _entry(self, name: str) -> dict[str, Any]:
        if name not in self._header:
            raise FormatError(
                f"no tensor {name!r} in '{self.path}' ({len(self._header)} tensors).{nearest(name, self._header)} "
                "List them with .keys()."
            )
        return self._header[name]

    def _read(self, read, name: str) -> "torch.Tensor":
        from safetensors import SafetensorError

        if self._file is None:
            raise UsageError(f"'{self.path}' was closed. Open it again with open_tensors.")
        try:
            return read()
        except (SafetensorError, ValueError, TypeError, RuntimeError, AttributeError, MemoryError) as error:
            raise _error(self.path, f"tensor {name!r} cannot be read ({str(error)[:120]})") from None


def open_tensors(path: str | os.PathLike) -> TensorFile:
    """Open a safetensors file lazily: ``.keys()``, ``.get(name)``, ``.slice(name, start, stop)``, ``.metadata``.

    Raises
    ------
    FormatError
        The file is damaged or hostile; nothing was allocated for its tensors.
    """
    return TensorFile(path)


def read_tensors(path: str | os.PathLike) -> dict[str, "torch.Tensor"]:
    """All tensors of a safetensors file, on the CPU (see `open_tensors` for a part of them)."""
    with open_tensors(path) as file:
        names = file.keys()
        return {name: file.get(name) for name in names}


def write_tensors(
    path: str | os.PathLike, tensors: Mapping[str, "torch.Tensor"], metadata: Mapping[str, str] | None = None
) -> Written:
    """Write tensors atomically; equal tensors give equal bytes, whatever their order, device and strides.

    Parameters
    ----------
    path : str or PathLike
        Where; the parent folder is made.
    tensors : mapping of str to Tensor
        Dense tensors; those that share memory are written once each.
    metadata : mapping of str to str, optional
        Stored in the header.

    Returns
    -------
    Written
        The number of bytes and their hash, ready for `Manifest.add`.

    Raises
    ------
    StorageError
        The disk refused; the previous file is intact.
    UsageError
        A value is not a dense tensor, or metadata is not text.
    """
    ready = {name: dense(name, tensors[name]) for name in sorted(tensors)}
    notes = dict(metadata or {})
    if not all(isinstance(key, str) and isinstance(value, str) for key, value in notes.items()):
        raise UsageError("metadata must map text to text. Use str(value) or JSON text.")
    header: dict[str, Any] = {"__metadata__": notes} if notes else {}
    codes = {name: code_of(name, tensor) for name, tensor in ready.items()}
    order, end = sorted(ready, key=lambda name: (list(DTYPES).index(codes[name]), name)), 0
    for name in order:
        tensor, start = ready[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {"dtype": codes[name], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = dump_json(header)
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(memory_of(ready[name]))
    assert file.written is not None
    return file.written

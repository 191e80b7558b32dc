"""Index columns as tensors, so that a shard carries its own index lines and one rename commits both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import FormatError, ShapeError, UsageError
from microtome.subject.recording.about import PLACES, as_labels

if TYPE_CHECKING:
    import pandas as pd

VALUES, INDEX, LABEL = "values/", "index/", "label/"
_TEXT, _ENDS = "//text", "//ends"


def tidy(rows: int, index: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Index columns and labels of one batch as arrays named "index/..." and "label/...", checked."""
    if "y" in index and "position" not in index:
        index = {"position": np.zeros(rows, dtype=np.int64)} | {name: index[name] for name in index}
    if not {"sample", "position"} <= set(index):
        raise UsageError(f"the index needs the columns 'sample' and 'position' (or y and x), found {list(index)}.")
    columns = {}
    for name in index:
        column = index[name]
        array = column.numpy() if isinstance(column, Tensor) else np.asarray(column)
        if array.shape != (rows,):
            raise ShapeError(f"index column {name!r} has shape {array.shape} for {rows} rows.")
        kind = array.dtype.kind
        if name in PLACES and kind not in "iu":
            raise UsageError(f"index column {name!r} must hold integers, found {array.dtype}.")
        array = array.astype({"i": np.int64, "u": np.int64, "f": np.float64, "b": bool}.get(kind, object))
        columns[INDEX + str(name)] = array
    return columns | {LABEL + name: values for name, values in as_labels(labels, rows).items()}


def pack(columns: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Tensors that hold the columns; texts become codes into a sorted list of distinct texts."""
    tensors = {}
    for name, array in columns.items():
        if array.dtype != object:
            tensors[name] = torch.from_numpy(np.ascontiguousarray(array))
            continue
        known = sorted({str(text) for text in array})
        place = {text: i for i, text in enumerate(known)}
        try:
            encoded = [text.encode() for text in known]
        except UnicodeEncodeError as error:
            raise UsageError(
                f"index column {name.removeprefix(INDEX)!r} has half of a surrogate pair: {error.object[:40]!r}. Replace it."
            ) from None
        tensors[name] = torch.tensor([place[str(text)] for text in array], dtype=torch.int32)
        tensors[name + _TEXT] = torch.frombuffer(bytearray(b"".join(encoded) or b"\0"), dtype=torch.uint8)
        tensors[name + _ENDS] = torch.tensor(np.cumsum([len(e) for e in encoded]), dtype=torch.int64)
    return tensors


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The columns that `pack` packed."""
    columns = {}
    for name, tensor in tensors.items():
        if name.endswith((_TEXT, _ENDS)):
            continue
        columns[name] = tensor.numpy()
        if name + _TEXT in tensors:
            columns[name] = _texts(tensors[name + _TEXT], tensors[name + _ENDS])[columns[name]]
    return columns


def packed_names(names: list[str]) -> list[str]:
    """Of the tensors of a shard, those that hold index and labels."""
    return [name for name in names if name.startswith((INDEX, LABEL))]


def frames(columns: Mapping[str, np.ndarray]) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Index and labels from columns."""
    import pandas as pd

    index = {name.removeprefix(INDEX): a for name, a in columns.items() if name.startswith(INDEX)}
    labels = {name.removeprefix(LABEL): a for name, a in columns.items() if name.startswith(LABEL)}
    return pd.DataFrame({name: list(a) if a.dtype == object else a for name, a in index.items()}), labels


def _texts(blob: Tensor, ends: Tensor) -> np.ndarray:
    raw, stops = blob.numpy().tobytes(), ends.tolist()
    try:
        texts = [raw[lo:hi].decode() for lo, hi in zip([0, *stops], stops)]
    except UnicodeDecodeError as error:
        raise FormatError(f"the texts of the index cannot be read: {error}. Verify the recording.") from error
    out = np.empty(len(texts), dtype=object)
    out[:] = texts
    return out

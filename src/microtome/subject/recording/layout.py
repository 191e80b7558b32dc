"""Shapes: arrays in, rows chosen, batches cut, padding put back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.subject.recording.about import About

if TYPE_CHECKING:
    import pandas as pd

#: How values may be stored.
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


def as_values(site: str, values: Any) -> Tensor:
    """A detached CPU tensor [rows, ...] of a floating dtype; integers and bools become float32."""
    tensor = torch.as_tensor(values).detach().cpu()
    if tensor.is_complex():
        raise UsageError(f"{site!r} holds complex values; record their real and imaginary parts, or their modulus.")
    tensor = tensor if tensor.dtype in DTYPES else tensor.float()
    if not tensor.ndim:
        raise ShapeError(f"{site!r} is a single number; a recording needs rows: Tensor[rows, ...].")
    return tensor.unsqueeze(1) if tensor.ndim == 1 else tensor


def axes_of(shape: tuple[int, ...], axes: tuple[str, ...] | None) -> tuple[str, ...]:
    """Names of the feature axes; 'unit' for one, 'axis1', 'axis2'... where nothing is known."""
    if axes is None:
        return ("unit",) if len(shape) == 1 else tuple(f"axis{i + 1}" for i in range(len(shape)))
    if len(axes) != len(shape):
        raise ShapeError(f"axes {tuple(axes)} name {len(axes)} feature axes, the values have shape {shape} per row.")
    return tuple(axes)


def as_rows(rows: Any, total: int) -> np.ndarray:
    """Row numbers from numbers (negative from the end) or a mask."""
    array = np.asarray(rows)
    if array.dtype == bool:
        if array.shape != (total,):
            raise ShapeError(f"the mask has shape {array.shape}, the recording has {total} rows; give bool[{total}].")
        return np.flatnonzero(array)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise UsageError(f"rows are a mask or a list of integers, got {array.dtype} of shape {array.shape}.")
    array = array.astype(np.int64)
    if array.size and (array.min() < -total or array.max() >= total):
        raise UsageError(f"row {int(array[(array < -total) | (array >= total)][0])} is outside 0..{total - 1}.")
    return np.where(array < 0, array + total, array)


def rows_of_samples(sample: np.ndarray, ids: Any) -> np.ndarray:
    """Rows of the samples `ids`, in the order of `ids`, rows of one sample in their own order."""
    wanted = np.asarray(ids)
    if wanted.ndim != 1 or (wanted.size and not np.issubdtype(wanted.dtype, np.integer)):
        raise UsageError(f"sample ids are a list of integers, got {wanted.dtype} of shape {wanted.shape}.")
    if len(np.unique(wanted)) != len(wanted):
        raise UsageError("a sample is asked for twice; to draw samples with replacement use resampled(seed).")
    absent = np.setdiff1d(wanted, sample)
    if absent.size:
        raise UsageError(f"sample {int(absent[0])} has no rows here ({len(np.unique(sample))} samples have).")
    if not wanted.size:
        return np.zeros(0, dtype=np.int64)
    place = np.full(int(sample.max()) + 1, -1)
    place[wanted] = np.arange(len(wanted))
    rows = np.flatnonzero(place[sample] >= 0)
    return rows[np.argsort(place[sample[rows]], kind="stable")]


def rebatch(pieces: Iterable[Tensor], size: int) -> Iterator[Tensor]:
    """The same rows in batches of `size`; the last may be shorter."""
    rest: Tensor | None = None
    for piece in pieces:
        rest = piece if rest is None or not len(rest) else torch.cat([rest, piece])
        whole = len(rest) // size * size
        yield from rest[:whole].split(size) if whole else ()  # pyright: ignore[reportOptionalSubscript]
        rest = rest[whole:]  # pyright: ignore[reportOptionalSubscript]
    if rest is not None and len(rest):
        yield rest


def padded(values: Tensor, index: pd.DataFrame) -> tuple[Tensor, Tensor]:
    """Rows laid out as [sample, position, ...] or [sample, y, x, ...], samples in order of appearance, and a mask."""
    import pandas as pd

    sample, found = pd.factorize(index["sample"])
    image = {"y", "x"} <= set(index.columns)
    place = [sample] + [index[name].to_numpy() for name in (("y", "x") if image else ("position",))]
    if any(len(p) and p.min() < 0 for p in place[1:]):
        raise UsageError("the index has negative positions, so rows cannot be laid out; number positions from 0.")
    sizes = (len(found), *(int(p.max()) + 1 if len(p) else 0 for p in place[1:]))
    cell = np.ravel_multi_index(place, sizes) if len(index) else np.zeros(0, dtype=np.int64)
    if len(np.unique(cell)) != len(cell):
        raise UsageError("two rows have the same sample and position, so they cannot be laid out; select each row once.")
    where = torch.from_numpy(np.asarray(cell, dtype=np.int64))
    out = values.new_zeros((int(np.prod(sizes)), *values.shape[1:]))
    mask = torch.zeros(len(out), dtype=torch.bool)
    out[where], mask[where] = values, True
    return out.unflatten(0, sizes), mask.unflatten(0, sizes)


def renumbered(known: About, draw: np.ndarray) -> About:
    """New sample ids for resampled rows: every (draw, sample) is a sample, with its line of the table."""
    import pandas as pd

    old = known.index["sample"].to_numpy()
    codes, keys = pd.factorize(draw * (int(old.max()) + 1) + old)
    origin = keys % (int(old.max()) + 1)
    table = known.table.iloc[origin].reset_index(drop=True)
    if "document" not in table.columns:
        table["document"] = origin  # copies of one sample stay together in a split
    return replace(known, index=known.index.assign(sample=codes), table=table)

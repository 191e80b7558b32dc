"""Triton kernels for the sums of `sparse` on CUDA: weighted sums of rows, and the dot products that are their derivative.

Two kernels serve decoding and all its gradients. A weighted sum of table rows per bag gives ``x' = z W_dec``; with the
entries sorted by latent the same kernel gives the gradients of the tables. Each sum belongs to one program and runs in a
fixed order, so there are no atomics and equal input gives equal bytes. Sums are kept in float32 (float64 for float64)
whatever the tensors are stored in.

The torch path in `sparse` is the oracle. The kernels have been compared with it in Triton's interpreter; they have not been
timed on a GPU, so nothing is claimed about their speed. `usable` compares them once more on the device at hand.
"""

from __future__ import annotations  # tl.constexpr below stays a string where Triton is absent

import warnings
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

triton: Any
tl: Any
try:
    import triton  # type: ignore[import-not-found]
    import triton.language as tl  # type: ignore[import-not-found]
except ImportError:  # the list of methods imports every module of a room
    triton = tl = None

#: Entries that a program takes at once, and columns at most.
TILE, COLUMNS = 8, 256


class KernelsUnused(UserWarning):
    """Triton is there, but its kernels fail on this device or disagree with torch; torch's own are used."""


def _jit(function: Any) -> Any:
    return function if triton is None else triton.jit(do_not_specialize=["bags", "entries", "height"])(function)


@_jit
def _sums(
    out, table, index, weight, start, bags, entries, height, d,
    ACC: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,  # type: ignore[valid-type]
):  # fmt: skip
    """One bag and one block of columns: out[bag] = sum over its entries of weight * table[index]."""
    bag = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    first = tl.load(start + bag)
    last = tl.load(start + bag + 1, mask=bag + 1 < bags, other=entries)
    total = tl.zeros((BLOCK,), ACC)
    for lowest in range(first, last, TILE):
        entry = lowest + tl.arange(0, TILE)
        row = tl.load(index + entry, mask=entry < last, other=0)
        known = (row >= 0) & (row < height)
        scale = tl.load(weight + entry, mask=entry < last, other=0.0).to(ACC)
        scale = tl.where(known, scale, float("nan"))  # a row that is not there is not read, and not passed over either
        read = ((entry < last) & known)[:, None] & (column < d)[None, :]
        values = tl.load(table + row[:, None] * d + column[None, :], mask=read, other=0.0).to(ACC)
        total += tl.sum(scale[:, None] * values, axis=0)
    tl.store(out + bag * d + column, total, mask=column < d)


@_jit
def _dots(
    out, rows, table, row, index, bags, entries, height, d,
    ACC: tl.constexpr, TILE: tl.constexpr, BLOCK: tl.constexpr,  # type: ignore[valid-type]
):  # fmt: skip
    """One tile of entries: out[entry] = rows[row of entry] . table[index of entry]."""
    entry = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    here = entry < entries
    left = tl.load(row + entry, mask=here, other=0)
    right = tl.load(index + entry, mask=here, other=0)
    known = (right >= 0) & (right < height) & (left >= 0) & (left < bags)
    total = tl.zeros((TILE,), ACC)
    for lowest in range(0, d, BLOCK):
        column = lowest + tl.arange(0, BLOCK)
        read = (here & known)[:, None] & (column < d)[None, :]
        a = tl.load(rows + left[:, None] * d + column[None, :], mask=read, other=0.0).to(ACC)
        b = tl.load(table + right[:, None] * d + column[None, :], mask=read, other=0.0).to(ACC)
        total += tl.sum(a * b, axis=1)
    tl.store(out + entry, tl.where(known, total, float("nan")), mask=here)


def bag_sums(index: Tensor, start: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """``out[b] = sum_n weight[n] table[index[n]]`` over the entries of bag b, which start at ``start[b]``.

    Parameters
    ----------
    index : LongTensor[n]
        Rows of the table, bag after bag. A row that does not exist makes its bag NaN.
    start : LongTensor[bags]
        Where each bag starts; a bag may be empty.
    weight : Tensor[n]
        Weights.
    table : Tensor[height, d]
        Rows.

    Returns
    -------
    Tensor[bags, d]
        In the precision of the table.
    """
    index, start, weight, table = (value.contiguous() for value in (index, start, weight, table))
    (bags,), (height, d) = start.shape, table.shape
    out = table.new_zeros(bags, d)
    if out.numel() and index.numel():
        block = _block(d)
        with torch.cuda.device_of(table):
            _sums[(bags, triton.cdiv(d, block))](
                out, table, index, weight, start, bags, len(index), height, d, ACC=_precision(table), TILE=TILE, BLOCK=block
            )
    return out


def entry_dots(row: Tensor, index: Tensor, rows: Tensor, table: Tensor) -> Tensor:
    """``out[n] = rows[row[n]] . table[index[n]]``: the derivative of `bag_sums` with respect to its weights.

    Parameters
    ----------
    row, index : LongTensor[n]
        Which row of `rows`, and which of `table`. One that does not exist gives NaN.
    rows, table : Tensor[bags, d], Tensor[height, d]
        Rows.

    Returns
    -------
    Tensor[n]
        In the precision of the table.
    """
    row, index, rows, table = (value.contiguous() for value in (row, index, rows, table))
    out, d = table.new_zeros(len(index)), table.shape[1]
    if out.numel() and d:
        with torch.cuda.device_of(table):
            _dots[(triton.cdiv(len(index), TILE),)](
                out, rows, table, row, index, len(rows), len(index), len(table), d,
                ACC=_precision(table), TILE=TILE, BLOCK=_block(d),
            )  # fmt: skip
    return out


@cache
def usable(device: torch.device) -> bool:
    """Whether Triton is installed and, on a small case, its kernels give on this device what torch gives.

    Warns `KernelsUnused` where they do not: an old GPU, or no compiler for the launchers.
    """
    if triton is None:
        return False
    count = torch.arange(90, device=device)
    table = (count.float() * 0.7).sin().reshape(9, 10)
    row, start = count[:21] // 7, count[:3] * 7
    index, weight = count[:21] * 5 % 9, (count[:21].float() * 0.3).cos()
    try:
        sums = F.embedding_bag(index, table, start, per_sample_weights=weight, mode="sum")
        torch.testing.assert_close(bag_sums(index, start, weight, table), sums, rtol=1e-5, atol=1e-5)
        dots = (sums[row] * table[index]).sum(1)
        torch.testing.assert_close(entry_dots(row, index, sums, table), dots, rtol=1e-5, atol=1e-5)
    except Exception as error:  # whatever a compiler may raise; told, and the oracle is used instead
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        warnings.warn(f"Triton's kernels are not used on {device}, torch's are: {reason}", KernelsUnused, stacklevel=4)
        return False
    return True


def _block(d: int) -> int:
    return min(COLUMNS, triton.next_power_of_2(d))


def _precision(table: Tensor) -> Any:
    return tl.float64 if table.dtype == torch.float64 else tl.float32

"""Sparse codes and the two products a dictionary needs, with gradients that cost O(active * d).

With F latents of which k fire, only the encoder product ``x @ W_enc`` has to be dense. Decoding, its gradients and the
gradient of the encoder touch the k chosen rows only. Everything here is one primitive, a weighted sum of rows, which
torch ships as `embedding_bag` and which sums in a fixed order (same bytes each time on CPU). CUDA tensors go to the Triton
kernels of `triton_sums` where Triton is installed and agrees with torch on the device.
"""

from functools import cached_property
from types import ModuleType

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable


class Support:
    """Which latents may be non-zero in each row: a ragged list of `indices`, row b starting at ``offsets[b]``.

    Parameters
    ----------
    indices : LongTensor[n]
        Latents, row after row.
    offsets : LongTensor[rows]
        Where each row starts.
    latents : int
        Width of the dense code.
    """

    def __init__(self, indices: Tensor, offsets: Tensor, latents: int) -> None:
        self.indices, self.offsets, self.latents = indices, offsets, latents

    @classmethod
    def fixed(cls, indices: Tensor, latents: int) -> "Support":
        """The support with the same number of entries in each row, from indices[rows, k]."""
        rows, k = indices.shape
        return cls(indices.reshape(-1), torch.arange(0, rows * k, max(k, 1), device=indices.device)[:rows], latents)

    @classmethod
    def where(cls, mask: Tensor) -> "Support":
        """The support of a boolean mask[rows, latents]."""
        counts = mask.sum(1)
        return cls(mask.nonzero()[:, 1], counts.cumsum(0) - counts, mask.shape[1])

    @cached_property
    def rows(self) -> Tensor:
        """Row of each entry, LongTensor[n]."""
        ends = torch.cat([self.offsets[1:], self.offsets.new_tensor([self.indices.numel()])])
        return torch.repeat_interleave(ends - self.offsets)

    @cached_property
    def by_latent(self) -> tuple[Tensor, Tensor, Tensor]:
        """The transposed support: order of the entries, their rows, and where each latent starts."""
        order = torch.argsort(self.indices, stable=True)
        counts = torch.bincount(self.indices, minlength=self.latents)
        return order, self.rows[order], counts.cumsum(0) - counts

    def dense(self, values: Tensor) -> Tensor:
        """The dense code[rows, latents] of the entries' values[n]."""
        out = values.new_zeros(self.offsets.numel(), self.latents)
        return out.index_put((self.rows, self.indices), values)

    def sum_by_latent(self, values: Tensor) -> Tensor:
        """Sum of the entries of each latent, Tensor[latents]."""
        return values.new_zeros(self.latents).index_add_(0, self.indices, values)


def _kernels(like: Tensor) -> ModuleType | None:
    """The Triton kernels for tensors like this one, or None: torch's own operations."""
    if not like.is_cuda:
        return None
    from microtome.decompose import triton_sums

    return triton_sums if triton_sums.usable(like.device) else None


def _bag_sums(index: Tensor, start: Tensor, weight: Tensor, table: Tensor) -> Tensor:
    """out[b] = sum of weight * table[index] over the entries from start[b] to start[b + 1]."""
    if (kernels := _kernels(table)) is not None:
        return kernels.bag_sums(index, start, weight, table)
    return F.embedding_bag(index, table, start, per_sample_weights=weight, mode="sum")


def _row_sums(support: Support, values: Tensor, table: Tensor) -> Tensor:
    """out[b] = sum over the entries of row b of value * table[latent]."""
    return _bag_sums(support.indices, support.offsets, values, table)


def _latent_sums(support: Support, values: Tensor, rows: Tensor) -> Tensor:
    """out[i] = sum over the entries of latent i of value * rows[row]: the transpose of `_row_sums`."""
    order, row, start = support.by_latent
    return _bag_sums(row, start, values[order], rows)


def _entry_dots(support: Support, rows: Tensor, table: Tensor) -> Tensor:
    """out[n] = rows[row of n] . table[latent of n]: the derivative of `_row_sums` with respect to its weights."""
    if (kernels := _kernels(table)) is not None:
        return kernels.entry_dots(support.rows, support.indices, rows, table)
    with torch.enable_grad():
        weights = table.new_zeros(support.indices.numel()).requires_grad_()
        out = _row_sums(support, weights, table.detach())
    return torch.autograd.grad(out, weights, rows.contiguous())[0]


class _Decode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, support, values, table):
        ctx.support = support
        ctx.save_for_backward(values, table)
        return _row_sums(support, values, table)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        values, table = ctx.saved_tensors
        grad = grad.contiguous()
        to_values = _entry_dots(ctx.support, grad, table) if ctx.needs_input_grad[1] else None
        to_table = _latent_sums(ctx.support, values, grad) if ctx.needs_input_grad[2] else None
        return None, to_values, to_table


class _Encode(torch.autograd.Function):
    @staticmethod
    def forward(ctx, support, values, x, table, bias):
        ctx.support = support
        ctx.save_for_backward(x, table)
        return values.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, table = ctx.saved_tensors
        grad = grad.contiguous()
        to_x = _row_sums(ctx.support, grad, table) if ctx.needs_input_grad[2] else None
        to_table = _latent_sums(ctx.support, grad, x) if ctx.needs_input_grad[3] else None
        to_bias = ctx.support.sum_by_latent(grad) if ctx.needs_input_grad[4] else None
        return None, None, to_x, to_table, to_bias


def sparse_decode(support: Support, values: Tensor, table: Tensor) -> Tensor:
    """Weighted sums of dictionary rows, ``out[b] = sum_n values[n] table[indices[n]]``.

    Parameters
    ----------
    support : Support
        Entries per row.
    values : Tensor[n]
        Their values.
    table : Tensor[latents, d]
        Dictionary rows.

    Returns
    -------
    Tensor[rows, d]
        Differentiable in `values` and `table`, at O(n d).
    """
    return _Decode.apply(support, values, table)


def pick(support: Support, pre: Tensor, x: Tensor, table: Tensor, bias: Tensor) -> Tensor:
    """The entries of ``pre = x @ table.T + bias`` on a support, with the gradient of those entries only.

    Parameters
    ----------
    support : Support
        Entries wanted.
    pre : Tensor[rows, latents]
        The dense product, computed without gradient; in mixed precision a coarser one than the tables are kept in.
    x, table, bias : Tensor[rows, d], Tensor[latents, d], Tensor[latents]
        What it was computed from.

    Returns
    -------
    Tensor[n]
        In the precision of the table; differentiable in `x`, `table` and `bias`, at O(n d).
    """
    values = pre[support.rows, support.indices].to(table.dtype)
    return _Encode.apply(support, values, x, table, bias)

"""What gated linear recurrences share: causal convolution, recurrence and gate as one matrix over positions.

``H = diag(left) S diag(mid) M`` per channel: M the causal convolution, mid the activation held at its value, S the
recurrence, left the output gate. Decays are products of many factors below 1: their logarithms are added up instead.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from microtome.attribute.mixers.mixing import Mixing

Split = Literal["gate", "activation"]


def toeplitz(kernel: Tensor, length: int) -> Tensor:
    """A causal depthwise convolution [channel, taps] as matrices [channel, position, source]."""
    taps = kernel.shape[1]
    place = torch.arange(length, device=kernel.device)
    lag = place[:, None] - place
    inside = (lag >= 0) & (lag < taps)
    return torch.where(inside, kernel[:, (taps - 1 - lag).clamp(0, taps - 1)], 0.0)


def decays(log_a: Tensor) -> Tensor:
    """``prod_{j < k <= i} a_k`` [n, channel, position, source] from log a [n, position, channel]; 0 above the diagonal."""
    total = log_a.cumsum(1).transpose(1, 2)
    gap = total[..., :, None] - total[..., None, :]
    lower = torch.ones(gap.shape[-2:], dtype=torch.bool, device=gap.device).tril()
    return gap.masked_fill(~lower, -torch.inf).exp()


def selective(dt: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """A selective state space: ``sum_s C_is exp(A_s sum_{j<k<=i} dt_k) dt_j B_js`` [n, channel, position, source].

    dt [n, position, channel], a [channel, state], b and c [n, position, state] or [n, position, channel, state].
    """
    total = torch.zeros((), dtype=dt.dtype, device=dt.device)
    for s in range(a.shape[1]):
        outer = c[:, :, None, ..., s] * b[:, None, ..., s]
        outer = outer[:, None] if outer.ndim == 3 else outer.movedim(3, 1)
        total = total + decays(dt * a[:, s]) * outer
    return total * dt.transpose(1, 2)[:, :, None]


def convolved(x: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
    """The causal convolution of [n, position, channel]."""
    out = torch.einsum("cij,njc->nic", toeplitz(kernel, x.shape[1]), x)
    return out if bias is None else out + bias


def gated(
    x: Tensor,
    kernel: Tensor,
    bias: Tensor | None,
    activation: Callable[[Tensor], Tensor] | None,
    inner: Tensor,
    left: Tensor,
    write: Tensor,
    bias_out: Tensor | None,
    *,
    keep: Tensor | None = None,
    split: Split = "gate",
) -> Mixing:
    """Convolution, activation, recurrence, gate and projection as one mixing.

    Parameters
    ----------
    x : Tensor[n, position, channel]
        What enters the convolution.
    kernel : Tensor[channel, taps]
    bias, bias_out : of the convolution [channel] and of the projection [width]
    activation : behind the convolution; None for none
    inner : Tensor[n, channel, position, source], the recurrence
    left : Tensor[n, position, channel], the gate
    write : Tensor[channel, width]
    keep : Tensor[n, position] of 0 and 1, optional
        Positions that are not padding.
    split : "gate" holds ``activation(c) / c`` and is exact; "activation" puts ``activation`` on every tap by itself
        (LaTIM), which is exact where the activation is linear.
    """
    act = activation or (lambda value: value)
    taps = toeplitz(kernel, x.shape[1])
    through = inner if keep is None else inner * keep[:, None, None]
    zero = torch.zeros(x.shape[-1], dtype=x.dtype, device=x.device) if bias is None else bias
    rows = left.transpose(1, 2)[..., None]
    if split == "gate":
        c = convolved(x, kernel, bias)
        mid = torch.where(c == 0, 0.0, act(c) / torch.where(c == 0, 1.0, c)).transpose(1, 2)
        through = through * mid[:, :, None]
        matrix, value = rows * (through @ taps), x
        constant = through.sum(-1) * zero[:, None]
    else:
        pieces = act(taps * x.transpose(1, 2)[:, :, None])
        matrix, value = rows * (through @ pieces), torch.ones_like(x)
        constant = through.sum(-1) * act(zero)[:, None]
    rest = torch.einsum("nci,cd->nid", rows[..., 0] * constant, write)
    return Mixing(matrix, value[..., None], write[:, None], rest if bias_out is None else rest + bias_out, inner)

"""The jump: a gate with a learnt threshold, and the pseudo-gradients through it (Rajamanoharan et al. 2024b).

With K = 1 on [-1/2, 1/2]: d H(pre - t)/dt = -K((pre - t) / e) / e and d [pre H(pre - t)]/dt = -t K((pre - t) / e) / e.
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class _Step(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pre, threshold, width):
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return (pre > threshold).to(pre)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        pre, threshold = ctx.saved_tensors
        near = ((pre - threshold).abs() < ctx.width / 2).to(pre)
        return None, _sum_to(-grad * near / ctx.width, threshold), None


class _Jump(torch.autograd.Function):
    @staticmethod
    def forward(ctx, pre, threshold, width):
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return torch.where(pre > threshold, pre, 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        pre, threshold = ctx.saved_tensors
        near = ((pre - threshold).abs() < ctx.width / 2).to(pre)
        to_threshold = _sum_to(-grad * near * threshold / ctx.width, threshold)
        return torch.where(pre > threshold, grad, 0.0), to_threshold, None


def _sum_to(values: Tensor, like: Tensor) -> Tensor:
    return values.flatten(0, values.ndim - like.ndim - 1).sum(0) if values.ndim > like.ndim else values


def step(pre: Tensor, threshold: Tensor, width: float) -> Tensor:
    """``H(pre - threshold)``; the gradient goes to the threshold only.

    Parameters
    ----------
    pre : Tensor[..., latents]
    threshold : Tensor[latents]
        Or with more axes, the last ones of `pre`.
    width : float
        Of the window in which the step is felt.
    """
    return _Step.apply(pre, threshold, width)


def jump(pre: Tensor, threshold: Tensor, width: float) -> Tensor:
    """``pre H(pre - threshold)``; the gradient to `pre` is that of the open latents."""
    return _Jump.apply(pre, threshold, width)

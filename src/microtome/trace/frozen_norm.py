"""Norms with their scale held: what is left is a linear map and a constant.

Every norm of the known architectures is ``y = C x * s * w + b``: C centres (LayerNorm) or is the identity (RMSNorm), w and b
are parameters, and s depends on the input. With s held at its value, the norm is affine in x.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from microtome.errors import SiteError


@dataclass(frozen=True)
class FrozenNorm:
    """What a norm does when its scale is held.

    Attributes
    ----------
    weight, bias : Tensor[d]
    centred : bool
        Whether the mean over units is taken off first.
    """

    weight: Tensor
    bias: Tensor
    centred: bool

    def __call__(self, x: Tensor, y: Tensor, one: Tensor) -> Tensor:
        """The norm's output y again, as an affine function of x; its constant is carried by `one` (a scalar of value 1).

        Raises
        ------
        SiteError
            When y is not of the form ``C x * s * w + b``.
        """
        inner = (x - x.mean(-1, keepdim=True) if self.centred else x) * self.weight
        target = (y - self.bias).detach()
        held = inner.detach()
        scale = (target * held).sum(-1, keepdim=True) / (held * held).sum(-1, keepdim=True).clamp_min(1e-30)
        wrong = (held * scale - target).abs().amax()
        if not wrong <= 1e-3 * target.abs().amax().clamp_min(1e-6):
            raise SiteError(f"a norm is not a scaled copy of its input (off by {float(wrong):.1e}), so it cannot be held.")
        return inner * scale + self.bias * one


def frozen_norm(norm: nn.Module, width: int, like: Tensor) -> FrozenNorm | None:
    """How to hold `norm`, found by asking it; None for a module that does nothing (Identity)."""
    if isinstance(norm, nn.Identity):
        return None
    with torch.no_grad():
        zero = like.new_zeros(1, 1, width)
        bias = norm.forward(zero)[0, 0]  # not called: its hooks stay out of it
        signs = torch.ones_like(zero)
        signs[..., 1::2] = -1.0
        if width % 2:
            signs[..., -1] = 0.0
        weight = (norm.forward(signs)[0, 0] - bias) * signs[0, 0]
        if width % 2:  # the last unit, from signs in another order
            rolled = signs.roll(1, -1)
            weight[-1] = ((norm.forward(rolled)[0, 0] - bias) * rolled[0, 0])[-1]
        constant = norm.forward(torch.ones_like(zero))[0, 0] - bias
    return FrozenNorm(weight, bias, bool(constant.abs().max() < 1e-3 * weight.abs().max()))

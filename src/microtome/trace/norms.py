"""Norms in closed form: what they do to a small change of the stream, and what they pass on while their spread is held.

A norm is ``y = w * (x - m) / s + b`` with ``m`` the mean of x (LayerNorm) or 0 (RMSNorm) and ``s`` its spread, one of each
for a token. With ``w`` folded into what reads ``y``, and that centred where the norm centres, only ``s`` is left to apply.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import SiteError
from microtome.rng import torch_rng
from microtome.subject.edit import Edit, replace_with


@dataclass(frozen=True)
class Norm:
    """A LayerNorm or RMSNorm.

    Attributes
    ----------
    weight, bias : Tensor[d]
    centred : bool
        Whether the mean is subtracted.
    eps : float
    """

    weight: Tensor
    bias: Tensor
    centred: bool
    eps: float

    def spread(self, x: Tensor) -> Tensor:
        """The divisor of each token [...] of x [..., d]."""
        square = torch.linalg.vector_norm(x, dim=-1).square() / x.shape[-1]
        if self.centred:
            mean = x.mean(-1).square()
            # In one pass, unless the mean is so large that the difference would be lost to rounding.
            square = square - mean if bool((square < 50 * (square - mean)).all()) else x.var(-1, unbiased=False)
        return (square + self.eps).sqrt()

    def unit(self, x: Tensor, spread: Tensor) -> Tensor:
        """x centred and divided [..., d]: the norm without weight and bias."""
        return (x - x.mean(-1, keepdim=True) if self.centred else x) / spread[..., None]

    def folded(self, weight: Tensor) -> Tensor:
        """Rows [..., d] that read the norm's output, as rows that read ``x / s``."""
        rows = weight * self.weight
        return rows - rows.mean(-1, keepdim=True) if self.centred else rows

    def held(self, x: Tensor, one: Tensor) -> Tensor:
        """The norm with its spread held: affine in x, its constant carried by `one` (a scalar of value 1)."""
        return self.weight * self.unit(x, self.spread(x.detach())) + self.bias * one

    def __call__(self, x: Tensor) -> Tensor:
        """The norm itself."""
        return self.weight * self.unit(x, self.spread(x)) + self.bias


@torch.no_grad()
def norm_of(module: nn.Module, width: int) -> Norm:
    """The closed form of a norm module, checked on random vectors; its hooks stay out of it.

    Raises
    ------
    SiteError
        When the module is neither a LayerNorm nor an RMSNorm of `width` features.
    """
    stored = getattr(module, "weight", None)
    like = stored if isinstance(stored, Tensor) else torch.zeros(())
    draw = torch.randn(3, width, generator=torch_rng(0, "norm")) + 0.5
    probe = (draw * torch.tensor([30.0, 1.0, 0.1])[:, None]).to(like.device, like.dtype)
    found, bias = module.forward(probe).double(), module.forward(torch.zeros_like(probe[:1]))[0].double()
    eps = next((float(v) for v in (getattr(module, n, None) for n in ("eps", "variance_epsilon")) if v is not None), 0.0)
    rough = 1e-3 if like.dtype in (torch.float32, torch.float64) else 5e-2
    for centred in (True, False):
        plain = Norm(torch.ones_like(bias), torch.zeros_like(bias), centred, eps)
        weight = (found[0] - bias) / plain(probe[:1].double())[0]
        if isinstance(stored, Tensor):  # a gain, or what is added to a gain of 1
            weight = min((stored.double(), 1 + stored.double()), key=lambda w: float((w - weight).abs().max()))
        guess = Norm(weight, bias, centred, eps)
        if torch.allclose(guess(probe.double()), found, rtol=rough, atol=rough):
            return Norm(weight.to(like.dtype), bias.to(like.dtype), centred, eps)
    raise SiteError(
        f"{type(module).__name__} is neither a LayerNorm nor an RMSNorm, so what it passes on is not known. "
        "Patch nodes instead: activation_patching."
    )


def hold_spread(subject: Any, before: str, after: str, clean: Tensor) -> list[Edit]:
    """Edits that keep a norm's spread as it was when what it read was `clean` [n, length, d].

    Parameters
    ----------
    subject : Subject
    before, after : str
        The site that the norm reads (``blocks.0.resid_mid``), and its own (``blocks.0.mlp.norm``).
    clean : Tensor
        The first in the run whose spread counts.
    """
    norm = norm_of(subject.module.get_submodule(subject.site(after).module), clean.shape[-1])
    held, seen = norm.spread(clean), {}

    def look(x: Tensor) -> Tensor:
        seen["spread"] = norm.spread(x)
        return x

    def rescaled(y: Tensor) -> Tensor:  # where only the last positions are needed, y has only these
        return (y - norm.bias) * (seen["spread"] / held)[:, -y.shape[1] :, None] + norm.bias

    return [replace_with(before, look), replace_with(after, rescaled)]

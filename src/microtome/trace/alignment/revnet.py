"""A reversible network as alignment map: any non-linear bijection of a site, with an exact inverse (Sutter et al. 2025)."""

from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import UsageError
from microtome.rng import torch_rng
from microtome.trace.alignment.maps import AlignmentMap, blocks_of, spread


def encode(tensors: dict[str, Tensor], x: Tensor) -> Tensor:
    """``y1 = x1 + F(x2)``, ``y2 = x2 + G(y1)``, block by block, on centred and scaled values."""
    x1, x2 = ((x - tensors["centre"].to(x)) / tensors["scale"].to(x)).chunk(2, -1)
    for f, g in _blocks(tensors, x):
        x1 = x1 + _branch(f, x2)
        x2 = x2 + _branch(g, x1)
    return torch.cat([x1, x2], -1)


def decode(tensors: dict[str, Tensor], z: Tensor) -> Tensor:
    """The inverse: ``x2 = y2 - G(y1)``, ``x1 = y1 - F(x2)``."""
    x1, x2 = z.chunk(2, -1)
    for f, g in reversed(_blocks(tensors, z)):
        x2 = x2 - _branch(g, x1)
        x1 = x1 - _branch(f, x2)
    return torch.cat([x1, x2], -1) * tensors["scale"].to(z) + tensors["centre"].to(z)


def _blocks(tensors: dict[str, Tensor], like: Tensor) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Weights of F and G of each block, taken apart once: a selection apiece would cost a gradient of full size each."""
    parts = [tensors[name].to(like).flatten(0, 1).unbind(0) for name in ("inner", "bias", "outer")]
    branches = [list(branch) for branch in zip(*parts)]
    return list(zip(branches[::2], branches[1::2]))


def _branch(weights: list[Tensor], x: Tensor) -> Tensor:
    inner, bias, outer = weights
    return torch.addmm(bias, x.reshape(-1, x.shape[-1]), inner).relu().mm(outer).reshape(x.shape)


class RevNet(AlignmentMap):
    """`blocks` reversible blocks whose branches are one-hidden-layer networks of `hidden` units."""

    def __init__(self, sizes: dict[str, int], like: Tensor, blocks: int, hidden: int, seed: int = 0) -> None:
        width = like.shape[-1]
        super().__init__(width, sizes)
        if width % 2:
            raise UsageError(
                f"a reversible network splits the site in two halves, and {width} units are odd. Align at a site of even "
                "width, or use a rotation (mt.trace.das)."
            )
        if sum(sizes.values()) > width:
            raise UsageError(f"{sum(sizes.values())} coordinates ({sizes}) do not fit into a site of width {width}.")
        if blocks < 1 or hidden < 1:
            raise UsageError(f"blocks and hidden must be at least 1, got {blocks} and {hidden}.")
        generator, half = torch_rng(seed, "alignment", "revnet"), width // 2
        rows = like.reshape(-1, width).float()
        self.inner = nn.Parameter(torch.randn(blocks, 2, half, hidden, generator=generator) * (2 / half) ** 0.5)
        self.bias = nn.Parameter(torch.zeros(blocks, 2, hidden))
        self.outer = nn.Parameter(torch.randn(blocks, 2, hidden, half, generator=generator) * 0.3 / hidden**0.5)
        self.register_buffer("centre", rows.mean(0))
        self.register_buffer("scale", (rows - rows.mean(0)).square().mean().sqrt().clamp_min(1e-6))
        self.blocks = blocks_of(sizes)

    def tensors(self) -> dict[str, Tensor]:
        """Weights by name."""
        return {name: getattr(self, name) for name in ("inner", "bias", "outer", "centre", "scale")}

    def interchange(self, base: Tensor, sources: list[Tensor], chosen: Tensor) -> Tensor:
        weights = self.tensors()
        z, *others = encode(weights, torch.stack([base, *sources]))
        moved = z
        for j, (other, block) in enumerate(zip(others, self.blocks.values())):
            mask = z.new_zeros(self.width)
            mask[block] = 1
            moved = moved + mask * spread(other - z, chosen[:, j])
        return decode(weights, moved)

    def parts(self) -> dict[str, Any]:
        return {"tensors": {k: v.detach().clone() for k, v in self.tensors().items()}, "blocks": self.blocks}

"""Attention as a matrix over positions: the pattern, the values, the output projection."""

from typing import Any

import torch
from torch import Tensor

from microtome.attribute.mixers.mixing import Mixing
from microtome.subject.site import Site


def projection(subject: Any, site: Site) -> tuple[Tensor, Tensor]:
    """The linear map behind a site of heads [head, unit, width] and its bias [width], whatever layer computes it."""
    module = subject.module.get_submodule(site.module)
    heads, units = site.shape
    probe = torch.eye(heads * units, dtype=subject.dtype, device=subject.device)
    with torch.no_grad():
        bias = module(torch.zeros_like(probe[:1]))[0]
        write = module(probe) - bias
    return write.unflatten(0, (heads, units)), bias


def value_bias(subject: Any, site: Site) -> Tensor | None:
    """The part of the values [head, unit] that does not depend on the token."""
    bias = getattr(subject.module.get_submodule(site.module), "bias", None)
    return None if not isinstance(bias, Tensor) else site.view.get(bias.detach()[None])[0]


def attention(subject: Any, block: str, seen: dict[str, Tensor]) -> Mixing:
    """The attention of a block (prefix, e.g. ``blocks.0.``) from its recorded pattern, values and, where norms follow, output.

    Biases of values and projection go to `rest`, so that parts depend on tokens only.
    """
    pattern, v = seen[f"{block}attn.pattern"], seen[f"{block}attn.v"]
    write, bias = projection(subject, subject.site(f"{block}attn.z"))
    constant = value_bias(subject, subject.site(f"{block}attn.v"))
    groups = pattern.shape[1] // v.shape[2]
    token = (v if constant is None else v - constant).repeat_interleave(groups, dim=2)
    rest = bias.expand(*pattern.shape[:1], pattern.shape[2], -1)
    if constant is not None:
        rest = rest + torch.einsum("nhi,hu,hud->nid", pattern.sum(-1), constant.repeat_interleave(groups, dim=0), write)
    scale = None
    if f"{block}attn.proj" in seen:
        bare = seen[f"{block}attn.proj"]
        scale = torch.where(bare == 0, 0.0, seen[f"{block}attn.out"] / torch.where(bare == 0, 1.0, bare))
        rest = rest * scale
    return Mixing(pattern, token, write, rest, None, scale)


def wanted(subject: Any, block: str) -> list[str]:
    """Sites to record for `attention`."""
    names = [f"{block}attn.pattern", f"{block}attn.v"]
    behind = f"{block}attn.proj"
    return [*names, behind, f"{block}attn.out"] if any(s.name == behind for s in subject.sites(behind)) else names

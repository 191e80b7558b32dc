"""The residual stream around a mixer: what a position keeps of itself beside what others add to it."""

from typing import Any

import torch
from torch import Tensor, nn

from microtome.attribute.mixers.layers import Layer
from microtome.attribute.mixers.mixing import Mixing
from microtome.subject.replay import main_trunk


def resid_sites(subject: Any, layer: Layer) -> list[str]:
    """Sites of the stream before a mixer, and behind it where a norm follows the sum."""
    if layer.kind != "attention":
        return [f"{layer.path.rpartition('.')[0]}:input"]
    before = f"{layer.path}resid_pre"
    return [before, f"{layer.path}resid_mid"] if _post(subject) else [before]


def with_stream(subject: Any, layer: Layer, mixed: Mixing, seen: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """``T_i(x_j) + [i = j] x_i`` [n, position, source, width] and their sum with the rest; behind a norm where one follows."""
    sites = [subject.site(s).name for s in resid_sites(subject, layer)]
    stream = seen[sites[0]]
    parts = mixed.parts()
    at = torch.arange(stream.shape[1])
    parts[:, at, at] = parts[:, at, at] + stream
    total = mixed.out + stream
    if not _post(subject):
        return parts, total
    norm = subject.module.get_submodule(subject.site(sites[1]).module)
    parts = held(layer_norm(norm), total, parts)
    return parts, seen[sites[1]]


def held(norm: nn.LayerNorm, total: Tensor, parts: Tensor) -> Tensor:
    """Parts [n, position, source, width] through the linear map that a layer norm is at `total`, without its bias."""
    scale = (total.var(-1, unbiased=False, keepdim=True) + norm.eps).rsqrt()
    return norm.weight.detach() * scale[:, :, None] * (parts - parts.mean(-1, keepdim=True))


def layer_norm(module: nn.Module) -> nn.LayerNorm:
    """The norm of a sublayer that ends with one."""
    return next(m for m in module.modules() if isinstance(m, nn.LayerNorm))


def _post(subject: Any) -> bool:
    trunk = main_trunk(subject)
    return trunk is not None and trunk.residual == "post"

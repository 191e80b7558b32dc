"""Mamba and Mamba-2 mixers as matrices over positions."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microtome.attribute.mixers.gated_linear import Split, convolved, gated, selective
from microtome.attribute.mixers.mixing import Mixing


def mamba(mixer: nn.Module | Any, hidden: Tensor, keep: Tensor | None = None, split: Split = "gate") -> Mixing:
    """A Mamba mixer (``in_proj, conv1d, x_proj, dt_proj, A_log, D, out_proj``) at its input [n, position, width]."""
    seen = hidden if keep is None else hidden * keep[..., None].to(hidden)
    x, z = mixer.in_proj(seen).chunk(2, dim=-1)
    kernel, bias = mixer.conv1d.weight[:, 0], mixer.conv1d.bias
    u = mixer.act(convolved(x, kernel, bias))
    u = u if keep is None else u * keep[..., None].to(u)
    states = mixer.A_log.shape[1]
    low, b, c = mixer.x_proj(u).split([mixer.x_proj.out_features - 2 * states, states, states], dim=-1)
    dt = F.softplus(mixer.dt_proj(low))
    scan = selective(dt, -mixer.A_log.to(x).exp(), b, c) + torch.diag_embed(mixer.D.to(x)[:, None].expand(-1, x.shape[1]))
    return gated(x, kernel, bias, mixer.act, scan, F.silu(z), mixer.out_proj.weight.T, mixer.out_proj.bias,
                 keep=None if keep is None else keep.to(x), split=split)  # fmt: skip


def mamba2(mixer: nn.Module | Any, hidden: Tensor, keep: Tensor | None = None, split: Split = "gate") -> Mixing:
    """A Mamba-2 mixer: one decay per head, and a gated norm behind the recurrence, held at the scale that it has here."""
    seen = hidden if keep is None else hidden * keep[..., None].to(hidden)
    heads, width, states, groups = mixer.num_heads, mixer.intermediate_size, mixer.ssm_state_size, mixer.n_groups
    z, xbc, dt = mixer.in_proj(seen).split([width, mixer.conv1d.in_channels, heads], dim=-1)
    kernel, bias = mixer.conv1d.weight[:, 0], mixer.conv1d.bias
    u = mixer.act(convolved(xbc, kernel, bias))
    u = u if keep is None else u * keep[..., None].to(u)
    u, b, c = u.split([width, groups * states, groups * states], dim=-1)
    b, c = (v.unflatten(-1, (groups, states)).repeat_interleave(heads // groups, dim=2) for v in (b, c))
    dt = F.softplus(dt + mixer.dt_bias).clamp(*mixer.time_step_limit)
    rate = -mixer.A_log.to(dt).exp()[:, None].expand(-1, states)
    scan = selective(dt, rate, b, c) + torch.diag_embed(mixer.D.to(dt)[:, None].expand(-1, hidden.shape[1]))
    scan = scan.repeat_interleave(width // heads, dim=1)
    mixed = torch.einsum("ncij,njc->nic", scan, u) * F.silu(z)
    size = mixed.unflatten(-1, (groups, -1)).square().mean(-1, keepdim=True)
    scale = (size + mixer.norm.variance_epsilon).rsqrt().expand(*size.shape[:-1], width // groups).flatten(-2)
    return gated(xbc[..., :width], kernel[:width], None if bias is None else bias[:width], mixer.act, scan,
                 F.silu(z) * scale * mixer.norm.weight, mixer.out_proj.weight.T, mixer.out_proj.bias,
                 keep=None if keep is None else keep.to(u), split=split)  # fmt: skip

"""How strongly channels respond to pictures, and the sparse weights that make classes of them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from microtome.errors import NonFinite, SiteError, UsageError

_ACTIVATIONS = (nn.ReLU, nn.GELU, nn.SiLU, nn.ELU, nn.LeakyReLU, nn.Tanh)


def response_sites(subject: Any, sites: Sequence[str] | None) -> list[str]:
    """The sites asked for, or the outputs of all activations that have places."""
    if sites is not None and not len(sites):
        raise UsageError("sites is empty: name at least one site with channels and places.")
    if sites is not None:
        return [subject.site(s).name for s in sites]
    found = [path for path, m in subject.module.named_modules() if path and isinstance(m, _ACTIVATIONS)]
    if not found:
        raise SiteError(f"{subject.name} has no activation modules; name the sites of its feature maps with sites=.")
    return found


def responses(subject: Any, inputs: Any, sites: Sequence[str]) -> tuple[Tensor, list[tuple[str, int]]]:
    """L2 norms of channels over places, each layer scaled to length 1 [n, channels of all layers], and (site, channel) of each.

    Sites without places are left out.
    """
    run = subject.run(inputs, record=list(sites), logits="none")
    parts, names = [], []
    for site in sites:
        value = run[site]
        if value.ndim < 3:
            continue
        size = value.flatten(2).norm(dim=2).cpu()
        parts.append(size / size.norm(dim=1, keepdim=True).clamp(min=1e-12))
        names += [(site, channel) for channel in range(size.shape[1])]
    if not parts:
        raise SiteError(f"none of {list(sites)} has channels and places.")
    found = torch.cat(parts, dim=1)
    if not torch.isfinite(found).all():
        raise NonFinite("responses of channels are not finite; check the weights of the network.")
    return found, names


def mu_lasso(x: Tensor, labels: Tensor, mu: float, steps: int) -> Tensor:
    """``argmin_W |X W - L|^2`` with ``|w_c|_1 <= mu`` per class, by accelerated projected gradient: W [features, classes].

    x [n, features], labels [n, classes].
    """
    gram, target = x.T @ x, x.T @ labels
    rate = 1.0 / torch.linalg.matrix_norm(gram, ord=2).clamp(min=1e-12)
    weights = ahead = torch.zeros_like(target)
    momentum = 1.0
    for _ in range(steps):
        new = into_ball((ahead - rate * (gram @ ahead - target)).T, mu).T
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = new + (momentum - 1) / following * (new - weights)
        weights, momentum = new, following
    return weights


def into_ball(rows: Tensor, radius: float) -> Tensor:
    """Each row [k, n] moved to the nearest point whose absolute values add up to at most `radius`."""
    size = rows.abs()
    ordered = size.sort(dim=1, descending=True).values
    excess = (ordered.cumsum(1) - radius) / torch.arange(1, rows.shape[1] + 1, dtype=rows.dtype)
    count = (ordered > excess).sum(1, keepdim=True).clamp(min=1)
    cut = excess.gather(1, count - 1).clamp(min=0)
    return torch.where(size.sum(1, keepdim=True) <= radius, rows, rows.sign() * (size - cut).clamp(min=0))

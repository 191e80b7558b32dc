"""The training loop that every trained organism shares: seeded start, AdamW or another optimiser, cosine schedule."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from microtome.organisms.optimisers import Optimisers
from microtome.rng import derive

M = TypeVar("M", bound=nn.Module)


def seeded(make: Callable[[], M], seed: int, name: str) -> M:
    """Build a module whose default initialisation comes from the stream `name` of `seed`.

    torch's initialisers draw from the global CPU generator, so it is borrowed and given back as it was.
    """
    state = torch.default_generator.get_state()
    try:
        torch.default_generator.manual_seed(derive(seed, "organism", name))
        return make()
    finally:
        torch.default_generator.set_state(state)


def fit(
    module: nn.Module,
    loss: Callable[[int], Tensor],
    steps: int,
    *,
    lr: float = 1e-3,
    weight_decay: float = 0.01,
    betas: tuple[float, float] = (0.9, 0.98),
    final: float = 0.0,
    warmup: int = 20,
    clip: float = 1.0,
    optimisers: Callable[[nn.Module], Optimisers] | None = None,
) -> None:
    """Minimise `loss(step)` in place; linear warm-up, then a cosine from `lr` to `final * lr`.

    `optimisers` makes what steps the parameters, e.g. `optimisers.muon`; default AdamW with `weight_decay` and `betas`, which
    are its own.
    """
    if optimisers is None:
        made: Optimisers = [(torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=weight_decay, betas=betas), 1.0)]
    else:
        made = optimisers(module)

    def factor(step: int) -> float:
        share = min(1.0, step / max(1, steps))
        return min(1.0, (step + 1) / warmup) * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share)))

    module.train()
    for step in range(steps):
        for optimiser, scale in made:
            optimiser.zero_grad(set_to_none=True)
            for group in optimiser.param_groups:
                group["lr"] = lr * factor(step) * scale
        loss(step).backward()
        nn.utils.clip_grad_norm_(module.parameters(), clip)
        for optimiser, _ in made:
            optimiser.step()
    module.eval()


def parameters(module: nn.Module) -> int:
    """Number of scalar parameters, shared ones once."""
    return sum(p.numel() for p in module.parameters())

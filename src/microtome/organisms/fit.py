"""The training loop that every trained organism shares: seeded start, AdamW, cosine schedule."""

import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

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
) -> None:
    """Minimise `loss(step)` in place with AdamW; linear warm-up, then a cosine from `lr` to `final * lr`."""
    optimiser = torch.optim.AdamW(module.parameters(), lr=lr, weight_decay=weight_decay, betas=betas)

    def factor(step: int) -> float:
        share = min(1.0, step / max(1, steps))
        return min(1.0, (step + 1) / warmup) * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * share)))

    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, factor)
    module.train()
    for step in range(steps):
        optimiser.zero_grad(set_to_none=True)
        loss(step).backward()
        nn.utils.clip_grad_norm_(module.parameters(), clip)
        optimiser.step()
        schedule.step()
    module.eval()


def parameters(module: nn.Module) -> int:
    """Number of scalar parameters, shared ones once."""
    return sum(p.numel() for p in module.parameters())

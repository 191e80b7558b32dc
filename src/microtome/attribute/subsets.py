"""Random subsets of a fixed size whose odds can be learned: Gumbel top-k, relaxed on the way back."""

import torch
from torch import Tensor

from microtome.rng import torch_rng

#: Draws by which the probability of being in the subset is estimated, and how many are held at a time.
COUNTED = 64


def gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Standard Gumbel noise."""
    uniform = torch.rand(shape, generator=generator).clamp(1e-20, 1 - 1e-7)
    return -torch.log(-torch.log(uniform))


def drawn(odds: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Subsets without replacement as 0/1 [..., players]: the `size` largest of odds + Gumbel noise."""
    noisy = odds + gumbel(tuple(odds.shape), generator).to(odds)
    return torch.zeros_like(odds).scatter_(-1, noisy.topk(size, -1).indices, 1.0)


def relaxed(odds: Tensor, size: int, temperature: float, generator: torch.Generator) -> Tensor:
    """The same with gradients: 0/1 forward, backward those of `size` softmaxes, each of which leaves out what was taken.

    The softmax of round i is of ``(s + sum_j log(1 - p_j)) / T``, s the noisy odds; their sum relaxes the subset (Xie, Ermon
    2019).
    """
    noisy = odds + gumbel(tuple(odds.shape), generator).to(odds)
    left, soft = noisy, torch.zeros_like(noisy)
    for _ in range(size):
        taken = torch.softmax(left / temperature, -1)
        soft = soft + taken
        left = left + torch.log((1 - taken).clamp(min=1e-6))
    hard = torch.zeros_like(odds).scatter_(-1, noisy.topk(size, -1).indices, 1.0)
    return hard + soft - soft.detach()


def inclusion(odds: Tensor, size: int, seed: int, draws: int = COUNTED) -> Tensor:
    """Probability of each player [n, players] of being in the subset, by counting draws."""
    generator = torch_rng(seed, "inclusion")
    return torch.stack([drawn(odds, size, generator) for _ in range(draws)]).mean(0)

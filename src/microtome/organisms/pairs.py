"""The smallest network for an operation on a finite set: ``f(a, b) = phi(U[a] + V[b]) W``, one logit per answer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from microtome.organisms.fit import seeded


class Square(nn.Module):
    """x^2: with it, products of one frequency in a and b become that of their sum."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square()


class PairNetwork(nn.Module):
    """`left` U [n, width] and `right` V [n, width] as tables, `act`, then `out` (no biases)."""

    def __init__(self, size: int, width: int, activation: Callable[[], nn.Module]):
        super().__init__()
        self.left, self.right = nn.Embedding(size, width), nn.Embedding(size, width)
        self.act = activation()
        self.out = nn.Linear(width, size, bias=False)

    def forward(self, pairs: Tensor) -> Tensor:
        return self.out(self.act(self.left(pairs[:, 0]) + self.right(pairs[:, 1])))


def pair_network(
    size: int, *, width: int = 128, activation: Callable[[], nn.Module] = nn.ReLU, scale: float = 1.0, seed: int = 0
) -> PairNetwork:
    """An untrained `PairNetwork` on pairs of 0..size-1.

    Parameters
    ----------
    size : elements of the set, and answers.
    width : hidden units.
    activation : `nn.ReLU`, `Square`, ...
    scale : weights are drawn with standard deviation ``scale / sqrt(size)`` (tables) and ``scale / sqrt(width)``.
    seed : of the weights.

    Examples
    --------
    >>> pair_network(5, width=8)(torch.tensor([[0, 1], [4, 4]])).shape
    torch.Size([2, 5])
    """

    def make() -> PairNetwork:
        module = PairNetwork(size, width, activation)
        for p, inputs in ((module.left.weight, size), (module.right.weight, size), (module.out.weight, width)):
            nn.init.normal_(p, std=scale * inputs**-0.5)
        return module

    return seeded(make, seed, "pair network").eval()


def all_pairs(size: int) -> Tensor:
    """Every pair (a, b), LongTensor [size^2, 2]; row a * size + b.

    >>> all_pairs(2).tolist()
    [[0, 0], [0, 1], [1, 0], [1, 1]]
    """
    return torch.cartesian_prod(torch.arange(size), torch.arange(size))

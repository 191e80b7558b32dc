"""The network of `pairs` with narrow embeddings in front: ``f(a, b) = phi(E[a] A + F[b] B) W``.

The narrow tables make each seed choose a few components, where the wide tables of `pairs` hold all of them.
"""

from collections.abc import Callable

from torch import Tensor, nn

from microtome.organisms.fit import seeded


class EmbeddedPairNetwork(nn.Module):
    """`left` E and `right` F [n, embed] as tables, `into_left` and `into_right`, `act`, then `out` (no biases)."""

    def __init__(self, size: int, embed: int, width: int, activation: Callable[[], nn.Module]):
        super().__init__()
        self.left, self.right = nn.Embedding(size, embed), nn.Embedding(size, embed)
        self.into_left, self.into_right = nn.Linear(embed, width, bias=False), nn.Linear(embed, width, bias=False)
        self.act = activation()
        self.out = nn.Linear(width, size, bias=False)

    def forward(self, pairs: Tensor) -> Tensor:
        hidden = self.into_left(self.left(pairs[:, 0])) + self.into_right(self.right(pairs[:, 1]))
        return self.out(self.act(hidden))


def embedded_pair_network(
    size: int, *, embed: int = 12, width: int = 128, activation: Callable[[], nn.Module] = nn.ReLU, seed: int = 0
) -> EmbeddedPairNetwork:
    """An untrained `EmbeddedPairNetwork` on pairs of 0..size-1; table entries have variance ``1 / embed``.

    Examples
    --------
    >>> import torch
    >>> embedded_pair_network(5, embed=3, width=8)(torch.tensor([[0, 1], [4, 4]])).shape
    torch.Size([2, 5])
    """

    def make() -> EmbeddedPairNetwork:
        module = EmbeddedPairNetwork(size, embed, width, activation)
        for table in (module.left, module.right):
            nn.init.normal_(table.weight, std=embed**-0.5)
        return module

    return seeded(make, seed, "embedded pair network").eval()

"""Hierarchical equality: do the first two vectors agree just as the last two do? (Geiger et al. 2023)"""

from functools import partial
from typing import TYPE_CHECKING

from microtome.rng import torch_rng
from microtome.stimuli.causal import CausalModel, Setting
from microtome.stimuli.interchange_pairs import Interchanges
from microtome.stimuli.interchange_sampler import interchanges

if TYPE_CHECKING:
    from torch import Tensor, nn

#: Numbers in each of the four vectors.
SIZE = 4


def equality_model() -> CausalModel:
    """``left = (a == b)``, ``right = (c == d)``, ``same = (left == right)``; which of two vectors stands in each place."""
    return CausalModel(
        ["a", "b", "c", "d", "left", "right", "same"], {k: [0, 1] for k in "abcd"},
        {"left": ["a", "b"], "right": ["c", "d"], "same": ["left", "right"]},
        {"left": lambda a, b: a == b, "right": lambda c, d: c == d, "same": lambda left, right: left == right},
    )  # fmt: skip


def equality_vectors(
    settings: list[Setting], seed: int = 0, *, low: float = -1.0, high: float = 1.0, size: int = SIZE
) -> "Tensor":
    """One row of four vectors [n, 4 * size] for each setting; the vectors are drawn anew, uniform in [low, high]."""
    import torch

    drawn = torch.rand(len(settings), 2, 2, size, generator=torch_rng(seed, "equality")) * (high - low) + low
    which = torch.tensor([[[s["a"], s["b"]], [s["c"], s["d"]]] for s in settings]).reshape(len(settings), 2, 2)
    return drawn.gather(2, which[..., None].expand(-1, -1, -1, size)).flatten(1)


def equality_examples(
    n: int, seed: int = 0, *, low: float = -1.0, high: float = 1.0, size: int = SIZE
) -> "tuple[Tensor, Tensor]":
    """Inputs [n, 4 * size] and labels [n] (1 = the pairs agree); both labels are equally likely."""
    import torch

    generator = torch_rng(seed, "equality examples")
    drawn = torch.rand(n, 2, 2, size, generator=generator) * (high - low) + low
    equal = torch.rand(n, 2, generator=generator) < 0.5
    drawn[:, :, 1] = torch.where(equal[..., None], drawn[:, :, 0], drawn[:, :, 1])
    return drawn.flatten(1), (equal[:, 0] == equal[:, 1]).long()


def equality_pairs(n: int, seed: int = 0, variables: "tuple | None" = None, *, size: int = SIZE) -> Interchanges:
    """Balanced interchanges of `left`, `right` and both (or of `variables`) on fresh vectors."""
    render = partial(equality_vectors, size=size)
    return interchanges(equality_model(), n, render, lambda s: int(s["same"]), variables=variables,
                        name="hierarchical equality", seed=seed)  # fmt: skip


def equality_thresholds(sharpness: float = 1e4) -> "nn.Sequential":
    """A network written by hand: |a - b| of every number, then "different" of each side as two thresholded neurons.

    Modules "0" to "5"; after module "3" (ReLU) units 0, 1 belong to the left side and 2, 3 to the right: unit 0 minus
    unit 1 is 1 when the vectors differ by more than ``1 / sharpness`` and 0 when they are equal.
    """
    import torch
    from torch import nn

    net = nn.Sequential(nn.Linear(16, 16, bias=False), nn.ReLU(), nn.Linear(16, 4), nn.ReLU(), nn.Linear(4, 2), nn.ReLU(),
                        nn.Linear(2, 2))  # fmt: skip
    first, second, third, last = (net[i] for i in (0, 2, 4, 6))
    with torch.no_grad():
        for layer in (first, second, third, last):
            layer.weight.zero_()  # type: ignore[operator]
        for side in range(2):
            for i in range(SIZE):
                for sign in range(2):
                    row = 8 * side + 2 * i + sign
                    first.weight[row, 8 * side + i] = 1.0 - 2 * sign  # type: ignore[index]
                    first.weight[row, 8 * side + SIZE + i] = 2 * sign - 1.0  # type: ignore[index]
            second.weight[2 * side : 2 * side + 2, 8 * side : 8 * side + 8] = sharpness  # type: ignore[index]
        second.bias.copy_(torch.tensor([0.0, -1.0, 0.0, -1.0]))  # type: ignore[operator]
        differ = torch.tensor([1.0, -1.0, -1.0, 1.0])  # left differs minus right differs
        third.weight.copy_(torch.stack([differ, -differ]))  # type: ignore[operator]
        third.bias.zero_()  # type: ignore[operator]
        last.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))  # type: ignore[operator]
        last.bias.copy_(torch.tensor([-0.5, 0.5]))  # type: ignore[operator]
    return net.eval()

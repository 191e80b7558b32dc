"""Many tied autoencoders on given features, each on data of its own, trained in one batched product."""

import torch
from torch import Tensor, nn

from microtome.errors import ShapeError
from microtome.organisms.fit import fit
from microtome.rng import torch_rng


def train_many(
    x: Tensor, hidden: int, *, relu: bool = True, weight_decay: float = 0.0, steps: int = 1500, lr: float = 5e-3, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """What `train_on` trains, once for each data set.

    Single runs scatter: features that have nothing to do with each other still get some arrangement. A mean over runs shows
    what the data, and not the draw, bring about.

    Parameters
    ----------
    x : Tensor[instances, n, features]
        A data set for each instance; ``x[None].expand(8, -1, -1)`` for eight starts on one.
    hidden, relu, weight_decay, steps, lr : as for `train_on`.
    seed : starts and batches.

    Returns
    -------
    W [instances, features, hidden], b [instances, features].

    Raises
    ------
    ShapeError
        When x has not three axes.
    """
    if x.ndim != 3:
        raise ShapeError(f"train_many needs x of shape [instances, n, features], got {tuple(x.shape)}.")
    instances, n, features = x.shape
    g, each, bank = torch_rng(seed, "superposition", "many"), torch.arange(instances)[:, None], nn.Module()
    bank.w = nn.Parameter((2 * torch.rand(instances, features, hidden, generator=g) - 1) * features**-0.5)
    bank.b = nn.Parameter(torch.zeros(instances, 1, features))

    def loss(_: int) -> Tensor:
        rows = x[each, torch.randint(0, n, (instances, 512), generator=g)]
        y = (rows @ bank.w) @ bank.w.transpose(1, 2) + bank.b
        # Summed over instances, so that each has the gradient that it has alone.
        return ((y.relu() if relu else y) - rows).square().sum((0, 2)).mean()

    fit(bank, loss, steps, lr=lr, weight_decay=weight_decay, betas=(0.9, 0.999), clip=1e9)
    return bank.w.detach(), bank.b.detach()[:, 0]

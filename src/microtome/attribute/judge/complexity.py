"""How concentrated a map is, whatever it points at: pure functions of absolute values."""

import torch
from torch import Tensor


def gini(values: Tensor) -> Tensor:
    """Gini index of absolute values [n, ...]: 0 all equal, near 1 one cell alone (Chalasani et al. 2020). A zero map: 0.

    >>> gini(torch.tensor([[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 2.0]])).tolist()
    [0.0, 0.75]
    """
    sizes = values.detach().double().abs().flatten(1).sort(dim=1).values
    n = sizes.shape[1]
    weight = 2 * torch.arange(1, n + 1, dtype=torch.float64, device=sizes.device) - n - 1
    return (sizes * weight).sum(1) / (n * sizes.sum(1)).clamp(min=1e-300)


def entropy(values: Tensor) -> Tensor:
    """Entropy in nats of absolute values [n, ...] as shares: 0 one cell alone, log of cells all equal (Bhatt et al. 2020).

    A zero map is taken for an even one.

    >>> entropy(torch.tensor([[1.0, 1.0], [0.0, 2.0]])).tolist()
    [0.6931471805599453, 0.0]
    """
    sizes = values.detach().double().abs().flatten(1)
    total = sizes.sum(1, keepdim=True)
    share = torch.where(total > 0, sizes / total.clamp(min=1e-300), 1 / sizes.shape[1])
    return torch.special.entr(share).sum(1)

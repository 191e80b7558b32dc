"""Whether a map lies where the truth is: pure functions of maps [n, ...] and masks [n, ...]. Ties count by expectation."""

from torch import Tensor

from microtome.errors import Degenerate, ShapeError


def relevance_mass(values: Tensor, mask: Tensor) -> Tensor:
    """Share of the positive attribution inside the mask [n]; a map with nothing positive has 0 (Arras et al. 2022).

    >>> import torch
    >>> relevance_mass(torch.tensor([[3.0, 1.0, -5.0]]), torch.tensor([[True, False, False]])).tolist()
    [0.75]
    """
    values, mask = _flat(values, mask)
    part = values.clamp(min=0)
    return (part * mask).sum(1) / part.sum(1).clamp(min=1e-300)


def relevance_rank(values: Tensor, mask: Tensor) -> Tensor:
    """Share of the K largest cells that lie inside the mask of K cells [n] (Arras et al. 2022).

    >>> import torch
    >>> relevance_rank(torch.tensor([[3.0, 1.0, 2.0, 0.0]]), torch.tensor([[True, True, False, False]])).tolist()
    [0.5]
    """
    values, mask = _flat(values, mask)
    k = mask.sum(1)
    limit = values.sort(dim=1, descending=True).values.gather(1, k[:, None] - 1)
    above, tied = values > limit, values == limit
    room = (k - above.sum(1)) / tied.sum(1)  # chance of a tied cell to be among the K
    return ((above & mask).sum(1) + room * (tied & mask).sum(1)) / k


def pointing_game(values: Tensor, mask: Tensor) -> Tensor:
    """Whether the largest cell lies inside the mask [n] (Zhang et al. 2016).

    >>> import torch
    >>> pointing_game(torch.tensor([[3.0, 1.0]]), torch.tensor([[True, False]])).tolist()
    [1.0]
    """
    values, mask = _flat(values, mask)
    top = values == values.amax(1, keepdim=True)
    return (top & mask).sum(1).double() / top.sum(1)


def _flat(values: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    if values.shape != mask.shape:
        raise ShapeError(f"maps {list(values.shape)} and masks {list(mask.shape)} must have the same places.")
    mask = mask.bool().flatten(1).to(values.device)
    empty = ((~mask).all(1) | mask.all(1)).nonzero().flatten().tolist()
    if empty:
        raise Degenerate(f"the mask of example {empty[0]} is empty or covers everything: there is nothing to locate.")
    return values.detach().double().flatten(1), mask

"""What steps a network's parameters: AdamW for everything, or Muon for the matrices of the blocks."""

import re

import torch

from microtome.errors import UsageError

Optimisers = list[tuple[torch.optim.Optimizer, float]]
"""Together they hold all parameters of a network; each has the factor on the rate."""


def adamw(network: torch.nn.Module) -> Optimisers:
    """One for everything, with weight decay on the matrices of the blocks."""
    matrices, rest = _parameters(network)
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return [(torch.optim.AdamW(groups, betas=(0.9, 0.98), fused=True), 1.0)]


def muon(network: torch.nn.Module) -> Optimisers:
    """Muon for the matrices of the blocks, AdamW for the rest.

    Where a behaviour needs heads in several blocks, each of no use without the others, AdamW waits on a plateau; Muon moves
    along all directions of a matrix alike and leaves it in a few hundred steps.

    Raises
    ------
    UsageError
        When no block of the network has a matrix.

    Examples
    --------
    >>> from microtome.organisms.small import decoder
    >>> [type(o).__name__ for o, _ in muon(decoder(5, layers=1, width=16, heads=2, context=8, family="plain"))]
    ['Muon', 'AdamW']
    """
    matrices, rest = _parameters(network)
    if not matrices:
        raise UsageError("no block of this network has a matrix; train it with AdamW.")
    made: Optimisers = [(torch.optim.Muon(matrices, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"), 4.0)]
    if rest:
        made.append((torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.0, fused=True), 1.0))
    return made


def _parameters(network: torch.nn.Module) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Matrices of the blocks (modules with a number), and all others; frozen ones are in neither."""
    named = [(p, p.ndim == 2 and bool(re.search(r"(^|\.)\d+\.", n))) for n, p in network.named_parameters() if p.requires_grad]
    return [p for p, matrix in named if matrix], [p for p, matrix in named if not matrix]

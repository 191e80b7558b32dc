"""Networks of planted worlds before anything is planted: normal weights of one size, whatever was drawn before."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def drawn(make: Callable[[], M], scale: float, stream: "torch.Generator | Callable[[str], torch.Generator]") -> M:
    """A module whose weights are ``scale * N(0, 1)``; global generators stay as they are.

    Parameters
    ----------
    make : callable
        Makes the module.
    scale : float
    stream : Generator, or callable
        One generator for all weights in their order, or the generator of a weight by its name.

    Returns
    -------
    nn.Module

    Examples
    --------
    >>> g = torch.Generator().manual_seed(0)
    >>> drawn(lambda: nn.Linear(2, 1, bias=False), 0.0, g).weight.abs().tolist()
    [[0.0, 0.0]]
    """
    with torch.random.fork_rng(devices=[]):
        module = make()
    with torch.no_grad():
        for name, p in module.named_parameters():
            generator = stream if isinstance(stream, torch.Generator) else stream(name)
            p.copy_(scale * torch.randn(p.shape, generator=generator))
    return module

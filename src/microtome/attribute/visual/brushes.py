"""Which part of the gradient is followed at each step: smooth first, then from the centre outwards."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

#: Share of the steps that paint broadly, and the width of their smoothing as a share of the longest side.
BROAD, WIDTH = 1 / 3, 0.12
#: Radius of the centre, as a share of half the side, when the fine steps begin and when they end.
CENTRE = (0.4, 1.6)


def blurred(x: Tensor, width: float) -> Tensor:
    """x [n, channels, *places] smoothed along every axis of places by a Gaussian of `width` cells, mirrored at the borders."""
    reach = max(1, math.ceil(3 * width))
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / max(width, 1e-6)) ** 2).to(x)
    kernel = kernel / kernel.sum()
    for dim in range(2, x.ndim):
        moved = x.movedim(dim, -1)
        flat = moved.reshape(-1, 1, moved.shape[-1])
        index = torch.arange(-reach, moved.shape[-1] + reach)
        period = 2 * moved.shape[-1]
        index = index % period
        index = torch.where(index >= moved.shape[-1], period - 1 - index, index)
        x = F.conv1d(flat[..., index], kernel[None, None]).reshape(moved.shape).movedim(-1, dim)
    return x


def central(places: tuple[int, ...], radius: float) -> Tensor:
    """exp(-r^2 / 2 radius^2) [*places], r from the centre in halves of each side."""
    axes = [(torch.arange(size) + 0.5) / size * 2 - 1 for size in places]
    squares = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)
    return torch.exp(-squares / (2 * radius**2))


def centred(steps: int, places: tuple[int, ...]) -> Callable[[int, Tensor], Tensor]:
    """Centre-biased regularisation: broad strokes first, less and less; then fine ones in a region that grows from the centre.

    Parameters
    ----------
    steps : int
        In all.
    places : tuple of int

    Returns
    -------
    callable
        Step (from 0), gradient at the picture -> what is followed.
    """

    def brush(step: int, gradient: Tensor) -> Tensor:
        share = step / steps
        if share < BROAD:
            return blurred(gradient, WIDTH * max(places) * (1 - share / BROAD))
        start, end = CENTRE
        radius = start + (end - start) * (share - BROAD) / (1 - BROAD)
        return gradient * central(places, radius).to(gradient)

    return brush

"""How a picture is shaken before the network sees it, so that no single pixel matters; and what a picture is punished for."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from microtome.errors import ShapeError, UsageError, nearest


@dataclass(frozen=True)
class Transforms:
    """Random shift, zoom and turn of each picture, on a border of the mean colour; the size stays.

    Attributes
    ----------
    jitter : float, default 0.06
        Largest shift along each axis, as a share of its size.
    pad : float, default 0.05
        Border on each side, as a share of the size: the picture is shown smaller, with the mean colour around it.
    scale : (float, float), default (0.9, 1.1)
        Zoom, between these.
    rotate : float, default 8.0
        Largest turn, in degrees. Sound has nothing to turn.
    """

    jitter: float = 0.06
    pad: float = 0.05
    scale: tuple[float, float] = (0.9, 1.1)
    rotate: float = 8.0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not (self.jitter >= 0 and self.pad >= 0 and self.rotate >= 0 and 0 < low <= high):
            raise UsageError(f"transforms need jitter, pad, rotate >= 0 and 0 < scale[0] <= scale[1], got {self}.")

    def __call__(self, pictures: Tensor, fill: Tensor, generator: torch.Generator) -> Tensor:
        """Shaken pictures [n, channels, *places] with one or two axes of places; `fill` [channels] is around them."""
        if pictures.ndim not in (3, 4):
            raise ShapeError(f"transforms shake sounds and pictures, got {list(pictures.shape)}; use transforms=None.")
        flat = pictures[:, :, None] if pictures.ndim == 3 else pictures
        fill = fill.to(flat)[:, None, None]
        theta = self.matrices(len(flat), tuple(flat.shape[2:]), generator).to(flat)
        grid = F.affine_grid(theta, list(flat.shape), align_corners=False)
        shaken = F.grid_sample(flat - fill, grid, padding_mode="zeros", align_corners=False) + fill
        return shaken.reshape(pictures.shape)

    def matrices(self, n: int, size: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Maps [n, 2, 3] from a place of the result to one of the picture, both in [-1, 1] along each axis."""
        height, width = size
        draw = torch.rand(n, 4, generator=generator)
        low, high = self.scale
        zoom = (1 + 2 * self.pad) / (low + (high - low) * draw[:, 0])
        turn = math.radians(self.rotate if height > 1 else 0.0) * (2 * draw[:, 1] - 1)
        shift = 2 * self.jitter * (2 * draw[:, 2:] - 1)
        cos, sin = zoom * turn.cos(), zoom * turn.sin()
        one = torch.ones_like(zoom) if height == 1 else cos
        rows = [cos, -sin * height / width, shift[:, 0], sin * width / height, one, shift[:, 1] * (height > 1)]
        return torch.stack(rows, 1).reshape(n, 2, 3)


def total_variation(pictures: Tensor, fill: Tensor) -> Tensor:
    """Mean absolute difference between neighbours [n]."""
    steps = [pictures.diff(dim=d).abs().flatten(1).mean(1) for d in range(2, pictures.ndim) if pictures.shape[d] > 1]
    return torch.stack(steps).sum(0) if steps else pictures.new_zeros(len(pictures))


def l2(pictures: Tensor, fill: Tensor) -> Tensor:
    """Mean squared distance from the mean colour [n]."""
    return _from(pictures, fill).square().flatten(1).mean(1)


def l1(pictures: Tensor, fill: Tensor) -> Tensor:
    """Mean absolute distance from the mean colour [n]."""
    return _from(pictures, fill).abs().flatten(1).mean(1)


def _from(pictures: Tensor, fill: Tensor) -> Tensor:
    return pictures - fill.to(pictures).reshape(1, -1, *[1] * (pictures.ndim - 2))


PENALTIES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"total_variation": total_variation, "l2": l2, "l1": l1}


def checked_penalties(weights: Mapping[str, float] | None) -> dict[str, float]:
    """Weights by name, all known and not negative."""
    for name, weight in (weights or {}).items():
        if name not in PENALTIES:
            raise UsageError(f"no penalty {name!r}; known: {', '.join(PENALTIES)}.{nearest(str(name), PENALTIES)}")
        if not weight >= 0:
            raise UsageError(f"the weight of {name} must be >= 0, got {weight!r}.")
    return {name: float(weight) for name, weight in (weights or {}).items()}

"""How a picture is written: numbers without bounds become values within those of real pictures.

``picture = low + (high - low) * sigmoid(u)``; u is either free pixel by pixel, or the sum of waves whose size falls with their
frequency as in natural pictures, in colours that are as independent as those of real pictures (Olah et al. 2017).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from microtome.errors import Degenerate, NonFinite, ShapeError, UsageError, nearest

#: How near to its bounds a given picture may be when it is written as numbers without bounds.
MARGIN = 0.01


@dataclass(frozen=True, eq=False)
class Canvas:
    """What pictures are like.

    Attributes
    ----------
    shape : tuple of int
        (channels, *places).
    low, high : float
        Bounds.
    mix : Tensor[channels, channels]
        Independent colours -> channels.
    fill : Tensor[channels]
        The mean colour.
    """

    shape: tuple[int, ...]
    low: float
    high: float
    mix: Tensor
    fill: Tensor

    @classmethod
    def of(cls, images: Tensor) -> "Canvas":
        """The canvas of real pictures [n, channels, *places].

        Raises
        ------
        ShapeError, NonFinite, Degenerate
        """
        if images.ndim < 2 or not len(images):
            raise ShapeError(f"images must be [n, channels, *places] with n > 0, got {list(images.shape)}.")
        if not images.is_floating_point():
            raise ShapeError(f"images must be as the network takes them, in floats, got {images.dtype}.")
        if not bool(torch.isfinite(images).all()):
            raise NonFinite(f"images hold {int((~torch.isfinite(images)).sum())} values that are not numbers.")
        low, high = float(images.min()), float(images.max())
        if not high > low:
            raise Degenerate(f"all values of all images are {low:g}: they do not say between which bounds to paint.")
        rows = images.movedim(1, -1).flatten(0, -2)
        return cls(tuple(images.shape[1:]), low, high, mixing(rows), rows.mean(0))

    def squash(self, u: Tensor) -> Tensor:
        """Numbers without bounds -> a picture."""
        return self.low + (self.high - self.low) * torch.sigmoid(u)

    def unsquash(self, picture: Tensor) -> Tensor:
        """The inverse of `squash`, of a picture kept a little away from its bounds."""
        share = (picture - self.low) / (self.high - self.low)
        return torch.logit(share.clamp(MARGIN, 1 - MARGIN))


def mixing(rows: Tensor) -> Tensor:
    """Colours [channels, channels] whose mixtures have the correlations of `rows` [n, channels]; the longest has length 1."""
    if rows.shape[1] == 1:
        return rows.new_ones(1, 1)
    rows = rows.double() - rows.double().mean(0)
    values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
    root = vectors * values.clamp(min=1e-4 * max(float(values.max()), 1e-12)).sqrt()
    return (root / root.norm(dim=0).max()).to(torch.get_default_dtype())


@dataclass(frozen=True)
class Way:
    """A way to write pictures: how many numbers, how they become u, and back.

    Attributes
    ----------
    numbers : callable
        Canvas -> shape of the numbers of one picture.
    paint : callable
        Canvas, numbers [n, ...] -> u [n, channels, *places].
    trace : callable
        The inverse of `paint`.
    spread : float
        Standard deviation of random starts.
    """

    numbers: Callable[[Canvas], tuple[int, ...]]
    paint: Callable[[Canvas, Tensor], Tensor]
    trace: Callable[[Canvas, Tensor], Tensor]
    spread: float


def _falling(canvas: Canvas) -> Tensor:
    """1 / frequency of each wave, at most the largest side."""
    places = canvas.shape[1:]
    if not places:
        raise ShapeError("waves need places: these inputs have none. Use picture='pixels', or add an axis of channels.")
    axes = [torch.fft.fftfreq(size) for size in places[:-1]] + [torch.fft.rfftfreq(places[-1])]
    squares = torch.stack(torch.meshgrid(*axes, indexing="ij")).square().sum(0)
    return 1 / squares.sqrt().clamp(min=1 / max(places))


def _wave_numbers(canvas: Canvas) -> tuple[int, ...]:
    return (canvas.shape[0], *_falling(canvas).shape, 2)


def _waves(canvas: Canvas, z: Tensor) -> Tensor:
    spectrum = torch.view_as_complex(z.contiguous()) * _falling(canvas).to(z)
    dims = tuple(range(2, 1 + len(canvas.shape)))
    u = torch.fft.irfftn(spectrum, s=canvas.shape[1:], dim=dims, norm="ortho")
    return torch.einsum("dc,nc...->nd...", canvas.mix.to(u), u)


def _to_waves(canvas: Canvas, u: Tensor) -> Tensor:
    own = torch.einsum("cd,nd...->nc...", torch.linalg.inv(canvas.mix.double()).to(u), u)
    dims = tuple(range(2, 1 + len(canvas.shape)))
    return torch.view_as_real(torch.fft.rfftn(own, dim=dims, norm="ortho") / _falling(canvas).to(u)).contiguous()


WAYS = {
    "fourier": Way(_wave_numbers, _waves, _to_waves, 0.01),
    "pixels": Way(lambda canvas: canvas.shape, lambda canvas, z: z, lambda canvas, u: u, 0.1),
}


def way(name: str) -> Way:
    """The way of that name."""
    if name not in WAYS:
        raise UsageError(f"no way to write a picture called {name!r}; known: {', '.join(WAYS)}.{nearest(str(name), WAYS)}")
    return WAYS[name]

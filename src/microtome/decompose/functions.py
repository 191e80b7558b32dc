"""Dictionaries of functions on a circle: kernels that may stand at any place, with codes that are functions themselves.

``x(t) = sum_c int D_c(t - s) z_c(s) ds + offset`` on t in [0, 1). A kernel is kept as its lowest Fourier coefficients, which
say nothing of a grid, or as values on the points of one grid (a convolution).
"""

from typing import Any

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.subject.basis_stored import StoredBasis, check_width


def spectrum(weights: Tensor, points: int) -> Tensor:
    """Multipliers [..., points // 2 + 1] of Fourier coefficients (transforms with ``norm="forward"``).

    Parameters
    ----------
    weights : Tensor[..., modes, 2]
        Coefficients as (real, imaginary), the mean first.
    points : int
        Of the grid. Modes that the grid cannot hold are left out.
    """
    coefficients = torch.view_as_complex(weights.contiguous())
    kept = min(coefficients.shape[-1], (points + 1) // 2)
    return torch.nn.functional.pad(coefficients[..., :kept], (0, points // 2 + 1 - kept))


def local_spectrum(taps: Tensor, points: int) -> Tensor:
    """The multipliers of a circular convolution with `taps` [..., taps], centred on their middle."""
    if taps.shape[-1] > points:
        raise ShapeError(f"a kernel of {taps.shape[-1]} taps does not fit a grid of {points} points.")
    wide = torch.nn.functional.pad(taps, (0, points - taps.shape[-1]))
    return torch.fft.rfft(wide.roll(-(taps.shape[-1] // 2), -1))


def encode_functions(x: Tensor, read: Tensor, write: Tensor, threshold: Tensor, iterations: int) -> Tensor:
    """Codes [..., latents, points] of functions [..., points]: ``z <- ReLU(z + L * (x - D * z) - threshold)`` from z = 0.

    Parameters
    ----------
    x : Tensor[..., points]
    read, write : complex Tensor[latents, points // 2 + 1]
        Multipliers of L and D.
    threshold : Tensor[latents]
    iterations : int
    """
    points = x.shape[-1]
    goal = torch.fft.rfft(x, norm="forward")
    z = (torch.fft.irfft(read * goal[..., None, :], points, norm="forward") - threshold[:, None]).relu()
    for _ in range(iterations - 1):
        left = goal - (write * torch.fft.rfft(z, norm="forward")).sum(-2)
        z = (z + torch.fft.irfft(read * left[..., None, :], points, norm="forward") - threshold[:, None]).relu()
    return z


def decode_functions(z: Tensor, write: Tensor) -> Tensor:
    """Functions [..., points] of codes [..., latents, points]."""
    return torch.fft.irfft((write * torch.fft.rfft(z, norm="forward")).sum(-2), z.shape[-1], norm="forward")


class FunctionDictionary(StoredBasis):
    """Kernels that may stand anywhere on a circle; coordinate ``c * points + s`` is latent c at point s.

    Parameters
    ----------
    site : str
        Where the functions live: ``[rows, points]``.
    read, write : Tensor[latents, modes, 2] or Tensor[latents, taps]
        L and D: Fourier coefficients (real and imaginary parts), or taps on the grid.
    threshold : Tensor[latents]
    offset : Tensor[]
        Added everywhere.
    points : int
        Of the grid.
    iterations : int
        Of the encoder, see `encode_functions`.
    """

    kind = "functions"

    def __init__(
        self, site: str, *, read: Tensor, write: Tensor, threshold: Tensor, offset: Tensor, points: int,
        iterations: int = 1, name: str = "functions", names: list[str] | None = None, subject: str = "",
    ) -> None:  # fmt: skip
        if read.shape != write.shape or read.ndim not in (2, 3) or threshold.shape != read.shape[:1]:
            found = f"read {list(read.shape)}, write {list(write.shape)}, threshold {list(threshold.shape)}"
            raise ShapeError(f"L and D need one shape [latents, modes, 2] or [latents, taps], got {found}.")
        parts = (t.detach().contiguous() for t in (read, write, threshold, offset))
        self.read, self.write, self.threshold, self.offset = parts
        self.points, self.iterations, self.width = int(points), int(iterations), int(points)
        super().__init__(site, name=name, names=names, subject=subject)

    @property
    def latents(self) -> int:
        """Number of kernels."""
        return self.read.shape[0]

    @property
    def dim(self) -> int:
        return self.latents * self.points

    @property
    def kernels(self) -> Tensor:
        """The kernels on the grid, Tensor[latents, points]; point 0 is their middle."""
        return torch.fft.irfft(self._spectra(self.write)[1], self.points, norm="forward")

    @property
    def directions(self) -> Tensor:
        """What every coordinate writes: each kernel at each place, Tensor[latents * points, points]."""
        one = torch.eye(self.points).to(self.write)
        return torch.cat([decode_functions(one[:, None], self._spectra(self.write)[1][i : i + 1]) for i in range(self.latents)])

    def at(self, points: int) -> "FunctionDictionary":
        """The same weights on another grid."""
        if isinstance(points, bool) or not isinstance(points, int) or points < 4:
            raise UsageError(f"a grid has at least 4 points, got {points!r}.")
        about = {"name": self.name, "subject": self.subject}
        return type(self)(self.site, **self.tensors(), points=points, iterations=self.iterations, **about)

    def encode(self, x: Tensor) -> Tensor:
        check_width(x, self.points, f"functions at '{self.site}'")
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        read, write = self._spectra(x)
        offset, threshold = self.offset.to(x), self.threshold.to(x)
        return encode_functions(x - offset, read, write, threshold, self.iterations).flatten(-2)

    def decode(self, z: Tensor) -> Tensor:
        check_width(z, self.dim, f"decode of functions at '{self.site}'")
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        return decode_functions(z.unflatten(-1, (self.latents, self.points)), self._spectra(z)[1]) + self.offset.to(z)

    def _spectra(self, like: Tensor) -> tuple[Tensor, Tensor]:
        transform = spectrum if self.read.ndim == 3 else local_spectrum
        real = torch.empty(0, dtype=like.dtype, device=like.device)
        return transform(self.read.to(real), self.points), transform(self.write.to(real), self.points)

    def tensors(self) -> dict[str, Tensor]:
        return {"read": self.read, "write": self.write, "threshold": self.threshold, "offset": self.offset}

    def config(self) -> dict[str, Any]:
        return {"points": self.points, "iterations": self.iterations}

    @classmethod
    def from_parts(cls, tensors: dict[str, Tensor], config: dict[str, Any], **about: Any) -> "FunctionDictionary":
        return cls(about.pop("site"), **tensors, **config, **about)


def kernel_match(found: Tensor, true: Tensor) -> Tensor:
    """For each true kernel [n, points] the largest cosine with any found one at any shift: Tensor[n].

    Notes
    -----
    Null: random kernels of as few modes; with many shifts and few modes it is far from 0.
    """
    if found.ndim != 2 or true.ndim != 2 or found.shape[1] != true.shape[1]:
        raise ShapeError(f"kernels are [n, points] on one grid, got {list(found.shape)} and {list(true.shape)}.")
    unit = [torch.fft.rfft(k.double() / k.double().norm(dim=1, keepdim=True).clamp_min(1e-300)) for k in (true, found)]
    every = torch.fft.irfft(unit[0][:, None].conj() * unit[1][None], true.shape[1])
    return every.amax((1, 2))

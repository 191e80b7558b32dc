"""What stands in for absent cells: a baseline, a blur, other examples, the conditional mean of a Gaussian."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from microtome.errors import ShapeError, UsageError
from microtome.rng import torch_rng

#: (input [n, ...], kept [k, n, ...]) -> filled [k, n, ...].
Fill = Callable[[Tensor, Tensor], Tensor]


class Imputer:
    """A rule for absent cells, made before the input is known. See `Others` and `ConditionalGaussian`."""

    def fill(self, ends: Any, seed: int) -> Fill:
        """The rule for a site."""
        raise NotImplementedError


@dataclass(frozen=True)
class Others(Imputer):
    """Absent cells come from another example, one drawn anew for each mask (the marginal distribution).

    Attributes
    ----------
    rows : Tensor[m, ...]
        Values of the site on other examples.
    """

    rows: Tensor

    def fill(self, ends: Any, seed: int) -> Fill:
        """Draws with `seed`."""
        if self.rows.shape[1:] != ends.end.shape[1:]:
            raise ShapeError(f"other examples {list(self.rows.shape)} do not fit {ends.site} {list(ends.end.shape)}.")
        g = torch_rng(seed, "imputer", "others")

        def fill(x: Tensor, kept: Tensor) -> Tensor:
            other = self.rows[torch.randint(len(self.rows), (len(kept),), generator=g)].to(x)[:, None]
            return other + kept * (x - other)

        return fill


@dataclass(frozen=True)
class ConditionalGaussian(Imputer):
    """Absent cells take their expectation given the present ones, under a Gaussian of all cells of an example.

    Attributes
    ----------
    mean : Tensor[cells]
    covariance : Tensor[cells, cells]
    jitter : float, default 1e-6
        Added to the diagonal, times the mean variance.
    """

    mean: Tensor
    covariance: Tensor
    jitter: float = 1e-6

    @classmethod
    def of(cls, rows: Tensor) -> "ConditionalGaussian":
        """Mean and covariance of examples [m, ...]."""
        flat = rows.flatten(1).double()
        return cls(flat.mean(0), torch.cov(flat.T))

    def fill(self, ends: Any, seed: int) -> Fill:
        """No draws: the conditional mean."""
        cells = ends.end[0].numel()
        if self.covariance.shape != (cells, cells):
            raise ShapeError(f"the covariance {list(self.covariance.shape)} does not fit the {cells} cells of {ends.site}.")
        scale = float(self.covariance.diagonal().mean()) * self.jitter
        cov = self.covariance.double() + scale * torch.eye(cells, dtype=torch.float64)

        def fill(x: Tensor, kept: Tensor) -> Tensor:
            rows = (x.flatten(1).double() - self.mean.double()).cpu()
            filled = []
            for mask in kept[:, 0].flatten(1).cpu() > 0.5:
                new = rows.clone()
                if mask.any() and not mask.all():
                    solved = torch.linalg.solve(cov[mask][:, mask], rows[:, mask].T)
                    new[:, ~mask] = (cov[~mask][:, mask] @ solved).T
                elif not mask.any():
                    new[:] = 0
                filled.append(new)
            return (torch.stack(filled) + self.mean.double()).view(kept.shape).to(x)

        return fill


def imputer_of(baseline: Any, ends: Any, seed: int) -> Fill:
    """The rule of an imputer, of "blur", or of a baseline."""
    if isinstance(baseline, Imputer):
        return baseline.fill(ends, seed)
    start = blurred(ends.end, ends.site) if isinstance(baseline, str) and baseline == "blur" else ends.start
    return lambda x, kept: start + kept * (x - start)


def blurred(x: Tensor, site: str, share: float = 0.15) -> Tensor:
    """Images [n, channel, y, x] under a Gaussian of `share` of their side."""
    if x.ndim != 4:
        raise UsageError(f"baseline='blur' needs images, {site} is {list(x.shape)}.")
    for axis in (2, 3):
        size = x.shape[axis]
        at = torch.arange(size, dtype=x.dtype, device=x.device)
        kernel = torch.exp(-0.5 * ((at[:, None] - at) / (share * size)) ** 2)
        x = torch.tensordot(x, kernel / kernel.sum(0), dims=([axis], [0])).movedim(-1, axis)
    return x

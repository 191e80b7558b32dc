"""What each coordinate of a basis does on a recording: how often and how strongly it is active, and which ones are alike."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.decompose.places import checked
from microtome.errors import Degenerate, UsageError

if TYPE_CHECKING:
    import pandas as pd

#: Rows that are encoded at a time, and directions whose cosines are taken at a time.
ROWS, DIRECTIONS = 2048, 1024


@dataclass(frozen=True)
class Latents:
    """Figures of every coordinate, Tensor[dim] each.

    Attributes
    ----------
    rate : Tensor
        Share of rows on which it is not 0.
    mean, smallest, largest : Tensor
        Of the codes that are not 0; 0 for a coordinate that never is.
    energy : Tensor
        ``mean z_i^2 ||d_i||^2`` over all rows: what it writes.
    counts : Tensor[dim, bins]
        Histogram of the codes that are not 0, in equal bins from `smallest` to `largest`; empty (no bins) when not asked for.
    """

    rate: Tensor
    mean: Tensor
    smallest: Tensor
    largest: Tensor
    energy: Tensor
    counts: Tensor

    def edges(self, latent: int) -> list[float]:
        """Ends of the bins of one coordinate."""
        return torch.linspace(float(self.smallest[latent]), float(self.largest[latent]), self.counts.shape[1] + 1).tolist()

    def table(self, directions: Tensor | None = None) -> "pd.DataFrame":
        """A row per coordinate: latent, rate, mean, largest, energy; with directions, its neighbour and their cosine."""
        import pandas as pd

        columns = {"latent": range(len(self.rate)), "rate": self.rate, "mean": self.mean, "largest": self.largest,
                   "energy": self.energy}  # fmt: skip
        if directions is not None and len(directions) > 1:
            cosine, place = neighbours(directions, 1)
            columns |= {"neighbour": place[:, 0], "cosine": cosine[:, 0]}
        return pd.DataFrame({name: v.numpy() if isinstance(v, Tensor) else v for name, v in columns.items()})


@torch.no_grad()
def latents(recording: Any, basis: Any, *, bins: int = 0) -> Latents:
    """Figures of all coordinates of a basis in one streamed pass (two with a histogram).

    Parameters
    ----------
    recording : Recording
        One site.
    basis : Basis
        Of that site.
    bins : int
        Of the histogram of each coordinate; 0 makes none. Default 0.

    Raises
    ------
    Degenerate
        When the recording has no rows.

    Notes
    -----
    Null: a dictionary of random directions has rates and histograms too; they say how it is used, not what it means.
    Misleads when rows are few: a latent that is silent here may be active elsewhere.

    Examples
    --------
    >>> from microtome.subject.basis import Identity
    >>> from microtome.subject.recording import Recording
    >>> found = latents(Recording.of(torch.tensor([[0.0, 2.0], [0.0, 4.0], [1.0, 0.0]]), site="h"), Identity("h", 2), bins=2)
    >>> found.rate.tolist()[0] < found.rate.tolist()[1], found.mean.tolist(), found.counts.tolist()
    (True, [1.0, 3.0], [[0.0, 1.0], [1.0, 1.0]])
    """
    if bins < 0:
        raise UsageError(f"bins must be 0 or more, got {bins}.")
    checked(recording, basis)
    if not len(recording):
        raise Degenerate("the recording has no rows.")
    dim = int(basis.dim)
    active, total, square = (torch.zeros(dim, dtype=torch.float64) for _ in range(3))
    low, high = (torch.full((dim,), v, dtype=torch.float64) for v in (torch.inf, -torch.inf))
    for part in recording.batches(ROWS):
        z = basis.encode(part).detach().cpu().double()
        on = z != 0
        active, total, square = active + on.sum(0), total + z.sum(0), square + z.square().sum(0)
        low = torch.minimum(low, torch.where(on, z, torch.inf).amin(0))
        high = torch.maximum(high, torch.where(on, z, -torch.inf).amax(0))
    ever = active > 0
    low, high = torch.where(ever, low, 0.0), torch.where(ever, high, 0.0)
    counts = torch.zeros(dim, bins, dtype=torch.float64)
    width = (high - low).clamp_min(torch.finfo(torch.float64).tiny)
    for part in recording.batches(ROWS) if bins else ():
        z = basis.encode(part).detach().cpu().double()
        # A coordinate with one value keeps it in its last bin.
        place = torch.where(high > low, (z - low) / width * bins, float(bins)).long().clamp(0, bins - 1)
        counts.scatter_add_(1, place.T, (z != 0).double().T.contiguous())
    norms = 1.0 if basis.directions is None else basis.directions.detach().cpu().double().square().sum(1)
    return Latents(active / len(recording), total / active.clamp_min(1), low, high, square / len(recording) * norms, counts)


def neighbours(directions: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The most similar other directions of each, by cosine: (cosines, places), both [n, count], best first."""
    unit = torch.nn.functional.normalize(directions.detach().cpu().double(), dim=1)
    count = min(count, len(unit) - 1)
    values, places = [], []
    for start in range(0, len(unit), DIRECTIONS):
        near = unit[start : start + DIRECTIONS] @ unit.T
        near[torch.arange(len(near)), start + torch.arange(len(near))] = -torch.inf
        best = near.topk(count, dim=1)
        values.append(best.values)
        places.append(best.indices)
    return torch.cat(values), torch.cat(places)

"""NeuronPaths: per example one unit of each of several sites, and what the network does when they are scaled."""

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from microtome.errors import FormatError, NonFinite, ShapeError
from microtome.subject.edit import Edit, replace_with

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class NeuronPaths:
    """One path per example.

    Attributes
    ----------
    sites : tuple of str
        From below to above.
    units : LongTensor[n, sites]
        The chosen unit of each site.
    position : int
        Token whose units they are, at sites with positions.
    shares : Tensor[n, sites]
        What of ``output - off`` each unit carries.
    score : Tensor[n]
        The joint attribution score.
    output, off : Tensor[n]
        The metric as it is, and with all units of the path at zero.
    metric : str
    """

    sites: tuple[str, ...]
    units: Tensor
    position: int
    shares: Tensor
    score: Tensor
    output: Tensor
    off: Tensor
    metric: str

    def __post_init__(self) -> None:
        if self.units.ndim != 2 or self.units.shape[1] != len(self.sites):
            raise ShapeError(f"units {list(self.units.shape)} do not name one unit for each of {len(self.sites)} sites.")
        if not all(bool(torch.isfinite(v).all()) for v in (self.shares, self.score, self.output, self.off)):
            raise NonFinite(f"a share, a score or the {self.metric} of a path is not a number.")

    @property
    def values(self) -> Tensor:
        """The shares: what the units add up to."""
        return self.shares

    @property
    def residual(self) -> Tensor:
        """What the shares miss of the change [n]."""
        return self.shares.double().sum(1) - (self.output - self.off).double()

    def like(self, units: Tensor, *, off: Tensor | None = None) -> "NeuronPaths":
        """The same with other units, e.g. random ones; scores and shares are those of the first."""
        return replace(self, units=units, off=self.off if off is None else off)

    def edits(self, factor: float) -> list[Edit]:
        """Edits that multiply the units of every example's own path: 0 switches it off, 2 doubles it."""
        return [replace_with(site, _scaled(self.units[:, i], self.position, factor)) for i, site in enumerate(self.sites)]

    def scaled(self, subject: Any, task: Any, factor: float) -> Tensor:
        """The metric [n] with the paths multiplied by a factor."""
        bound = subject.bind(task, metric=self.metric)
        if len(bound.inputs) != len(self.units):
            raise ShapeError(f"{len(self.units)} paths for {len(bound.inputs)} examples.")
        rows = "all" if bound.metric.positions is None else bound.metric.positions
        run = subject.run(bound.inputs, edits=self.edits(factor), logits=rows)
        return bound.metric(bound.metric.read(run.logits)).cpu()

    @property
    def table(self) -> "pd.DataFrame":
        """One row per example and site: example, site, unit, share."""
        import pandas as pd

        n, k = self.units.shape
        return pd.DataFrame({
            "example": torch.arange(n).repeat_interleave(k).numpy(), "site": list(self.sites) * n,
            "unit": self.units.flatten().numpy(), "share": self.shares.double().flatten().numpy(),
        })  # fmt: skip

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in asdict(self).items()}
        return {"format": "microtome.neuron_paths", **found, "sites": list(self.sites)}

    @classmethod
    def from_json(cls, stored: Any) -> "NeuronPaths":
        """Read what `to_json` wrote.

        Raises
        ------
        FormatError
            When it is something else.
        """
        wanted = {"format", *cls.__dataclass_fields__}
        if not isinstance(stored, dict) or set(stored) != wanted or stored["format"] != "microtome.neuron_paths":
            raise FormatError("this is no microtome neuron paths.")
        try:
            numbers = {k: torch.tensor(stored[k], dtype=torch.float64) for k in ("shares", "score", "output", "off")}
            return cls(tuple(map(str, stored["sites"])), torch.tensor(stored["units"], dtype=torch.long),
                       int(stored["position"]), metric=str(stored["metric"]), **numbers)  # fmt: skip
        except (TypeError, ValueError, RuntimeError, ShapeError, NonFinite) as error:
            raise FormatError(f"damaged neuron paths: {error}") from error

    def __repr__(self) -> str:
        carried = float((self.output - self.off).double().mean())
        return f"NeuronPaths({len(self.units)} paths over {len(self.sites)} sites; they carry {carried:.3g} of {self.metric})"


def cells(value: Tensor, at: Any, units: Tensor | None) -> Tensor:
    """Which cells of a site [n, ..., units] are meant: all units of the place, or one of each example."""
    chosen = torch.zeros_like(value, dtype=torch.bool)
    place = at(chosen)
    if units is None:
        place[:] = True
    else:
        place.scatter_(1, units[:, None], True)
    return chosen


def _scaled(units: Tensor, position: int, factor: float):
    def times(value: Tensor) -> Tensor:
        new = value.clone()
        place = new[:, position] if new.ndim == 3 else new
        rows = torch.arange(len(units))
        place[rows, units] = place[rows, units] * factor
        return new

    return times

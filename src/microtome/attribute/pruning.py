"""Pruning: which units of which sites go, as edits that silence them and as a module without them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from microtome.attribute.pruned_module import without
from microtome.attribute.pruning_order import Units, removed
from microtome.errors import FormatError
from microtome.subject.edit import Edit

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Pruning:
    """The units that go.

    Attributes
    ----------
    scores : dict of str to Tensor[units]
        Site -> score of each unit; the lowest go.
    units : list of (str, int)
        What goes, site by site, the lowest first.
    method : str
        What the scores are of.
    """

    scores: dict[str, Tensor]
    units: Units
    method: str

    @property
    def edits(self) -> list[Edit]:
        """Edits that set the units to zero."""
        return removed(self.units)

    def module(self, subject: Any) -> nn.Module:
        """A copy of the subject's module that does not have the units: smaller tensors, the same outputs as with `edits`.

        Raises
        ------
        UsageError
            For anything but a chain of layers, or where silenced units would still say something (a batch norm behind them).
        """
        return without(subject.module, self.units)

    @property
    def table(self) -> "pd.DataFrame":
        """One row per unit: site, unit, score, removed."""
        import pandas as pd

        gone = set(self.units)
        rows = [(s, u, float(v), (s, u) in gone) for s, values in self.scores.items() for u, v in enumerate(values)]
        return pd.DataFrame(rows, columns=["site", "unit", "score", "removed"])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        scores = {site: value.tolist() for site, value in self.scores.items()}
        return {"format": "microtome.pruning", "scores": scores, "units": [list(u) for u in self.units], "method": self.method}

    @classmethod
    def from_json(cls, stored: Any) -> "Pruning":
        """Read what `to_json` wrote.

        Raises
        ------
        FormatError
            When it is something else.
        """
        if not isinstance(stored, dict) or stored.get("format") != "microtome.pruning":
            raise FormatError("this is no microtome pruning.")
        try:
            scores = {str(s): torch.tensor(v, dtype=torch.float64) for s, v in stored["scores"].items()}
            units = [(str(s), int(u)) for s, u in stored["units"]]
            if any(s not in scores or not 0 <= u < len(scores[s]) for s, u in units):
                raise FormatError("a damaged pruning: a unit without a score.")
            return cls(scores, units, str(stored["method"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise FormatError(f"a damaged pruning: {error}") from error

    def __repr__(self) -> str:
        total = sum(map(len, self.scores.values()))
        return f"Pruning({len(self.units)} of {total} units of {len(self.scores)} sites go, by {self.method})"

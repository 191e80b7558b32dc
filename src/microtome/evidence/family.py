"""One test asked of many units at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from microtome.errors import ShapeError, UsageError
from microtome.evidence._arrays import matrix, vector
from microtome.evidence.multiple import fdr_table, max_statistic
from microtome.evidence.null import Null, check_alternative, p_values

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class NullFamily:
    """The same null for many units: observed values [units] and joint draws [M, units].

    The draws of one row belong to one arrangement, so the dependence between units is kept and `max_statistic` is exact.

    Parameters
    ----------
    kind : str
        What was randomised.
    statistics : array_like [M, units]
        Joint draws.
    observed : array_like [units]
        The statistic of each unit.
    alternative : {"greater", "less", "two-sided"}, default "greater"
        Which deviations count.

    Raises
    ------
    ShapeError, NonFinite, Degenerate, UsageError
        When shapes disagree, a value is NaN, there is no draw, or the alternative is unknown.

    Notes
    -----
    Null: `p` is uniform for each unit; `p_max` controls the chance of any false unit.
    Misleads when `p` of thousands of units is read without a correction; read `table()` instead.

    Examples
    --------
    >>> NullFamily("labels shuffled", [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]], [2.0, 0.5]).p.tolist()
    [0.25, 0.75]
    """

    kind: str
    statistics: np.ndarray
    observed: np.ndarray
    alternative: str = "greater"

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not self.kind.strip():
            raise UsageError(f"kind must say what was randomised, got {self.kind!r}.")
        check_alternative(self.alternative)
        object.__setattr__(self, "observed", vector(self.observed, "observed"))
        object.__setattr__(self, "statistics", matrix(self.statistics, "null draws"))
        if self.statistics.shape[1] != len(self.observed):
            raise ShapeError(f"null draws must have shape [M, {len(self.observed)}], got {list(self.statistics.shape)}.")

    def __len__(self) -> int:
        return len(self.observed)

    def __str__(self) -> str:
        return f"{self.kind}: {len(self)} units, M={len(self.statistics)}, smallest p = {self.p.min():.3g} ({self.alternative})"

    @property
    def p(self) -> np.ndarray:
        """p of each unit, not corrected."""
        return p_values(self.observed, self.statistics, alternative=self.alternative)

    @property
    def p_max(self) -> np.ndarray:
        """p of each unit against the largest statistic over units (Westfall and Young, single step)."""
        return max_statistic(self.observed, self.statistics, alternative=self.alternative)

    def null(self, unit: int) -> Null:
        """The null of one unit."""
        if not -len(self) <= unit < len(self):
            raise UsageError(f"unit must lie in 0..{len(self) - 1}, got {unit}.")
        return Null(self.kind, self.statistics[:, unit], float(self.observed[unit]), self.alternative)

    def table(self, names: Sequence[Any] | None = None, *, alpha: float = 0.05) -> "pd.DataFrame":
        """Columns unit, observed, p, q (Benjamini-Hochberg), p_max, rejected; one row per unit."""
        table = fdr_table(self.p, names, alpha=alpha)
        table.insert(1, "observed", self.observed)
        table.insert(4, "p_max", self.p_max)
        return table

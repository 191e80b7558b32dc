"""What chance gives: draws of a statistic under a null, and where the observed value lies among them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from microtome.errors import Degenerate, ShapeError, UsageError
from microtome.evidence._arrays import matrix, vector
from microtome.evidence.estimate import known_fields, number_of

ALTERNATIVES = ("greater", "less", "two-sided")
FIELDS = ("kind", "statistics", "observed", "alternative")
# Arrangements that give the same statistic differ by rounding when summed in another order; they count as ties.
TIE = 1e-12


@dataclass(frozen=True, eq=False)
class Null:
    """Draws of one statistic under a null, and the observed value.

    p = (1 + #{null draw at least as extreme}) / (1 + M): the observed value counts as one of the draws, so p is never 0
    and the test is valid for any M (Phipson and Smyth 2010). A two-sided p is twice the smaller one-sided p.

    Parameters
    ----------
    kind : str
        What was randomised, e.g. "weights re-drawn", "labels shuffled", "matched random units".
    statistics : array_like [M]
        The statistic under the null, M >= 1 draws.
    observed : float
        The statistic of the real thing.
    alternative : {"greater", "less", "two-sided"}, default "greater"
        Which deviations count.

    Raises
    ------
    NonFinite, Degenerate, UsageError
        When a draw is NaN, there is no draw, or the alternative is unknown.

    Notes
    -----
    Null: p is uniform on {1/(1+M), ..., 1}.
    Misleads when the draws keep less structure than the data (independent shuffles of autocorrelated rows), or when the
    observed value was the best of many and the draws were not.

    Examples
    --------
    >>> Null("labels shuffled", [0.1, 0.2, 0.3], observed=0.9).p
    0.25
    """

    kind: str
    statistics: np.ndarray
    observed: float
    alternative: str = "greater"

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not self.kind.strip():
            raise UsageError(f"Null kind must say what was randomised, got {self.kind!r}.")
        draws = np.array(vector(self.statistics, f"the draws of null '{self.kind}'"))
        draws.flags.writeable = False
        object.__setattr__(self, "statistics", draws)
        object.__setattr__(self, "observed", number_of(self.observed, "Null observed"))
        check_alternative(self.alternative)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Null) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return (
            f"{self.kind}: observed {self.observed:.4g}, null {self.statistics.mean():.4g} "
            f"(M={self.draws}), p = {self.p:.3g} ({self.alternative})"
        )

    @property
    def draws(self) -> int:
        """M, the number of null draws."""
        return len(self.statistics)

    @property
    def p(self) -> float:
        """(1 + #{null at least as extreme}) / (1 + M)."""
        return float(p_values([self.observed], self.statistics[:, None], alternative=self.alternative)[0])

    @property
    def smallest_p(self) -> float:
        """The smallest p that this number of draws can give."""
        return min(1.0, (2.0 if self.alternative == "two-sided" else 1.0) / (1 + self.draws))

    @property
    def percentile(self) -> float:
        """Where the observed value lies among the draws, 0..100; a tie counts half."""
        slack = TIE * max(abs(self.observed), float(np.abs(self.statistics).max()))
        below = (self.statistics < self.observed - slack).mean()
        upto = (self.statistics <= self.observed + slack).mean()
        return float(50 * (below + upto))

    @property
    def z(self) -> float:
        """Standard deviations of the null between its mean and the observed value.

        A null without spread gives 0 when the observed value equals it, else plus or minus infinity.
        """
        gap = self.observed - float(self.statistics.mean())
        spread = float(self.statistics.std(ddof=1)) if self.draws > 1 else 0.0
        scale = max(abs(self.observed), float(np.abs(self.statistics).max()))
        if spread <= TIE * scale:
            return 0.0 if abs(gap) <= TIE * scale else float(np.copysign(np.inf, gap))
        return gap / spread

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        values = [float(v) for v in self.statistics]
        return {"kind": self.kind, "statistics": values, "observed": self.observed, "alternative": self.alternative}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Null":
        """The null that `to_dict` described; FormatError when it is not one."""
        return cls(**known_fields(data, FIELDS, "Null"))


def check_alternative(alternative: str) -> str:
    """The alternative itself, if it is one of the three."""
    if alternative not in ALTERNATIVES:
        raise UsageError(f"alternative must be one of {list(ALTERNATIVES)}, got {alternative!r}.")
    return alternative


def p_values(observed: Any, null: Any, *, alternative: str = "greater") -> np.ndarray:
    """p of each unit: (1 + #{null at least as extreme}) / (1 + M).

    Parameters
    ----------
    observed : array_like [units]
        The statistic of each unit.
    null : array_like [M, units]
        M draws of the same statistics.
    alternative : {"greater", "less", "two-sided"}, default "greater"
        Which deviations count; two-sided is twice the smaller one-sided p, at most 1.

    Returns
    -------
    ndarray [units]
        In [1/(1+M), 1].

    Raises
    ------
    UsageError, ShapeError, NonFinite, Degenerate
        When the alternative is unknown, shapes disagree, a value is NaN or there is no draw.

    Notes
    -----
    Null: uniform per unit. Correct over units with `benjamini_hochberg`, or use `max_statistic`.
    Misleads when the draws do not come from the null that the claim needs.

    Examples
    --------
    >>> p_values([2.0, 0.0], [[1.0, 1.0], [0.0, 2.0], [1.0, 3.0]]).tolist()
    [0.25, 1.0]
    """
    check_alternative(alternative)
    observed, null = vector(observed, "observed"), matrix(null, "null draws")
    if null.shape[1] != len(observed):
        raise ShapeError(f"null draws must have shape [draws, {len(observed)}], got {list(null.shape)}.")
    slack = TIE * np.maximum(np.abs(observed), np.abs(null).max(0))
    with np.errstate(over="ignore"):  # near the largest float the slack may reach infinity, which compares correctly
        low, high = observed - slack, observed + slack
    greater = (1 + (null >= low).sum(0)) / (1 + len(null))
    less = (1 + (null <= high).sum(0)) / (1 + len(null))
    if alternative == "two-sided":
        return np.minimum(1.0, 2 * np.minimum(greater, less))
    return greater if alternative == "greater" else less


def require_draws(null: np.ndarray, what: str) -> np.ndarray:
    """The draws, if there is at least one arrangement beside the observed one."""
    if len(null) == 0:
        raise Degenerate(f"{what}: there is no arrangement beside the observed one, so no test. Use more rows or blocks.")
    return null

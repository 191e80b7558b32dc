"""A number with its interval."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from microtome.errors import FormatError, NonFinite, UsageError
from microtome.evidence._arrays import count, share

FIELDS = ("value", "low", "high", "level", "n", "unit", "method")


@dataclass(frozen=True)
class Estimate:
    """A measured number, its interval, and how both were obtained.

    Parameters
    ----------
    value : float
        The point estimate, in `unit`.
    low, high : float or None, default None
        Ends of the interval. Both None when there is no interval; `method` then says why.
    level : float, default 0.95
        Nominal coverage of the interval.
    n : int, default 0
        Number of independent units that were resampled (prompts, documents, sessions); 0 when unknown.
    unit : str, default ""
        Unit of measurement, e.g. "nats", "logits", "ms". Empty for a pure number.
    method : str, default ""
        How the interval was made, e.g. "percentile bootstrap, 2000 draws".

    Raises
    ------
    NonFinite
        When a number is NaN or infinite.
    UsageError
        When only one end is given, or the ends are in the wrong order.

    Examples
    --------
    >>> print(Estimate(0.5, 0.4, 0.6, n=30, unit="nats"))
    0.5 nats [0.4, 0.6] (95%, n=30)
    """

    value: float
    low: float | None = None
    high: float | None = None
    level: float = 0.95
    n: int = 0
    unit: str = ""
    method: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if number is None and name != "value":
                continue
            object.__setattr__(self, name, number_of(number, f"Estimate {name}"))
        if (self.low is None) != (self.high is None):
            raise UsageError(f"An interval needs both ends, got low={self.low}, high={self.high}.")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise UsageError(f"The interval's ends are in the wrong order: low={self.low} > high={self.high}.")
        object.__setattr__(self, "level", share(self.level, "level"))
        object.__setattr__(self, "n", count(self.n, "n", least=0))
        for name in ("unit", "method"):
            if not isinstance(getattr(self, name), str):
                raise UsageError(f"Estimate {name} must be text, got {type(getattr(self, name)).__name__}.")

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        text = f"{self.value:.4g}" + (f" {self.unit}" if self.unit else "")
        if self.low is None or self.high is None:
            return text + (f" (n={self.n})" if self.n else "")
        rows = f", n={self.n}" if self.n else ""
        return f"{text} [{self.low:.4g}, {self.high:.4g}] ({100 * self.level:g}%{rows})"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Estimate":
        """The estimate that `to_dict` described; FormatError when it is not one."""
        return cls(**known_fields(data, FIELDS, "Estimate"))


def number_of(value: Any, name: str) -> float:
    """A finite Python float (numpy scalars included)."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise UsageError(f"{name} must be a number, got {type(value).__name__}. Use float(...).")
    if not np.isfinite(value):
        raise NonFinite(f"{name} must be finite, got {value}. A missing number is None, or left out.")
    return float(value)


def known_fields(data: Any, fields: tuple[str, ...], noun: str) -> dict[str, Any]:
    """The mapping as a dict, if it holds no key outside `fields`."""
    if not isinstance(data, Mapping):
        raise FormatError(f"{noun} in a stored finding must be an object, found {type(data).__name__}.")
    unknown = sorted(map(str, set(data) - set(fields)))
    if unknown:
        raise FormatError(f"{noun} holds unknown fields {unknown}; known are {list(fields)}. Is it of a later version?")
    return dict(data)

"""What a contract check says, and the report of all checks on one method."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

STATUSES = ("passed", "failed", "skipped")


class Failed(Exception):
    """Raised inside a check: the method breaks its contract, and how."""


class Skip(Exception):
    """Raised inside a check: it does not apply here, and why."""


@dataclass(frozen=True)
class Outcome:
    """One check on one method. `reason` is empty when it passed."""

    check: str
    status: str
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class CheckReport:
    """All checks on one method. Truthy when none failed; prints as a table."""

    method: str
    outcomes: tuple[Outcome, ...]

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __bool__(self) -> bool:
        return self.ok

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not self.failures

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The checks that failed."""
        return tuple(o for o in self.outcomes if o.status == "failed")

    @property
    def counts(self) -> dict[str, int]:
        """How many checks passed, failed and were skipped."""
        return {status: sum(o.status == status for o in self.outcomes) for status in STATUSES}

    @property
    def ran(self) -> int:
        """How many checks really ran: the number that may not fall unnoticed."""
        return len(self.outcomes) - self.counts["skipped"]

    def table(self) -> Any:
        """One row per check: check, status, reason, seconds (pandas)."""
        import pandas as pd

        rows = [vars(o) for o in self.outcomes]
        return pd.DataFrame(rows, columns=["check", "status", "reason", "seconds"])

    def to_json(self) -> dict[str, Any]:
        """A dictionary for `--json`."""
        return {"method": self.method, "counts": self.counts, "checks": [dict(vars(o)) for o in self.outcomes]}

    def __str__(self) -> str:
        counts = ", ".join(f"{n} {status}" for status, n in self.counts.items())
        width = max((len(o.check) for o in self.outcomes), default=0)
        lines = [f"{self.method}: {counts}"]
        lines += [f"  {o.check:<{width}}  {o.status:<7}  {o.reason}".rstrip() for o in self.outcomes]
        return "\n".join(lines)

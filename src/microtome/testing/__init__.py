"""Public contract tests: `check_method` holds any method, yours too, to the house's contract."""

from microtome.testing.digest import digest
from microtome.testing.report import CheckReport, Outcome
from microtome.testing.suite import check_method

__all__ = ["CheckReport", "Outcome", "check_method", "digest"]

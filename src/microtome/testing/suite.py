"""`check_method`: every contract check on one method."""

import time
import traceback
from collections.abc import Callable, Iterable
from typing import Any

from microtome import methods
from microtome.errors import UsageError, nearest
from microtome.method import Method
from microtome.testing.case import Case
from microtome.testing.checks import CHECKS
from microtome.testing.report import CheckReport, Failed, Outcome, Skip


def check_method(
    method: str | Method | Callable[..., Any], *, only: str | Iterable[str] | None = None, seeds: int = 3
) -> CheckReport:
    """Run the contract checks on one method.

    Parameters
    ----------
    method : str, Method or function
        A key of `microtome.methods.all_methods`, a record, or a function decorated with `microtome.method.method`.
    only : str or iterable of str, optional
        Names of checks to run; all by default.
    seeds : int, default 3
        How many seeds the statistical checks (truth, null) use; 20 for the full form.

    Returns
    -------
    CheckReport
        One outcome per check: passed, failed (reason) or skipped (reason).

    Raises
    ------
    UsageError
        When there is no such method or check.

    Notes
    -----
    Null: each statistical check compares with a world in which nothing was planted.
    Misleads when many checks are skipped; read `CheckReport.counts`, not only whether it is green.
    """
    case = Case(_record(method), seeds)
    names = [only] if isinstance(only, str) else list(CHECKS if only is None else only)
    for name in names:
        if name not in CHECKS:
            raise UsageError(f"no check {name!r}.{nearest(name, CHECKS)} Checks: {', '.join(CHECKS)}.")
    return CheckReport(case.method.key, tuple(_outcome(name, case) for name in names))


def _record(method: str | Method | Callable[..., Any]) -> Method:
    if isinstance(method, str):
        return methods.get(method)
    record = method if isinstance(method, Method) else getattr(method, "method", None)
    if not isinstance(record, Method):
        raise UsageError(f"{method!r} carries no method record; decorate it with @microtome.method.method(...).")
    return record


def _outcome(name: str, case: Case) -> Outcome:
    """Run one check. Whatever it raises is its outcome, so that one broken method never hides the others."""
    started = time.perf_counter()
    status, reason = "passed", ""
    try:
        declared = case.method.skips.get(name)
        if declared:
            raise Skip(declared)
        CHECKS[name](case)
    except Skip as skip:
        status, reason = "skipped", str(skip)
    except Failed as failure:
        status, reason = "failed", str(failure)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{last.filename.rpartition('/')[2]}:{last.lineno}"
        status, reason = "failed", f"{type(error).__name__} at {where}: {str(error)[:300]}"
    return Outcome(name, status, reason, round(time.perf_counter() - started, 3))

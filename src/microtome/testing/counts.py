"""How many checks really ran on each method: committed, so that a suite that checks less is seen."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import microtome
from microtome.errors import UsageError
from microtome.testing.report import CheckReport


def counts_file() -> Path:
    """``tests/contract/counts.json`` of the source checkout.

    Raises
    ------
    UsageError
        Outside a source checkout.
    """
    path = Path(microtome.__file__).resolve().parents[2] / "tests" / "contract" / "counts.json"
    if not path.parent.is_dir():
        raise UsageError(f"no '{path.parent}': the counts of checks stand in a source checkout.")
    return path


def fallen(committed: Mapping[str, list[str]], reports: Iterable[CheckReport]) -> list[str]:
    """Checks that once ran and no longer do, method by method, and methods that are in only one of the two.

    Parameters
    ----------
    committed : mapping of str to list of str
        Method -> names of the checks that ran when the counts were committed.
    reports : iterable of CheckReport
        Full reports of now, for all methods.
    """
    now = {report.method: ran(report) for report in reports}
    lost = []
    for key in sorted({*committed, *now}):
        if key not in now:
            lost.append(f"{key}: the method is gone")
        elif key not in committed:
            lost.append(f"{key}: new; commit its counts")
        elif set(committed[key]) - set(now[key]):
            lost.append(f"{key}: no longer runs {', '.join(sorted(set(committed[key]) - set(now[key])))}")
    return lost


def ran(report: CheckReport) -> list[str]:
    """Names of the checks that ran (passed or failed). Those that depend on the machine are not counted."""
    return sorted(o.check for o in report if o.status != "skipped" and o.check != "gpu")

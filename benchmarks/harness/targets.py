"""Whether the figures that a benchmark must reach were reached."""

from typing import Any

from harness import statistics
from harness.description import Benchmark, Case, Target


def verdicts(benchmark: Benchmark, case: Case, rows: dict[str, dict], times: dict[str, list[float]]) -> list[dict[str, Any]]:
    """One entry per target of the case: what was asked, the value, and "met", "missed" or "not measured"."""
    wanted = [t for t in benchmark.targets if t.case in ("", case.name)]
    return [_verdict(target, rows, times, benchmark.unit) for target in wanted]


def _verdict(target: Target, rows: dict[str, dict], times: dict[str, list[float]], unit: str) -> dict[str, Any]:
    value = _value(target, rows, times)
    if value is None:
        state = "not measured"
    else:
        low = target.at_least is None or value >= target.at_least
        state = "met" if low and (target.at_most is None or value <= target.at_most) else "missed"
    return {"target": phrase(target, unit), "value": value, "verdict": state}


def _value(target: Target, rows: dict[str, dict], times: dict[str, list[float]]) -> float | None:
    names = [target.of] + ([target.against] if target.against else [])
    if any(name not in times or rows[name]["status"] != "ok" for name in names):
        return None
    if target.quantity == "time":
        if target.against:
            return statistics.paired_ratio(times[target.of], times[target.against])["median"]
        return statistics.summary(times[target.of])["median"]
    first, *second = (rows[name][target.quantity] for name in names)
    return first / second[0] if second else first


def phrase(target: Target, unit: str) -> str:
    """The target in words."""
    quantity = {"time": f"time per {unit}", "peak": "peak memory", "growth": "growth of memory"}[target.quantity]
    bound = f"at most {_number(target, target.at_most)}" if target.at_most is not None else ""
    bound = bound or f"at least {_number(target, target.at_least)}"
    return f"{quantity} of {target.of}: {bound}" + (f" of {target.against}" if target.against else "")


def _number(target: Target, value: float | None) -> str:
    if target.against:
        return f"{value:g} times that"
    return f"{value:g} s" if target.quantity == "time" else f"{(value or 0) / 1e6:,.0f} MB"

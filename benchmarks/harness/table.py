"""Results as Markdown."""

from collections.abc import Sequence
from typing import Any

BEGIN, END = "<!-- results: written by benchmarks/run.py -->", "<!-- end of results -->"


def markdown(results: dict[str, Any]) -> str:
    """One section per benchmark, with a table per case and the targets below it."""
    machine = results["machine"]
    lines = [f"Measured on {machine['processor']}, {machine['cores']} cores, {machine['system']}, Python {machine['python']}."]
    for entry in results["benchmarks"]:
        lines += ["", f"### {entry['name']}", "", f"{entry['what'][0].upper()}{entry['what'][1:]}."]
        lines += [f"{note}" for note in entry["notes"]]
        lines += [f"{entry['threads']} threads, float32; {entry['when'][:10]}."]
        for case in entry["cases"]:
            lines += ["", f"**{case['case']}**", "", *_table(case, entry["unit"])]
            if case["targets"]:
                lines += [""] + [f"- {_target(target)}" for target in case["targets"]]
    return "\n".join(lines) + "\n"


def _table(case: dict[str, Any], unit: str) -> list[str]:
    ratios = [f"{kind} / microtome's" for kind in ("Time", "CPU time")]
    heads = ["Side", f"Time per {unit} (quartiles)", *ratios, "Peak memory", "Difference", "Note"]
    return [_cells(heads), "|---|---:|---:|---:|---:|---:|---|", *(_row(row) for row in case["rows"])]


def _row(row: dict[str, Any]) -> str:
    library = row["side"].replace(",", " ").split()[0]
    name = row["side"] + "".join(f" {v}" for k, v in row.get("versions", {}).items() if k == library)
    if "time" not in row:
        return _cells([name, "", "", "", "", "", row["status"]])
    t = row["time"]
    span = f"{duration(t['median'])} ({duration(t['low'])} to {duration(t['high'])})"
    own = row["side"] == "microtome"
    ratios = ["1" if own else _times(row.get(key)) for key in ("relative", "relative_cpu")]
    differs = f"{row['difference']:.0e}" if "difference" in row else ""
    note = "; ".join(filter(None, [row["status"] if row["status"] != "ok" else "", row.get("note", "")]))
    return _cells([name, span, *ratios, f"{row['peak'] / 1e6:,.0f} MB", differs, note])


def _cells(values: Sequence[str]) -> str:
    return "| " + " | ".join(value.replace("|", "/") for value in values) + " |"


def _times(found: dict[str, float] | None) -> str:
    return f"{found['median']:.2f}" if found else ""


def _target(target: dict[str, Any]) -> str:
    value = target["value"]
    shown = "" if value is None else f" ({value / 1e6:,.0f} MB)" if value > 1e6 else f" ({value:.3g})"
    return f"{target['target']}: {target['verdict']}{shown}"


def duration(seconds: float) -> str:
    """Seconds with the unit a person would choose."""
    for size, name in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= size:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds * 1e6:.3g} µs"


def between(text: str, table: str) -> str:
    """A page with the part between the two markers replaced; a page without them is returned as it is."""
    if BEGIN not in text or END not in text:
        return text
    head, rest = text.split(BEGIN, 1)
    return f"{head}{BEGIN}\n\n{table}\n{END}{rest.split(END, 1)[1]}"

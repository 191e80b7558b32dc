"""Benchmarks beside the peers: ``python benchmarks/run.py [NAME...] [--json] [--quick]``.

Each side of a benchmark runs in a process of its own, with the same threads, dtype, weights and inputs; outputs are compared
before anything is timed; the sides are then called in turns. Results go to ``results/latest.json`` and ``latest.md``, and into
the page ``docs/benchmarks.md``; with ``--quick`` (small sizes, one round: it tells whether all works, not how fast) to
``results/quick.json``. Exit code 1 when a side failed, outputs differ or a target was missed.
"""

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from harness import table  # noqa: E402
from harness.description import Benchmark  # noqa: E402
from harness.machine import machine  # noqa: E402
from harness.runner import run  # noqa: E402

PAGE = HERE.parent / "docs" / "benchmarks.md"


def main(arguments: list[str] | None = None) -> int:
    """Run the chosen benchmarks, print and keep the results."""
    known = benchmarks()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: all. Known: {', '.join(known)}")
    parser.add_argument("--json", action="store_true", help="print JSON instead of Markdown")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round, nothing kept as a measurement")
    chosen = parser.parse_args(arguments)
    if unknown := [name for name in chosen.names if name not in known]:
        parser.error(f"no benchmark {', '.join(unknown)}. Known: {', '.join(known)}.")
    fresh = []
    for name in chosen.names or known:
        print(f"{name} ...", file=sys.stderr, flush=True)
        entry: dict[str, Any] = {"name": name, "cases": []}
        for entry in run(known[name], quick=chosen.quick):  # kept after every case: a long benchmark may be stopped
            keep(entry, known, quick=chosen.quick)
        fresh.append(entry)
    shown = {"machine": machine(), "benchmarks": [entry for entry in fresh if entry["cases"]]}
    print(json.dumps(shown, indent=1) if chosen.json else table.markdown(shown))
    return int(any(not fine(entry, chosen.quick) for entry in fresh))


def benchmarks() -> dict[str, Benchmark]:
    """All benchmarks by name: the files of ``tasks/``."""
    files = sorted(path.stem for path in (HERE / "tasks").glob("*.py") if path.stem != "__init__")
    return {name: importlib.import_module(f"tasks.{name}").BENCHMARK for name in files}


def keep(fresh: dict[str, Any], known: dict[str, Benchmark], *, quick: bool) -> None:
    """Write the results; benchmarks and cases that were not run now keep what they had."""
    name = "quick" if quick else "latest"
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.json"
    old = json.loads(file.read_text())["benchmarks"] if file.is_file() else []
    entries = {entry["name"]: entry for entry in old}
    before = entries.get(fresh["name"], {"cases": []})["cases"]
    cases = {case["case"]: case for case in [*before, *fresh["cases"]]}
    ordered = [cases[case.name] for case in known[fresh["name"]].cases if case.name in cases]
    entries[fresh["name"]] = {**fresh, "cases": ordered}
    results = {"machine": machine(), "benchmarks": [entries[n] for n in known if n in entries]}
    file.write_text(json.dumps(results, indent=1) + "\n")
    text = table.markdown(results)
    (folder / f"{name}.md").write_text(text)
    if not quick and PAGE.is_file():
        PAGE.write_text(table.between(PAGE.read_text(), text))


def fine(entry: dict[str, Any], quick: bool) -> bool:
    """No side failed or differs, and (unless quick) no target was missed; peers that are not installed are no failure."""
    rows = [row["status"] for case in entry["cases"] for row in case["rows"]]
    targets = [t["verdict"] for case in entry["cases"] for t in case["targets"]]
    return not any(s.startswith(("failed", "outputs")) for s in rows) and (quick or "missed" not in targets)


if __name__ == "__main__":
    sys.exit(main())

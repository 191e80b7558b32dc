"""Run a benchmark: start the sides, compare their outputs, then time them in turns."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness import statistics
from harness.description import Benchmark, Case, Side
from harness.process import HERE, Failed, NotMeasured, Worker, environment
from harness.targets import verdicts

THREADS = 2
LEAST_ROUNDS = 3


def run(benchmark: Benchmark, *, quick: bool = False) -> Iterator[dict[str, Any]]:
    """The entry of the results, again after every case: a row for each side, and the targets' verdicts.

    With `quick` the sizes are small and one round is made: a check that everything runs and agrees, not a measurement.
    """
    entry: dict[str, Any] = {
        "name": benchmark.name,
        "what": benchmark.what,
        "unit": benchmark.unit,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "threads": THREADS,
        "notes": list(benchmark.notes),
        "cases": [],
    }
    for case in benchmark.cases:
        if not quick or case.quick is not None:
            entry["cases"].append(_case(benchmark, case, quick))
            yield entry


def _case(benchmark: Benchmark, case: Case, quick: bool) -> dict[str, Any]:
    settings = {**case.settings, **((case.quick or {}) if quick else {})}
    if "vocabulary" in settings:
        settings["model"] = str(model_folder(settings["vocabulary"]))
    rows = {side.name: {"side": side.name, "status": "ok"} for side in benchmark.sides}
    walls: dict[str, list[float]] = {side.name: [] for side in benchmark.sides}
    cpus: dict[str, list[float]] = {side.name: [] for side in benchmark.sides}
    processes = 1 if quick else benchmark.processes
    for again in range(processes):
        workers: dict[str, Worker] = {}
        try:
            for side in (side for side in benchmark.sides if rows[side.name]["status"] == "ok"):
                own = side if not quick else replace(side, settings=_small(side, settings))
                _start(own, settings, workers, rows[side.name])
            warmup = min(1, benchmark.warmup) if quick else benchmark.warmup
            _each(workers, rows, lambda name, worker, times=warmup: [worker.once() for _ in range(times)])
            if warmup and not again:
                _compare(benchmark, workers, rows)
            rounds = 1 if quick else -(-benchmark.rounds // processes)
            _time(workers, rows, (walls, cpus), rounds, benchmark.seconds / processes)
            if not warmup and not again:  # one call takes minutes
                _compare(benchmark, workers, rows)
        finally:
            for worker in workers.values():
                worker.close()
    times = _summary(rows, walls, cpus)
    entry = {"case": case.name, "settings": {k: v for k, v in settings.items() if k != "model"}}
    entry |= {"rows": list(rows.values()), "targets": verdicts(benchmark, case, rows, times)}
    return entry


def _small(side: Side, settings: dict[str, Any]) -> dict[str, Any]:
    """A side's own settings in a quick run: its size relative to the others stays."""
    own = dict(side.settings)
    if "megabytes" in own:
        own["megabytes"] = 4 * settings["megabytes"]
    return own


def _start(side: Side, settings: dict[str, Any], workers: dict[str, Worker], row: dict[str, Any]) -> None:
    try:
        worker = Worker(side, settings, THREADS)
    except NotMeasured as reason:
        row["status"] = str(reason)
        return
    workers[side.name] = worker
    row |= {"units": worker.about["units"], "note": worker.about["note"], "versions": worker.about["versions"]}
    row["resident"] = worker.about["resident"]


def _each(workers: dict[str, Worker], rows: dict[str, dict], do) -> None:
    """`do(name, worker)` for each; one that breaks leaves the others alone."""
    for name, worker in list(workers.items()):
        try:
            do(name, worker)
        except Failed as reason:
            rows[name]["status"] = str(reason)
            del workers[name]


def _compare(benchmark: Benchmark, workers: dict[str, Worker], rows: dict[str, dict]) -> None:
    """Largest difference of every side's outputs from the first side's."""
    compared = {side.name for side in benchmark.sides if side.compared}
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{i}.npz" for i, name in enumerate(workers) if name in compared}
        _each({n: w for n, w in workers.items() if n in compared}, rows, lambda name, worker: worker.outputs(paths[name]))
        present = [name for name in paths if paths[name].is_file()]
        for name in present[1:]:
            rows[name]["difference"] = found = statistics.difference(paths[name], paths[present[0]])
            if not found <= benchmark.tolerance:
                rows[name]["status"] = f"outputs differ ({found:.1e})"
        for name in [n for n in workers if rows[n]["status"] != "ok"]:  # it has ended, or does another thing
            workers.pop(name).close()
        if present:
            rows[present[0]]["spread"] = statistics.spread(paths[present[0]])


def _time(
    workers: dict[str, Worker], rows: dict[str, dict], times: tuple[dict, dict], rounds: int, seconds: float
) -> None:
    """Timed rounds; every side once in each, beginning with another one each time."""
    begun = time.monotonic()

    def once(name: str, worker: Worker) -> None:
        found = worker.once()
        for kept, what in zip(times, ("wall", "cpu")):
            kept[name].append(found[what] / rows[name]["units"])
        rows[name]["peak"] = max(int(found["peak"]), rows[name].get("peak", 0))

    for i in range(rounds):
        if i >= LEAST_ROUNDS and time.monotonic() - begun > seconds:
            break
        names = list(workers)
        turn = names[i % len(names) :] + names[: i % len(names)] if names else []
        alive = {name: workers[name] for name in turn}
        _each(alive, rows, once)
        for name in set(workers) - set(alive):
            del workers[name]


def _summary(rows: dict[str, dict], walls: dict[str, list], cpus: dict[str, list]) -> dict[str, list[float]]:
    """Medians and ratios of the rounds of all processes; the times of the sides that lasted."""
    lasted = [name for name in rows if walls[name] and rows[name]["status"] == "ok"]
    for name in lasted:
        rows[name] |= {"rounds": len(walls[name]), "time": statistics.summary(walls[name])}
        rows[name] |= {"cpu": statistics.summary(cpus[name]), "growth": max(0, rows[name]["peak"] - rows[name]["resident"])}
        if "microtome" in lasted and name != "microtome":
            rows[name]["relative"] = statistics.paired_ratio(walls[name], walls["microtome"])
            rows[name]["relative_cpu"] = statistics.paired_ratio(cpus[name], cpus["microtome"])
    return {name: walls[name] for name in lasted}


def model_folder(vocabulary: int) -> Path:
    """The folder of the random GPT-2; made at the first call."""
    folder = HERE / ".cache" / f"gpt2-{vocabulary}"
    if not (folder / "model.safetensors").is_file():
        folder.parent.mkdir(exist_ok=True)
        script = str(HERE / "harness" / "weights.py")
        subprocess.run([sys.executable, script, str(folder), str(vocabulary)], check=True, env=environment(THREADS),
                       stdout=sys.stderr)  # fmt: skip
    return folder

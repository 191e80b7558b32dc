"""Run a benchmark: start the sides, compare their outputs, then time them in turns."""

import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from harness import statistics
from harness.description import Benchmark, Case, Side
from harness.process import HERE, Failed, NotMeasured, Worker, environment
from harness.targets import verdicts

THREADS = 2
LEAST_ROUNDS = 3


def run(benchmark: Benchmark, *, quick: bool = False) -> dict[str, Any]:
    """One entry of the results: every case with a row for each side, and the targets' verdicts.

    With `quick` the sizes are small and one round is made: a check that everything runs and agrees, not a measurement.
    """
    cases = [case for case in benchmark.cases if not quick or case.quick is not None]
    return {
        "name": benchmark.name,
        "what": benchmark.what,
        "unit": benchmark.unit,
        "when": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "threads": THREADS,
        "notes": list(benchmark.notes),
        "cases": [_case(benchmark, case, quick) for case in cases],
    }


def _case(benchmark: Benchmark, case: Case, quick: bool) -> dict[str, Any]:
    settings = {**case.settings, **((case.quick or {}) if quick else {})}
    if "vocabulary" in settings:
        settings["model"] = str(model_folder(settings["vocabulary"]))
    rows = {side.name: {"side": side.name, "status": "ok"} for side in benchmark.sides}
    workers: dict[str, Worker] = {}
    try:
        for side in benchmark.sides:
            own = side if not quick else Side(side.name, side.work, side.peer, _small(side, settings), side.compared)
            _start(own, settings, workers, rows[side.name])
        warmup = min(1, benchmark.warmup) if quick else benchmark.warmup
        _each(workers, rows, lambda name, worker: [worker.once() for _ in range(warmup)])
        if warmup:
            _compare(benchmark, workers, rows)
        times = _time(benchmark, workers, rows, 1 if quick else benchmark.rounds)
    finally:
        for worker in workers.values():
            worker.close()
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
        if present:
            rows[present[0]]["spread"] = statistics.spread(paths[present[0]])


def _time(benchmark: Benchmark, workers: dict[str, Worker], rows: dict[str, dict], rounds: int) -> dict[str, list[float]]:
    """Timed rounds; every side once in each, beginning with another one each time."""
    walls: dict[str, list[float]] = {name: [] for name in workers}
    cpus: dict[str, list[float]] = {name: [] for name in workers}
    begun = time.monotonic()

    def once(name: str, worker: Worker) -> None:
        found = worker.once()
        walls[name].append(found["wall"] / rows[name]["units"])
        cpus[name].append(found["cpu"] / rows[name]["units"])
        rows[name]["peak"] = int(found["peak"])

    for i in range(rounds):
        if i >= LEAST_ROUNDS and time.monotonic() - begun > benchmark.seconds:
            break
        names = list(workers)
        turn = names[i % len(names) :] + names[: i % len(names)] if names else []
        alive = {name: workers[name] for name in turn}
        _each(alive, rows, once)
        for name in set(workers) - set(alive):
            del workers[name]
    for name in workers:
        rows[name] |= {"rounds": len(walls[name]), "time": statistics.summary(walls[name])}
        rows[name] |= {"cpu": statistics.summary(cpus[name]), "growth": max(0, rows[name]["peak"] - rows[name]["resident"])}
        if "microtome" in workers and name != "microtome":
            rows[name]["relative"] = statistics.paired_ratio(walls[name], walls["microtome"])
            rows[name]["relative_cpu"] = statistics.paired_ratio(cpus[name], cpus["microtome"])
    return {name: walls[name] for name in workers}


def model_folder(vocabulary: int) -> Path:
    """The folder of the random GPT-2; made at the first call."""
    folder = HERE / ".cache" / f"gpt2-{vocabulary}"
    if not (folder / "model.safetensors").is_file():
        folder.parent.mkdir(exist_ok=True)
        script = str(HERE / "harness" / "weights.py")
        subprocess.run([sys.executable, script, str(folder), str(vocabulary)], check=True, env=environment(THREADS),
                       stdout=sys.stderr)  # fmt: skip
    return folder

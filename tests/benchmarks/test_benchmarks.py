"""The benchmarks run and agree at small sizes; nothing is said of their speed."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
pytestmark = pytest.mark.skipif(not (BENCHMARKS / "run.py").is_file(), reason="benchmarks are not part of this copy")


@pytest.fixture(scope="module")
def bench():
    """The module benchmarks/run.py, its folder on the path for as long as the tests run."""
    spec = importlib.util.spec_from_file_location("benchmarks_run", BENCHMARKS / "run.py")
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


@pytest.fixture(scope="module")
def harness(bench):
    from harness import process, runner, statistics, table, targets
    from harness.description import Benchmark, Case, Side, Target

    class Names:
        pass

    for value in (Benchmark, Case, Side, Target):
        setattr(Names, value.__name__, value)
    Names.process, Names.runner, Names.statistics, Names.table, Names.targets = process, runner, statistics, table, targets
    return Names


def test_descriptions_hold_together(bench):
    known = bench.benchmarks()
    sweeps = {"sweep_layer_position", "sweep_layer_head"}
    assert {"record_residual", "record_disk", "sae_step", "study_time"} | sweeps <= set(known)
    for name, benchmark in known.items():
        assert benchmark.name == name
        sides = {side.name for side in benchmark.sides}
        assert len(sides) == len(benchmark.sides)
        cases = {case.name for case in benchmark.cases}
        for target in benchmark.targets:
            assert {target.of, target.against or target.of} <= sides
            assert target.case in cases | {""}
            assert (target.at_least is None) != (target.at_most is None)
        for side in benchmark.sides:
            file, _, function = side.work.partition(":")
            assert f"def {function}(" in (BENCHMARKS / "sides" / f"{file}.py").read_text()


def test_a_side_is_run_compared_and_timed(bench, harness, monkeypatch, tmp_path):
    monkeypatch.setenv("MICROTOME_PEERS", str(tmp_path / "nowhere"))
    benchmark = bench.benchmarks()["sweep_layer_head"]
    (entry,) = harness.runner.run(benchmark, quick=True)
    (case,) = entry["cases"]
    hand, ours, lens, _ = case["rows"]
    assert hand["status"] == ours["status"] == "ok"
    assert ours["difference"] < 1e-4
    assert hand["spread"] > 1e-3  # otherwise the comparison would say nothing
    assert ours["peak"] > 1e7
    assert lens["status"] == "not measured: install with make bench"
    assert [t["verdict"] for t in case["targets"]] == ["not measured"]
    assert bench.fine(entry, quick=True)
    machine = {"processor": "p", "cores": 2, "system": "s", "python": "3"}
    page = harness.table.markdown({"machine": machine, "benchmarks": [entry]})
    assert "not measured: install with make bench" in page
    marked = f"before\n{harness.table.BEGIN}\nold\n{harness.table.END}\nafter\n"
    assert "old" not in (new := harness.table.between(marked, page))
    assert new.startswith("before\n")
    assert new.endswith("\nafter\n")


def test_a_side_that_breaks_says_why(bench, harness):
    broken = harness.Benchmark(
        "b", "a broken side", "run", (harness.Case("c", {"subject": "organism:nowhere"}),),
        (harness.Side("study", "commands:study", compared=False),), (harness.Target("study", at_most=1.0),), warmup=0, rounds=1,
    )  # fmt: skip
    (entry,) = harness.runner.run(broken)
    assert entry["cases"][0]["rows"][0]["status"].startswith("failed: RuntimeError")
    assert not bench.fine(entry, quick=False)


def test_differences_and_ratios(harness, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.array([1.0, 2.0, np.nan]))
    np.savez(tmp_path / "b.npz", x=np.array([1.0, 2.5, 7.0]))
    np.savez(tmp_path / "c.npz", y=np.array([1.0]))
    np.savez(tmp_path / "d.npz", x=np.full(3, np.nan))
    difference = harness.statistics.difference
    assert difference(tmp_path / "a.npz", tmp_path / "b.npz") == 0.5
    assert difference(tmp_path / "a.npz", tmp_path / "c.npz") == np.inf
    assert difference(tmp_path / "a.npz", tmp_path / "d.npz") == np.inf
    assert harness.statistics.paired_ratio([2, 4, 90], [1, 2, 3])["median"] == 2


def test_targets(harness):
    sides = (harness.Side("ours", "x:y"), harness.Side("peer", "x:y"))
    benchmark = harness.Benchmark(
        "b", "", "effect", (harness.Case("c"),), sides,
        (harness.Target("peer", against="ours", at_least=4), harness.Target("ours", quantity="peak", at_most=2e9)),
    )  # fmt: skip
    rows = {"ours": {"status": "ok", "peak": 3e9}, "peer": {"status": "ok", "peak": 1.0}}
    found = harness.targets.verdicts(benchmark, benchmark.cases[0], rows, {"ours": [1.0], "peer": [5.0]})
    assert [t["verdict"] for t in found] == ["met", "missed"]
    assert found[0]["target"] == "time per effect of peer: at least 4 times that of ours"
    rows["peer"]["status"] = "outputs differ (1.0e+00)"
    found = harness.targets.verdicts(benchmark, benchmark.cases[0], rows, {"ours": [1.0], "peer": [5.0]})
    assert found[0]["verdict"] == "not measured"

"""The main job, whole."""

from harness.description import Benchmark, Case, Side, Target

BENCHMARK = Benchmark(
    name="study_time",
    what="`microtome study organism:language`, from nothing to the report",
    unit="run",
    cases=(Case("organism:language", {"subject": "organism:language"}, quick=None),),
    sides=(Side("microtome study", "commands:study", compared=False),),
    targets=(
        Target("microtome study", at_most=90.0),
        Target("microtome study", quantity="peak", at_most=2e9),
    ),
    warmup=0,
    rounds=3,
    processes=1,
    seconds=1.0,
)

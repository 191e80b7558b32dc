"""Start-up times."""

from harness.description import Benchmark, Case, Side, Target

BENCHMARK = Benchmark(
    name="command_line",
    what="a new interpreter, from its start to its end",
    unit="run",
    cases=(Case("two cores"),),
    sides=(
        Side("import torch", "commands:interpreter", compared=False),
        Side("import microtome", "commands:imported", compared=False),
        Side("microtome --help", "commands:shown_help", compared=False),
    ),
    targets=(Target("import microtome", at_most=1.0),),
    warmup=1,
    rounds=7,
    processes=1,
)

"""Recording a dataset to disk beside recording it to memory."""

from harness.description import Benchmark, Case, Side, Target

BENCHMARK = Benchmark(
    name="record_disk",
    what="`Subject.record` of the residual stream after every block, 128 tokens per sample",
    unit="MB",
    cases=(
        Case(
            "200 MB, vocabulary 5,000",
            {"length": 128, "vocabulary": 5_000, "megabytes": 200, "compared_megabytes": 200},
            quick={"megabytes": 10, "compared_megabytes": 10},
        ),
    ),
    sides=(
        Side("to memory", "ours:record_memory"),
        Side("to disk", "ours:record_disk"),
        Side("to disk, four times the tokens", "ours:record_disk", settings={"megabytes": 800}),
    ),
    targets=(
        Target("to memory", against="to disk", at_least=0.8),
        Target("to disk, four times the tokens", against="to disk", quantity="peak", at_most=1.1),
    ),
    warmup=1,
    rounds=3,
    processes=1,
    seconds=180.0,
    notes=("The folder is on the disk of the system's temporary files; each write is flushed (fsync) before its commit.",),
)

"""The metric of circuits of ten sizes, everything outside them cut."""

from harness.description import Benchmark, Case, Side, Target

PEER = "auto-circuit run_circuits"

BENCHMARK = Benchmark(
    name="circuit_evaluation",
    what="logit difference of circuits of ten sizes, all other edges carrying corrupt values; 6 layers x 6 heads, 64 pairs",
    unit="circuit",
    cases=(Case("64 pairs of 32 tokens", {"batch": 64, "length": 32, "vocabulary": 5_000}, quick={"batch": 4, "length": 8}),),
    sides=(
        Side("microtome", "edges:circuit_evaluation"),
        Side(PEER, "autocircuit:circuit_evaluation", peer=True, environment="autocircuit"),
    ),
    targets=(Target(PEER, against="microtome", at_least=3.0),),
    warmup=1,
    rounds=3,
    seconds=120.0,
)

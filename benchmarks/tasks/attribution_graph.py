"""Rows of an attribution graph of 500 nodes through fixed random transcoders."""

from harness.description import Benchmark, Case, Side, Target

REPEATED = "prompt repeated per target (circuit-tracer's method)"
SHAPE = {"batch": 1, "length": 32, "latents": 2048, "k": 16, "targets": 500, "repeat": 0}
QUICK = {"length": 8, "targets": 40, "latents": 256}

BENCHMARK = Benchmark(
    name="attribution_graph",
    what="what every active feature brings to 500 others, attention and norms held, 6 transcoders of 2,048 latents, 32 tokens",
    unit="graph",
    cases=(
        Case("vocabulary 5,000", {**SHAPE, "vocabulary": 5_000}, quick=QUICK),
        Case("vocabulary 50,257", {**SHAPE, "vocabulary": 50_257}, quick=None),
    ),
    sides=(Side(REPEATED, "graphs:repeated"), Side("microtome", "graphs:microtome")),
    targets=(Target(REPEATED, against="microtome", at_least=5.0),),
    warmup=1,
    rounds=7,
    seconds=120.0,
    notes=(
        "the method of circuit-tracer 0.5.0 written again for this model: one forward of the prompt repeated once per target, "
        "a backward, products with the features; its selection, pruning and files are left out on both sides.",
    ),
)

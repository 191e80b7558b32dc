"""Patching every head's output at all positions."""

from harness.description import Benchmark, Case, Side, Target

SHAPE = {"batch": 8, "length": 32}
LENS = "transformer-lens patching, HookedTransformer"

BENCHMARK = Benchmark(
    name="sweep_layer_head",
    what="activation patching of every head's output (z) at all positions, batch 8 x 32 tokens, logit difference",
    unit="effect",
    cases=(
        Case("vocabulary 5,000", {**SHAPE, "vocabulary": 5_000}, quick={"batch": 2, "length": 8}),
        Case("vocabulary 50,257", {**SHAPE, "vocabulary": 50_257}, quick=None),
    ),
    sides=(
        Side("full forwards by hand", "bare:sweep_layer_head"),
        Side("microtome", "ours:sweep_layer_head"),
        Side(LENS, "lens:sweep_layer_head", peer=True),
        Side("transformer-lens patching, TransformerBridge", "lens:sweep_layer_head", peer=True, settings={"bridge": True}),
    ),
    targets=(Target(LENS, against="microtome", at_least=3.0),),
    warmup=1,
    rounds=6,
    seconds=60.0,
)

"""Patching the residual stream at every block and position."""

from harness.description import Benchmark, Case, Side, Target

SHORT = {"batch": 8, "length": 32, "sample": 4}
LONG = {"batch": 8, "length": 128, "sample": 4}
LENS = "transformer-lens patching, HookedTransformer"

BENCHMARK = Benchmark(
    name="sweep_layer_position",
    what="activation patching of the residual stream before every block at every position, batch 8, logit difference",
    unit="effect",
    cases=(
        Case("32 tokens, vocabulary 5,000", {**SHORT, "vocabulary": 5_000}, quick={"batch": 2, "length": 8, "sample": 2}),
        Case("32 tokens, vocabulary 50,257", {**SHORT, "vocabulary": 50_257}, quick=None),
        Case("128 tokens, vocabulary 5,000", {**LONG, "vocabulary": 5_000}, quick=None),
    ),
    sides=(
        Side("full forwards by hand", "bare:sweep_layer_position"),
        Side("microtome", "ours:sweep_layer_position"),
        Side(LENS, "lens:sweep_layer_position", peer=True),
        Side("transformer-lens patching, TransformerBridge", "lens:sweep_layer_position", peer=True,
             settings={"bridge": True}),
    ),
    targets=(
        Target(LENS, against="microtome", at_least=4.0, case="32 tokens, vocabulary 5,000"),
        Target(LENS, against="microtome", at_least=4.0, case="32 tokens, vocabulary 50,257"),
        Target(LENS, against="microtome", at_least=5.0, case="128 tokens, vocabulary 5,000"),
    ),
    warmup=1,
    rounds=3,
    processes=1,
    seconds=60.0,
    notes=(
        "microtome is timed on all effects, its self-check against full forwards included. Each patch costs the others one "
        "forward whatever its place, so they are timed on a sample of positions in every block.",
    ),
)  # fmt: skip

"""Reading the residual stream of a whole batch."""

from harness.description import Benchmark, Case, Side, Target

SHAPE = {"batch": 8, "length": 128}
ASKED = "8 x 128 tokens"
SMALL = {"batch": 2, "length": 16}

BENCHMARK = Benchmark(
    name="record_residual",
    what="residual stream after every block, 6 blocks, d 384, kept in memory",
    unit="run",
    cases=(
        Case(ASKED, {**SHAPE, "vocabulary": 5_000}, quick=SMALL),
        Case("1 x 4 tokens: what the library adds", {"batch": 1, "length": 4, "vocabulary": 5_000}, quick=None),
    ),
    sides=(
        Side("bare hooks", "bare:record_residual"),
        Side("microtome", "ours:record_residual"),
        Side("transformer-lens HookedTransformer", "lens:record_residual_hooked", peer=True),
        Side("transformer-lens TransformerBridge", "lens:record_residual_bridge", peer=True),
        Side("nnsight trace", "traced:record_residual", peer=True),
    ),
    targets=(
        Target("microtome", against="bare hooks", at_most=1.05, case=ASKED),
        Target("transformer-lens HookedTransformer", against="microtome", at_least=1.0, case=ASKED),
        Target("transformer-lens TransformerBridge", against="microtome", at_least=1.0, case=ASKED),
        Target("nnsight trace", against="microtome", at_least=1.0, case=ASKED),
    ),
    rounds=30,
    processes=6,
    notes=("No side computes logits: bare hooks run the trunk alone, the others stop after the last block.",),
)

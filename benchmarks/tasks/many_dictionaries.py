"""Eight dictionaries trained from one subject, against the forward alone and their updates alone."""

from harness.description import Benchmark, Case, Side

SHAPE = {"batch": 8, "length": 128, "samples": 64, "vocabulary": 5_000}
SIZES = {"dictionaries": 8, "d": 384, "latents": 3_072, "k": 32, "rows": 1_024, "steps": 8}

BENCHMARK = Benchmark(
    name="many_dictionaries",
    what="8 TopK dictionaries of 3,072 latents on the residual stream of 6 blocks, d 384, one pass",
    unit="update of all",
    cases=(
        Case("live subject", {**SHAPE, **SIZES}, quick={"length": 16, "samples": 16, "latents": 512, "rows": 64, "steps": 3}),
    ),
    sides=(
        Side("forward alone", "ours:forward_alone"),
        Side("microtome, trained live", "ours:many_dictionaries"),
        Side("their updates alone", "ours:own_steps", compared=False),
    ),
    targets=(),
    rounds=5,
    notes=(
        "What is to be reached: live at most 1.6 times the forward alone plus the updates alone. Live computes one half of "
        "the ring buffer ahead (twice, when the moments are taken), which a long training does not notice.",
    ),
)

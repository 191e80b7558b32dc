"""Eight dictionaries trained from one subject, against the forward alone and their updates alone."""

from harness.description import Benchmark, Case, Side, Target

SHAPE = {"batch": 8, "length": 128, "samples": 64, "vocabulary": 5_000}
SIZES = {"dictionaries": 8, "d": 384, "latents": 1_536, "k": 32, "rows": 1_024, "steps": 12}

BENCHMARK = Benchmark(
    name="many_dictionaries",
    what="8 TopK dictionaries of 1,536 latents on the residual stream of 6 blocks, d 384, one pass",
    unit="update of all",
    cases=(
        Case("live subject", {**SHAPE, **SIZES}, quick={"length": 16, "samples": 16, "latents": 512, "rows": 64, "steps": 3}),
    ),
    sides=(
        Side("forward alone", "ours:forward_alone"),
        Side("microtome, trained live", "ours:many_dictionaries"),
        Side("their updates alone", "ours:own_steps", compared=False),
        Side("1.6 forwards and their updates", "ours:bound"),
    ),
    targets=(Target(of="microtome, trained live", against="1.6 forwards and their updates", at_most=1.0),),
    warmup=1,
    rounds=3,
    processes=1,
    seconds=20.0,
    notes=(
        "Live computes one half of the ring buffer ahead (twice, when the moments are taken), which a long training does not "
        "notice.",
    ),
)

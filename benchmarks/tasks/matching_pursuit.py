"""Matching pursuit beside overcomplete: codes of one dictionary, and its training to one loss."""

from harness.description import Benchmark, Case, Side, Target

OVERCOMPLETE = "overcomplete"
QUICK = {"d": 32, "latents": 128, "batch": 64, "k": 4}

BENCHMARK = Benchmark(
    name="matching_pursuit",
    what="matching pursuit: 32 atoms of 4,096 for each of 1,024 rows, d 512",
    unit="batch",
    cases=(Case("codes", {"d": 512, "latents": 4_096, "batch": 1_024, "k": 32}, quick=QUICK),),
    sides=(
        Side(OVERCOMPLETE, "pursuit:encode_overcomplete", peer=True, environment="overcomplete"),
        Side("microtome", "pursuit:encode"),
    ),
    targets=(Target(of="microtome", against=OVERCOMPLETE, at_most=1.0),),
    warmup=1,
    rounds=4,
    processes=1,
    seconds=10.0,
    tolerance=1e-3,
)

"""Judging attributions: pixel flipping and the randomisation test."""

from harness.description import Benchmark, Case, Side, Target

PEER = "quantus PixelFlipping, MPRT"

BENCHMARK = Benchmark(
    name="attribution_measures",
    what="pixel flipping, one of 64 pixels at a time, and the randomisation test, layer by layer, of 64 gradients",
    unit="evaluation",
    cases=(Case("64 pictures of 8 x 8", {"pictures": 64, "classes": 10}, quick={"pictures": 8}),),
    sides=(
        Side("microtome", "flipping:microtome"),
        Side(PEER, "flipping:quantus", peer=True, environment="attribute"),
    ),
    targets=(Target(PEER, against="microtome", at_least=3.0),),
    warmup=1,
    rounds=5,
)

"""Integrated gradients of pixels and of a late layer of a ResNet-18."""

from harness.description import Benchmark, Case, Side, Target

PEER = "captum IntegratedGradients"
PICTURES, LATE = "pixels", "layer4.1"
SIZES = {"pictures": 16, "size": 64, "steps": 32, "width": 64}
SMALL = {"pictures": 4, "size": 32, "steps": 8, "width": 16}

BENCHMARK = Benchmark(
    name="integrated_gradients",
    what="integrated gradients with 32 nodes in the shape of ResNet-18, 16 pictures of 3 x 64 x 64",
    unit="run",
    cases=(Case(PICTURES, SIZES, quick=SMALL), Case(LATE, {**SIZES, "layer": LATE}, quick=SMALL)),
    sides=(
        Side("microtome", "attributions:integrated_gradients"),
        Side(PEER, "attribution_peers:captum", peer=True, environment="attribute"),
    ),
    targets=(
        Target(PEER, against="microtome", at_least=1.0, case=PICTURES),
        Target("microtome", against=PEER, quantity="peak", at_most=0.5, case=PICTURES),
        Target(PEER, against="microtome", at_least=2.0, case=LATE),
    ),
    warmup=1,
    rounds=6,
    processes=2,
    notes=("Compared are values in units of their standard deviation.",),
)

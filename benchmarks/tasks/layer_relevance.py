"""Layer-wise relevance propagation through a VGG-11 with batch norms."""

from harness.description import Benchmark, Case, Side, Target

PEER = "zennit EpsilonPlus"

BENCHMARK = Benchmark(
    name="layer_relevance",
    what="relevance by the composite epsilon-plus in the shape of VGG-11 with batch norms, which are merged",
    unit="run",
    cases=(Case("8 pictures of 3 x 64 x 64", {"pictures": 8, "size": 64, "width": 64}, quick={"pictures": 2, "width": 8}),),
    sides=(
        Side("microtome", "attributions:relevance"),
        Side(PEER, "attribution_peers:zennit", peer=True, environment="attribute"),
    ),
    targets=(Target(PEER, against="microtome", at_least=1.0),),
    warmup=1,
    rounds=9,
    notes=("Compared are values in units of their standard deviation.",),
)

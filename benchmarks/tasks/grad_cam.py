"""Grad-CAM on a ResNet-18."""

from harness.description import Benchmark, Case, Side, Target

PEER = "pytorch-grad-cam GradCAM"

BENCHMARK = Benchmark(
    name="grad_cam",
    what="Grad-CAM of the last stage in the shape of ResNet-18, as maps of the size of the pictures",
    unit="run",
    cases=(Case("32 pictures of 3 x 64 x 64", {"pictures": 32, "size": 64, "width": 64}, quick={"pictures": 4, "width": 16}),),
    sides=(
        Side("microtome", "attributions:grad_cam"),
        Side(PEER, "attribution_peers:grad_cam", peer=True, environment="attribute"),
    ),
    targets=(Target(PEER, against="microtome", at_least=1.0),),
    warmup=1,
    rounds=9,
)

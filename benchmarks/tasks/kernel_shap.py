"""KernelSHAP on a table."""

from harness.description import Benchmark, Case, Side, Target

PEER = "shap KernelExplainer"

BENCHMARK = Benchmark(
    name="kernel_shap",
    what="KernelSHAP with 2,000 coalitions of a row, 10 rows of 30 columns, a network of two hidden layers",
    unit="run",
    cases=(Case("2,000 samples", {"rows": 10, "features": 30, "samples": 2_000}, quick={"rows": 3}),),
    sides=(
        Side("microtome", "attributions:kernel_shap"),
        Side(PEER, "attribution_peers:shap", peer=True, environment="attribute"),
    ),
    targets=(Target(PEER, against="microtome", at_least=2.0),),
    warmup=1,
    rounds=9,
    notes=("Both draw their coalitions; compared are ten columns, of which both ask all coalitions, and the sums.",),
)

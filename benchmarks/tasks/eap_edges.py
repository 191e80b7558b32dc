"""First-order scores of all edges between heads and MLPs."""

from harness.description import Benchmark, Case, Side, Target

SHAPE = {"batch": 64, "length": 32, "vocabulary": 5_000}
QUICK = {"batch": 4, "length": 8}
PEER = "auto-circuit mask gradient"

BENCHMARK = Benchmark(
    name="eap_edges",
    what="EAP of every edge into queries, keys and values of heads, MLPs and the logits; 6 layers x 6 heads, d 384, 64 pairs",
    unit="run",
    cases=(Case("EAP, 64 pairs of 32 tokens", SHAPE, quick=QUICK),),
    sides=(
        Side("microtome", "edges:eap_edges"),
        Side(PEER, "autocircuit:eap_edges", peer=True, environment="autocircuit"),
    ),
    targets=(
        Target(PEER, against="microtome", at_least=3.0),
        Target(PEER, against="microtome", quantity="growth", at_least=3.0),
    ),
    warmup=1,
    rounds=5,
    seconds=120.0,
    notes=("Scores are divided by the largest and compared to 1e-4.",),
)

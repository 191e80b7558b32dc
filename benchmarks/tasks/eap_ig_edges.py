"""Scores of all edges between heads and MLPs, averaged over points of a path."""

from harness.description import Benchmark, Case, Side, Target

SHAPE = {"batch": 64, "length": 32, "vocabulary": 5_000, "steps": 5}
QUICK = {"batch": 4, "length": 8}
PEER = "auto-circuit mask gradient"

BENCHMARK = Benchmark(
    name="eap_ig_edges",
    what="EAP-IG (5 points) of every edge into heads, MLPs and the logits; 6 layers x 6 heads, d 384, 64 pairs",
    unit="run",
    cases=(Case("64 pairs of 32 tokens", SHAPE, quick=QUICK),),
    sides=(
        Side("microtome", "edges:eap_edges"),
        Side(PEER, "autocircuit:eap_edges", peer=True, environment="autocircuit", settings={"steps": 4}, compared=False),
    ),
    targets=(
        Target(PEER, against="microtome", at_least=3.0),
        Target(PEER, against="microtome", quantity="growth", at_least=3.0),
    ),
    warmup=1,
    rounds=5,
    seconds=120.0,
    notes=("auto-circuit averages over masks (5 of them), microtome over embeddings: the work is alike, the scores differ.",),
)

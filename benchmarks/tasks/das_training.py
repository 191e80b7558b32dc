"""Training a subspace for interchange interventions (DAS)."""

from harness.description import Benchmark, Case, Side, Target

PEER = "pyvene LowRankRotatedSpaceIntervention"

BENCHMARK = Benchmark(
    name="das_training",
    what="distributed alignment search: 500 updates of a 16-dimensional subspace at the middle block, last position",
    unit="step",
    cases=(
        Case("32 tokens, vocabulary 5,000",
             {"batch": 16, "length": 32, "vocabulary": 5_000, "pairs": 512, "steps": 500, "k": 16},
             quick={"length": 8, "pairs": 64, "steps": 40}),
    ),
    sides=(Side("microtome", "interventions:ours"), Side(PEER, "interventions:pyvene", peer=True, environment="pyvene")),
    targets=(Target(PEER, against="microtome", at_least=2.0),),
    warmup=0,
    rounds=1,
    processes=1,
    seconds=300.0,
    tolerance=0.1,
    notes=(
        "Compared is the interchange accuracy on the training pairs after the last update: equal within 0.1 (seen: 0.53 for "
        "microtome, 0.47 for pyvene; the network has random weights, so its answers hang by little). The two parametrise the "
        "rotation differently (QR retraction, Householder products), so their subspaces differ.",
    ),
)  # fmt: skip

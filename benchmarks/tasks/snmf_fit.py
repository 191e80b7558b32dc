"""Semi-non-negative factors of recorded activations, to equal loss."""

from harness.description import Benchmark, Case, Side, Target

BENCHMARK = Benchmark(
    name="snmf_fit",
    what="semi-NMF of activations, from one start to one loss",
    unit="fit",
    cases=(
        Case(
            "20,000 rows, 200 units, 100 components",
            {"rows": 20_000, "d": 200, "components": 100, "left": 0.13, "steps": 400},
            quick={"rows": 1_000, "d": 40, "components": 10, "left": 0.12},
        ),
    ),
    sides=(
        Side("overcomplete 0.3.0", "snmf:overcomplete", peer=True, environment="overcomplete"),
        Side("microtome, projected gradient (semi_nmf)", "snmf:microtome_projected"),
        Side("microtome, multiplicative (snmf)", "snmf:microtome_multiplicative"),
    ),
    targets=(Target(of="microtome, projected gradient (semi_nmf)", against="overcomplete 0.3.0", at_most=1.0),),
    warmup=1,
    rounds=3,
    processes=1,
    seconds=20.0,
)

"""Matching-pursuit autoencoders beside overcomplete: updates on planted features, to equal loss."""

from harness.description import Benchmark, Case, Side, Target

OVERCOMPLETE = "overcomplete"
SIZES = {"d": 256, "latents": 1_024, "planted": 512, "batch": 512, "k": 8, "steps": 20, "lr": 3e-3, "left": 0.71}

BENCHMARK = Benchmark(
    name="matching_pursuit_training",
    what="training of 1,024 atoms by matching pursuit, 8 atoms for each of 512 rows, d 256, on the same batches",
    unit="update",
    cases=(
        Case("planted features", SIZES, quick={"d": 32, "latents": 64, "planted": 48, "batch": 64, "steps": 5, "left": 1.0}),
    ),
    sides=(
        Side(OVERCOMPLETE, "pursuit:training_overcomplete", peer=True, environment="overcomplete"),
        Side("microtome (mp_sae)", "pursuit:training"),
    ),
    targets=(Target(of="microtome (mp_sae)", against=OVERCOMPLETE, at_most=1.0),),
    warmup=1,
    rounds=4,
    processes=1,
    seconds=10.0,
    notes=("Both must leave at most 71% of the variance of a fresh batch after the same updates.",),
)

"""One update of a TopK sparse autoencoder."""

from harness.description import Benchmark, Case, Side, Target

LENS, LEARNING, PRODUCT = "sae-lens", "dictionary-learning", "encode product alone"

BENCHMARK = Benchmark(
    name="sae_step",
    what="one update of a TopK sparse autoencoder",
    unit="step",
    cases=(
        Case(
            "d 768, 12,288 latents, k 32, batch 1,024",
            {"d": 768, "latents": 12_288, "k": 32, "batch": 1_024},
            quick={"d": 64, "latents": 512, "batch": 128},
        ),
    ),
    sides=(
        Side("dense implementation", "sae:dense"),
        Side("microtome", "ours:sae_step"),
        Side(LENS, "sae_peers:step", peer=True, environment="sae", settings={"peer": "saelens"}),
        Side(LEARNING, "sae_peers:step", peer=True, environment="sae", settings={"peer": "dictionary_learning"}),
        Side(PRODUCT, "sae:encode_product", compared=False),
    ),
    targets=(
        Target(LENS, against="microtome", at_least=3.0),
        Target(LEARNING, against="microtome", at_least=3.0),
        Target("microtome", against=PRODUCT, at_most=1.9),
    ),
    rounds=10,
    notes=("Compared is what the common start reconstructs of 16 rows.",),
)

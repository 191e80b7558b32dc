"""One update of a TopK sparse autoencoder."""

from harness.description import Benchmark, Case, Side

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
        Side("encode product alone", "sae:encode_product", compared=False),
    ),
    targets=(),
    rounds=10,
)

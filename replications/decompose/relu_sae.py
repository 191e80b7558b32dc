"""Cunningham et al. (2023), Sparse Autoencoders Find Highly Interpretable Features: planted directions in superposition.

128 unit directions in 64 dimensions, each active on 3% of 200,000 samples with a weight in [0, 1]. The ReLU autoencoder
with the best of three penalties recovers them, with as many latents as directions and with twice as many; ICA and PCA
cannot, having 64 directions, and the same autoencoder fitted on samples permuted unit by unit (the null) finds none. Two
seeds find the same dictionary. The paper's tied form does it too, with its own best penalty. The penalty shrinks: codes
explain less of the variance than they could (`shrinkage`).

https://arxiv.org/abs/2309.08600
"""

import torch

from microtome.decompose import ica, pca, relu_sae, tied_sae
from microtome.decompose.judge import matched_cosine, mmcs, stability
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.subject.recording import Recording

CATALOG = ("decompose", 20)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.relu_sae", "microtome.decompose.tied_sae", "microtome.decompose.train")
ROWS, WIDTH, FEATURES, RATE, PENALTIES = 200_000, 64, 128, 0.03, (1.0, 2.0, 4.0)
SETTINGS = {"latents": FEATURES, "steps": 1200, "batch": 512, "lr": 5e-3}
WIDE = {**SETTINGS, "latents": 2 * FEATURES}

CLAIMS = [
    Claim("mean max cosine of planted directions with those found", "mmcs", 0.9, null="shuffled_mmcs"),
    Claim("matched one to one", "matched", 0.8, null="shuffled_matched"),
    Claim("with twice as many latents as directions: mean max cosine", "wide_mmcs", 0.9, null="shuffled_mmcs"),
    Claim("the tied autoencoder of the paper: mean max cosine", "tied_mmcs", 0.9, null="shuffled_mmcs"),
    Claim("gain over ICA", "over_ica", 0.2, null="pca_over_ica"),
    Claim("gain over the autoencoder on permuted samples", "over_shuffled", 0.3, null="pca_over_shuffled"),
    Claim("two seeds agree: mean max cosine of their dictionaries", "agreement", 0.8, null="shuffled_agreement"),
]


def run(seed: int) -> dict[str, float]:
    """Fit the planted samples and their permutation, and compare directions with the planted ones."""
    recording, truth = planted(seed)
    fits = {l1: relu_sae(recording, l1=l1, seed=seed, **SETTINGS) for l1 in PENALTIES}
    scores = {l1: mmcs(basis.directions, truth) for l1, basis in fits.items()}
    best = max(scores, key=scores.get)
    basis, again = fits[best], relu_sae(recording, l1=best, seed=seed + 100, **SETTINGS)
    shuffled = relu_sae(permuted(recording, seed), l1=best, seed=seed, **SETTINGS)
    wide = max(mmcs(relu_sae(recording, l1=l1, seed=seed, **WIDE).directions, truth) for l1 in PENALTIES)
    tied = max(mmcs(tied_sae(recording, l1=l1, seed=seed, **SETTINGS).directions, truth) for l1 in PENALTIES)
    by_ica = mmcs(ica(recording, seed=seed).directions, truth)
    by_pca, by_shuffled = mmcs(pca(recording).directions, truth), mmcs(shuffled.directions, truth)
    return {
        "mmcs": scores[best], "matched": matched_cosine(basis.directions, truth), "best_penalty": best,
        "shuffled_mmcs": by_shuffled, "shuffled_matched": matched_cosine(shuffled.directions, truth),
        "wide_mmcs": wide, "tied_mmcs": tied, "over_ica": scores[best] - by_ica, "pca_over_ica": by_pca - by_ica,
        "over_shuffled": scores[best] - by_shuffled, "pca_over_shuffled": by_pca - by_shuffled,
        "agreement": stability([basis, again]), "shuffled_agreement": stability([basis, shuffled]),
        "ica_mmcs": by_ica, "pca_mmcs": by_pca, "fvu": basis.metrics["fvu"], "shrinkage": basis.metrics["shrinkage"],
    }


def planted(seed: int) -> tuple[Recording, torch.Tensor]:
    """Samples and the directions that they are made of."""
    g = torch_rng(seed, "planted directions")
    truth = torch.nn.functional.normalize(torch.randn(FEATURES, WIDTH, generator=g), dim=1)
    codes = torch.rand(ROWS, FEATURES, generator=g) * (torch.rand(ROWS, FEATURES, generator=g) < RATE)
    return Recording.of(codes @ truth, site="planted"), truth


def permuted(recording: Recording, seed: int) -> Recording:
    """Every unit permuted over the samples by itself."""
    x, g = recording.matrix(), torch_rng(seed, "permuted")
    return Recording.of(torch.stack([column[torch.randperm(len(x), generator=g)] for column in x.T], dim=1), site="planted")

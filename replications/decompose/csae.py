"""Poupart (2024), Contrastive Sparse Autoencoders: what pairs share, and what tells their sides apart, in separate halves.

Planted pairs in 64 dimensions: 32 factors that both sides of a pair have with the same weight, 16 that only the first side
can have and 16 that only the second. A logistic probe tells the sides apart from the contrasting half of the latents and
not from the common half; the factors of the first side are latents of the contrasting half. Nulls: an autoencoder with the
same latents but no contrast term has no such split (its first half tells the sides apart); with pairs shuffled nothing is
common any more, and the error doubles; random directions match no factor. Limits: the chess network and its search trees
are not at hand; the claim is the split, on data whose answer is known.

https://arxiv.org/abs/2406.04028
"""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor

from microtome.decompose import csae
from microtome.decompose.judge import cosines
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.subject.recording import Recording

CATALOG = ("decompose", 38)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.csae", "microtome.decompose.fitting", "microtome.decompose.train")
PAIRS, WIDTH, COMMON, OWN, RATE = 20_000, 64, 32, 16, 0.12
SETTINGS = {"latents": 128, "l1": 0.5, "steps": 1000, "batch": 256, "lr": 4e-3}

CLAIMS = [
    Claim("the contrasting half tells the sides apart: AUROC of a probe", "contrast_auroc", 0.95, null="common_auroc"),
    Claim("the common half does not: AUROC of a probe", "common_auroc", 0.65, "<=", null="plain_auroc"),
    Claim("factors of the first side that are a contrasting latent (cosine 0.8)", "matched", 0.7, null="random_matched"),
    Claim("without the contrast term a half tells the sides apart", "plain_auroc", 0.8, null="common_auroc"),
    Claim("shuffling the pairs raises the error: ratio of FVU", "shuffled_over", 1.5, null="plain_over"),
]


def run(seed: int) -> dict[str, float]:
    """Fit pairs, pairs without the contrast term, and shuffled pairs; probe the halves of each."""
    plus, minus, truth = pairs(seed)
    order = torch.from_numpy(rng(seed, "shuffled pairs").permutation(PAIRS))
    sides = Recording.of({"plus": plus, "minus": minus})
    mixed = Recording.of({"plus": plus, "minus": minus[order]})
    made = csae(sides, contrast=2.0, seed=seed, **SETTINGS)
    plain = csae(sides, contrast=0.0, seed=seed, **SETTINGS)
    shuffled = csae(mixed, contrast=2.0, seed=seed, **SETTINGS)
    half = SETTINGS["latents"] // 2
    own = truth[COMMON : COMMON + OWN]
    best = cosines(made.directions[half:], own).max(1).values
    best_random = cosines(torch.randn(half, WIDTH, generator=torch_rng(seed, "random")), own).max(1).values
    return {
        "contrast_auroc": auroc(made.encode(plus)[:, half:], made.encode(minus)[:, half:]),
        "common_auroc": auroc(made.encode(plus)[:, :half], made.encode(minus)[:, :half]),
        "plain_auroc": auroc(plain.encode(plus)[:, :half], plain.encode(minus)[:, :half]),
        "shuffled_common_auroc": auroc(shuffled.encode(plus)[:, :half], shuffled.encode(minus)[:, :half]),
        "matched": float((best >= 0.8).double().mean()), "random_matched": float((best_random >= 0.8).double().mean()),
        "shuffled_over": shuffled.metrics["fvu"] / made.metrics["fvu"],
        "plain_over": plain.metrics["fvu"] / made.metrics["fvu"],
        "fvu": made.metrics["fvu"], "l0": made.metrics["l0"], "shuffled_fvu": shuffled.metrics["fvu"],
    }  # fmt: skip


def pairs(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Both sides [pairs, d] and the directions of the factors: common ones, the first side's, the second's."""
    g = torch_rng(seed, "pairs")
    truth = torch.nn.functional.normalize(torch.randn(COMMON + 2 * OWN, WIDTH, generator=g), dim=1)

    def codes(n: int) -> Tensor:
        return (torch.rand(PAIRS, n, generator=g) < RATE) * (0.5 + torch.rand(PAIRS, n, generator=g))

    common, first, second = codes(COMMON), codes(OWN), codes(OWN)
    shared = common @ truth[:COMMON]
    return shared + first @ truth[COMMON : COMMON + OWN], shared + second @ truth[COMMON + OWN :], truth


def auroc(plus: Tensor, minus: Tensor, train: int = 2000, test: int = 2000) -> float:
    """Of a logistic probe on held-out pairs; 0.5 where the codes are silent."""
    x = np.concatenate([plus[: train + test].numpy(), minus[: train + test].numpy()])
    y = np.repeat([1, 0], train + test)
    fit = np.tile(np.arange(train + test) < train, 2)
    probe = LogisticRegression(max_iter=300).fit(x[fit], y[fit])
    return float(roc_auc_score(y[~fit], probe.decision_function(x[~fit])))

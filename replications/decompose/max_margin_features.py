"""Morwani et al. (2023), Feature emergence via margin maximization: addition modulo a prime.

Analytic: the network of single waves at every frequency, phases t_u + t_v = t_w, has exactly the largest L_(2,3)-normalised
margin; with one frequency it has less. Trained: quadratic networks on the full table modulo 13 with a weak L_(2,3) penalty
come near that margin, with neurons of one frequency each, all six frequencies present, and phases that add. Null: the same
network before training; for the phases, neurons matched at random.

https://arxiv.org/abs/2311.07568
"""

import torch
from torch import nn

from microtome.decompose.margins import Weights, addition_optimum, group_norm, largest_margin, normalised_margin
from microtome.decompose.periodic import phase_mismatch, top_frequency
from microtome.organisms.fit import fit
from microtome.organisms.pairs import PairNetwork, Square, all_pairs, pair_network
from microtome.replicate import Claim
from microtome.rng import torch_rng

CATALOG = ("decompose", 185)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.margins", "microtome.decompose.periodic", "microtome.organisms.pairs")
P, WIDTH, STEPS, PENALTY = 13, 128, 4000, 1e-4

CLAIMS = [
    Claim("the constructed network reaches the bound (largest relative gap, p = 5, 7, 11, 13)", "bound_gap", 1e-9, "<=",
          null="one_frequency_gap"),
    Claim("the trained network's margin as a share of the largest", "trained_share", 0.8, null="untrained_share"),
    Claim("neurons are single waves (median share of the top frequency)", "single_wave", 0.9, null="untrained_wave"),
    Claim("every frequency is used (of 6)", "frequencies", 6.0, null="one_neuron_frequencies"),
    Claim("phases add (median mismatch in radians)", "phase_mismatch", 0.2, "<=", null="random_phase_mismatch"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Check the construction, then train and compare."""
    gaps = [abs(normalised_margin(addition_optimum(p)) / largest_margin(p) - 1) for p in (5, 7, 11, 13)]
    single = [abs(normalised_margin(addition_optimum(p, [1])) / largest_margin(p) - 1) for p in (5, 7, 11, 13)]
    module = pair_network(P, width=WIDTH, activation=Square, seed=seed)
    before = weights(module)
    train(module)
    after = weights(module)
    live = after[2].norm(dim=1) > 0.1 * after[2].norm(dim=1).max()
    u, v, w = (t[live] for t in after)
    frequency, share, _ = top_frequency(w)
    order = torch.randperm(len(w), generator=torch_rng(seed, "matched at random"))
    return {
        "bound_gap": max(gaps), "one_frequency_gap": min(single),
        "trained_share": normalised_margin(after) / largest_margin(P),
        "untrained_share": normalised_margin(before) / largest_margin(P),
        "single_wave": waves(u, v, w), "untrained_wave": waves(*before),
        "frequencies": len(frequency.unique()), "one_neuron_frequencies": 1.0, "live_neurons": int(live.sum()),
        "phase_mismatch": phase_mismatch(u, v, w).median(),
        "random_phase_mismatch": phase_mismatch(u[order], v, w).median(), "top_share_out": share.median(),
    }  # fmt: skip


def train(module: PairNetwork) -> None:
    """Cross-entropy on the whole table and a weak L_(2,3) penalty."""
    pairs = all_pairs(P)
    answers = pairs.sum(1) % P

    def loss(_: int) -> torch.Tensor:
        size = group_norm((module.left.weight.T, module.right.weight.T, module.out.weight.T)) ** 3
        return nn.functional.cross_entropy(module(pairs), answers) + PENALTY * size

    fit(module, loss, STEPS, lr=1e-2, weight_decay=0.0, betas=(0.9, 0.999), final=0.01, clip=1e9)


def weights(module: PairNetwork) -> Weights:
    """u, v, w with one row per neuron, in float64."""
    parts = (module.left.weight.T, module.right.weight.T, module.out.weight.T)
    return tuple(t.detach().double().clone() for t in parts)  # type: ignore[return-value]


def waves(u: torch.Tensor, v: torch.Tensor, w: torch.Tensor) -> float:
    """Median over neurons of the mean share of the top frequency in the three blocks."""
    return float(torch.stack([top_frequency(t)[1] for t in (u, v, w)]).mean(0).median())

"""Chughtai, Chan, Nanda (2023), A Toy Model of Universality: networks learn group operations by representations.

A one-hidden-layer network with narrow embeddings (12) learns the dihedral group of order 30 from its full table. Its
embeddings lie in the matrix entries of a few irreducible representations, and its logits are made of their characters: the
smallest set of representations that holds 90% of the embeddings is much smaller than the group, its characters explain more
than half of the logits (the rest are harmonics that the ReLU adds), and are needed and enough for the answers. Null: the
same analysis with the elements renamed at random. Which representations are learned varies with the seed (`set_size`,
`set_code`). With tables as wide as the group, all representations are learned alike, and the first claim fails.

Later work (Stander et al. 2024) reads the same networks as unions of cosets; nothing here tells the two apart.

https://arxiv.org/abs/2302.03025
"""

import torch
from torch import Tensor, nn

from microtome.decompose.irreps import Irrep, fit_characters, irreps, variance_by_irrep
from microtome.organisms.embedded_pairs import embedded_pair_network
from microtome.organisms.fit import fit
from microtome.organisms.pairs import all_pairs
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.stimuli.algorithmic.groups import dihedral

CATALOG = ("decompose", 116)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.irreps", "microtome.organisms.embedded_pairs", "microtome.stimuli.algorithmic.groups")
N, WIDTH, EMBED, STEPS = 15, 128, 12, 1500

CLAIMS = [
    Claim("the table is learned", "accuracy", 1.0, null="untrained_accuracy"),
    Claim("representations are orthogonal (largest error of Schur's relations)", "schur_error", 1e-8, "<=",
          null="relabelled_schur_error"),
    Claim("few representations hold the embeddings: variance beyond their share of dimensions", "beyond_dimensions", 0.25,
          null="relabelled_beyond_dimensions"),
    Claim("their characters explain the logits", "logits_explained", 0.5, null="relabelled_logits_explained"),
    Claim("their part of the logits is enough", "kept_accuracy", 0.99, null="relabelled_kept_accuracy"),
    Claim("and needed", "removed_accuracy", 0.3, "<=", null="relabelled_removed_accuracy"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, find the representations, and read embeddings and logits in them."""
    table = dihedral(N)
    pairs, answers = all_pairs(2 * N), table.flatten()
    module = embedded_pair_network(2 * N, embed=EMBED, width=WIDTH, seed=seed)
    before = accuracy(module(pairs), answers)
    loss = nn.functional.cross_entropy
    fit(module, lambda _: loss(module(pairs), answers), STEPS, lr=3e-3, weight_decay=1.0, final=1.0, clip=1e9)
    with torch.no_grad():
        logits = module(pairs)
    every = irreps(table, seed=seed)
    tables = torch.cat([module.left.weight, module.right.weight], 1).detach()
    shares = variance_by_irrep(tables, every)
    chosen = smallest(shares, every)
    other, relabelled = relabel(table, every, seed)
    real = judged(tables, logits, answers, table, every, chosen)
    null = judged(tables, logits, answers, other, relabelled, chosen)
    return {
        "accuracy": accuracy(logits, answers), "untrained_accuracy": before,
        "schur_error": schur_error(every, table), "relabelled_schur_error": schur_error(relabelled, table),
        **real, **{f"relabelled_{k}": v for k, v in null.items()},
        "set_size": len(chosen), "set_code": sum(2**i for i in chosen), "held": float(shares[chosen].sum()),
    }  # fmt: skip


def relabel(table: Tensor, every: list[Irrep], seed: int) -> tuple[Tensor, list[Irrep]]:
    """The same group with its elements (but the unit) renamed at random, and its representations."""
    rest = 1 + torch.randperm(len(table) - 1, generator=torch_rng(seed, "renamed"))
    mixed = torch.cat([torch.zeros(1, dtype=torch.long), rest])
    back = mixed.argsort()
    return back[table[mixed][:, mixed]], [Irrep(rho.matrices[mixed]) for rho in every]


def smallest(shares: Tensor, every: list[Irrep]) -> list[int]:
    """Representations in order of their share, until they hold 90%."""
    order = shares.argsort(descending=True).tolist()
    count = next(k for k in range(1, len(order) + 1) if float(shares[order[:k]].sum()) >= 0.9)
    return order[:count]


def judged(
    tables: Tensor, logits: Tensor, answers: Tensor, table: Tensor, every: list[Irrep], chosen: list[int]
) -> dict[str, float]:
    """How much a set of representations explains, and what the answers are with and without it."""
    some = [every[i] for i in chosen]
    part, explained = fit_characters(logits, table, some)
    centred = logits.double() - logits.double().mean(1, keepdim=True)
    held = float(variance_by_irrep(tables, every)[chosen].sum())
    return {
        "beyond_dimensions": held - sum(rho.functions.shape[1] for rho in some) / len(table), "logits_explained": explained,
        "kept_accuracy": accuracy(part, answers), "removed_accuracy": accuracy(centred - part, answers),
    }  # fmt: skip


def accuracy(logits: Tensor, answers: Tensor) -> float:
    """Share of right answers."""
    return float((logits.argmax(1) == answers).double().mean())


def schur_error(every: list[Irrep], table: Tensor) -> float:
    """Largest departure from rho(a) rho(b) = rho(ab) and from orthogonal entries."""
    worst = 0.0
    for rho in every:
        product = torch.einsum("aij,bjk->abik", rho.matrices, rho.matrices)
        worst = max(worst, float((product - rho.matrices[table]).abs().max()))
        entries = rho.matrices.flatten(1)
        worst = max(worst, float((entries.T @ entries * rho.dim / len(table) - torch.eye(rho.dim**2)).abs().max()))
    return worst

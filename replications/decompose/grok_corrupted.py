"""Doshi et al. (2024), To grok or not to grok: memorising and generalising neurons on corrupted modular addition.

A quadratic network learns addition modulo 31 from 80% of the table, 15% of whose labels are wrong. It learns the rule (test)
and the wrong labels by heart. Neurons with a periodic weight vector (high inverse participation ratio, IPR) carry the
rule, the others the wrong labels: pruning the 60% of lowest IPR keeps the test accuracy and forgets much of the wrong
labels; pruning as many random neurons (the null, ten draws) breaks the rule. Without weight decay nothing generalises.

https://arxiv.org/abs/2310.13061
"""

import numpy as np
import torch
from torch import Tensor, nn

from microtome.decompose.periodic import inverse_participation
from microtome.organisms.fit import fit
from microtome.organisms.pairs import PairNetwork, Square, all_pairs, pair_network
from microtome.replicate import Claim
from microtome.rng import torch_rng

CATALOG = ("decompose", 50)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.periodic", "microtome.organisms.pairs")
P, WIDTH, SHOWN, WRONG, STEPS, DECAY, PRUNED = 31, 400, 0.8, 0.15, 2000, 2.0, 0.6

CLAIMS = [
    Claim("test accuracy", "test", 0.9, null="undecayed_test"),
    Claim("wrong labels are learned by heart", "wrong_fit", 0.95, null="untrained_wrong_fit"),
    Claim("without the 60% of lowest IPR: test accuracy", "pruned_test", 0.95, null="random_pruned_test"),
    Claim("without the 60% of lowest IPR: fit of the wrong labels", "pruned_wrong_fit", 0.85, "<=", null="wrong_fit"),
    Claim("random pruning breaks the rule", "random_pruned_test", 0.8, "<=", null="pruned_test"),
]


def run(seed: int) -> dict[str, float]:
    """Train with and without weight decay, and prune."""
    g = torch_rng(seed, "corrupted addition")
    pairs = all_pairs(P)[torch.randperm(P * P, generator=g)]
    answers, shown = pairs.sum(1) % P, int(SHOWN * P * P)
    given = answers[:shown].clone()
    wrong = torch.arange(int(WRONG * shown))
    given[wrong] = (given[wrong] + torch.randint(1, P, (len(wrong),), generator=g)) % P
    data = (pairs, answers, given, wrong)
    start = pair_network(P, width=WIDTH, activation=Square, seed=seed)
    untrained = accuracies(start, torch.ones(WIDTH), *data)
    module = trained(seed, pairs[:shown], given, DECAY)
    ipr = inverse_participation(module.left.weight.T, module.right.weight.T, module.out.weight.T)
    count = int(PRUNED * WIDTH)
    kept = accuracies(module, mask(ipr.argsort()[:count]), *data)
    best_gone = accuracies(module, mask(ipr.argsort(descending=True)[:count]), *data)
    random = [accuracies(module, mask(torch.randperm(WIDTH, generator=g)[:count]), *data) for _ in range(10)]
    whole = accuracies(module, torch.ones(WIDTH), *data)
    undecayed = accuracies(trained(seed, pairs[:shown], given, 0.0, STEPS // 4), torch.ones(WIDTH), *data)
    return {
        "test": whole["test"], "wrong_fit": whole["wrong"], "undecayed_test": undecayed["test"],
        "untrained_wrong_fit": untrained["wrong"], "pruned_test": kept["test"], "pruned_wrong_fit": kept["wrong"],
        "random_pruned_test": float(np.mean([r["test"] for r in random])),
        "random_pruned_wrong_fit": float(np.mean([r["wrong"] for r in random])),
        "high_pruned_test": best_gone["test"], "high_pruned_wrong_fit": best_gone["wrong"],
        "median_ipr": ipr.median(), "high_ipr_share": (ipr > 0.5).double().mean(),
    }  # fmt: skip


def trained(seed: int, pairs: Tensor, given: Tensor, decay: float, steps: int = STEPS) -> PairNetwork:
    """Squared error against one-hot answers, on the whole shown table."""
    module = pair_network(P, width=WIDTH, activation=Square, seed=seed)
    wanted = nn.functional.one_hot(given, P).float()
    fit(module, lambda _: (module(pairs) - wanted).square().mean() * P, steps, lr=5e-3, weight_decay=decay, final=1.0,
        betas=(0.9, 0.98), clip=1e9)  # fmt: skip
    return module


def mask(pruned: Tensor) -> Tensor:
    """1 for neurons that stay."""
    out = torch.ones(WIDTH)
    out[pruned] = 0.0
    return out


@torch.no_grad()
def accuracies(
    module: PairNetwork, keep: Tensor, pairs: Tensor, answers: Tensor, given: Tensor, wrong: Tensor
) -> dict[str, float]:
    """On unseen pairs, and on the wrong labels of seen ones, with the neurons of `keep` only."""
    hidden = module.act(module.left(pairs[:, 0]) + module.right(pairs[:, 1])) * keep
    said = module.out(hidden).argmax(1)
    return {
        "test": float((said[len(given):] == answers[len(given):]).float().mean()),
        "wrong": float((said[wrong] == given[wrong]).float().mean()),
    }  # fmt: skip

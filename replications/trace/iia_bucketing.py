"""Puyin et al. (2026), Bucketing the Good Apples: which inputs does a causal hypothesis explain?

A network computes ``(a and b) if g else (c xor d)`` from five signed numbers. The hypothesis "out = a and b" is aligned
with its first layer before the ReLU (two coordinates: the variable is carried by a and b) and tested on all ordered pairs
of 128 inputs; pairs whose answer would not change are not counted. The largest set inside which interchanges succeed is the
inputs with g, and a decision tree on the inputs says so; a second round on the rest with "out = c xor d", gated by the tree,
gives a hypothesis that holds everywhere. Permuted successes have no such set; membership replicates on fresh inputs.

The recipe is run three times on fresh inputs, each fit taking only bases that the rule of the round before lets in: fitted
on all bases that have the right answer, an alignment learns to change inputs without g too, and its bucket is too large.

Limits: the second hypothesis is given, not searched for; the algorithm of the bucket is a greedy one of our own. At the
second layer the unit of "a and b" already carries g, so it changes inputs without g whose c and d agree as well: there the
bucket was g on some networks only (adjusted Rand 0.7 to 1) and two rounds came to 0.73 to 0.90. 2% of failures are allowed
in a bucket; with 5% a few inputs without g come in.

https://arxiv.org/abs/2605.02234
"""

import numpy as np
import pandas as pd
import torch
from sklearn.metrics import adjusted_rand_score

import microtome as mt
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.stimuli import Interchanges
from microtome.trace import bucketing, das
from microtome.trace.buckets import accuracy_of, membership
from microtome.trace.correctness_scores import auroc_of

CATALOG = ("trace", 262)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.trace.bucketing", "microtome.trace.buckets", "microtome.trace.das", "microtome.trace.alignment.fit")
N, SITE, SIZE, EPS, ROUNDS = 128, "0", 2, 0.02, 3

CLAIMS = [
    Claim("adjusted Rand index of the bucket with g", "rand", 0.9, null="rand_permuted"),
    Claim("IIA inside the bucket", "inside", 0.95, null="overall"),
    Claim("IIA over all pairs", "overall", 0.8, "<=", null="inside"),
    Claim("a tree of depth 2 tells the bucket: cross-validated balanced accuracy", "rule", 0.95, null="rule_shuffled"),
    Claim("two rounds, gated by the tree: IIA over all pairs", "combined", 0.95, null="overall"),
    Claim("with successes permuted: largest bucket, share of the inputs", "largest_by_chance", 0.1, "<=", null="coverage"),
    Claim("membership replicates on fresh inputs (AUROC)", "fresh", 0.9, null="fresh_permuted"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train the network, and make two rounds of bucketing."""
    module = perceptron([5, 32, 32, 2], seed=seed)
    fit_classes(module, lambda step: labelled(512, 10_000 * (seed + 1) + step), 500, lr=1e-2, weight_decay=0.1)
    subject = mt.Subject(module)
    x, y = labelled(N, 500 + seed)
    everything = np.ones(N, dtype=bool)
    bits = pd.DataFrame((x > 0).numpy().astype(int), columns=list("gabcd"))
    inside, g = everywhere, bits["g"].to_numpy() > 0
    for k in range(ROUNDS):  # fit and judge on fresh inputs of what the rule of the round before takes in
        seen_now, _ = (x, y) if k == ROUNDS - 1 else labelled(N, 600 + 10 * seed + k)
        about = pd.DataFrame((seen_now > 0).numpy().astype(int), columns=list("gabcd"))
        basis = aligned(subject, seed + 1000 * k, both, inside)
        found = bucketing(subject, seen_now, basis, labels=both(seen_now).expand(N, N), attributes=about, eps=EPS, seed=seed)
        inside = rule_of(found.tree)
    second = aligned(subject, seed, either, lambda inputs: ~inside(inputs))
    rest = bucketing(subject, x, second, labels=either(x).expand(N, N), draws=1, seed=seed)
    gate = ~inside(x).numpy()[:, None]
    won, seen = np.where(gate, rest.success, found.success), np.where(gate, rest.counted, found.counted)
    new, _ = labelled(N, 700 + seed)
    together = bucketing(subject, torch.cat([new, x]), basis, labels=both(torch.cat([new, x])).expand(2 * N, 2 * N), draws=1)
    score = membership(together.success[:N, N:], together.counted[:N, N:], found.inside)
    generator = np.random.default_rng(seed)
    dealt = generator.permutation(N)
    shuffled = bucketing(
        subject, x, basis, labels=both(x).expand(N, N), attributes=bits.iloc[dealt].reset_index(drop=True), eps=EPS
    )
    return {
        "accuracy": float((module(x).argmax(-1) == y).float().mean()), "coverage": found.coverage,
        "rand": adjusted_rand_score(g, found.inside), "rand_permuted": adjusted_rand_score(g[dealt], found.inside),
        "inside": found.iia["inside"], "overall": found.iia["all"], "outside": found.iia["outside"],
        "rule": found.accuracy, "rule_shuffled": shuffled.accuracy,
        "combined": accuracy_of(won, seen, everything, everything), "largest_by_chance": float(found.null.max()),
        "fresh": auroc_of(score, (new[:, 0] > 0).numpy()),
        "fresh_permuted": auroc_of(score[generator.permutation(N)], (new[:, 0] > 0).numpy()),
    }  # fmt: skip


def everywhere(x: torch.Tensor) -> torch.Tensor:
    """No restriction."""
    return torch.ones(len(x), dtype=torch.bool)


def rule_of(tree):
    """The tree's condition on inputs; everywhere without one."""
    return everywhere if tree is None else lambda x: torch.from_numpy(tree.predict((x > 0).numpy().astype(float)))


def both(x: torch.Tensor) -> torch.Tensor:
    """a and b."""
    return ((x[:, 1] > 0) & (x[:, 2] > 0)).long()


def either(x: torch.Tensor) -> torch.Tensor:
    """c xor d."""
    return ((x[:, 3] > 0) ^ (x[:, 4] > 0)).long()


def labelled(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Five signed numbers g, a, b, c, d and the answer; a and b both positive in half of the rows."""
    generator = torch_rng(seed, "bucketing")
    sign = torch.randint(2, (n, 5), generator=generator).bool()
    sign[:, 1:3] |= torch.rand(n, 1, generator=generator) < 1 / 3
    x = (0.5 + torch.rand(n, 5, generator=generator)) * (2.0 * sign - 1)
    return x, torch.where(sign[:, 0], both(x), either(x))


def aligned(subject: mt.Subject, seed: int, variable, where, size: int = SIZE) -> mt.trace.Aligned:
    """DAS of "the answer is `variable`" on pairs whose base lies `where` and has the answer that the hypothesis says."""
    base, answer = labelled(6000, 800 + seed)
    base = base[where(base) & (answer == variable(base))]
    source = labelled(len(base), 900 + seed)[0]
    pairs = Interchanges("partial hypothesis", base, {"answer": source}, variable(source), variable(base))
    return das(subject, pairs, site=SITE, size=size, steps=1500, batch=128, seed=seed)

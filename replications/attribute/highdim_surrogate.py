"""Karim et al. (2022), Interpreting Black-box Machine Learning Models for High Dimensional Datasets: probe, perturb, replace.

A perceptron for rows of 1000 columns, of which 10 are informative and 5 redundant. Probing and perturbing find many of the 15
among the 30 leading columns; in a perceptron trained on shuffled labels, the null, as few as by chance. A tree of depth 6 on
the 30 columns answers as the perceptron does on most rows that neither has seen, far more often than a tree on 30 random
columns. Counterfactuals built from the tree, of 4 changed columns, move the tree always and the perceptron mostly; as many
random columns taken from rows of the other class do not. Those that are enough for the tree (1.3 columns) moved the perceptron
in 3% of rows, on seed 10.

The perceptron is trained on rows with noise added, as a denoising autoencoder is. Without, it read much of the noise itself
(79% right in new rows on one of the first five seeds reported, 0 to 4, where 85% were asked of it), and no tree could follow
it there (78%); the claims are as they were, calibrated and reported on new seeds. The lead is that over the mean of nine trees
on random columns, and its null the mean of nine others: single trees vary, as some hold a relevant column.

The black box is a perceptron: the paper's autoencoder with an attention layer over features is not rebuilt, so that columns are
probed by gradients in place of attention weights.

https://arxiv.org/abs/2208.13405
"""

import numpy as np
import torch
from sklearn.datasets import make_classification
from torch import Tensor

from microtome.attribute import Surrogate, highdim_surrogate
from microtome.attribute.surrogate_tree import grow
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.rng import derive, rng, torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 111)
SEEDS = (40, 41, 42, 43, 44)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.highdim_surrogate", "microtome.attribute.surrogate", "microtome.attribute.surrogate_tree")
COLUMNS, RELEVANT, LEADING, TRAIN, MOST, NOISE, TREES = 1000, 15, 30, 3000, 4, 1.0, 9

CLAIMS = [
    Claim("relevant columns among the 30 leading ones", "found", 8, null="found_shuffled"),
    Claim("unseen rows at which the tree answers as the perceptron", "fidelity", 0.85, null="fidelity_random"),
    Claim("that share, less that of a tree on 30 random columns", "lead", 0.15, null="lead_random"),
    Claim("counterfactuals of at most 4 columns that move the tree", "flip_tree", 0.9, null="flip_tree_random"),
    Claim("and the perceptron", "flip_network", 0.6, null="flip_network_random", over="median"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train two perceptrons, replace them."""
    x, y = table(seed)
    net = network(x, y, seed)
    shuffled = network(x, y[torch.from_numpy(rng(seed, "shuffled labels").permutation(len(y)))], seed)
    found, false = (highdim_surrogate(s, rows(x[:TRAIN]), seed=seed) for s in (net, shuffled))
    unseen = x[TRAIN:]
    answers = net.run(unseen).logits.argmax(1)
    draw = rng(seed, "random columns")
    own = net.run(x[:TRAIN]).logits.argmax(1).numpy()
    trees = [grow(x[:TRAIN].numpy(), own, draw.choice(COLUMNS, LEADING, replace=False), depth=6, seed=seed, classes=2)
             for _ in range(2 * TREES)]  # fmt: skip
    plain = [float((torch.as_tensor(t.predict(unseen.numpy())) == answers).double().mean()) for t in trees]
    random, other_random = float(np.mean(plain[:TREES])), float(np.mean(plain[TREES:]))
    fidelity = float((found.predict(unseen) == answers).double().mean())
    some = unseen[:100]
    moved, changed = found.counterfactuals(some, at_least=MOST)
    other = at_random(some, unseen, answers, changed, draw)
    few = torch.tensor([len(c) <= MOST for c in changed])
    flips = lambda new: (few & (net.run(new).logits.argmax(1) != answers[:100])).double().mean()  # noqa: E731
    return {
        "found": hits(found), "found_shuffled": hits(false), "fidelity": fidelity, "fidelity_random": random,
        "lead": fidelity - random, "lead_random": other_random - random,
        "flip_tree": flipped(found, some, moved, few), "flip_tree_random": flipped(found, some, other, few),
        "flip_network": float(flips(moved)), "flip_network_random": float(flips(other)),
        "accuracy": float((answers == y[TRAIN:]).double().mean()), "columns_changed": float(np.mean([len(c) for c in changed])),
        "tree_accuracy": float((found.predict(unseen) == y[TRAIN:]).double().mean()), "fidelity_held_out": found.fidelity,
    }  # fmt: skip


def hits(found: Surrogate) -> float:
    return float((found.columns < RELEVANT).sum())


def flipped(found: Surrogate, old: Tensor, new: Tensor, few: Tensor) -> float:
    return float((few & (found.predict(new) != found.predict(old))).double().mean())


def at_random(some: Tensor, unseen: Tensor, answers: Tensor, changed: list[list[int]], draw: np.random.Generator) -> Tensor:
    """As many columns of each row, drawn at random, with the values of a row of another class."""
    new = some.clone()
    for i, columns in enumerate(changed):
        others = (answers != answers[i]).nonzero().flatten().numpy()
        at = draw.choice(COLUMNS, len(columns), replace=False)
        new[i, at] = unseen[int(draw.choice(others)), at]
    return new


def table(seed: int) -> tuple[Tensor, Tensor]:
    """Rows [4000, 1000], the relevant columns first, and labels."""
    x, y = make_classification(
        4000, COLUMNS, n_informative=10, n_redundant=5, class_sep=2.0, n_clusters_per_class=1, shuffle=False,
        random_state=derive(seed, "table") % 2**31,
    )  # fmt: skip
    order = rng(seed, "rows").permutation(len(y))
    x = (x - x.mean(0)) / x.std(0)
    return torch.tensor(x[order], dtype=torch.float32), torch.tensor(y[order])


def network(x: Tensor, y: Tensor, seed: int) -> Subject:
    net, g = perceptron([COLUMNS, 32, 2], seed=seed), torch_rng(seed, "batches")

    def batch(_: int) -> tuple[Tensor, Tensor]:
        """Rows with noise on every column, as a denoising autoencoder's: what one column says alone counts for little."""
        chosen = torch.randint(TRAIN, (128,), generator=g)
        return x[chosen] + NOISE * torch.randn(128, COLUMNS, generator=g), y[chosen]

    fit_classes(net, batch, 300, lr=3e-3, weight_decay=3.0)
    return Subject(net)


def rows(x: Tensor) -> Task:
    """Rows without answers of interest."""
    zero = torch.zeros(len(x), dtype=torch.long)
    return Task("rows", x, x, zero, zero + 1, kind="image", groups=list(range(len(x))))

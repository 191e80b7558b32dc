"""Bushnaq et al. (2024), The Local Interaction Basis: fewer directions than PCA for the same accuracy.

Digits with twenty extra inputs of noise, five times as large: principal components spend themselves on the noise, which the
network ignores. At the first hidden layer only the k leading directions of a basis are kept (the rest is set to its mean)
and the accuracy on images that were not shown is measured for every k. Null: the same formula with the gradients of a twin
trained on permuted labels. (Counting directions in that twin itself is no null: it too ignores part of the noise, and LIB
needs fewer directions there as well; the ratio is reported as `permuted_labels_over_pca`.) The basis is built from the
output backwards, as in the paper. Sampled gradients (64 random sign vectors) agree with exact ones.

The paper's second claim, sparser interactions, is reported without a claim: by the share of edges that hold half of the
interaction, edges between principal components are the more concentrated, since few components carry the noise.

The paper found no gain on language models; nothing is claimed about them here.

https://arxiv.org/abs/2405.10928
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from microtome.decompose import interaction_edges, interaction_stack, pca, random_basis
from microtome.decompose.interaction import coordinates, moments
from microtome.organisms.fit import fit
from microtome.organisms.small import perceptron
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.subject.basis import Linear
from microtome.subject.edit import replace_with
from microtome.subject.subject import Subject

CATALOG = ("decompose", 6)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 60
METHODS = ("microtome.decompose.lib", "microtome.decompose.interaction", "microtome.decompose.interaction_graph")
NOISE, SCALE, SHOWN, HIDDEN = 20, 5.0, 1200, 48

CLAIMS = [
    Claim("directions for 95% of the accuracy, as a share of those PCA needs", "over_pca", 0.7, "<=",
          null="foreign_over_pca"),
    Claim("and of those random directions need", "over_random", 0.7, "<=", null="second_random_over_random"),
    Claim("sampled gradient moments agree with exact ones (relative error)", "probe_error", 0.1, "<=",
          null="other_layer_error"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, build the bases and count the directions that each needs."""
    images, labels = (torch.from_numpy(a) for a in load_digits(return_X_y=True))
    g = torch_rng(seed, "digits and noise")
    order = torch.randperm(len(images), generator=g)
    images, labels = images[order].double() / 16, labels[order].long()
    noise = SCALE * images.std() * torch.randn(len(images), NOISE, generator=g, dtype=torch.float64)
    x = torch.cat([images, noise], 1)
    mixed = labels[torch.randperm(len(labels), generator=g)]
    real, null = trained(x[:SHOWN], labels[:SHOWN], seed), trained(x[:SHOWN], mixed[:SHOWN], seed)
    null_needs, _ = directions(null, x[:SHOWN], x[:SHOWN], mixed[:SHOWN], seed)
    mean, covariance, exact = moments(real, x[:SHOWN], "1", None)
    sampled = moments(real, x[:SHOWN], "1", None, probes=64, seed=seed)[2]
    other = moments(null, x[:SHOWN], "1", None)[2]
    foreign = coordinates("1", mean, covariance, other, cutoff=1e-5, name="foreign")
    needs, sparsity = directions(real, x[:SHOWN], x[SHOWN:], labels[SHOWN:], seed, foreign)
    return {
        "over_pca": needs["lib"] / needs["pca"], "foreign_over_pca": needs["foreign"] / needs["pca"],
        "permuted_labels_over_pca": null_needs["lib"] / null_needs["pca"],
        "over_random": needs["lib"] / needs["random"],
        "second_random_over_random": needs["second"] / needs["random"],
        "probe_error": (sampled - exact).norm() / exact.norm(), "other_layer_error": (other - exact).norm() / exact.norm(),
        **{f"{name}_directions": count for name, count in needs.items()}, **sparsity,
        "accuracy": accuracy(real, x[SHOWN:], labels[SHOWN:]), "permuted_fit": accuracy(null, x[:SHOWN], mixed[:SHOWN]),
    }  # fmt: skip


def trained(x: Tensor, labels: Tensor, seed: int) -> Subject:
    """Two hidden layers of ReLUs, in float64."""
    module = perceptron([x.shape[1], HIDDEN, HIDDEN, 10], seed=seed).double()
    fit(module, lambda _: nn.functional.cross_entropy(module(x), labels), 500, lr=5e-3, weight_decay=0.1)
    return Subject(module, name="noisy digits")


def directions(subject: Subject, shown: Tensor, x: Tensor, labels: Tensor, seed: int, *more: Linear) -> tuple[dict, dict]:
    """How many leading directions of each basis keep 95% of the accuracy, and how concentrated the interactions are."""
    local, upper = interaction_stack(subject, shown, ["1", "3", "4"])
    recording = subject.record(shown, ["1"])
    components = pca(recording)
    bases = {"lib": local, "pca": components, "random": random_basis(recording, seed=seed),
             "second": random_basis(recording, seed=seed + 1)} | {basis.name: basis for basis in more}  # fmt: skip
    full = accuracy(subject, x, labels)
    counts = {}
    for name, basis in bases.items():
        enough = (k for k in range(1, basis.dim + 1) if kept(subject, x, labels, basis, k) >= 0.95 * full)
        counts[name] = next(enough, basis.dim)
    above = pca(subject.record(shown, ["3"]))
    edges = {"lib": interaction_edges(subject, shown[:100], local, upper, points=4),
             "pca": interaction_edges(subject, shown[:100], components, above, points=4)}  # fmt: skip
    return counts, {f"{name}_edges_for_half": edges_for_half(e) for name, e in edges.items()}


def kept(subject: Subject, x: Tensor, labels: Tensor, basis: Linear, k: int) -> float:
    """Accuracy with the k leading directions only."""
    project = lambda f: (f - basis.offset) @ basis.encoder[:, :k] @ basis.decoder[:k] + basis.offset  # noqa: E731
    return float((subject.run(x, edits=[replace_with("1", project)]).logits.argmax(1) == labels).double().mean())


def accuracy(subject: Subject, x: Tensor, labels: Tensor) -> float:
    """Share of right answers."""
    return float((subject.run(x).logits.argmax(1) == labels).double().mean())


def edges_for_half(edges: Tensor) -> float:
    """Strongest edges that hold half of the interaction, as a share of all (not a claim: the paper's sparsity figure)."""
    e = np.sort(edges.flatten().numpy())[::-1].cumsum()
    return float((np.searchsorted(e, 0.5 * e[-1]) + 1) / len(e))

"""Wang et al. (2025), Discovering Influential Neuron Path in Vision Transformers: one unit per layer carries the class.

The shipped vision transformer on generated scenes (four blocks of 128 hidden units, four shapes), 40 fresh scenes under noise
that it gets right (without noise all probabilities are 1 and nothing can raise them). The path of each scene, found layer by
layer with the joint attribution score on the class token, is switched off: the probability of the shape falls more than with
random paths (the null: one random path against twenty others) and not less than with the most active units; doubled, it
rises. Shares by the score that adds up miss little of that change; the product score, which is no division of it, misses much.
Scenes of one shape share more of their paths than scenes of different shapes; in a network with redrawn weights, asked for the
class that it predicts, they do not (in the median; the pictures of one shape are alike for any network).

Small scale: one trained network, so seeds differ in their scenes and redrawn weights only.

https://arxiv.org/abs/2503.09046
"""

import numpy as np
import torch
from scipy.stats import wilcoxon
from torch import Tensor

import microtome as mt
from microtome.attribute import NeuronPaths, neuron_path
from microtome.replicate import Claim
from microtome.rng import derive, rng, torch_rng
from microtome.stimuli.task import Task
from microtome.stimuli.vision.scenes import pictures
from microtome.subject.subject import Subject

CATALOG = ("attribute", 78)
SEEDS = (0, 1, 2, 3, 4)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.neuron_path", "microtome.attribute.neuron_paths", "microtome.attribute.paths")
POINTS, STEPS, RANDOM, NOISE = 40, 10, 20, 0.15

CLAIMS = [
    Claim("switched off, the path costs more than random ones: p, paired", "p_off", 0.01, "<=", null="p_off_random"),
    Claim("cost, less that of the most active units", "over_active", 0.0, null="random_over_active"),
    Claim("doubled, the path raises the probability: p, paired", "p_doubled", 0.01, "<=", null="p_doubled_random"),
    Claim("shares add up: median relative error", "error", 0.02, "<=", null="product_error"),
    Claim("paths within a shape overlap more than between shapes: p of permuted shapes", "p_overlap", 0.05, "<=",
          null="p_overlap_redrawn", over="median"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Find paths, switch them, compare them."""
    subject = mt.load("organism:vision-vit")
    x, y = pictures(4 * POINTS, derive(seed, "neuron path"))
    x = x + NOISE * torch.randn(x.shape, generator=torch_rng(seed, "noise"))
    right = subject.run(x).logits.argmax(1) == y
    x, y = x[right][:POINTS], y[right][:POINTS]
    task, redrawn = predicted(subject, x), subject.twin("reinit", seed=seed)
    found = neuron_path(subject, task, steps=STEPS)
    twin = neuron_path(redrawn, predicted(redrawn, x), steps=STEPS)
    draw = rng(seed, "random paths")
    units = [torch.from_numpy(draw.integers(0, 128, found.units.shape)) for _ in range(RANDOM + 1)]
    base = found.output
    cost = {factor: base - found.scaled(subject, task, factor) for factor in (0.0, 2.0)}
    random = {f: torch.stack([base - found.like(u).scaled(subject, task, f) for u in units]) for f in (0.0, 2.0)}
    active = base - found.like(most_active(subject, task, found)).scaled(subject, task, 0.0)
    change = found.output - found.off
    return {
        "p_off": p(cost[0.0], random[0.0][1:].mean(0)), "p_off_random": p(random[0.0][0], random[0.0][1:].mean(0)),
        "over_active": float((cost[0.0] - active).mean()), "random_over_active": float((random[0.0][0] - active).mean()),
        "p_doubled": p(-cost[2.0]), "p_doubled_random": p(-random[2.0][0]),
        "error": float((found.residual / change).abs().median()),
        "product_error": float((found.score / change - 1).abs().median()),
        "p_overlap": overlap(found.units, y, seed), "p_overlap_redrawn": overlap(twin.units, y, seed),
        "cost": float(cost[0.0].mean()), "cost_active": float(active.mean()),
        "cost_random": float(random[0.0].mean()), "gain": float(-cost[2.0].mean()), "probability": float(base.mean()),
    }  # fmt: skip


def predicted(subject: Subject, x: Tensor) -> Task:
    """The class that a network gives to each picture."""
    y = subject.run(x).logits.argmax(1)
    return Task("predicted shape", x, x.flip(0), y, (y + 1) % 4, kind="image", groups=list(range(len(x))))


def p(more: Tensor, less: Tensor | None = None) -> float:
    """One-sided Wilcoxon test of paired values, or against 0."""
    return float(wilcoxon((more if less is None else more - less).double().numpy(), alternative="greater").pvalue)


def most_active(subject: Subject, task: Task, like: NeuronPaths) -> Tensor:
    """The unit with the largest value at the class token of each site."""
    values = subject.run(task.clean, record=list(like.sites))
    return torch.stack([values[s][:, like.position].argmax(1) for s in like.sites], 1)


def overlap(units: Tensor, y: Tensor, seed: int, draws: int = 199) -> float:
    """p that paths of one class share no more units (Jaccard) than paths of different classes."""
    same = (units[:, None] == units[None]).sum(2).double()
    jaccard = (same / (2 * units.shape[1] - same)).numpy()
    upper = np.triu_indices(len(y), 1)

    def lead(labels: np.ndarray) -> float:
        within = (labels[:, None] == labels[None])[upper]
        return float(jaccard[upper][within].mean() - jaccard[upper][~within].mean())

    draw, labels = rng(seed, "permuted shapes"), y.numpy()
    null = np.array([lead(draw.permutation(labels)) for _ in range(draws)])
    return float((1 + (null >= lead(labels)).sum()) / (1 + draws))

"""Yeom et al. (2021), Pruning by Explaining: remove the filters that carry no relevance for the task at hand.

A convolutional network with batch norms for the ten digits of scikit-learn is cut down to three of them, without
fine-tuning, from ten reference images per class: filters of all layers in one ranking, a tenth of them per step, scored anew
after each step, up to seven tenths. The area under the curve of accuracy (among the three logits) is the mean over ten
choices of the three digits, neighbours on a circle of the ten in an order of the seed, so that each digit is kept three times.
Relevance follows the authors' code: z+ in all layers, a relevance of one sent into each image, biases without a share. So do
the criteria beside it, each divided by its layer's norm and scored anew: size of the weights (of the batch norm folded in),
and gradient and Taylor of the network's loss, summed over references and places before the absolute value is taken. Random
order is the mean of five per choice. Filters are removed behind their batch norm.

What is shown: relevance keeps more than random removal does, and no less than the paper's criteria; references of the other
seven digits lose most of the lead over random removal; the sums of the layers agree. What is not: that relevance is the best
of scores. Taylor and gradient with the absolute value taken of each reference image (as Molchanov et al. define it), reported
as `area_taylor_each` and `area_gradient_each`, keep more than relevance (on seeds 30 to 34, 0.82 to 0.93 and 0.76 to 0.85 where
relevance kept 0.69 to 0.84 and the sums 0.66 to 0.78 and 0.56 to 0.68). The lead of the paper's criterion rests on what it is
compared with. Relevance of positive contributions does not see evidence against a class, which a network this narrow uses.

Before: an earlier version (seeds 0 to 4) without batch norms, where random removal left areas of 0.85 to 0.99; a second one
(seeds 5 to 9) with one draw of digits, epsilon in the dense layer, biases that kept their share (layers differed by 11% to
15%), and gradient and Taylor of the logit with absolute values per image, none of which the authors do: it beat the best of
the others on one seed of five, and references of other digits lost 0.37 to 1.5 of the lead. Tried on seed 100 for this one:
the paper's toy (two-dimensional data of four classes, three layers of 128 units, two classes kept), where random removal
keeps 0.88, weights 0.95 and relevance 0.83. A third (seeds 30 to 34) is this one with three choices of digits and the same
five random orders for each: all claims held but that on references of other digits, which lost 0.31 to 1.65 of the lead
(median 0.48; calibration on seeds 20 to 24, 0.88 to 1.39). The share is a ratio of two small differences, so ten choices are
averaged before it is taken, with fifty random orders; nothing else was changed. Calibration of that on seeds 40 to 42: 1.14,
1.06, 0.85. The thresholds are those of the first version. Networks differ, so areas are judged by the median of five; in the
first version, on every seed.

https://arxiv.org/abs/1912.08881
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microtome.attribute import pruning_order, unit_relevance
from microtome.attribute.pruning_order import Units, removal_steps, removed
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 260)
SEEDS = (50, 51, 52, 53, 54)
BUDGET_SECONDS = 125
METHODS = (
    "microtome.attribute.pruning_order", "microtome.attribute.unit_relevance", "microtome.attribute.rules.lrp_rules",
    "microtome.attribute.rules.mode", "microtome.attribute.rules.composites",
)  # fmt: skip
LAYERS, CLASSES, SHOTS = ("1", "4", "8"), 10, 10
CRITERIA = ("weight", "gradient", "taylor")

CLAIMS = [
    Claim("area under the curve above random removal", "over_random", 0.08, null="wrong_over_random", over="median"),
    Claim("area, minus that of the best of the paper's other criteria", "over_best", -0.02, null="random_over_best",
          over="median"),
    Claim("share of the lead over random that references of the wrong classes lose", "lost_lead", 0.5, null="same_references",
          over="median"),
    Claim("layers agree in their sum of relevance: smallest over largest", "kept", 0.95, null="taylor_kept"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, remove by every criterion, measure."""
    images, labels = digits(seed)
    net = network(seed)
    fit(net, lambda step: F.cross_entropy(net(rows(images[600:], step))[:, :CLASSES], rows(labels[600:], step)), 250, lr=3e-3)
    subject = Subject(net)
    with torch.no_grad():
        accuracy = float((net(images[:600])[:, :CLASSES].argmax(1) == labels[:600]).float().mean())
    circle = rng(seed, "digits in a circle").permutation(CLASSES)
    draws = [np.roll(circle, -k)[:3].copy() for k in range(CLASSES)]  # each digit in three of them
    parts = [areas(subject, images, labels, torch.from_numpy(wanted), (seed, k)) for k, wanted in enumerate(draws)]
    area = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
    best, lead = max(area[k] for k in CRITERIA), area["lrp"] - area["random"]
    first = references(images, labels, torch.from_numpy(draws[0]))
    return {
        "over_random": lead, "wrong_over_random": area["wrong"] - area["random"], "over_best": area["lrp"] - best,
        "random_over_best": area["random"] - best, "lost_lead": (area["lrp"] - area["wrong"]) / lead,
        "same_references": (area["lrp"] - area["again"]) / lead,
        "kept": agreement(unit_relevance(subject, first, LAYERS, composite="z_plus")),
        "taylor_kept": agreement(criterion(subject, first, [], "taylor", norm=False)), "accuracy": accuracy,
        **{f"area_{name}": value for name, value in area.items()},
    }  # fmt: skip


def areas(subject: Subject, images: Tensor, labels: Tensor, wanted: Tensor, key: tuple[int, int]) -> dict[str, float]:
    """Areas under the curve of accuracy on the wanted digits, by criterion."""
    inside = torch.isin(labels, wanted)
    test = (images[:600][inside[:600]], labels[:600][inside[:600]])
    right = references(images, labels, wanted)
    asked = {"lrp": right, "wrong": references(images, labels, others(wanted)),
             "again": references(images, labels, wanted, skip=SHOTS)}  # fmt: skip
    orders = {k: pruning_order(subject, task, LAYERS, composite="z_plus") for k, task in asked.items()}
    for kind in (*CRITERIA, "gradient_each", "taylor_each"):
        orders[kind] = removal_steps(lambda gone, kind=kind: criterion(subject, right, gone, kind))
    found = {name: curve(subject, order, test, wanted) for name, order in orders.items()}
    sizes = {s: len(subject.module.get_submodule(s).weight) for s in LAYERS}
    drawn = [{s: torch.from_numpy(rng(key[0], "order", key[1], k, s).random(n)) for s, n in sizes.items()} for k in range(5)]
    chance = [curve(subject, removal_steps(lambda gone, v=v: v), test, wanted) for v in drawn]
    return {**found, "random": float(np.mean(chance))}


def network(seed: int) -> nn.Sequential:
    """32, 64, 64 filters with batch norms, a global mean, a linear head, and a logit that is always 0."""
    return seeded(lambda: nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, CLASSES), nn.ZeroPad1d((0, 1)),
    ), seed, "pruning")  # fmt: skip


def digits(seed: int) -> tuple[Tensor, Tensor]:
    """Images [n, 1, 8, 8] in [0, 1] and labels, in an order of the seed."""
    from sklearn.datasets import load_digits

    data = load_digits()
    order = torch.randperm(len(data.target), generator=torch_rng(seed, "digits"))
    return torch.tensor(data.images / 16.0, dtype=torch.float32)[order, None], torch.tensor(data.target)[order]


def rows(values: Tensor, step: int, size: int = 64) -> Tensor:
    return values[torch.arange(step * size, step * size + size) % len(values)]


def others(wanted: Tensor) -> Tensor:
    return torch.tensor([c for c in range(CLASSES) if c not in wanted.tolist()])


def references(images: Tensor, labels: Tensor, classes: Tensor, skip: int = 0) -> Task:
    """Ten training images per class, with the logit of the true class (its difference from one that is always 0)."""
    chosen = torch.cat([600 + (labels[600:] == c).nonzero().flatten()[skip : skip + SHOTS] for c in classes.tolist()])
    x, y = images[chosen], labels[chosen]
    return Task("references", x, x.flip(0), y, torch.full_like(y, CLASSES), kind="image", groups=list(range(len(x))))


def criterion(subject: Subject, task: Task, gone: Units, kind: str, norm: bool = True) -> dict[str, Tensor]:
    """Scores of the network without the units `gone`, each divided by the norm of its layer.

    `kind` is weight, gradient or taylor; "_each" behind it takes the absolute value of each image before the sum over them.
    """
    if kind == "weight":  # of the convolution with its batch norm folded in
        norms = {s: subject.module.get_submodule(s) for s in LAYERS}
        convs = {s: subject.module.get_submodule(str(int(s) - 1)).weight.detach() for s in LAYERS}
        scores = {s: (convs[s].flatten(1).abs().sum(1) * (n.weight * (n.running_var + n.eps).rsqrt()).abs()).detach()
                  for s, n in norms.items()}  # fmt: skip
        for site, unit in gone:
            scores[site][unit] = 0.0
    else:
        inputs, edits = subject.bind(task).inputs, removed(gone)
        loss = lambda logits: F.cross_entropy(logits[:, :CLASSES], task.answers, reduction="none")  # noqa: E731
        _, grads = subject.gradients(inputs, list(LAYERS), loss, edits)
        values = subject.run(inputs, record=list(LAYERS), edits=edits)
        signed = {s: (g * values[s] if kind.startswith("taylor") else g).sum((2, 3)) for s, g in grads.items()}
        scores = {s: v.abs().sum(0) if kind.endswith("each") else v.sum(0).abs() for s, v in signed.items()}
    return {s: v / v.norm() for s, v in scores.items()} if norm else scores


def agreement(scores: dict[str, Tensor]) -> float:
    """Smallest over largest sum of a layer."""
    sums = [float(v.sum()) for v in scores.values()]
    return min(sums) / max(sums)


def curve(subject: Subject, order: list[Units], test: tuple[Tensor, Tensor], wanted: Tensor) -> float:
    """Mean accuracy among the wanted logits over the shares of removed filters, none to all steps."""
    hits, gone = [], []
    for step in [[], *order]:
        gone = gone + step
        logits = subject.run(test[0], edits=removed(gone)).logits[:, wanted]
        hits.append(float((wanted[logits.argmax(1)] == test[1]).float().mean()))
    return float(np.mean(hits))

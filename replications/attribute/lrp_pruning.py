"""Yeom et al. (2021), Pruning by Explaining: remove the filters that carry no relevance for the task at hand.

A convolutional network with batch norms for the ten digits of scikit-learn is cut down to three of them, without
fine-tuning, from ten reference images per class: filters of all layers in one ranking, a tenth of them per step, scored anew
after each step, up to seven tenths. The area under the curve of accuracy (among the three logits) is compared with the
criteria of the paper (size of the weights, size of the gradient, Taylor; each divided by its layer's norm, and scored anew as
well), random order (the mean of five), and relevance of the seven wrong digits. Filters are removed behind their batch norm.

What is shown: relevance keeps far more than random removal and than references of other classes do. What is not: it does not
reach the best of the other criteria, which here is Taylor or the gradient. Relevance of positive contributions does not see
evidence against a class, which a network this narrow uses; on the seeds of calibration the absolute relevance of the epsilon
rule, which is Taylor's criterion in other words, did as well as Taylor. The layers' sums differ by 11% to 15%, which the
biases of the batch norms take; 5% was asked.

Tried before, on seeds 10 to 12: one ranking without scoring anew (worse), z+ in all layers, absolute and positive sums,
relevance divided by what was sent per image (better, kept), and a network without batch norms and with a wider head, where
random removal leaves areas of 0.85 to 0.99 and no criterion beats it by 0.08 (an earlier version, seeds 0 to 4). The reported
seeds 5 to 9 are new; the thresholds are those of the earlier version.

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
SEEDS = (5, 6, 7, 8, 9)
BUDGET_SECONDS = 60
METHODS = (
    "microtome.attribute.pruning_order", "microtome.attribute.unit_relevance", "microtome.attribute.rules.lrp_rules",
    "microtome.attribute.rules.mode",
)  # fmt: skip
LAYERS, CLASSES, SHOTS = ("1", "4", "8"), 10, 10

CLAIMS = [
    Claim("area under the curve above random removal", "over_random", 0.08, null="wrong_over_random"),
    Claim("area, minus that of the best other criterion", "over_best", -0.02, null="random_over_best"),
    Claim("share of the lead over random that references of the wrong classes lose", "lost_lead", 0.5, null="same_references"),
    Claim("layers agree in their sum of relevance: smallest over largest", "kept", 0.95, null="taylor_kept"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, remove by every criterion, measure."""
    images, labels = digits(seed)
    net = network(seed)
    fit(net, lambda step: F.cross_entropy(net(rows(images[600:], step))[:, :CLASSES], rows(labels[600:], step)), 250, lr=3e-3)
    subject = Subject(net)
    wanted = torch.from_numpy(rng(seed, "three digits").permutation(CLASSES)[:3].copy())
    inside = torch.isin(labels, wanted)
    test = (images[:600][inside[:600]], labels[:600][inside[:600]])
    right, wrong = references(images, labels, wanted), references(images, labels, others(wanted))
    again = references(images, labels, wanted, skip=SHOTS)
    orders = {k: pruning_order(subject, t, LAYERS) for k, t in (("lrp", right), ("wrong", wrong), ("again", again))}
    orders |= {k: removal_steps(lambda gone, k=k: criterion(subject, right, gone, k)) for k in ("weight", "gradient", "taylor")}
    area = {name: curve(subject, order, test, wanted) for name, order in orders.items()}
    sizes = {s: len(net.get_submodule(s).weight) for s in LAYERS}
    drawn = [{s: torch.from_numpy(rng(seed, "order", k, s).random(n)) for s, n in sizes.items()} for k in range(5)]
    base = float(np.mean([curve(subject, removal_steps(lambda gone, v=v: v), test, wanted) for v in drawn]))
    best = max(area[k] for k in ("weight", "gradient", "taylor"))
    lead = area["lrp"] - base
    with torch.no_grad():
        accuracy = float((net(images[:600])[:, :CLASSES].argmax(1) == labels[:600]).float().mean())
    return {
        "over_random": lead, "wrong_over_random": area["wrong"] - base, "over_best": area["lrp"] - best,
        "random_over_best": base - best, "lost_lead": (area["lrp"] - area["wrong"]) / lead,
        "same_references": (area["lrp"] - area["again"]) / lead,
        "kept": agreement(unit_relevance(subject, right, LAYERS)),
        "taylor_kept": agreement(criterion(subject, right, [], "taylor", norm=False)), "accuracy": accuracy,
        **{f"area_{k}": area[k] for k in ("lrp", "weight", "gradient", "taylor")}, "area_random": base,
    }  # fmt: skip


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
    """Weight, gradient and Taylor scores of the network without the units `gone`, each divided by the norm of its layer."""
    if kind == "weight":  # of the convolution with its batch norm folded in
        norms = {s: subject.module.get_submodule(s) for s in LAYERS}
        convs = {s: subject.module.get_submodule(str(int(s) - 1)).weight.detach() for s in LAYERS}
        scores = {s: (convs[s].flatten(1).abs().sum(1) * (n.weight * (n.running_var + n.eps).rsqrt()).abs()).detach()
                  for s, n in norms.items()}  # fmt: skip
        for site, unit in gone:
            scores[site][unit] = 0.0
    else:
        bound, edits = subject.bind(task), removed(gone)
        _, grads = subject.gradients(bound.inputs, list(LAYERS), bound.metric, edits)
        values = subject.run(bound.inputs, record=list(LAYERS), edits=edits)
        if kind == "gradient":
            scores = {s: g.abs().sum((0, 2, 3)) for s, g in grads.items()}
        else:
            scores = {s: (g * values[s]).mean((2, 3)).abs().sum(0) * g[0, 0].numel() for s, g in grads.items()}
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

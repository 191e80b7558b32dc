"""Barkan et al. (2023), Iterated Integrated Attributions: nested paths over the input and a layer.

Pictures of 24 x 24 noisy pixels hold one patch of 6 x 6 with one of four textures; a convolutional network names it. The sum
of the map is the mean of the logit difference over the input's path less that of the layer's baseline (in float64); the same
with one node, the null, is not. The share of the positive map within the patch is compared with Grad-CAM and with integrated
gradients of the same layer; inserting and deleting pixels in its order with a random order. Maps of the network with redrawn
weights spread as the patch's share of the picture.

https://arxiv.org/abs/2310.18585
"""

import numpy as np
import torch
from torch import Tensor, nn

from microtome.attribute import grad_cam, heatmap, iia, integrated_gradients
from microtome.evidence import bootstrap
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 200)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.attribute.iia", "microtome.attribute.paths", "microtome.attribute.integrated_gradients")
SIDE, PATCH, TEST, LAYER = 24, 6, 40, "5"

CLAIMS = [
    Claim("the sum is the mean over the input's path: worst relative error at 32 x 32 nodes", "identity", 0.01, "<=",
          null="identity_one_node"),
    Claim("mass in the patch, not below Grad-CAM: lower bound of the difference", "over_grad_cam", -0.01,
          null="redrawn_over_grad_cam"),
    Claim("nor below integrated gradients of the layer", "over_layer_ig", -0.01, null="redrawn_over_layer_ig"),
    Claim("and above one of the two", "over_one", 0.0, null="redrawn_over_one"),
    Claim("insertion less deletion, above a random order: lower bound", "faithful", 0.0, null="faithful_redrawn"),
    Claim("mass in the patch beyond its share of the picture", "excess", 0.1, null="redrawn_excess"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, explain, compare."""
    net = seeded(network, seed, "planted patch").eval()
    x, y, _ = pictures(3000, rng(seed, "planted patch", "train"))
    fit(net, lambda s: nn.functional.cross_entropy(net(x[rows(s)]), y[rows(s)]), 350, lr=4e-3)
    x, y, where = pictures(TEST, rng(seed, "planted patch", "test"))
    task = Task("texture", x, x.flip(0), y, (y + 1) % 4, kind="image", groups=list(range(TEST)))
    subject = Subject(net)
    found = {name: compared(s, task, where, seed) for name, s in
             (("", subject), ("redrawn_", subject.twin("reinit", seed=seed)))}  # fmt: skip
    double = Task("texture", x[:8].double(), x[:8].double(), y[:8], (y[:8] + 1) % 4, kind="image")
    missed = [iia(Subject(net.double()), double, at=LAYER, steps=n).residual for n in (32, 1)]
    size = iia(Subject(net), double, at=LAYER, steps=8).values.flatten(1).sum(1).abs().mean()
    ours, other = found[""], found["redrawn_"]
    return {
        "identity": float(missed[0].abs().max() / size), "identity_one_node": float(missed[1].abs().max() / size),
        **{k: v for k, v in ours.items() if k != "faithful"}, "faithful": ours["faithful"],
        **{f"redrawn_{k}": v for k, v in other.items() if k != "faithful"}, "faithful_redrawn": other["faithful"],
        "accuracy": float((net(x.double()).argmax(1) == y).double().mean()),
    }  # fmt: skip


def compared(subject: Subject, task: Task, where: Tensor, seed: int) -> dict[str, float]:
    """Mass of three maps in the patch, and what insertion and deletion say of the first."""
    maps = {"iia": iia(subject, task, at=LAYER), "cam": grad_cam(subject, task, at=LAYER),
            "ig": integrated_gradients(subject, task, at=LAYER)}  # fmt: skip
    shown = {name: heatmap(m, (SIDE, SIDE)).double() for name, m in maps.items()}
    mass = {name: ((s * where).sum((1, 2)) / s.sum((1, 2)).clamp(min=1e-12)).numpy() for name, s in shown.items()}
    low = {name: bootstrap(mass["iia"] - mass[name], seed=seed).low for name in ("cam", "ig")}
    random = torch.tensor(rng(seed, "order").random((TEST, SIDE, SIDE)))
    gain = faithfulness(subject, task, shown["iia"]) - faithfulness(subject, task, random)
    return {
        "over_grad_cam": low["cam"], "over_layer_ig": low["ig"], "over_one": max(low.values()),
        "excess": float(mass["iia"].mean() - where.double().mean()), "mass": float(mass["iia"].mean()),
        "mass_grad_cam": float(mass["cam"].mean()), "mass_layer_ig": float(mass["ig"].mean()),
        "faithful": bootstrap(gain, seed=seed).low,
    }  # fmt: skip


def faithfulness(subject: Subject, task: Task, shown: Tensor) -> np.ndarray:
    """Mean probability while pixels come in, less that while they go, in the order of a map [n]."""
    rank = shown.flatten(1).argsort(dim=1, descending=True).argsort(dim=1).view_as(shown)[:, None]
    total = torch.zeros(len(shown))
    with torch.no_grad():
        for share in np.linspace(0.02, 0.5, 8):
            top = (rank < share * SIDE**2).float()
            for sign, kept in ((1, top), (-1, 1 - top)):
                p = subject.module(task.clean * kept).softmax(1)
                total += sign * p[torch.arange(len(p)), task.answers] / 8
    return total.double().numpy()


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 4),
    )  # fmt: skip


def rows(step: int, batch: int = 48, n: int = 3000) -> Tensor:
    return torch.arange(step * batch, (step + 1) * batch) % n


def pictures(n: int, stream: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [n, 1, 24, 24], their textures [n], and where the patch is [n, 24, 24]."""
    at = np.indices((PATCH, PATCH))
    textures = np.stack([at[0] // 2 % 2, at[1] // 2 % 2, at.sum(0) // 2 % 2, at.sum(0) % 2]) * 2.0 - 1
    y = stream.integers(4, size=n)
    x, where = stream.normal(0, 0.3, (n, SIDE, SIDE)), np.zeros((n, SIDE, SIDE), dtype=bool)
    for i, (top, left) in enumerate(stream.integers(0, SIDE - PATCH, (n, 2))):
        x[i, top : top + PATCH, left : left + PATCH] += textures[y[i]]
        where[i, top : top + PATCH, left : left + PATCH] = True
    return torch.tensor(x[:, None], dtype=torch.float32), torch.tensor(y), torch.tensor(where)

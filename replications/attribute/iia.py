"""Barkan et al. (2023), Iterated Integrated Attributions: nested paths over the input and a layer.

Pictures of 24 x 24 noisy pixels hold one patch of 6 x 6 with one of four textures, or nothing; a convolutional network names
it. Explained is the logit of a texture, less that of nothing. The layer is what the last convolution gets, its baseline the
least value of each channel over the places. The sum of the map is the mean of the logit difference over the input's path
less that of the layer's baseline (in float64); the same with one node, the null, is not. The share of the positive map
within the patch is compared with Grad-CAM and with integrated gradients of the same layer from the same baseline (null: a
random map); inserting and deleting pixels in its order with a random order. Maps of networks with redrawn weights spread as
the patch's share of the picture.

Two forms before did not hold, for two reasons. (1) Up to seeds 5 to 7 it took the last convolution's output with a baseline
of zero: above one of the two by 0.017, 0.017 and -0.006, 0 asked. Between that layer and the logits there is a mean over
places and a linear map, so that the inner path does nothing, Grad-CAM and integrated gradients there are one map (equal to
the last digit behind the activation), and iterating only averages in the maps of dimmed pictures. Of these much lies
everywhere, as biases light channels at all places. On seeds 100 to 104 a baseline of zero gave lower bounds of -0.023 to
0.004 against Grad-CAM; the least value per channel (the paper's code takes a minimum, too) -0.003 to 0.049; that and the
layer before, where weights do not meet a mean at once, 0.039 to 0.051, and 0.011 to 0.023 against integrated gradients from
the same baseline. The layer before alone gave -0.006 to 0.016. Training on pictures of all contrasts, which makes dimmed
ones familiar, changed little. (2) So changed, on seeds 30 to 32, it was below neither (lower bounds from 0.012 and -0.005
on), but inserting and deleting gave 0.65, -0.03 and 0.72, 0.1 asked. With four textures alone a network may know one of them
by the absence of the others: it names an empty picture so (0.51 to 0.93 on seeds 100, 101, 102, 104), and in two of these
four networks maps of such a class, or of one compared with it, lie beside the patch (0.02 to 0.17 of the mass within it), so
that deleting it changes little. A thousand classes leave no room for that. With a fifth class of nothing, for a fifth of the
training pictures, and its logit as the counterpart (the class alone left one of the four networks so), the same seeds gave
0.83 to 0.85, and bounds of 0.065 to 0.071 and 0.071 to 0.094 against Grad-CAM and integrated gradients: networks hardly
differ any more. A baseline of zero does as well then, at either layer (0.044 to 0.077 against Grad-CAM, seeds 100 and 101),
so that (2) was the main trouble. The claims are as before, but that the identity, held to 0.001 where one node nearly
sufficed, is held to the catalogue's 0.01, and three redrawn networks are averaged. Networks train for 300 steps instead of
220. Calibrated on seeds 35 to 38.

Limits. One small network with biases and no norms, one kind of data; layer, baseline and the class of nothing were chosen on
five exploratory seeds. A third of the mass stays outside the patch: the layer sees more than a pixel.

https://arxiv.org/abs/2310.18585
"""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from microtome.attribute import Attribution, grad_cam, heatmap, iia, integrated_gradients, perturbation_curves
from microtome.evidence import bootstrap
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import rng
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 200)
SEEDS = (40, 41, 42)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.iia", "microtome.attribute.paths", "microtome.attribute.judge.curves")
SIDE, PATCH, TEST, LAYER, NOTHING = 24, 6, 60, "4", 4

CLAIMS = [
    Claim("the sum is the mean over the input's path: worst relative error at 32 x 32 nodes", "identity", 0.01, "<=",
          null="identity_one_node"),
    Claim("mass in the patch, not below Grad-CAM: lower bound of the difference", "over_grad_cam", -0.01,
          null="random_over_grad_cam"),
    Claim("nor below integrated gradients of the layer, same baseline", "over_layer_ig", -0.01, null="random_over_layer_ig"),
    Claim("and above one of the two", "over_one", 0.0, null="random_over_one"),
    Claim("insertion less deletion, above a random order: lower bound", "faithful", 0.1, null="faithful_redrawn"),
    Claim("mass in the patch beyond its share of the picture", "excess", 0.1, null="redrawn_excess"),
    Claim("of networks with redrawn weights, mean distance of the mass from that share", "redrawn_away", 0.1, "<=",
          null="excess"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, explain, compare."""
    net = seeded(network, seed, "planted patch").eval()
    x, y, _ = pictures(3000, rng(seed, "planted patch", "train"), empty=0.2)
    fit(net, lambda s: nn.functional.cross_entropy(net(x[rows(s)]), y[rows(s)]), 300, lr=5e-3)
    x, y, where = pictures(TEST, rng(seed, "planted patch", "test"))
    task = Task("texture", x, x.flip(0), y, torch.full_like(y, NOTHING), kind="image", groups=list(range(TEST)))
    subject = Subject(net)
    ours = compared(subject, task, where, seed)
    redrawn = [compared(subject.twin("reinit", seed=seed + k), task, where, seed) for k in range(3)]
    double = Task("texture", x[:4].double(), x[:4].double(), y[:4], torch.full_like(y[:4], NOTHING), kind="image")
    exact = Subject(net.double())
    missed = [iia(exact, double, at=LAYER, inner=lowest(exact, double), steps=n) for n in (32, 1)]
    size = missed[0].values.flatten(1).sum(1).abs().mean()
    away = [one["excess"] for one in redrawn]
    return {
        **{name: float(one.residual.abs().max() / size) for name, one in zip(("identity", "identity_one_node"), missed)},
        **ours, "faithful_redrawn": max(one["faithful"] for one in redrawn), "redrawn_excess": sum(away) / 3,
        "redrawn_away": sum(abs(one) for one in away) / 3, "accuracy": float((net(x.double()).argmax(1) == y).double().mean()),
    }  # fmt: skip


def compared(subject: Subject, task: Task, where: Tensor, seed: int) -> dict[str, float]:
    """Mass of three maps in the patch, and what insertion and deletion say of the first."""
    low = lowest(subject, task)
    maps = {"iia": iia(subject, task, at=LAYER, inner=low), "cam": grad_cam(subject, task, at=LAYER),
            "ig": integrated_gradients(subject, task, at=LAYER, baseline=low)}  # fmt: skip
    shown = {name: heatmap(m, (SIDE, SIDE)).double() for name, m in maps.items()}
    mass = {name: ((s * where).sum((1, 2)) / s.sum((1, 2)).clamp(min=1e-12)).numpy() for name, s in shown.items()}
    above = {name: bound(mass["iia"] - mass[name], seed) for name in ("cam", "ig")}
    random = torch.tensor(rng(seed, "order").random((TEST, SIDE, SIDE)))
    spread = ((random * where).sum((1, 2)) / random.sum((1, 2))).numpy()
    chance = {name: bound(spread - mass[name], seed) for name in ("cam", "ig")}
    gain = faithfulness(subject, task, maps["iia"], shown["iia"]) - faithfulness(subject, task, maps["iia"], random)
    return {
        "random_over_grad_cam": chance["cam"], "random_over_layer_ig": chance["ig"], "random_over_one": max(chance.values()),
        "over_grad_cam": above["cam"], "over_layer_ig": above["ig"], "over_one": max(above.values()),
        "excess": float(mass["iia"].mean() - where.double().mean()), "mass": float(mass["iia"].mean()),
        "mass_grad_cam": float(mass["cam"].mean()), "mass_layer_ig": float(mass["ig"].mean()),
        "faithful": bound(gain, seed),
    }  # fmt: skip


def bound(values: np.ndarray, seed: int) -> float:
    """Lower end of the interval of the mean over pictures."""
    low = bootstrap(values, seed=seed).low
    assert low is not None
    return low


def lowest(subject: Subject, task: Task) -> Tensor:
    """The least value of each channel over the places of the layer, at all places."""
    value = subject.run(task.clean, record=[LAYER], logits="none")[LAYER]
    return value.amin((2, 3), keepdim=True).expand_as(value)


def faithfulness(subject: Subject, task: Task, found: Attribution, shown: Tensor) -> np.ndarray:
    """Insertion less deletion of pixels in the order of a shown map, by the probability of the answer [n]."""
    pixels = replace(found, values=shown, axes=("batch", "y", "x"), site="0:input", reference=None)
    curves = perturbation_curves(subject, task, pixels, baseline=0.0, metric="probability")
    return (curves.insertion - curves.deletion).numpy()


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(12, 24, 3, padding=1), nn.ReLU(),
        nn.Conv2d(24, 24, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 5),
    )  # fmt: skip


def rows(step: int, batch: int = 48, n: int = 3000) -> Tensor:
    return torch.arange(step * batch, (step + 1) * batch) % n


def pictures(n: int, stream: np.random.Generator, *, empty: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures [n, 1, 24, 24], their textures [n], and where the patch is [n, 24, 24]; a share of them without a patch."""
    at = np.indices((PATCH, PATCH))
    textures = np.stack([at[0] // 2 % 2, at[1] // 2 % 2, at.sum(0) // 2 % 2, at.sum(0) % 2]) * 2.0 - 1
    y = np.where(stream.random(n) < empty, NOTHING, stream.integers(4, size=n))
    x, where = stream.normal(0, 0.3, (n, SIDE, SIDE)), np.zeros((n, SIDE, SIDE), dtype=bool)
    for i, (top, left) in enumerate(stream.integers(0, SIDE - PATCH, (n, 2))):
        if y[i] != NOTHING:
            x[i, top : top + PATCH, left : left + PATCH] += textures[y[i]]
            where[i, top : top + PATCH, left : left + PATCH] = True
    return torch.tensor(x[:, None], dtype=torch.float32), torch.tensor(y), torch.tensor(where)

"""Shah, Jain, Netrapalli (2021), Do Input Gradients Highlight Discriminative Features?: DiffROAR on pictures of two blocks.

A handwritten 0 or 1 stands above or below a fixed square, which says nothing (BlockMNIST, from scikit-learn's digits, 16 x 8
pixels). A perceptron's input gradient lies partly on the square, where a digit stands in other pictures (feature leakage);
that of one trained on adversarial inputs (PGD in the l2 ball) does so less, and neither does that of a standard one when
the digit is always above. DiffROAR trains anew on the pixels of largest, and of smallest, gradient. Nulls: another standard
network, a random map, the network before training.

Which pixels are kept gives the class away (a network that sees the mask alone, without values, names the digit), and any
tenth of the pixels that either network marks tells 0 from 1 (accuracy above 0.99). DiffROAR therefore differs by what the
pixels of smallest gradient tell. One network's value lies up to 0.1 from another's: the claim is of the mean over three robust
and three standard networks, its null of three other standard networks.

Earlier versions said that DiffROAR is not larger for the robust network (0.05 to 0.1 smaller, seeds 5 to 7). Taken apart on
seeds 100 to 104: it is not the test (with a convolutional network trained anew it is 0.01 to 0.04 smaller; with absent
pixels drawn from other pictures, so that the mask cannot be seen, -0.05 to 0.03), but the robust network was trained for 200
steps on a radius of 0.8. Both kinds trained for 800 steps or more, and the attack of radius 1.2 let in over the first 100 of
them (without that it learns nothing at 1.6), the robust one is 0.07 to 0.18 above with a constant, 0.11 to 0.15 with drawn
pixels. With ten digits in place of two even the first networks differ by 0.3. A still earlier version tested on 400 pictures,
too few for the bound on a random map (0.06). The miniature was changed twice since seeds 0 to 2; the reported seeds are new.

The pixels are those of 8 x 8 digits and the networks perceptrons; the paper's data sets have ten classes each, its networks
are deep, and its standard ones fall below 0 where these do not.

https://arxiv.org/abs/2102.12781
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from microtome.attribute import Attribution, diffroar, gradient, relevance_mass
from microtome.evidence import paired_bootstrap
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import torch_rng
from microtome.stimuli.stimuli import Stimuli
from microtome.stimuli.task import Task
from microtome.stimuli.vision import blocks
from microtome.subject.subject import Subject

CATALOG = ("attribute", 102)
SEEDS = (30, 31, 32)
BUDGET_SECONDS = 60
METHODS = ("microtome.attribute.judge.retraining", "microtome.attribute.judge.localisation", "microtome.attribute.gradient")
TRAIN, TEST, NETWORKS = 1200, 1600, 3
RADIUS, ATTACKS, STEPS, RAMP = 1.2, 3, 800, 100

CLAIMS = [
    Claim("gradient mass on the digit's block, robust less standard: lower bound", "robust_gain", 0.1, null="second_gain"),
    Claim("digit always above, less at random: lower bound", "fixed_gain", 0.15, null="second_gain"),
    Claim("DiffROAR of robust networks less that of standard ones, mean over shares", "robust_diffroar", 0.06,
          null="second_diffroar"),
    Claim("what it must be read with: the mask of the robust map alone gives the class away: accuracy", "mask_accuracy", 0.8,
          null="random_mask_accuracy"),
    Claim("a map of the digit's block has, with 30% of the pixels", "oracle", 0.2, null="random_30"),
    Claim("a random map has at most", "random_largest", 0.06, "<=", null="oracle"),
    Claim("before training the block has half of the mass: distance", "untrained_away", 0.08, "<=", null="robust_away"),
    Claim("both networks know the digit: accuracy", "accuracy", 0.97, null="untrained_accuracy"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train four networks, compare where their gradients lie, and train anew on what they mark."""
    parts = blocks(TRAIN, seed), blocks(TEST, seed + 100, half="test")
    above = blocks(TRAIN, seed, top=True), blocks(TEST, seed + 100, top=True, half="test")
    nets = {f"{name} {i}": trained(parts[0], seed + shift + i, name == "robust")
            for name, shift in (("standard", 0), ("robust", 0), ("second", 500)) for i in range(NETWORKS)}  # fmt: skip
    nets["untrained"] = start(seed)
    mass = {name: on_digit(net, parts[1]) for name, net in nets.items()}
    mass["fixed"] = on_digit(trained(above[0], seed), above[1])
    low = {name: paired_bootstrap(mass[name], mass["standard 0"], seed=seed).low for name in ("robust 0", "fixed", "second 0")}
    maps = {name: [slopes(net, p) for p in parts] for name, net in nets.items() if name != "untrained"}
    g = torch_rng(seed, "random map")
    maps["random"] = [like(m, torch.rand(m.values.shape, generator=g)) for m in maps["standard 0"]]
    maps["digit"] = [like(m, p.masks["signal"].flatten(1).float()) for m, p in zip(maps["standard 0"], parts)]
    sides = [task(p) for p in parts]
    found = {name: diffroar((sides[0], m[0]), (sides[1], m[1]), again, seed=seed) for name, m in maps.items()}
    score = {name: f.difference for name, f in found.items()}
    kinds = {k: torch.stack([score[f"{k} {i}"] for i in range(NETWORKS)]).mean() for k in ("standard", "robust", "second")}
    able = ("standard 0", "robust 0")
    return {
        "robust_gain": low["robust 0"], "fixed_gain": low["fixed"], "second_gain": low["second 0"],
        "robust_diffroar": float(kinds["robust"] - kinds["standard"]),
        "second_diffroar": float(kinds["second"] - kinds["standard"]),
        "oracle": float(score["digit"][1]), "random_30": float(score["random"][1]),
        "random_largest": float(score["random"].abs().max()),
        "untrained_away": abs(float(mass["untrained"].mean()) - 0.5), "robust_away": abs(float(mass["robust 0"].mean()) - 0.5),
        "accuracy": min(accuracy(nets[n], parts[1]) for n in able),
        "untrained_accuracy": accuracy(nets["untrained"], parts[1]),
        "mass_standard": float(mass["standard 0"].mean()), "mass_robust": float(mass["robust 0"].mean()),
        "mass_fixed": float(mass["fixed"].mean()), **{f"diffroar_{k}": float(v) for k, v in kinds.items()},
        **{f"marked_{n.split()[0]}": float(found[n].marked.mean()) for n in able},
        **{f"rest_{n.split()[0]}": float(found[n].rest.mean()) for n in able},
        "mask_accuracy": float(found["robust 0"].mask.mean()), "random_mask_accuracy": float(found["random"].mask.mean()),
    }  # fmt: skip


def start(seed: int, width: int = 64) -> nn.Sequential:
    return seeded(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, width), nn.ReLU(), nn.Linear(width, 2)), seed, "blocks"
    ).eval()


def trained(data: Stimuli, seed: int, robust: bool = False) -> nn.Sequential:
    """A perceptron that names the digit; robust: on the worst inputs that PGD finds, in a ball that grows at first."""
    net, x, y = start(seed), data.inputs, torch.tensor(data.labels("label"))

    def loss(step: int) -> Tensor:
        pictures, classes = rows(x, y, step)
        if robust:
            pictures = attacked(net, pictures, classes, RADIUS * min(1.0, (step + 1) / RAMP))
        return F.cross_entropy(net(pictures), classes)

    fit(net, loss, STEPS, lr=1e-2)
    return net


def rows(x: Tensor, y: Tensor, step: int, batch: int = 100) -> tuple[Tensor, Tensor]:
    at = torch.arange(step * batch, (step + 1) * batch) % len(x)
    return x[at], y[at]


def attacked(net: nn.Module, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Inputs at most `radius` away, moved up the loss by normalised gradients."""
    move = torch.zeros_like(x)
    for _ in range(ATTACKS):
        move.requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(net(x + move), y), move)
        move = move.detach() + 0.6 * radius * F.normalize(slope.flatten(1)).view_as(x)
        move = move * (radius / move.flatten(1).norm(dim=1).clamp(min=radius)).view(-1, 1, 1, 1)
    return x + move


def again(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    """A new small network on masked inputs."""
    net = start(seed, 32)
    fit(net, lambda step: F.cross_entropy(net(rows(x, y, step)[0]), rows(x, y, step)[1]), 60, lr=2e-2)
    return net


def task(data: Stimuli) -> Task:
    y = torch.tensor(data.labels("label"))
    return Task("digit", data.inputs, data.inputs.flip(0), y, 1 - y, kind="image", groups=list(range(len(y))))


def slopes(net: nn.Module, data: Stimuli) -> Attribution:
    """|input gradient|."""
    found = gradient(Subject(net), task(data))
    return replace(found, values=found.values.abs())


def like(attribution: Attribution, values: Tensor) -> Attribution:
    return replace(attribution, values=values)


def on_digit(net: nn.Module, data: Stimuli) -> np.ndarray:
    """Share of the gradient on the digit's block [n]."""
    return relevance_mass(slopes(net, data).values, data.masks["signal"].flatten(1)).numpy()


def accuracy(net: nn.Module, data: Stimuli) -> float:
    return float((net(data.inputs).argmax(1) == torch.tensor(data.labels("label"))).float().mean())

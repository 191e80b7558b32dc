"""Oramas, Wang, Tuytelaars (2019), visual explanation by interpretation: the channels of a class, and maps of them.

Flowers of four grey petals, one of which is coloured: the colour is the class. In a convolutional network of two strided
layers (32 and 64 channels) a lasso keeps few channels per class; the linear fit on their responses says the class nearly as
often as the network, and removing them (set to zero) lowers the probability of their class more than removing as many random
channels of the same layers (rank of the mean loss among 99 random choices; null: five more, mean of their ranks). Maps sent
back from these channels alone lie on the coloured petal (overlap of as many pixels as the petal has): more than guided
backpropagation of the output, and than the same pipeline on networks with redrawn weights, by paired intervals over pictures
(the mean of six; null: one of them against the mean of the others). Passing convolutions back without their stride takes
away the energy at the frequencies of the strides.

Two forms before did not hold. On seeds 0 to 2 one network of 400 steps was right on 94.5% of the pictures; a sign test over
pictures called one random choice of channels significant; and maps of redrawn weights, its null for the comparison with
guided backpropagation, overlap more than that too. On seeds 5 to 7 (16 and 24 channels, 550 steps) the removal ranked at p =
0.11, 0.04, 0.15 where 0.05 was asked, and one redrawn network overlapped more than the other by 0.09. Why: chosen channels
nearly always lie in the last layer, where classes part, while random ones of all layers are also of the first, which every
class needs and whose loss destroys pictures of any class. On seeds 100 to 103, networks of either width and six values of
mu, choices of as many channels of the same layers put the chosen ones at p = 0.01 to 0.02 always, by probabilities; choices
over all layers at 0.01 to 0.25, worst where one or two channels are kept (p_all_layers beside the claims; 0.01 to 0.21 in
calibration). Draws from channels not chosen helped little. More channels help the maps: overlap above the best of eight
redrawn networks by 0.02 and -0.02 with 16 and 24, by 0.09 and 0.17 with 32 and 64. So the layers are matched, the networks
are wider, mu is 6 (the paper's 10 keeps up to 46% of so few channels for a class), losses are of probabilities as the claim
says. Calibrated on seeds 20 to 24.

Limits. That chosen channels matter more than random ones of any layer is not shown for networks this small. With three
strided layers maps without strides are as wide as the strides, 8 pixels, and the petal is smaller: they then overlap with it
no more than guided backpropagation does, and less than maps of redrawn weights (tried on seed 10). The paper's flowers and
data sets are not at hand: these have three classes, not 6 or 12.

https://arxiv.org/abs/1712.06302
"""

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import microtome as mt
from microtome.attribute import class_unit_maps, class_units, guided_backprop
from microtome.attribute.responses import response_sites, responses
from microtome.organisms.small import convnet, fit_classes
from microtome.replicate import Claim
from microtome.rng import rng, torch_rng
from microtome.stimuli.task import Task
from microtome.stimuli.vision.worlds import coloured_part

CATALOG = ("attribute", 219)
SEEDS = (30, 31, 32)
BUDGET_SECONDS = 90
METHODS = (
    "microtome.attribute.class_units", "microtome.attribute.class_unit_maps", "microtome.attribute.responses",
    "microtome.attribute.rules.stride_free",
)  # fmt: skip
CHANNELS, SIDE, TEST, MU, STEPS, REDRAWN = (3, 32, 64), 32, 200, 6.0, 550, 6

CLAIMS = [
    Claim("accuracy of the network", "accuracy", 0.95, null="untrained_accuracy"),
    Claim("share of channels that a class keeps", "kept", 0.15, "<=", null="kept_unconstrained"),
    Claim("accuracy of the fit on them, as a share of the network's", "fit_accuracy", 0.9, null="shuffled_fit"),
    Claim("removing them lowers their class more than random channels of their layers: p", "p_removed", 0.05, "<=",
          null="p_random"),
    Claim("overlap with the petal above guided backpropagation: lower end", "over_guided", 0.0, null="other_over_guided"),
    Claim("overlap above that of redrawn weights, mean of six: lower end", "over_redrawn", 0.0, null="between_redrawn"),
    Claim("energy at the strides' frequencies left without strides", "energy_left", 0.6, "<=", null="energy_left_elsewhere"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Train, fit, remove, map."""
    fitted, held = asked(seed, TEST), asked(seed + 1000, TEST)
    (task, _), (test, petals) = fitted, held
    net = convnet(CHANNELS, 3, seed=seed)
    train, labels = pictures(seed + 2000, 3000)
    subject = mt.Subject(net)
    redrawn = [subject.twin("reinit", seed=seed + k) for k in range(REDRAWN)]
    before = correct(redrawn[0], test)
    fit_classes(net, lambda step: rows(train, labels, step), STEPS)
    units = class_units(subject, task, mu=MU, seed=seed)
    loose = class_units(subject, task, mu=1e6, draws=1, seed=seed)
    maps = {"units": class_unit_maps(subject, test, units).values, "guided": guided_backprop(subject, test).values,
            "strided": class_unit_maps(subject, test, units, stride_free=False).values}  # fmt: skip
    maps["noise"] = torch.randn(test.clean.shape, generator=torch_rng(seed, "noise"))
    by = {name: overlap(m, petals) for name, m in maps.items()}
    chance = np.stack([overlap(class_unit_maps(twin, test, class_units(twin, task, mu=MU, draws=1, seed=seed)).values, petals)
                       for twin in redrawn])  # fmt: skip
    others = (chance.sum(0) - chance) / (REDRAWN - 1)
    accuracy = correct(subject, test)
    return {
        "accuracy": accuracy, "untrained_accuracy": before,
        "kept": float(units.controls["largest share of channels kept"]),
        "kept_unconstrained": float(loose.controls["largest share of channels kept"]),
        "fit_accuracy": float(units.controls["accuracy"]) / accuracy,
        "shuffled_fit": float(units.controls["accuracy, labels shuffled"]) / accuracy,
        **removed(subject, test, units, seed), "over_guided": low(by["units"] - by["guided"], seed),
        "other_over_guided": low(by["noise"] - by["guided"], seed),
        "over_redrawn": low(by["units"] - chance.mean(0), seed),
        "between_redrawn": float(np.mean([low(one - rest, seed) for one, rest in zip(chance, others)])),
        "over_best_redrawn": low(by["units"] - chance[chance.mean(1).argmax()], seed),
        "energy_left": energy(maps["units"], True) / energy(maps["strided"], True),
        "energy_left_elsewhere": energy(maps["units"], False) / energy(maps["strided"], False),
        **{f"overlap_{name}": float(v.mean()) for name, v in by.items()}, "overlap_redrawn": float(chance.mean()),
        "stability": float(table_of(units)["stability"].mean()),
    }  # fmt: skip


def pictures(seed: int, n: int) -> tuple[Tensor, Tensor]:
    found = coloured_part(n, seed, side=SIDE)
    return found.inputs, torch.tensor(found.table["label"].to_numpy())


def asked(seed: int, n: int) -> tuple[Task, Tensor]:
    """Pictures with their classes, and where the coloured petal is."""
    found = coloured_part(n, seed, side=SIDE)
    answers = torch.tensor(found.table["label"].to_numpy())
    task = Task("colour", found.inputs, found.inputs.flip(0), answers, (answers + 1) % 3, kind="image", groups=list(range(n)))
    return task, torch.as_tensor(found.masks["part"])


def rows(x: Tensor, y: Tensor, step: int) -> tuple[Tensor, Tensor]:
    at = torch.arange(step * 64, step * 64 + 64) % len(x)
    return x[at], y[at]


def correct(subject: mt.Subject, task: Task) -> float:
    return float((subject.run(task.clean).logits.argmax(1) == task.answers).float().mean())


def table_of(units: mt.Finding) -> pd.DataFrame:
    """The channels."""
    assert units.table is not None
    return units.table


def removed(subject: mt.Subject, task: Task, units: mt.Finding, seed: int) -> dict[str, float]:
    """p that classes lose as much probability without as many random channels, of their layers or all, as without their own."""
    draw, names = rng(seed, "removed"), responses(subject, task.clean[:1], response_sites(subject, None))[1]
    table, losses = table_of(units), torch.zeros(204)

    def drawn(pool: list[tuple[str, int]], n: int) -> list[tuple[str, int]]:
        return [pool[i] for i in draw.choice(len(pool), n, replace=False)]

    for c in range(3):
        at = (task.answers == c).nonzero().flatten()[:30]
        mine = table[(table["class"] == c) & (table["weight"] > 0)]
        own = list(zip(mine["site"], mine["channel"]))
        layers = [([name for name in names if name[0] == site], n) for site, n in mine["site"].value_counts().items()]
        matched = [[channel for pool, n in layers for channel in drawn(pool, n)] for _ in range(104)]
        everywhere = [drawn(names, len(own)) for _ in range(99)]
        full = subject.run(task.clean[at]).logits.softmax(1)[:, c].mean()
        for i, channels in enumerate([own, *matched, *everywhere]):
            losses[i] += full - without(subject, task.clean[at], channels).softmax(1)[:, c].mean()

    def p(i: int, others: slice) -> float:
        return float((1 + (losses[others] >= losses[i]).sum()) / 100)

    matched, everywhere = slice(6, 105), slice(105, 204)
    return {"p_removed": p(0, matched), "p_random": float(np.mean([p(i, matched) for i in range(1, 6)])),
            "p_all_layers": p(0, everywhere)}  # fmt: skip


def without(subject: mt.Subject, x: Tensor, channels: list[tuple[str, int]]) -> Tensor:
    """Logits with some channels at zero."""

    def silent(site: str) -> mt.Edit:
        gone = torch.zeros(64, dtype=torch.bool)
        gone[[k for s, k in channels if s == site]] = True
        return mt.replace(site, lambda value: value * (~gone[: value.shape[1]])[:, None, None])

    return subject.run(x, edits=[silent(s) for s in {s for s, _ in channels}]).logits


def overlap(maps: Tensor, masks: Tensor) -> np.ndarray:
    """Intersection over union of each mask with as many of the map's strongest pixels [n]."""
    strength = maps.abs().sum(1).flatten(1)
    found = []
    for one, mask in zip(strength, masks.flatten(1)):
        chosen = torch.zeros_like(mask, dtype=torch.bool)
        chosen[one.topk(int(mask.sum())).indices] = True
        found.append(float((chosen & mask.bool()).sum()) / float((chosen | mask.bool()).sum()))
    return np.array(found)


def low(values: np.ndarray, seed: int) -> float:
    """Lower end of the 95% interval of the mean over pictures."""
    draws = rng(seed, "pictures").integers(0, len(values), (1000, len(values)))
    return float(np.percentile(values[draws].mean(1), 2.5))


def energy(maps: Tensor, strides: bool) -> float:
    """Share of the energy of maps (but their mean) at periods of 2 and 4 pixels along an axis, or at all others."""
    power = torch.fft.fft2(maps.sum(1)).abs().square()
    power[:, 0, 0] = 0.0
    at = torch.zeros(SIDE, dtype=torch.bool)
    at[[SIDE * k // 4 for k in range(1, 4)]] = True
    there = at[:, None] | at[None, :]
    share = power / power.sum((1, 2), keepdim=True).clamp(min=1e-30)
    return float(share[:, there if strides else ~there].sum(1).mean())

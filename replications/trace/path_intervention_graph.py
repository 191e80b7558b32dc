"""Ahmad et al. (2023), Causal Analysis for Robust Interpretability: graphs of filters from path interventions.

A small CNN (8-16-16 filters) reads the handwritten digits of scikit-learn. Cutting one connection between two filters at a
time gives a graph for each class. Kept alone, the graph preserves its class while random connections of the same number lose
it; maps of its filters hardly change under noise, unlike input x gradient; a network with random weights has no graph.
A second CNN learned that a bright corner means class 3. Connections whose loss hurts class 3 on images with the corner, and
the true classes less than a quarter as much, are the shortcut: without ten of them, images of other classes with the corner
are read again. The ten are cut one after another, and what the true classes need is measured again after every cut.

Only the abstract was at hand: effect (log odds), selection (sign flips, twins, false-discovery rate) and graph are this
package's reading of it. One hopes that repair helps images of class 3 without the corner; it does not, because what
the network never learned is not there after a cut (reported as `class_without_corner`). Maps of random filters are about as
stable as those of the graph: stability comes from maps of filters, not from the selection (`stability_of_random`).

The catalogue's margin for stability, 0.1 over input x gradient, is one that the plain gradient passes too (0.19 in
calibration); it was raised to 0.3 for that reason, after a first run with 0.1 had shown it again on seeds 0 to 2. On seeds 3
to 5 the ten connections were chosen one at a time and cut together: on one of them other classes without the corner lost 0.16
(asked is 0.1 at most), because connections that are idle one by one back each other up. Cutting them one after another followed
from that. Calibrated again on seeds 30 to 34; those reported are new.

https://arxiv.org/abs/2305.08950
"""

import numpy as np
import torch
from pandas import DataFrame
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

import microtome as mt
from microtome.evidence import spearman
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import derive, rng, torch_rng
from microtome.stimuli.task import Task
from microtome.trace import path_intervention
from microtome.trace.filter_maps import filter_maps
from microtome.trace.path_intervention import cut

CATALOG = ("trace", 19)
SEEDS = (6, 7, 8)
BUDGET_SECONDS = 60
METHODS = ("microtome.trace.path_intervention", "microtome.trace.filter_maps", "microtome.organisms.fit")
CLASSES, SHORTCUT, IMAGES, CUT, STEPS, NOISE = (3, 5, 8), 3, 60, 10, 400, 0.2
#: Connections that may be cut, images on which cuts are judged, and how much more the shortcut must lose than true classes.
CANDIDATES, JUDGED, RATIO = 40, 200, 4

CLAIMS = [
    Claim("accuracy on the class lost when only its graph is kept", "lost_with_graph", 0.05, "<=", null="lost_with_random"),
    Claim("lost when as many random connections are kept", "lost_with_random", 0.2, null="lost_with_graph"),
    Claim("stability of the maps, above input x gradient", "stability_gain", 0.3, null="stability_gain_of_gradient"),
    Claim("share of connections kept in a network with random weights", "kept_in_twin", 0.05, "<=", null="kept"),
    Claim("accuracy on other classes with the corner, gained by cutting its paths", "repair", 0.1, null="repair_by_random"),
    Claim("accuracy on other classes without the corner, lost by that", "side_effect", 0.1, "<=", null="side_effect_of_graph"),
]


def run(seed: int) -> dict[str, float]:
    """Graphs of three classes, their maps, and the repair of a shortcut."""
    x, y = digits(seed)
    return {**graphs(x, y, seed), **repair(x, y, seed)}


def graphs(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor], seed: int) -> dict[str, float]:
    """What graphs preserve, and how stable their maps are."""
    subject, stream = trained(x[0], y[0], seed), rng(seed, "random connections")
    lost, lost_random, shares, maps = [], [], [], []
    for c in CLASSES:
        table = path_intervention(subject, of_class(x[0][y[0] == c][:IMAGES], c), seed=seed).table
        kept, held = table["kept"].to_numpy(), (x[1][y[1] == c], y[1][y[1] == c])
        others = [stream.permutation(kept) for _ in range(10)]
        whole = accuracy(subject, *held)
        lost.append(whole - accuracy(cut(subject, table[~kept]), *held))
        lost_random += [whole - accuracy(cut(subject, table[~o]), *held) for o in others]
        shares.append(kept.mean())
        maps.append(stabilities(subject, held[0], table[kept], table[others[0]], derive(seed, "noise", c)))
    twin = path_intervention(subject.twin(seed=seed + 1000), of_class(x[0][y[0] == SHORTCUT][:IMAGES], SHORTCUT), seed=seed)
    graph, random, product, gradient = np.mean(maps, axis=0)
    return {
        "accuracy": accuracy(subject, x[1], y[1]), "lost_with_graph": float(np.mean(lost)),
        "lost_with_random": float(np.mean(lost_random)), "kept": float(np.mean(shares)),
        "kept_in_twin": float(twin.table["kept"].mean()), "stability": graph, "stability_of_random": random,
        "stability_gain": graph - product, "stability_gain_of_gradient": gradient - product,
    }  # fmt: skip


def repair(x: tuple[Tensor, Tensor], y: tuple[Tensor, Tensor], seed: int) -> dict[str, float]:
    """Cut the connections that a shortcut needs and the true classes hardly."""
    learned = torch.where((y[0] == SHORTCUT)[:, None, None, None], cornered(x[0]), x[0])
    subject = trained(learned, y[0], seed)
    chosen, other = y[0] != SHORTCUT, y[1] != SHORTCUT
    seen, truth = x[0][chosen][:IMAGES], y[0][chosen][:IMAGES]
    shortcut = path_intervention(subject, of_class(cornered(seen), SHORTCUT), seed=seed).table
    own = path_intervention(subject, labelled(seen, truth), seed=seed).table
    effect, needed = shortcut["effect"].to_numpy(), own["effect"].abs().to_numpy()
    worst, stream = np.argsort(-np.where(needed < effect / RATIO, effect, 0.0))[:CANDIDATES], rng(seed, "random cuts")
    worst = worst[needed[worst] < effect[worst] / RATIO]
    with_corner, without = (cornered(x[1][other]), y[1][other]), (x[1][other], y[1][other])
    before, plain = accuracy(subject, *with_corner), accuracy(subject, *without)
    shown = x[0][chosen][:JUDGED], y[0][chosen][:JUDGED]
    mended, graph = cut(subject, one_by_one(subject, shortcut.iloc[worst], *shown)), cut(subject, own[own["kept"]])
    random = [cut(subject, shortcut.iloc[stream.choice(len(effect), CUT, replace=False)]) for _ in range(10)]
    alone = (x[1][~other], y[1][~other])
    return {
        "candidates": len(worst), "with_corner_before": before, "repair": accuracy(mended, *with_corner) - before,
        "repair_by_random": float(np.mean([accuracy(r, *with_corner) for r in random])) - before,
        "side_effect": plain - accuracy(mended, *without), "side_effect_of_graph": plain - accuracy(graph, *without),
        "class_without_corner_before": accuracy(subject, *alone), "class_without_corner": accuracy(mended, *alone),
    }  # fmt: skip


def one_by_one(subject: mt.Subject, candidates: DataFrame, x: Tensor, y: Tensor) -> DataFrame:
    """The connections to cut: each time the one that costs the shortcut most, less RATIO times what true classes then lose."""
    corner, shortcut = cornered(x), torch.full_like(y, SHORTCUT)

    def after(rows: list[int]) -> tuple[float, float]:
        left = cut(subject, candidates.iloc[rows])
        return log_odds(left, corner, shortcut), log_odds(left, x, y)

    rows: list[int] = []
    while len(rows) < CUT:
        now = after(rows)
        lost = {k: np.subtract(now, after([*rows, k])) for k in range(len(candidates)) if k not in rows}
        net = {k: by - RATIO * abs(true) for k, (by, true) in lost.items()}
        if not net or max(net.values()) <= 0:
            break
        rows.append(max(net, key=lambda k: net[k]))
    return candidates.iloc[rows]


def digits(seed: int) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Images with a margin of two pixels, and classes, each split in two."""
    data = load_digits()
    order = torch.from_numpy(rng(seed, "split").permutation(len(data.target)))
    x = pad(torch.tensor(data.images / 16, dtype=torch.float32)[:, None], (2, 2, 2, 2))[order]
    y = torch.tensor(data.target)[order]
    return (x[:1200], x[1200:]), (y[:1200], y[1200:])


def cornered(x: Tensor) -> Tensor:
    """The images with a bright corner, where no digit reaches."""
    x = x.clone()
    x[:, :, :2, :2] = 1.0
    return x


def trained(x: Tensor, y: Tensor, seed: int) -> mt.Subject:
    """A CNN of 8, 16 and 16 filters."""
    module = seeded(lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(144, 10),
    ), seed, "digits")  # fmt: skip
    stream = rng(seed, "batches")

    def loss(step: int) -> Tensor:
        rows = torch.from_numpy(stream.integers(0, len(x), 64))
        return cross_entropy(module(x[rows]), y[rows])

    fit(module, loss, STEPS, lr=5e-3)
    return mt.Subject(module, name="digits")


def labelled(x: Tensor, y: Tensor) -> Task:
    """Images with their classes as a task."""
    return Task("digits", x, torch.zeros_like(x), y, (y + 1) % 10, kind="image", groups=list(range(len(x))))


def of_class(x: Tensor, c: int) -> Task:
    """Images asked for one class."""
    return labelled(x, torch.full((len(x),), c))


@torch.no_grad()
def log_odds(subject: mt.Subject, x: Tensor, y: Tensor) -> float:
    """Mean log odds of a class against all others."""
    logits, own = subject.module(x), torch.nn.functional.one_hot(y, 10).bool()
    return float((logits[own] - logits.masked_fill(own, -torch.inf).logsumexp(1)).mean())


@torch.no_grad()
def accuracy(subject: mt.Subject, x: Tensor, y: Tensor) -> float:
    """Share of images read correctly."""
    return float((subject.module(x).argmax(1) == y).float().mean())


def stabilities(subject: mt.Subject, x: Tensor, kept, random, seed: int) -> list[float]:
    """Rank correlation with and without noise: maps of the graph, of random filters, input x gradient, gradient."""
    noisy = x + NOISE * torch.randn(x.shape, generator=torch_rng(seed, "noise"))
    pairs = [[filter_maps(subject, v, rows) for v in (x, noisy)] for rows in (kept, random)]
    slopes = [gradients(subject, v) for v in (x, noisy)]
    pairs += [[(v * g)[:, 0] for v, g in zip((x, noisy), slopes)], [g[:, 0] for g in slopes]]
    return [float(np.mean([float(spearman(a.flatten().numpy(), b.flatten().numpy())) for a, b in zip(*p)])) for p in pairs]


def gradients(subject: mt.Subject, x: Tensor) -> Tensor:
    """Gradient of the largest logit."""
    x = x.clone().requires_grad_()
    return torch.autograd.grad(subject.module(x).max(1).values.sum(), x)[0]

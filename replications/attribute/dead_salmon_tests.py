"""Méloux et al. (2025), The Dead Salmons of AI Interpretability: findings must not survive on networks that learned nothing.

Tiny convolutional networks and noise images with a striped patch somewhere, upright or lying (the class). Three pipelines:
the share of gradient attribution inside the patch, held-out accuracy of a ridge probe on the hidden layer, best-unit
selectivity.

Calibration: untrained networks as the network studied, each against 39 networks drawn anew; p <= 0.05 should appear at rate
0.05. Power: trained networks. The salmon: the same probe against permuted labels, the null that most papers use, "finds"
something in nearly every untrained network, so the test warns when only that null was given.

https://arxiv.org/abs/2512.18792
"""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from microtome.attribute import gradient
from microtome.evidence import WeakNull, salmon_finding
from microtome.organisms.fit import fit, seeded
from microtome.replicate import Claim
from microtome.rng import derive, rng, torch_rng
from microtome.salmon_test import salmon
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 280)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 120
METHODS = ("microtome.salmon_test", "microtome.evidence.salmon", "microtome.subject.twins", "microtome.attribute.gradient")
UNTRAINED, TRAINED, TWINS, IMAGES, SIZE, NOISE, HIDDEN = 60, 10, 39, 240, 10, 1.0, "3"
# Two standard errors of a rate of 0.05 in 60 runs above it.
RATE = 0.05 + 2 * (0.05 * 0.95 / UNTRAINED) ** 0.5

CLAIMS = [
    *(Claim(f"untrained networks, {name}: rate of p <= 0.05", f"false_{name}", RATE, "<=", null="salmon_probe", over="median")
      for name in ("mass", "probe", "selectivity")),
    Claim("trained networks: share with p <= 0.05, second of the three", "power", 0.9, null="false_power", over="median"),
    Claim("permuted labels alone: share of untrained networks 'found'", "salmon_probe", 0.8, null="false_probe"),
    Claim("and the test warns of it: share", "warned", 1.0, null="warned_of_reinit"),
]


def run(seed: int) -> dict[str, float]:
    """Rates of small p of the three statistics: on untrained networks, on trained ones, against permuted labels."""
    task, masks = patches(seed, IMAGES)

    def pipeline(subject: Subject) -> dict[str, float]:
        return statistics(subject, task, masks)

    # Each untrained network is compared with 39 others of a common pool: all are draws of one initialiser.
    pool = [pipeline(Subject(network(seed, f"pool {i}"))) for i in range(4 * TWINS)]
    draw, p, salmon_p, warned = rng(seed, "twins"), [], [], []
    for i in range(UNTRAINED):
        subject = Subject(network(seed, f"untrained {i}"))
        chosen = draw.choice(len(pool), TWINS, replace=False)
        nulls = {name: np.array([pool[j][name] for j in chosen]) for name in pool[0]}
        found = salmon_finding(pipeline(subject), {"reinit": nulls}, seed=seed)
        p.append(found.table["p"].to_numpy())
        small, warning = against_labels(subject, task, derive(seed, "labels", i))
        salmon_p.append(small)
        warned.append(warning)
    trained = []
    for i in range(TRAINED):
        module = network(seed, f"trained {i}")
        fit(module, lambda step, i=i, module=module: loss(module, derive(seed, "train", i, step)), 250, lr=0.05)
        trained.append(salmon(pipeline, Subject(module), kinds=["reinit"], draws=TWINS, seed=i).table["p"].to_numpy())
    rates = (np.array(p) <= 0.05).mean(0)
    return {
        "false_mass": rates[0], "false_probe": rates[1], "false_selectivity": rates[2],
        "power": float(np.sort((np.array(trained) <= 0.05).mean(0))[1]), "false_power": float(np.sort(rates)[1]),
        **{f"trained_{n}": r for n, r in zip(("mass", "probe", "selectivity"), (np.array(trained) <= 0.05).mean(0))},
        "salmon_probe": float((np.array(salmon_p) <= 0.05).mean()), "warned": float(np.mean(warned)), "warned_of_reinit": 0.0,
    }  # fmt: skip


def statistics(subject: Subject, task: Task, masks: Tensor) -> dict[str, float]:
    """Attribution inside the patch, held-out accuracy of a ridge probe, selectivity of the best unit."""
    mass = gradient(subject, task).by_position().abs()
    hidden = features(subject, task)
    y = task.answers.numpy()
    apart = np.abs(hidden[y == 1].mean(0) - hidden[y == 0].mean(0)) / (hidden.std(0) + 1e-6)
    share = ((mass * masks).flatten(1).sum(1) / mass.flatten(1).sum(1).clamp(min=1e-12)).mean()
    return {"mass": float(share), "probe": ridge_accuracy(hidden, y), "selectivity": float(apart.max())}


def features(subject: Subject, task: Task) -> np.ndarray:
    """The hidden layer, pooled over places [n, units]."""
    return subject.run(task.clean, record=[HIDDEN], logits="none")[HIDDEN].flatten(1).double().numpy()


def ridge_accuracy(x: np.ndarray, y: np.ndarray) -> float:
    """Closed form, fitted on the first half and judged on the second."""
    half = len(x) // 2
    z = np.column_stack([x, np.ones(len(x))])
    a = z[:half]
    w = np.linalg.solve(a.T @ a + 1e-3 * np.eye(a.shape[1]), a.T @ (2.0 * y[:half] - 1))
    return float(((z[half:] @ w > 0) == y[half:]).mean())


def against_labels(subject: Subject, task: Task, seed: int) -> tuple[float, bool]:
    """p of the probe against permuted labels only, and whether the test warned of that."""
    hidden, y = features(subject, task), task.answers.numpy()
    draw = rng(seed, "permuted")
    null = np.array([ridge_accuracy(hidden, draw.permutation(y)) for _ in range(TWINS)])
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        found = salmon_finding({"probe": ridge_accuracy(hidden, y)}, {"label_permutation": {"probe": null}})
    return float(found.table["p"][0]), any(issubclass(w.category, WeakNull) for w in heard)


def patches(seed: int, n: int) -> tuple[Task, Tensor]:
    """Noise with a patch of upright (class 0) or lying (class 1) stripes, and where it is [n, y, x]."""
    draw, g = rng(seed, "patches", n), torch_rng(seed, "noise", n)
    x, masks = NOISE * torch.randn(n, 1, SIZE, SIZE, generator=g), torch.zeros(n, SIZE, SIZE)
    y = torch.from_numpy(draw.permutation(np.arange(n) % 2))
    stripes = torch.tensor([1.0, -1.0]).repeat(2).expand(4, 4)
    for i in range(n):
        top, left = (int(k) for k in draw.integers(SIZE - 3, size=2))
        masks[i, top : top + 4, left : left + 4] = 1.0
        x[i, 0, top : top + 4, left : left + 4] += stripes.T if y[i] else stripes
    return Task("patch", x, x.transpose(2, 3), y, 1 - y, kind="image", groups=list(range(n))), masks


def network(seed: int, name: str) -> nn.Module:
    return seeded(lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)), seed, name)


def loss(module: nn.Module, seed: int) -> Tensor:
    task, _ = patches(seed, 64)
    return nn.functional.cross_entropy(module(task.clean), task.answers)

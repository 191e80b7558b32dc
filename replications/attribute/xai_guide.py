"""Hsieh et al. (2024), A Comprehensive Guide to Explainable AI: a gallery of its families, each by one call.

Every method is `method(subject, task)`, whatever the model: a logistic model and a network on the breast cancer data, a
convolutional network on scikit-learn's digits, a transformer on text. Each gallery entry has a number of fidelity (the drop of
the output when the largest places go, less that when the smallest go) beside that of a random map, and a control: the same
with the maps of the model with randomised weights. Local methods are compared with exact Shapley values of eight features,
by a loop over all coalitions. Of the classical explainers that scikit-learn has, permutation importance is compared with ours.

A survey claims coverage, not figures: what is claimed here is that the families run, agree where they should, and say more than
a random explainer. Trees, additive models and rules have no attribution here; see the rooms distil and models.

https://arxiv.org/abs/2412.00800
"""

from dataclasses import replace
from functools import partial
from itertools import combinations
from math import comb

import numpy as np
import torch
from torch import Tensor, nn

import microtome as mt
from microtome import attribute as a
from microtome.attribute.judge.randomisation import spearman_rows
from microtome.organisms.fit import seeded
from microtome.organisms.small import fit_classes, perceptron
from microtome.replicate import Claim
from microtome.stimuli.task import Task
from microtome.subject.subject import Subject

CATALOG = ("attribute", 266)
SEEDS = (0, 1, 2)
BUDGET_SECONDS = 90
METHODS = ("microtome.attribute.judge.evaluate", "microtome.attribute.judge.curves", "microtome.attribute.permutation")
FEATURES, AGREE, SHOWN = 8, 0.7, 32
LOCAL = {
    "gradient times input": partial(a.gradient, times="input"), "integrated gradients": a.integrated_gradients,
    "DeepLIFT": a.deeplift, "LRP": partial(a.lrp, composite="epsilon"), "KernelSHAP": partial(a.kernel_shap, samples=254),
    "Shapley sampling": partial(a.shapley_sampling, samples=64), "LIME": partial(a.lime, samples=254),
    "ablation": a.feature_ablation, "permutation": partial(a.permutation, draws=12),
}  # fmt: skip
PICTURES = {
    "Grad-CAM": a.grad_cam, "HiResCAM": partial(a.grad_cam, formula="hires"), "occlusion": partial(a.occlusion, size=2),
    "integrated gradients": a.integrated_gradients, "DeepLIFT": a.deeplift, "LRP": a.lrp,
}  # fmt: skip
TEXTS = {
    "integrated gradients": a.integrated_gradients, "occlusion": a.occlusion,
    "gradient times input": partial(a.gradient, times="input"),
}  # fmt: skip

CLAIMS = [
    Claim("local methods that agree with exact Shapley values (Spearman above 0.7): share", "agreeing", 0.8,
          null="agreeing_random"),
    Claim("entries whose fidelity beats a random map (q <= 0.05): share", "faithful", 0.9, null="faithful_redrawn"),
    Claim("permutation importance: Spearman with scikit-learn's", "importance", 0.9, null="importance_random"),
]  # fmt: skip


def run(seed: int) -> dict[str, float]:
    """Make the models, run the gallery, judge it."""
    table, logistic, task = patients(seed)
    exact = shapley(table, task)
    agreement = {name: rank(method(table, task).values, exact) for name, method in LOCAL.items()}
    randoms = [rank(a.random_map(table, task, like=a.gradient, seed=s).values, exact) for s in range(len(LOCAL))]
    text = mt.load("organism:compiled-ioi")
    gallery = {
        "network": (table, task, LOCAL, None), "logistic": (logistic, task, LOCAL, None), "pictures": pictures(seed),
        "text": (text, text.organism.examples(SHOWN, seed), TEXTS, None),
    }  # fmt: skip
    won = {name: better(*entry, seed) for name, entry in gallery.items()}
    lost = {name: better(s, t, redrawn(m, seed), at, seed) for name, (s, t, m, at) in gallery.items()}
    ours, theirs = importance(table, task, seed)
    return {
        "agreeing": share(v > AGREE for v in agreement.values()), "agreeing_random": share(v > AGREE for v in randoms),
        "faithful": share(w for v in won.values() for w in v), "faithful_redrawn": share(w for v in lost.values() for w in v),
        "importance": float(np.corrcoef(ours.argsort().argsort(), theirs.argsort().argsort())[0, 1]),
        "importance_random": float(np.corrcoef(np.roll(ours, 3).argsort().argsort(), theirs.argsort().argsort())[0, 1]),
        "least_agreement": min(agreement.values()), "entries": float(sum(map(len, won.values()))),
    }  # fmt: skip


def share(hits) -> float:
    return float(np.mean([float(h) for h in hits]))


def rank(values: Tensor, exact: Tensor) -> float:
    return float(spearman_rows(values, exact).mean())


def better(subject: Subject, task: Task, methods: dict, at: str | None, seed: int) -> list[bool]:
    """Which methods' fidelity beats that of the random map."""
    fidelity = a.Measure("fidelity", "faithfulness", "higher", lambda case: case.curves.gap)
    found = a.evaluate(subject, task, methods, measures=[fidelity], at=at, baseline=0.0 if at is None else "mean", seed=seed)
    rows = found.differences()
    rows = rows[rows.b == "random map"].set_index("a").better
    return [rows[name] == name for name in methods]


def redrawn(methods: dict, seed: int) -> dict:
    """The same methods, asked of the model with redrawn weights and put forward as maps of the model."""

    def of(method, subject: Subject, task: Task) -> a.Attribution:
        return replace(method(subject.twin("reinit", seed=seed + 1), task), subject=subject.fingerprint())

    return {name: partial(of, method) for name, method in methods.items()}


def patients(seed: int) -> tuple[Subject, Subject, Task]:
    """A network and a logistic model on eight features, and held-out patients."""
    from sklearn.datasets import load_breast_cancer
    from sklearn.linear_model import LogisticRegression

    data, labels = load_breast_cancer(return_X_y=True)
    x = torch.tensor((data - data.mean(0)) / data.std(0), dtype=torch.float32)[:, 20 : 20 + FEATURES]
    y = torch.tensor(labels)
    net = perceptron([FEATURES, 16, 2], seed=seed)
    fit_classes(net, lambda step: (x[:450], y[:450]), 150, lr=1e-2)
    fitted = LogisticRegression().fit(x[:450].numpy(), labels[:450])
    linear = nn.Sequential(nn.Linear(FEATURES, 2)).eval()
    with torch.no_grad():
        half = torch.tensor(fitted.coef_[0], dtype=torch.float32) / 2
        linear[0].weight.copy_(torch.stack([-half, half]))
        linear[0].bias.zero_()
    held, truth = x[450 : 450 + SHOWN], y[450 : 450 + SHOWN]
    task = Task("benign", held, held.flip(0) + 1e-3, truth, 1 - truth, kind="image", groups=list(range(SHOWN)))
    return Subject(net), Subject(linear), task


def pictures(seed: int) -> tuple[Subject, Task, dict, str]:
    """A convolutional network on digits, and held-out digits."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    x, y = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16, torch.tensor(digits.target)
    net = seeded(lambda: nn.Sequential(
        nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1024, 10),
    ), seed, "digits")  # fmt: skip
    at = torch.arange(64)
    fit_classes(net, lambda step: (x[(at + 64 * step) % 1500], y[(at + 64 * step) % 1500]), 150)
    x, y = x[1500 : 1500 + SHOWN], y[1500 : 1500 + SHOWN]
    task = Task("digit", x, x.flip(0), y, (y + 1) % 10, kind="image", groups=list(range(SHOWN)))
    return Subject(net), task, PICTURES, "0:input"


def shapley(subject: Subject, task: Task) -> Tensor:
    """Exact Shapley values against zeros [n, features]: a loop over all coalitions, without the package's engine."""
    rows, everyone = torch.arange(len(task)), range(FEATURES)
    worth = {}
    with torch.no_grad():
        for chosen in (c for size in range(FEATURES + 1) for c in combinations(everyone, size)):
            kept = torch.zeros(FEATURES).index_fill(0, torch.tensor(chosen, dtype=torch.long), 1.0)
            logits = subject.module(task.clean * kept)
            worth[chosen] = logits[rows, task.answers] - logits[rows, task.wrong]
    gains = torch.zeros(len(task), FEATURES)
    for i, chosen in ((i, c) for i in everyone for c in worth if i not in c):
        gains[:, i] += (worth[tuple(sorted((*chosen, i)))] - worth[chosen]) / (FEATURES * comb(FEATURES - 1, len(chosen)))
    return gains


def importance(subject: Subject, task: Task, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean drop of the metric with each feature permuted: ours, and scikit-learn's."""
    from sklearn.inspection import permutation_importance

    ours = a.permutation(subject, task, draws=20, seed=seed).values.mean(0).numpy()

    class Model:
        def fit(self, x, y):
            return self

    def metric(_, x: np.ndarray, y: np.ndarray) -> float:
        with torch.no_grad():
            logits = subject.module(torch.tensor(x, dtype=torch.float32))
        return float((logits[np.arange(len(y)), y] - logits[np.arange(len(y)), 1 - y]).mean())

    found = permutation_importance(Model(), task.clean.numpy(), np.asarray(task.answers), scoring=metric, n_repeats=20,
                                   random_state=seed)  # fmt: skip
    return ours, np.asarray(found.importances_mean)
